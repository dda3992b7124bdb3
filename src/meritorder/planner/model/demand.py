"""Demand by slot: how much real-time and deferrable work arrives when, and by when it must be done.

Work is in seconds of one full replica, for each kind of replica apart, because kinds differ in how they weigh prompt
and generated tokens.
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

# A slot is a quarter of an hour or an hour; a few more lengths do no harm in tests and studies.
_MOST_SLOTS_PER_HOUR: Final = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class RealtimeDemand:
    """Work that must run as it arrives.

    Args:
        name: Name of the workload.
        model: `Model.id`.
        work_s: By kind of replica, shape (slots,).
        tokens: Input and output tokens, shape (slots,); only rate limits use it.
        access: Where it may run.
        burst: The load that the SLO has to hold under / the slot's mean, shape (slots,), at least 1: what arrives
            within a slot does not arrive evenly. 1 if not given.
    """

    name: str
    model: str
    work_s: Mapping[str, Floats]
    tokens: Floats | None = None
    access: Access = field(default_factory=Access)
    burst: Floats | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DeferrableDemand:
    """Work that may wait.

    Args:
        name: Name of the workload.
        model: `Model.id`.
        work_s: By kind of replica, shape (slots,): what arrives.
        due: For the work of each slot, the slot by whose end all of it is done, shape (slots,); never falls, never
            before its own slot; may lie beyond the horizon.
        tokens: Input and output tokens, shape (slots,); only rate limits use it.
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
        """The kind of replica whose seconds are the unit of the workload's backlog."""
        return next(iter(self.work_s))

    @property
    def volume_s(self) -> Floats:
        """What arrives, in the unit of the backlog."""
        return self.work_s[self.reference]

    def per_unit(self, amounts: Floats) -> float:
        """Return how much of something a unit of backlog takes, averaged over all that arrives."""
        volume_s = float(self.volume_s.sum())
        return float(amounts.sum()) / volume_s if volume_s > 0 else 0.0


Demand = RealtimeDemand | DeferrableDemand


@dataclass(frozen=True, slots=True, kw_only=True)
class Cyclic:
    """After the last slot comes the first: a typical week that repeats."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenEnd:
    """The horizon has a start and an end.

    Args:
        warm: Machines of the first slot were started before it, and no start is paid for them: the horizon is cut from
            a service that runs.
    """

    warm: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Horizon:
    """The time that is planned: one stretch of slots, or several scenarios of the same stretch side by side.

    Args:
        slot_s: Length of a slot.
        slots: Slots of one scenario.
        scenarios: Scenarios; all columns of time have `scenarios * slots` entries, one scenario after the other.
        probabilities: Probability of each scenario; alike if not given.
        ends: What holds at the two ends.
    """

    slot_s: float
    slots: int
    scenarios: int = 1
    probabilities: tuple[float, ...] = ()
    ends: Cyclic | OpenEnd = field(default_factory=Cyclic)

    def __post_init__(self) -> None:
        per_hour = SECONDS_PER_HOUR / self.slot_s
        if per_hour != round(per_hour) or not 1 <= per_hour <= _MOST_SLOTS_PER_HOUR:
            raise ConfigError(f"a slot must divide an hour, {self.slot_s:g} s does not", where="slot")
        if self.slots < 1 or self.scenarios < 1:
            raise ConfigError("a plan needs at least one slot", where="horizon", fix="give it a trace with requests")
        if self.probabilities and (
            len(self.probabilities) != self.scenarios or abs(sum(self.probabilities) - 1) > 1e-9
        ):
            raise ConfigError("the scenarios' probabilities must be one each and add up to 1", where="horizon")

    @property
    def length(self) -> int:
        """Slots of all scenarios together."""
        return self.slots * self.scenarios

    @property
    def slot_h(self) -> float:
        """Hours of a slot."""
        return self.slot_s / SECONDS_PER_HOUR

    @property
    def hours(self) -> float:
        """Hours of one scenario, the last one counted whole: what a commitment is paid for."""
        return self.slots * self.slot_h

    @property
    def slots_per_hour(self) -> int:
        """Slots in an hour."""
        return round(SECONDS_PER_HOUR / self.slot_s)

    @property
    def probability(self) -> Floats:
        """Probability of the scenario of each slot, shape (length,)."""
        probabilities = self.probabilities or (1 / self.scenarios,) * self.scenarios
        return np.repeat(np.asarray(probabilities, float), self.slots)

    @property
    def before(self) -> Slots:
        """The slot before each slot, shape (length,); -1 where there is none."""
        slots = np.arange(self.length) - 1
        first = np.arange(self.length) % self.slots == 0
        slots[first] = slots[first] + self.slots if isinstance(self.ends, Cyclic) else -1
        return slots

    @property
    def hour_of(self) -> Slots:
        """Number of the clock hour of each slot, shape (length,); scenarios have hours of their own."""
        per_scenario = -(-self.slots // self.slots_per_hour)
        scenario, slot = np.divmod(np.arange(self.length), self.slots)
        return np.asarray(scenario * per_scenario + slot // self.slots_per_hour)


def sum_by_slot(arrived_s: Floats, amount: Floats, horizon: Horizon) -> Floats:
    """Sum an amount of each request by the slot in which it arrives, shape (slots,).

    Args:
        arrived_s: Arrival from the start of the horizon, shape (requests,).
        amount: Work, tokens or dollars of each request, shape (requests,).
        horizon: Slots.

    Raises:
        ConfigError: A request arrives outside the horizon.
    """
    slot = np.floor(arrived_s / horizon.slot_s).astype(np.int64)
    if len(slot) and (slot.min() < 0 or slot.max() >= horizon.slots):
        raise ConfigError("a request arrives outside the horizon", where="demand", fix="plan for more slots")
    return np.bincount(slot, weights=amount, minlength=horizon.slots).astype(float)


def due_slots(arrived_s: Floats, deadline_s: Floats, horizon: Horizon) -> Slots:
    """Return for each slot the slot by whose end its work must be done, shape (slots,).

    The earliest deadline of the slot's requests decides, and work is planned first come, first served: what came
    earlier is never due later. Work whose deadline lies in slot d must be done by the end of slot d - 1, since within a
    slot the plan does not say when; a patience shorter than a slot means the slot of arrival.

    Args:
        arrived_s: Arrival, shape (requests,).
        deadline_s: Deadline, the time that the request itself takes already taken off, shape (requests,).
        horizon: Slots.
    """
    slot = np.floor(arrived_s / horizon.slot_s).astype(np.int64)
    last = int(np.ceil(deadline_s.max(initial=0.0) / horizon.slot_s)) + horizon.slots
    due = np.full(horizon.slots, last, np.int64)
    np.minimum.at(due, slot, np.floor(deadline_s / horizon.slot_s).astype(np.int64) - 1)
    due = np.minimum.accumulate(due[::-1])[::-1]
    return np.maximum(due, np.arange(horizon.slots))


def patience_classes(arrived_s: Floats, deadline_s: Floats, slot_s: float) -> Slots:
    """Number the classes of patience among a workload's requests, shape (requests,).

    Work is planned first come, first served within a class, which is optimal where all of it may wait equally long;
    requests that may wait much longer than others are a class of their own. Classes double: 1, 2, 4, ... slots.
    """
    slots = np.maximum((deadline_s - arrived_s) / slot_s, 1.0)
    return np.floor(np.log2(slots) + 1e-9).astype(np.int64)
