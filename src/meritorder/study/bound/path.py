"""The cheapest number of machines over time, where each window prices every number of machines."""

from dataclasses import dataclass, replace
from typing import Final, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from meritorder.sim.compiled import entry

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

# States without machines: none at all, or one elsewhere.
_NONE: Final = np.int32(-1)
_ELSEWHERE: Final = np.int32(-2)


@dataclass(frozen=True, slots=True, kw_only=True)
class PathCost:
    """The least time that a machine is paid for, by the windows in which it counts; shape (windows,).

    A machine serves from one tick of the clock to a later one. It counts in the windows in which it serves, and in
    `before` windows after them. If it counts in windows i to j, it is paid for at least from the last tick of window i
    to the first of window j - before; from time 0, if i = 0:

        paid_s >= start_s[i] + (j - i + 1) window_s - stop_s[j]

    After the horizon a machine may stop between ticks, when all work is done. Machines of time 0 that stop before the
    minimum that is billed pay it; one that starts later and stops as early is not worth its start.

    Args:
        window_s: Length of each window.
        start_s: The paid part of a start-up, less what `window_s` counts too much in the first window; 0 in window 0,
            since the machines of time 0 need no start.
        stop_s: What `window_s` counts too much in the last windows.
    """

    window_s: Floats
    start_s: Floats
    stop_s: Floats

    @classmethod
    def of(
        cls,
        windows: int,
        *,
        window_s: float,
        before: int,
        tick_s: float,
        horizon_s: float,
        startup_paid_s: float,
        billed_s: float = 0.0,
    ) -> Self:
        """Return the paid time of equal windows."""
        last_s = np.clip(horizon_s - (np.arange(windows) - before) * window_s, 0.0, tick_s)
        start_s = np.full(windows, startup_paid_s - window_s + tick_s)
        start_s[0] = 0.0
        stop_s = (1 + before) * window_s - last_s
        stop_s[:before] = 0.0  # no machine counts in fewer windows
        if window_s == tick_s and before == 0 and billed_s <= startup_paid_s:
            stop_s = np.minimum(stop_s, (np.arange(windows) + 1) * window_s - billed_s)
        return cls(window_s=np.full(windows, window_s), start_s=start_s, stop_s=stop_s)

    def billed(self, billed_s: float) -> Self:
        """Return the paid time if each machine pays for some time beside that in which it serves."""
        return replace(self, start_s=self.start_s + billed_s)


def is_short(window_s: float, before: int, tick_s: float, startup_paid_s: float) -> bool:
    """Return whether `PathCost` holds: during the longest break in which a machine counts on, a restart costs more."""
    return (window_s == tick_s and before == 0) or (2 + before) * window_s - 2 * tick_s <= startup_paid_s


class Stretch(NamedTuple):
    """Windows, what machines cost in them, and what happens without.

    Args:
        window_s: Length of each window, shape (windows,).
        start_usd: Cost of starting a machine in each window, shape (windows,).
        stop_usd: Cost saved by stopping a machine after each window, shape (windows,).
        idle_until: The last window until which there may be no machine, if there is none from this window on, shape
            (windows,); deferrable work must be served.
        paid: Machines paid for, by number of machines, shape (numbers,).
        usd_per_s: Cost of the machines that serve, by number of machines, shape (numbers,).
        rest_s: Time after each window until requests that arrived so far are done, if machines serve them, shape
            (windows,); the last machine stays on for it.
        busy: Windows in which the number of machines matters, increasing.
        busy_usd: Cost of each number of machines there, shape (busy, numbers).
        late: Windows before which requests came that may be served in them, increasing.
        late_usd: Cost of each number of machines there if the window before has none, shape (late, numbers).
        elsewhere: Cost of a machine for deferrable work alone that begins in each window (in window 0, one of time 0),
            and of one that is on in it, shape (2, windows).
    """

    window_s: Floats
    start_usd: Floats
    stop_usd: Floats
    idle_until: Ints
    paid: Floats
    usd_per_s: Floats
    rest_s: Floats
    busy: Ints
    busy_usd: Floats
    late: Ints
    late_usd: Floats
    elsewhere: Floats


