"""What a plan schedules at a given time: the current slot, how many machines run, and which venue takes a request.

The simulator executes a plan on the trace that it covers, once. The gateway executes it by the clock until it is
replaced: there the plan repeats after a whole number of days, so that each hour of the day keeps its slot.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeVar

from meritorder.units import SECONDS_PER_DAY

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_SAFE_SHARE: Final = 0.5

_Number = TypeVar("_Number", float, "NDArray[np.float64]")

# Multiples of the golden ratio modulo one form a low-discrepancy sequence: any stretch of it is spread evenly.
_GOLDEN_RATIO: Final = (5**0.5 - 1) / 2


def scheduled_machines(machines: Sequence[int], first: int, last: int) -> int:
    """Return the most machines scheduled in a range of slots, `max machines[slot]`; the schedule repeats.

    Args:
        machines: Machines in each slot.
        first: The current slot.
        last: The slot in which a machine started now is ready.
    """
    most = 0
    for slot in range(first, min(last + 1, first + len(machines))):
        most = max(most, machines[slot % len(machines)])
    return most


def spread_evenly(number: _Number) -> _Number:
    """Return the position in [0, 1) of the n-th request; the positions of any stretch of requests are spread evenly.

    A venue takes the requests whose positions lie within its share of the work, with the shares laid end to end.
    """
    return number * _GOLDEN_RATIO % 1.0


def pick_share(position: float, shares: Sequence[float]) -> int:
    """Return the index of the share, laid end to end, that contains a position; the last one if they sum below it."""
    reached = 0.0
    for index, share in enumerate(shares):
        reached += share
        if position < reached:
            return index
    return len(shares) - 1


def remaining_quota(share: float, taken: int, total: int) -> float:
    """Return how many more requests a venue may take and still keep to its planned share.

    `(share total - taken) / (1 - share)`, plus one while the venue is below its share, so that a handful of requests is
    shared as well.

    Args:
        share: Planned share of the work.
        taken: Requests that the venue took.
        total: Requests that all venues took.
    """
    if share >= 1:
        return math.inf
    if taken > share * total:
        return 0.0
    return math.floor((share * total - taken) / (1 - share)) + 1.0


def safe_completion_tokens_per_s(measured: float, sequences: int, tpot_s: float) -> float:
    """Return a completion rate that is safe to assume outside planned slots: half the sequences at the SLO's TPOT.

    The measured rate applies where it is lower. Too low a rate dispatches work too early, too high a rate too late.

    Args:
        measured: Measured tokens per second; infinite if unknown.
        sequences: Sequences of the venues where the work may run.
        tpot_s: SLO on the time per output token.
    """
    return min(measured, _SAFE_SHARE * sequences / tpot_s)


def repeat_period_s(horizon_s: float) -> float:
    """Return the period after which a plan repeats: its horizon rounded to whole days, so that 9:00 stays 9:00.

    A plan shorter than half a day repeats after its own horizon.
    """
    days = round(horizon_s / SECONDS_PER_DAY)
    return days * SECONDS_PER_DAY if days else horizon_s


@dataclass(frozen=True, slots=True, kw_only=True)
class Calendar:
    """Maps times to slots. A period longer than the slots extends the last slot; a shorter period cuts slots off.

    Args:
        slot_s: Length of a slot.
        slots: Number of slots in the plan.
        period_s: Time after which the first slot starts again, in both directions of time.
        start_s: Start of some first slot, epoch seconds.
    """

    slot_s: float
    slots: int
    period_s: float
    start_s: float

    @property
    def active_slots(self) -> int:
        """Slots that lie within the period."""
        return min(self.slots, math.ceil(self.period_s / self.slot_s - 1e-9))

    def slot_at(self, epoch_s: float) -> int:
        """Return the slot at a time."""
        return min(int(self.elapsed_s(epoch_s) / self.slot_s), self.active_slots - 1)

    def elapsed_s(self, epoch_s: float) -> float:
        """Return the time since the current period started."""
        return (epoch_s - self.start_s) % self.period_s

    def remaining_s(self, epoch_s: float) -> float:
        """Return the time until the current slot ends."""
        slot = self.slot_at(epoch_s)
        return slot * self.slot_s + self._length_s(slot) - self.elapsed_s(epoch_s)

    def next_start_s(self, epoch_s: float, wanted: Sequence[bool]) -> float:
        """Return when the next wanted slot after the current one starts; infinite if none is wanted."""
        slot, start_s = self.slot_at(epoch_s), epoch_s + self.remaining_s(epoch_s)
        for _ in range(self.active_slots):
            slot = (slot + 1) % self.active_slots
            if wanted[slot]:
                return start_s
            start_s += self._length_s(slot)
        return math.inf

    def slots_within(self, epoch_s: float, ahead_s: float) -> tuple[int, int]:
        """Return the current slot and the slot after `ahead_s`, counted on past the end of the period."""
        first = last = self.slot_at(epoch_s)
        reached_s = self.remaining_s(epoch_s)
        while reached_s <= ahead_s and last - first < self.active_slots:
            last += 1
            reached_s += self._length_s(last % self.active_slots)
        return first, last

    def _length_s(self, slot: int) -> float:
        return self.period_s - slot * self.slot_s if slot == self.active_slots - 1 else self.slot_s
