"""Machines that the policies of a bound may rent, and the least that work on them costs."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final, Self

import numpy as np
from msgspec import structs
from numpy.typing import NDArray

from meritorder.sim.pools import Fixed
from meritorder.sim.saturation import saturate
from meritorder.study.bound.violations import latency_alone_s
from meritorder.study.fleet.load import TraceLoad
from meritorder.study.fleet.machines import CandidateMachine
from meritorder.units import SECONDS_PER_HOUR

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

WORK_MARGIN: Final = 0.05
"""Share by which a replica may do more than the work that is measured: another order of requests may be faster."""

# A replica whose memory is small does more with fewer sequences, since it preempts less: these parts of the limit.
_SEQUENCE_PARTS: Final = (2, 4, 8)


@dataclass(frozen=True, slots=True, kw_only=True)
class Supply:
    """Machines of one kind that a policy may rent.

    Args:
        machine: The replicas, and the machine that they run on.
        usd_per_hour: Lowest price of a machine under any permitted payment; None means that of its offer.
        held: Machines that are paid for already.
        realtime: Whether they may serve real-time work.
        work_margin: Share by which a replica may do more than its measured work.
    """

    machine: CandidateMachine
    usd_per_hour: float | None = None
    held: int = 0
    realtime: bool = True
    work_margin: float = WORK_MARGIN

    def measured(self, load: TraceLoad) -> Self:
        """Return the supply with the margin of the fastest number of sequences for these requests."""
        machine, nothing_s = self.machine, np.zeros(len(load))
        work_s, least_s = float(machine.work_s(load).sum()), math.inf
        for part in _SEQUENCE_PARTS:
            limits = structs.replace(machine.limits, max_num_seqs=max(1, machine.limits.max_num_seqs // part))
            saturation = saturate(load.requests(nothing_s, nothing_s), machine.profile, limits)
            fewer_s = saturation.work_s(load.input_tokens, load.cached_tokens, load.output_tokens)
            least_s = min(least_s, float(fewer_s.sum()))
        return replace(self, work_margin=(1 + WORK_MARGIN) * max(1.0, work_s / least_s) - 1)

    @property
    def usd_per_s(self) -> float:
        """Price of one replica."""
        price = self.machine.offer.usd_per_hour if self.usd_per_hour is None else self.usd_per_hour
        return price / self.machine.replicas / SECONDS_PER_HOUR

    @property
    def machine_usd_per_s(self) -> float:
        """Price of a machine, 0 if some are held."""
        return 0.0 if self.held else self.usd_per_s * self.machine.replicas

    @property
    def billed_usd(self) -> float:
        """The least that one machine costs."""
        return self.machine.offer.minimum_billing_s * self.machine_usd_per_s

    @property
    def startup_paid_s(self) -> float:
        """Paid part of a start-up."""
        return min(self.machine.startup_paid_s, self.machine.startup_s)

    def work_s(self, load: TraceLoad) -> Floats:
        """Return the seconds of a replica that each request takes, at the least."""
        return self.machine.work_s(load) / (1 + self.work_margin)


def hard_bound_usd(load: TraceLoad, supplies: Sequence[Supply], tokens_usd: Floats) -> float:
    """Return the least cost of the work alone: each request where it is cheapest, on saturated replicas."""
    return float(cheapest_usd(load, supplies, tokens_usd).sum())


def cheapest_usd(load: TraceLoad, supplies: Sequence[Supply], tokens_usd: Floats) -> Floats:
    """Return the least cost of each request's work, shape (requests,)."""
    usd = tokens_usd.copy()
    for supply in supplies:
        price = 0.0 if supply.held else supply.usd_per_s
        usd = np.where(permitted(load, supply), np.minimum(usd, supply.work_s(load) * price), usd)
    return usd


def too_slow(load: TraceLoad, supply: Supply) -> Bools:
    """Return which requests that may wait a replica serves too late even alone and at once, shape (requests,)."""
    pool = supply.machine.pool(Fixed(instances=1), realtime=False, backfill=None)
    done_s = load.arrived_s + latency_alone_s(load, pool) / (1 + WORK_MARGIN)
    return load.deferrable & (done_s > load.deadline_s)


def permitted(load: TraceLoad, supply: Supply) -> Bools:
    """Return which requests may run on a supply, shape (requests,)."""
    offer = supply.machine.offer
    permitted = load.may_run(offer.provider, offer.region, offer.hardware)
    return permitted if supply.realtime else permitted & load.deferrable
