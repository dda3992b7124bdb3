"""Where work can run and how that is paid for: the supply side of a plan.

A *pool* is machines of one kind at one place that serve one model. A *payment* is a way to have machines of that kind:
two pools whose machines are the same (two models on one instance type) share the payments for them. A *tier* is a
token API: work is bought there by the token.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from meritorder.domain import Offer, PricingModel, machine_id
from meritorder.errors import ConfigError
from meritorder.planner.model.demand import Horizon
from meritorder.units import HOURS_PER_DAY, interruptions_per_hour

Floats = NDArray[np.float64]

UNLIMITED: Final = math.inf


@dataclass(frozen=True, slots=True, kw_only=True)
class MachinePool:
    """Machines of one kind at one place, with replicas of one model on them.

    Args:
        name: Name in the plan.
        model: `Model.id` of what it serves.
        replica: Kind of replica, the key of the work tables: work is in seconds of one full replica of this kind.
        machine: Kind and place of the machine, the key that payments refer to.
        provider: Who rents it out.
        region: Where it stands.
        hardware: `Hardware.id`.
        gpus: GPUs of one machine.
        replicas: Replicas on one machine.
        safe_load: Shape (most machines + 1,): the real-time work, in replicas' worth, that 0, 1, 2, ... machines carry
            within the SLO. It need not be in proportion: larger pools run fuller. Empty if it takes no real-time work.
        max_utilization: Share of a machine's saturated throughput that may be planned for, both lanes together.
        headroom: Share of `fullest` that may be planned for in each slot, shape (slots,) or (): less than 1 where the
            traffic of a slot was seen to fill machines less well.
        startup_s: From the decision to rent until it serves.
        startup_paid_s: The part of that which is paid for.
        power_w: Power of one machine; only a carbon price uses it.
    """

    name: str
    model: str
    replica: str
    machine: str
    provider: str
    region: str
    hardware: str
    gpus: int
    replicas: int = 1
    safe_load: Floats = field(default_factory=lambda: np.zeros(1))
    max_utilization: float = 1.0
    headroom: Floats = field(default_factory=lambda: np.ones(()))
    startup_s: float = 300.0
    startup_paid_s: float = 240.0
    power_w: float = 0.0

    def __post_init__(self) -> None:
        load = self.safe_load
        if load.ndim != 1 or not len(load) or load[0] != 0 or not np.isfinite(load).all() or (np.diff(load) < 0).any():
            raise ConfigError("the safe load must start at 0 and never fall", where=self.name)
        if load[-1] > self.max_utilization * self.replicas * (len(load) - 1) * (1 + 1e-9):
            raise ConfigError("the safe load is more than the machines can do when full", where=self.name)
        if not 0 < self.max_utilization <= 1 or self.replicas < 1:
            raise ConfigError("a machine needs a replica, and is at most full", where=self.name)
        if not ((self.headroom > 0) & (self.headroom <= 1)).all():
            raise ConfigError("the room of a slot is a share, and never nothing", where=self.name)


@dataclass(frozen=True, slots=True, kw_only=True)
class OnDemand:
    """Machines for as long as they are wanted.

    Args:
        name: Name in the plan.
        machine: Kind and place.
        usd_per_hour: Price of a machine.
        minimum_billing_s: Shortest time that is billed.
        max_machines: Quota of machines at once.
    """

    name: str
    machine: str
    usd_per_hour: float
    minimum_billing_s: float = 60.0
    max_machines: float = UNLIMITED


@dataclass(frozen=True, slots=True, kw_only=True)
class Spot:
    """Machines that may be taken back.

    Args:
        name: Name in the plan.
        machine: Kind and place.
        usd_per_hour: Price of a machine.
        available: Machines that can be had, shape (slots,) or () for all slots alike: availability share times quota.
        interruptions_per_hour: Expected interruptions of one machine in an hour.
        lost_s: Machine time that an interruption costs beside the start of the next: work to be done again.
        minimum_billing_s: Shortest time that is billed.
    """

    name: str
    machine: str
    usd_per_hour: float
    available: Floats
    interruptions_per_hour: float = 0.0
    lost_s: float = 60.0
    minimum_billing_s: float = 60.0

    def useful_share(self, startup_paid_s: float, seconds_per_hour: float) -> float:
        """Return the share of paid time that does work which lasts.

        share = 1 - interruptions an hour * (work lost + start of the next machine) / an hour
        """
        lost_s = self.interruptions_per_hour * (self.lost_s + startup_paid_s)
        return max(0.0, 1.0 - lost_s / seconds_per_hour)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reserved:
    """Machines paid in every hour of a term, used or not: reservations and committed use.

    Args:
        name: Name in the plan.
        machine: Kind and place.
        usd_per_hour: Price of a machine in each hour of the term, payments upfront spread over it.
        term: Length of the term, as "1y".
        payment: "no_upfront", "partial_upfront", "all_upfront" or "".
        held: Machines held already. Sunk: free to use, never bought again.
        max_machines: Machines that can be bought.
        kind: "reserved", "committed_use", or "owned" for a fleet that is there anyway.
    """

    name: str
    machine: str
    usd_per_hour: float
    term: str = ""
    payment: str = ""
    held: int = 0
    max_machines: float = UNLIMITED
    kind: str = "reserved"


@dataclass(frozen=True, slots=True, kw_only=True)
class SavingsPlan:
    """Dollars an hour promised for a term; on-demand use within its scope is charged at its rates until they are spent.

    Args:
        name: Name in the plan.
        usd_per_hour: Rate of each machine in its scope.
        term: Length of the term.
        payment: "no_upfront", "partial_upfront", "all_upfront" or "".
        held_usd_per_hour: Promised already; sunk.
        max_usd_per_hour: Most that can be promised on top.
    """

    name: str
    usd_per_hour: Mapping[str, float]
    term: str = ""
    payment: str = ""
    held_usd_per_hour: float = 0.0
    max_usd_per_hour: float = UNLIMITED


@dataclass(frozen=True, slots=True, kw_only=True)
class CapacityBlock:
    """Machines bought whole and prepaid for a fixed time: capacity blocks.

    Args:
        name: Name in the plan.
        machine: Kind and place.
        usd_per_hour: Price of a machine for each hour of the block.
        slots: Length.
        starts: Slots of a scenario at which one can start. The part beyond the horizon is paid for all the same.
        held: Machines of blocks held already, shape (slots,) or (); sunk.
        max_machines: Blocks that can be bought.
    """

    name: str
    machine: str
    usd_per_hour: float
    slots: int
    starts: tuple[int, ...]
    held: Floats = field(default_factory=lambda: np.zeros(()))
    max_machines: float = UNLIMITED


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenTier:
    """A token API at one service tier.

    Args:
        name: Name in the plan.
        provider: Who sells it.
        model: `Model.id`.
        tier: Name of the tier.
        usd: By workload: what all of its work of a slot costs here, shape (slots,). A workload that is not named
            cannot be served here.
        turnaround_s: Time within which it promises an answer; work goes here only if it may wait that long.
        tokens_per_s: Rate limit.
    """

    name: str
    provider: str
    model: str
    tier: str
    usd: Mapping[str, Floats]
    turnaround_s: float = 0.0
    tokens_per_s: float = UNLIMITED


MachinePayment = OnDemand | Spot | Reserved | CapacityBlock
"""Payments that put machines into a pool."""


def machine_key(offer: Offer) -> str:
    """Return the key of an offer's machine: its kind and place, by which pools and payments find each other."""
    return machine_id(offer.provider, offer.region, offer.instance)