@entry
def cheapest_path(stretch: Stretch) -> tuple[float, Ints]:
    """Return the least cost and the machines by window, by dynamic programming with running minima.

    The number 0 is reached in two ways: with no machine at all, for as long as `idle_until` allows, or with one
    elsewhere. What leads to each state is stored for the way back.
    """
    windows, numbers = len(stretch.window_s), len(stretch.paid)
    paid = stretch.paid
    came_from = np.zeros((windows, numbers), np.int32)
    idle_since = np.zeros(windows, np.int32)  # where the stretch without machines began that ends with this window
    elsewhere_from = np.full(windows, _NONE, np.int32)
    value = np.full(numbers, np.inf)  # of 1 machine and more
    entered = np.zeros(numbers)
    queue, first, last = np.zeros(windows, np.int32), 0, 0  # begins of idleness, the cheapest first
    key = np.zeros(windows)
    one_usd_per_s = stretch.usd_per_s[min(1, numbers - 1)]
    idle_usd, elsewhere_usd, spent_usd, place, late_place = np.inf, np.inf, 0.0, 0, 0
    for k in range(windows):
        start, stop, late, rest_usd, overlap_usd = stretch.start_usd[k], 0.0, 0.0, 0.0, 0.0
        is_late = late_place < len(stretch.late) and stretch.late[late_place] == k
        if k > 0:
            stop = stretch.stop_usd[k - 1]
            # A machine that starts meanwhile does not serve the requests before it.
            rest_usd = stretch.rest_s[k - 1] * one_usd_per_s
            overlap_usd = max(stretch.rest_s[k - 1] - stretch.window_s[k], 0.0) * max(one_usd_per_s, 0.0)
            if is_late:
                late = stretch.late_usd[late_place, 0]
        # To 1 machine and more, from none, from fewer and from more.
        none, none_at = (idle_usd, _NONE) if idle_usd <= elsewhere_usd else (elsewhere_usd, _ELSEWHERE)
        none = none - overlap_usd if k > 0 else 0.0
        best, at = np.inf, none_at
        for n in range(1, numbers):
            if value[n] - start * paid[n] < best:
                best, at = value[n] - start * paid[n], np.int32(n)
            began = none + stretch.late_usd[late_place, n] if is_late else none
            entered[n] = min(began, best) + start * paid[n]
            came_from[k, n] = none_at if began <= best else at
        best, at = np.inf, np.int32(_NONE)
        for n in range(numbers - 1, 0, -1):
            if best + stop * paid[n] < entered[n]:
                entered[n] = best + stop * paid[n]
                came_from[k, n] = at
            if value[n] - stop * paid[n] < best:
                best, at = value[n] - stop * paid[n], np.int32(n)
        # To none: `best` comes from more.
        best += rest_usd
        began_usd, began_at = best, at
        if elsewhere_usd + late < began_usd:
            began_usd, began_at = elsewhere_usd + late, np.int32(_ELSEWHERE)
        if k == 0:
            began_usd = 0.0
        # A machine elsewhere may have been on beside those that stop, and then was paid for in the window before.
        from_usd, from_at = stretch.elsewhere[0, k], at
        if k > 0:
            from_usd = best + min(stretch.elsewhere[0, k], max(stretch.elsewhere[1, k - 1], 0.0))
            if idle_usd + late + stretch.elsewhere[0, k] < from_usd:
                from_usd, from_at = idle_usd + late + stretch.elsewhere[0, k], np.int32(_NONE)
        if elsewhere_usd + late <= from_usd:
            from_usd, from_at = elsewhere_usd + late, np.int32(_ELSEWHERE)
        is_busy = place < len(stretch.busy) and stretch.busy[place] == k
        none_usd = stretch.busy_usd[place, 0] if is_busy else 0.0
        none_usd += stretch.usd_per_s[0] * stretch.window_s[k]
        for n in range(1, numbers):
            value[n] = entered[n] + stretch.usd_per_s[n] * stretch.window_s[k]
            if is_busy:
                value[n] += stretch.busy_usd[place, n]
        place += is_busy
        late_place += is_late
        elsewhere_usd = from_usd + none_usd + stretch.elsewhere[1, k]
        elsewhere_from[k] = from_at
        # The cheapest begin of idleness that may last until now.
        key[k] = began_usd - spent_usd - late
        came_from[k, 0] = began_at
        spent_usd += none_usd + late
        while last > first and key[queue[last - 1]] >= key[k]:
            last -= 1
        queue[last] = k
        last += 1
        while first < last and stretch.idle_until[queue[first]] < k:
            first += 1
        idle_usd = np.inf
        if first < last:
            idle_usd = key[queue[first]] + spent_usd
            idle_since[k] = queue[first]
    best, at = (idle_usd, np.int32(_NONE)) if idle_usd <= elsewhere_usd else (elsewhere_usd, np.int32(_ELSEWHERE))
    rest_usd = stretch.rest_s[windows - 1] * one_usd_per_s
    for n in range(1, numbers):
        if value[n] - stretch.stop_usd[windows - 1] * paid[n] + rest_usd < best:
            best, at = value[n] - stretch.stop_usd[windows - 1] * paid[n] + rest_usd, np.int32(n)
    path = np.zeros(windows, np.int64)
    k = windows - 1
    while k >= 0:
        if at == _NONE:
            k = idle_since[k]
            at = came_from[k, 0]
        elif at == _ELSEWHERE:
            at = elsewhere_from[k]
        else:
            path[k] = at
            at = came_from[k, at]
        k -= 1
    return best, path


def idle_until(arrived_s: Floats, latest_s: Floats, window_s: float, windows: int) -> Ints:
    """Return the last window until which there may be no machine, if there is none from each window on.

    Args:
        arrived_s: Arrival of each request that may wait.
        latest_s: Its latest start.
        window_s: Length of a window.
        windows: Number of windows.
    """
    until = np.full(windows, windows, np.int64)
    arrives = np.maximum(np.ceil(arrived_s / window_s).astype(np.int64) - 1, 0)
    np.minimum.at(until, arrives, np.floor(latest_s / window_s).astype(np.int64) - 1)
    return np.minimum.accumulate(until[::-1])[::-1].copy()
