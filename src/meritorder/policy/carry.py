"""What a plan asks for at a moment: which slot it is, how many machines, which venue takes a request.

A plan is carried out by the simulator on a trace, which it covers once, and by the gateway by the clock, for as long
as nobody makes another: there it repeats, and a day stays a day.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from meritorder.units import SECONDS_PER_DAY

_SURE_SHARE: Final = 0.5

_Number = TypeVar("_Number", float, NDArray[np.float64])

# Multiples of the golden ratio, modulo one: any stretch of them lies evenly.
_GOLDEN: Final = (5**0.5 - 1) / 2


def machines_wanted(machines: Sequence[int], first: int, last: int) -> int:
    """Return the most machines that any of some slots asks for: `max machines[slot]`, the slots repeating.

    Args:
        machines: Of each slot.
        first: The slot that it is.
        last: The slot that it will be when a machine rented now serves.
    """
    most = 0
    for slot in range(first, min(last, first + len(machines) - 1) + 1):
        most = max(most, machines[slot % len(machines)])
    return most


def evenly(number: _Number) -> _Number:
    """Return a place in [0, 1) for the n-th request of many: any stretch of them is spread evenly.

    Who has a share of a slot's work takes the requests whose places lie within its share, the shares laid end to end.
    """
    return number * _GOLDEN % 1.0


def choose(place: float, shares: Sequence[float]) -> int:
    """Return whose share, laid end to end, a place lies in; the last one's if they fall short of one."""
    reached = 0.0
    for which, share in enumerate(shares):
        reached += share
        if place < reached:
            return which
    return len(shares) - 1


def quota(share: float, here: int, total: int) -> float:
    """Return how many more requests a venue may take and keep to its share of all.

    `(share total - here) / (1 - share)`, and one where less than its share is there, so that few are shared too.

    Args:
        share: Of the work, as planned.
        here: Requests that it took.
        total: Requests that all took.
    """
    if share >= 1:
        return math.inf
    if here > share * total:
        return 0.0
    return math.floor((share * total - here) / (1 - share)) + 1.0


def sure_drain_tokens_per_s(measured: float, seats: int, tpot_s: float) -> float:
    """Return how fast work is surely done where no slot of the plan comes: half the seats at the real-time pace.

    What was measured, perhaps on other machines, counts where it is less. Too slow a guess lets work go too soon, one
    that is too fast, too late.

    Args:
        measured: Tokens a second; infinite if nobody knows.
        seats: Where it may go.
        tpot_s: The real-time pace.
    """
    return min(measured, _SURE_SHARE * seats / tpot_s)


def period_s(horizon_s: float) -> float:
    """Return how often a plan repeats: the nearest whole number of days, so that 9 o'clock stays 9 o'clock.

    A plan of less than half a day repeats as it is.
    """
    days = round(horizon_s / SECONDS_PER_DAY)
    return days * SECONDS_PER_DAY if days else horizon_s


@dataclass(frozen=True, slots=True, kw_only=True)
class Calendar:
    """Which slot it is. Where the period is longer than the slots, the last one stays; where it is shorter, they end.

    Args:
        slot_s: Length of a slot.
        slots: How many there are.
        period_s: After which the first comes again, of which there was never a first.
        began_s: When a first slot began, epoch seconds.
    """

    slot_s: float
    slots: int
    period_s: float
    began_s: float

    @property
    def used(self) -> int:
        """Slots that come up at all."""
        return min(self.slots, math.ceil(self.period_s / self.slot_s - 1e-9))

    def slot_at(self, epoch_s: float) -> int:
        """Return the slot that it is."""
        return min(int(self.into_s(epoch_s) / self.slot_s), self.used - 1)

    def into_s(self, epoch_s: float) -> float:
        """Return the time since the first slot began."""
        return (epoch_s - self.began_s) % self.period_s

    def left_s(self, epoch_s: float) -> float:
        """Return the time until the slot ends."""
        slot = self.slot_at(epoch_s)
        return slot * self.slot_s + self._length_s(slot) - self.into_s(epoch_s)

    def next_s(self, epoch_s: float, wanted: Sequence[bool]) -> float:
        """Return when the next of the slots that are wanted begins, after the one that it is; infinite if none is."""
        slot, begins_s = self.slot_at(epoch_s), epoch_s + self.left_s(epoch_s)
        for after in range(1, self.used + 1):
            if wanted[(slot + after) % self.used]:
                return begins_s
            begins_s += self._length_s((slot + after) % self.used)
        return math.inf

    def ahead(self, epoch_s: float, ahead_s: float) -> tuple[int, int]:
        """Return the slot that it is, and the one that it will be, counted on from it past the end of the period."""
        first = last = self.slot_at(epoch_s)
        reached_s = self.left_s(epoch_s)
        while reached_s <= ahead_s and last - first < self.used:
            last += 1
            reached_s += self._length_s(last % self.used)
        return first, last

    def _length_s(self, slot: int) -> float:
        return self.period_s - slot * self.slot_s if slot == self.used - 1 else self.slot_s