def payment_from_offer(
    offer: Offer,
    *,
    max_machines: float = UNLIMITED,
    held: int = 0,
    available: Floats | float | None = None,
    interruptions_per_month: float | None = None,
) -> MachinePayment:
    """Return an on-demand, spot, reserved or committed-use offer as a payment.

    Args:
        offer: An offer.
        max_machines: Machines that can be had or bought.
        held: Machines held already (commitments only).
        available: Spot machines that can be had, by slot or always.
        interruptions_per_month: Share of spot machines taken back in a month, where the offer does not know.

    Raises:
        ConfigError: It is spot and nobody says how much there is or how often it is taken back, or it needs more facts.
    """
    name, machine, usd = offer.label, machine_key(offer), offer.usd_per_hour
    match offer.pricing_model:
        case PricingModel.ON_DEMAND:
            return OnDemand(
                name=name,
                machine=machine,
                usd_per_hour=usd,
                minimum_billing_s=offer.minimum_billing_s,
                max_machines=max_machines,
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
                held=held,
                max_machines=max_machines,
                kind=offer.pricing_model.value,
            )
        case _:
            raise ConfigError(f"a {offer.pricing_model} is not machines by the hour", where=name)


def savings_plans_from_offers(offers: Iterable[Offer]) -> tuple[SavingsPlan, ...]:
    """Gather savings-plan rates into plans: one for each provider, term and way to pay, over all its machines."""
    rates: dict[tuple[str, str, str], dict[str, float]] = {}
    for offer in offers:
        if offer.pricing_model is PricingModel.SAVINGS_PLAN:
            scope = rates.setdefault((offer.provider, offer.term, offer.payment), {})
            scope[machine_key(offer)] = offer.usd_per_hour
    return tuple(
        SavingsPlan(
            name=f"{provider} savings plan {term} {payment}".strip(), usd_per_hour=scope, term=term, payment=payment
        )
        for (provider, term, payment), scope in rates.items()
    )


def capacity_block_from_offer(
    offer: Offer, days: int, horizon: Horizon, *, max_machines: float = UNLIMITED
) -> CapacityBlock:
    """Return a capacity block of so many days, which may start on any day of the horizon.

    Source: AWS, EC2 Capacity Blocks for ML (whole days, paid in advance, start at a fixed time of day), 2025.
    """
    per_day = HOURS_PER_DAY * horizon.slots_per_hour
    return CapacityBlock(
        name=f"{offer.label} {days} d",
        machine=machine_key(offer),
        usd_per_hour=offer.usd_per_hour,
        slots=days * per_day,
        starts=tuple(range(0, horizon.slots, per_day)),
        max_machines=max_machines,
    )
