"""Demand by time slot: real-time and deferrable work as it arrives, and the slot by which deferrable work is due.

Work is measured in seconds of one saturated replica, separately for each kind of replica, because kinds differ in the
relative cost of prompt and generated tokens.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from meritorder.domain import Access
from meritorder.errors import ConfigError
from meritorder.units import SECONDS_PER_HOUR

Floats = NDArray[np.float64]
Slots = NDArray[np.int64]

_MAX_SLOTS_PER_HOUR: Final = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Cyclic:
    """The first slot follows the last: a typical week that repeats."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenEnd:
    """The horizon has a beginning and an end, and no backlog at either.

    Args:
        warm: Machines of the first slot are already running, so that no start is paid for them.
    """

    warm: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Horizon:
    """The planning period: slots of equal length, in one scenario or several.

    Args:
        slot_s: Length of a slot.
        slots: Number of slots in a scenario.
        scenarios: Number of scenarios; every time series has `scenarios * slots` entries, scenario after scenario.
        probabilities: Probability of each scenario; equal if not given.
        ends: Boundary condition at the two ends.
    """

    slot_s: float
    slots: int
    scenarios: int = 1
    probabilities: tuple[float, ...] = ()
    ends: Cyclic | OpenEnd = field(default_factory=Cyclic)

    def __post_init__(self) -> None:
        per_hour = SECONDS_PER_HOUR / self.slot_s
        if per_hour != round(per_hour) or not 1 <= per_hour <= _MAX_SLOTS_PER_HOUR:
            raise ConfigError(f"a slot must divide an hour, {self.slot_s:g} s does not", where="slot")
        if self.slots < 1 or self.scenarios < 1:
            raise ConfigError("a plan needs at least one slot", where="horizon", fix="give it a trace with requests")
        if self.probabilities and (
            len(self.probabilities) != self.scenarios or abs(sum(self.probabilities) - 1) > 1e-9
        ):
            raise ConfigError("the scenarios' probabilities must be one each and add up to 1", where="horizon")

    @property
    def length(self) -> int:
        """Number of slots in all scenarios together."""
        return self.slots * self.scenarios

    @property
    def slot_h(self) -> float:
        """Length of a slot in hours."""
        return self.slot_s / SECONDS_PER_HOUR

    @property
    def hours(self) -> float:
        """Length of a scenario in hours, for which a commitment is paid."""
        return self.slots * self.slot_h

    @property
    def slots_per_hour(self) -> int:
        """Number of slots in an hour."""
        return round(SECONDS_PER_HOUR / self.slot_s)

    @property
    def probability(self) -> Floats:
        """Probability of the scenario that each slot belongs to, shape (length,)."""
        probabilities = self.probabilities or (1 / self.scenarios,) * self.scenarios
        return np.repeat(np.asarray(probabilities, float), self.slots)

    @property
    def previous(self) -> Slots:
        """The slot before each slot, shape (length,); -1 where there is none."""
        slots = np.arange(self.length) - 1
        first = np.arange(self.length) % self.slots == 0
        slots[first] = slots[first] + self.slots if isinstance(self.ends, Cyclic) else -1
        return slots

    @property
    def hour_of(self) -> Slots:
        """Index of the clock hour of each slot, shape (length,); no hour is shared by two scenarios."""
        per_scenario = -(-self.slots // self.slots_per_hour)
        scenario, slot = np.divmod(np.arange(self.length), self.slots)
        return np.asarray(scenario * per_scenario + slot // self.slots_per_hour)


@dataclass(frozen=True, slots=True, kw_only=True)
class RealtimeDemand:
    """Work that must be served as it arrives.

    Args:
        name: Name of the workload.
        model: `Model.id`.
        work_s: Work that arrives, by kind of replica, shape (slots,).
        tokens: Input and output tokens, shape (slots,); used by rate limits only.
        access: Where it may run.
        burst: Peak-to-mean ratio of the load within each slot under which the SLO must hold, shape (slots,), at least
            1; 1 if not given.
    """

    name: str
    model: str
    work_s: Mapping[str, Floats]
    tokens: Floats | None = None
    access: Access = field(default_factory=Access)
    burst: Floats | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DeferrableDemand:
    """Work that may wait until a deadline.

    Args:
        name: Name of the workload.
        model: `Model.id`.
        work_s: Work that arrives, by kind of replica, shape (slots,).
        due: Last slot in which the work that arrives in each slot may run, shape (slots,): non-decreasing, never before
            the slot of arrival, possibly beyond the horizon.
        tokens: Input and output tokens, shape (slots,); used by rate limits only.
        access: Where it may run.
    """

    name: str
    model: str
    work_s: Mapping[str, Floats]
    due: Slots
    tokens: Floats | None = None
    access: Access = field(default_factory=Access)

    @property
    def reference(self) -> str:
        """The kind of replica in whose seconds the backlog is measured."""
        return next(iter(self.work_s))

    @property
    def volume_s(self) -> Floats:
        """Work that arrives, in the unit of the backlog, shape (slots,)."""
        return self.work_s[self.reference]

    def per_unit(self, amounts: Floats) -> float:
        """Return the average amount per unit of backlog, over all work that arrives."""
        volume_s = float(self.volume_s.sum())
        return float(amounts.sum()) / volume_s if volume_s > 0 else 0.0

    def first_open_slot(self, horizon: Horizon) -> Slots:
        """Return the earliest slot whose work may still wait at the end of each slot, within its scenario.

            first(t) = min {v: due(v) > t}

        It is negative if it lies in the previous cycle, and t + 1 if no work may wait. A patience longer than the cycle
        counts as the cycle.

        Returns:
            Slots counted from the start of the scenario, shape (slots,).
        """
        slots = np.arange(horizon.slots)
        first = np.empty(horizon.length, np.int64)
        for scenario in range(horizon.scenarios):
            within = slice(scenario * horizon.slots, (scenario + 1) * horizon.slots)
            due = self.due[within] - scenario * horizon.slots
            if isinstance(horizon.ends, Cyclic):
                due = np.minimum.accumulate(np.concatenate((due - horizon.slots, due))[::-1])[::-1]
                first_open = np.searchsorted(due, slots, side="right") - horizon.slots
                first[within] = np.maximum(first_open, slots - horizon.slots + 1)
            else:
                first[within] = np.searchsorted(due, slots, side="right")
        return first


Demand = RealtimeDemand | DeferrableDemand


def sum_by_slot(arrived_s: Floats, amount: Floats, horizon: Horizon) -> Floats:
    """Sum an amount over the requests that arrive in each slot, shape (slots,).

    Args:
        arrived_s: Arrival after the start of the horizon, shape (requests,).
        amount: Work, tokens or dollars of each request, shape (requests,).
        horizon: The horizon.

    Raises:
        ConfigError: A request arrives outside the horizon.
    """
    slot = np.floor(arrived_s / horizon.slot_s).astype(np.int64)
    if len(slot) and (slot.min() < 0 or slot.max() >= horizon.slots):
        raise ConfigError("a request arrives outside the horizon", where="demand", fix="plan for more slots")
    return np.bincount(slot, weights=amount, minlength=horizon.slots).astype(float)


def due_slots(arrived_s: Floats, deadline_s: Floats, horizon: Horizon) -> Slots:
    """Return the last slot in which the work that arrives in each slot may run, shape (slots,).

    The earliest deadline among the requests of a slot decides. Work is served first come, first served, so that earlier
    work is never due later. Work with a deadline within slot d is due by the end of slot d - 1, because a plan does not
    order work within a slot; work with less patience than a slot is due in the slot of arrival.

    Args:
        arrived_s: Arrival, shape (requests,).
        deadline_s: Latest start: the deadline less the service time of the request, shape (requests,).
        horizon: The horizon.
    """
    slot = np.floor(arrived_s / horizon.slot_s).astype(np.int64)
    last = int(np.ceil(deadline_s.max(initial=0.0) / horizon.slot_s)) + horizon.slots
    due = np.full(horizon.slots, last, np.int64)
    np.minimum.at(due, slot, np.floor(deadline_s / horizon.slot_s).astype(np.int64) - 1)
    due = np.minimum.accumulate(due[::-1])[::-1]
    return np.maximum(due, np.arange(horizon.slots))


def patience_classes(arrived_s: Floats, deadline_s: Floats, slot_s: float) -> Slots:
    """Return the patience class of each request, shape (requests,).

        class = floor(log2(patience in slots))

    Within a class work is planned first come, first served, which is optimal if all of it has equal patience.
    """
    slots = np.maximum((deadline_s - arrived_s) / slot_s, 1.0)
    return np.floor(np.log2(slots) + 1e-9).astype(np.int64)
