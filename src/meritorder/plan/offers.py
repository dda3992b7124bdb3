"""Offers of the catalog as payments of a plan."""

import math
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from meritorder.domain import Offer, PricingModel
from meritorder.errors import ConfigError
from meritorder.plan.demand import Horizon
from meritorder.plan.venues import UNLIMITED, Block, Machines, OnDemand, Reserved, SavingsPlan, Spot
from meritorder.units import HOURS_PER_DAY, HOURS_PER_MONTH

Floats = NDArray[np.float64]


def machine_of(offer: Offer) -> str:
    """Return the key of an offer's machine: its kind and place, by which pools and payments find each other."""
    return " ".join(part for part in (offer.provider, offer.region, offer.instance) if part)


def interruptions_per_hour(share_per_month: float) -> float:
    """Return the rate of interruptions at which a share of machines is taken back within a month.

    rate = -ln(1 - share) / hours of a month
    """
    return -math.log1p(-min(share_per_month, 1 - 1e-9)) / HOURS_PER_MONTH


def payment_of(
    offer: Offer,
    *,
    most: float = UNLIMITED,
    have: int = 0,
    available: Floats | float | None = None,
    interruptions_per_month: float | None = None,
) -> Machines:
    """Return an on-demand, spot, reserved or committed-use offer as a payment.

    Args:
        offer: An offer.
        most: Machines that can be had or bought.
        have: Machines held already (commitments only).
        available: Spot machines that can be had, by slot or always.
        interruptions_per_month: Share of spot machines taken back in a month, where the offer does not know.

    Raises:
        ConfigError: It is spot and nobody says how much there is or how often it is taken back, or it needs more facts.
    """
    name, machine, usd = offer.label, machine_of(offer), offer.usd_per_hour
    match offer.pricing_model:
        case PricingModel.ON_DEMAND:
            return OnDemand(
                name=name, machine=machine, usd_per_hour=usd, minimum_billing_s=offer.minimum_billing_s, most=most
            )
        case PricingModel.SPOT:
            share = offer.interruptions_per_month
            share = interruptions_per_month if share is None else share
            if share is None or available is None:
                raise ConfigError(
                    "spot needs the machines that can be had and how often they are taken back",
                    where=name,
                    fix="state both, or leave spot out",
                )
            return Spot(
                name=name,
                machine=machine,
                usd_per_hour=usd,
                available=np.asarray(available, float),
                interruptions_per_hour=interruptions_per_hour(share),
                minimum_billing_s=offer.minimum_billing_s,
            )
        case PricingModel.RESERVED | PricingModel.COMMITTED_USE:
            return Reserved(
                name=f"{name} {offer.term} {offer.payment}".strip(),
                machine=machine,
                usd_per_hour=usd,
                term=offer.term,
                payment=offer.payment,
                have=have,
                most=most,
                kind=offer.pricing_model.value,
            )
        case _:
            raise ConfigError(f"a {offer.pricing_model} is not machines by the hour", where=name)


def savings_plans_of(offers: Iterable[Offer]) -> tuple[SavingsPlan, ...]:
    """Gather savings-plan rates into plans: one for each provider, term and way to pay, over all its machines."""
    rates: dict[tuple[str, str, str], dict[str, float]] = {}
    for offer in offers:
        if offer.pricing_model is PricingModel.SAVINGS_PLAN:
            scope = rates.setdefault((offer.provider, offer.term, offer.payment), {})
            scope[machine_of(offer)] = offer.usd_per_hour
    return tuple(
        SavingsPlan(
            name=f"{provider} savings plan {term} {payment}".strip(), usd_per_hour=scope, term=term, payment=payment
        )
        for (provider, term, payment), scope in rates.items()
    )


def block_of(offer: Offer, days: int, horizon: Horizon, *, most: float = UNLIMITED) -> Block:
    """Return a capacity block of so many days, which may start on any day of the horizon.

    Source: AWS, EC2 Capacity Blocks for ML (whole days, paid in advance, start at a fixed time of day), 2025.
    """
    per_day = HOURS_PER_DAY * horizon.slots_per_hour
    return Block(
        name=f"{offer.label} {days} d",
        machine=machine_of(offer),
        usd_per_hour=offer.usd_per_hour,
        slots=days * per_day,
        starts=tuple(range(0, horizon.slots, per_day)),
        most=most,
    )
