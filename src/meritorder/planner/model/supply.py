"""Supply: machine pools, the payments by which machines are rented or bought, commitments held, and token APIs.

A *pool* is machines of one kind in one place that serve one model. A *payment* is a price for machines of that kind
under one pricing model; pools with the same machines (two models on one instance type) share its quota or commitment. A
*tier* is a token API at one service level, paid by the token.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Final, Self

import numpy as np
from numpy.typing import NDArray

from meritorder.domain import PricingModel
from meritorder.errors import ConfigError
from meritorder.offers import Offer, machine_id
from meritorder.units import HOURS_PER_DAY, SECONDS_PER_HOUR, interruptions_per_hour

Floats = NDArray[np.float64]

UNLIMITED: Final = math.inf


@dataclass(frozen=True, slots=True, kw_only=True)
class MachinePool:
    """Machines of one kind in one place that hold replicas of one model.

    Args:
        name: Name in the plan.
        model: `Model.id` of the model it serves.
        replica: Kind of replica, the key of the work tables: work is in seconds of a saturated replica of this kind.
        machine: Kind and place of the machine, the key that payments refer to.
        provider: Provider of the machines.
        region: Region of the machines.
        hardware: `Hardware.id`.
        gpus: GPUs of a machine.
        replicas: Replicas on a machine.
        safe_load: c(n): real-time load, in saturated replicas, that n = 0, 1, 2, ... machines serve within the SLO,
            shape (max machines + 1,). Larger pools reach a higher utilization. Of length 1 if the pool takes no
            real-time work.
        max_utilization: Share of saturated throughput that may be planned for, both lanes together.
        headroom: Share of `max_utilization` that may be planned for in each slot, shape (slots,) or (): below 1 where
            simulated machines did less work than planned.
        startup_s: Time from renting a machine until it serves.
        startup_paid_s: Paid part of the start-up.
        power_w: Power of a machine; used by a carbon price only.
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
            raise ConfigError("the safe load must start at 0 and must not decrease", where=self.name)
        if load[-1] > self.max_utilization * self.replicas * (len(load) - 1) * (1 + 1e-9):
            raise ConfigError("the safe load exceeds the throughput of saturated machines", where=self.name)
        if not 0 < self.max_utilization <= 1 or self.replicas < 1:
            raise ConfigError("a machine needs at least one replica, and its utilization is at most 1", where=self.name)
        if not ((self.headroom > 0) & (self.headroom <= 1)).all():
            raise ConfigError("the headroom of a slot must be above 0 and at most 1", where=self.name)


@dataclass(frozen=True, slots=True, kw_only=True)
class OnDemand:
    """Machines rented by the hour, on demand.

    Args:
        name: Name in the plan.
        machine: Kind and place of the machine.
        usd_per_hour: Price of a machine.
        minimum_billing_s: Minimum billed time of a machine.
        max_machines: Quota.
    """

    name: str
    machine: str
    usd_per_hour: float
    minimum_billing_s: float = 60.0
    max_machines: float = UNLIMITED


@dataclass(frozen=True, slots=True, kw_only=True)
class Spot:
    """Spot machines, which the provider may interrupt.

    Args:
        name: Name in the plan.
        machine: Kind and place of the machine.
        usd_per_hour: Price of a machine.
        available: Machines that can be rented, shape (slots,) or () if equal in all slots.
        interruptions_per_hour: Expected interruptions of a machine in an hour.
        lost_s: Work lost in an interruption, in machine time.
        minimum_billing_s: Minimum billed time of a machine.
    """

    name: str
    machine: str
    usd_per_hour: float
    available: Floats
    interruptions_per_hour: float = 0.0
    lost_s: float = 60.0
    minimum_billing_s: float = 60.0

    def useful_share(self, startup_paid_s: float) -> float:
        """Return the share of paid time left after interruptions.

        share = 1 - interruptions an hour * (work lost + start-up of the replacement) / an hour
        """
        lost_s = self.interruptions_per_hour * (self.lost_s + startup_paid_s)
        return max(0.0, 1.0 - lost_s / SECONDS_PER_HOUR)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reserved:
    """Machines paid for in every hour of a term, used or not: reservations and committed use.

    Args:
        name: Name in the plan.
        machine: Kind and place of the machine.
        usd_per_hour: Price of a machine in each hour of the term, upfront payments spread over it.
        term: Length of the term, such as "1y".
        payment: "no_upfront", "partial_upfront", "all_upfront" or "".
        held: Machines held already; their cost is sunk.
        max_machines: Limit on machines to buy.
        kind: "reserved", "committed_use", or "owned" for a fleet of one's own.
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
    """Hourly spend committed to for a term; on-demand use in its scope is charged at its rates up to that spend.

    Args:
        name: Name in the plan.
        usd_per_hour: Rate of each machine in scope.
        term: Length of the term.
        payment: "no_upfront", "partial_upfront", "all_upfront" or "".
        held_usd_per_hour: Spend committed to already; its cost is sunk.
        max_usd_per_hour: Limit on additional spend.
    """

    name: str
    usd_per_hour: Mapping[str, float]
    term: str = ""
    payment: str = ""
    held_usd_per_hour: float = 0.0
    max_usd_per_hour: float = UNLIMITED


@dataclass(frozen=True, slots=True, kw_only=True)
class CapacityBlock:
    """Machines prepaid for a fixed time: a capacity block.

    Args:
        name: Name in the plan.
        machine: Kind and place of the machine.
        usd_per_hour: Price of a machine for each hour of the block.
        slots: Length.
        starts: Slots of a scenario in which a block may start. The part beyond the horizon is paid for as well.
        held: Machines of blocks held already, shape (slots,) or (); their cost is sunk.
        max_machines: Limit on machines to buy.
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
        provider: Provider of the API.
        model: `Model.id`.
        usd: By workload, cost of all its work of a slot, shape (slots,). A workload without a cost is not served here.
        turnaround_s: Turnaround that the provider commits to; 0 if it answers at once.
        tokens_per_s: Rate limit.
    """

    name: str
    provider: str
    model: str
    usd: Mapping[str, Floats]
    turnaround_s: float = 0.0
    tokens_per_s: float = UNLIMITED


@dataclass(frozen=True, slots=True, kw_only=True)
class Holdings:
    """Commitments that are already held.

    Args:
        reserved: Machines; `held` of each are held and none can be bought.
        savings_plans: Savings plans; none can be extended.
        notes: Commitments of a bill that could not be read, and why.
    """

    reserved: tuple[Reserved, ...] = ()
    savings_plans: tuple[SavingsPlan, ...] = ()
    notes: tuple[str, ...] = ()

    def joined(self, other: Self) -> Self:
        """Return the holdings of both."""
        return replace(
            self,
            reserved=(*self.reserved, *other.reserved),
            savings_plans=(*self.savings_plans, *other.savings_plans),
            notes=(*self.notes, *other.notes),
        )


MachinePayment = OnDemand | Spot | Reserved | CapacityBlock
"""A payment that provides machines."""


def machine_key(offer: Offer) -> str:
    """Return the key that pools and payments of the same machine share: provider, region and instance type."""
    return machine_id(offer.provider, offer.region, offer.instance)


def payment_from_offer(
    offer: Offer,
    *,
    max_machines: float = UNLIMITED,
    available: Floats | float | None = None,
    interruptions_per_month: float | None = None,
) -> MachinePayment:
    """Return the payment for an on-demand, spot, reserved or committed-use offer.

    Args:
        offer: An offer.
        max_machines: Limit on machines to rent or buy.
        available: Spot machines that can be rented, by slot or in all slots.
        interruptions_per_month: Share of spot machines interrupted in a month, if the offer does not state it.

    Raises:
        ConfigError: A spot offer lacks its availability or interruption rate, or the offer is not priced by the hour.
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
                    "a spot offer needs the number of available machines and its interruption rate",
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
                max_machines=max_machines,
                kind=offer.pricing_model.value,
            )
        case _:
            raise ConfigError(f"a {offer.pricing_model} offer is not priced by machine-hour", where=name)


def savings_plans_from_offers(offers: Iterable[Offer]) -> tuple[SavingsPlan, ...]:
    """Group savings-plan rates into one plan for each provider, term and payment schedule."""
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


def capacity_block_from_offer(offer: Offer, days: int, *, slots: int, slots_per_hour: int) -> CapacityBlock:
    """Return a capacity block of a number of days that may start on any day of the horizon.

    Args:
        offer: An offer of capacity blocks.
        days: Length of the block.
        slots: Slots of the horizon.
        slots_per_hour: Slots in an hour.

    Source: AWS, EC2 Capacity Blocks for ML (whole days, paid in advance, start at a fixed time of day), 2025.
    """
    per_day = HOURS_PER_DAY * slots_per_hour
    return CapacityBlock(
        name=f"{offer.label} {days} d",
        machine=machine_key(offer),
        usd_per_hour=offer.usd_per_hour,
        slots=days * per_day,
        starts=tuple(range(0, slots, per_day)),
    )
