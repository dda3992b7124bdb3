"""Shares in the price of a replica: by time at each instant, and by work in windows of 20 s.

With price p(t) and n(t) running attempts, a virtual clock V(t) = ∫ p(t) / n(t) dt advances while n(t) > 0. Attempts of
a kind, which are those of one model and lane, are together charged what they are by time: the sum of V(end) - V(start).
What a kind is charged in a window is shared among its attempts by the work that they do in it, so that a request costs
what its tokens do, whatever else happened to run at the same instant. An attempt whose request ran again, as after a
preemption, did no work: its time is a cost of its kind. Others without tokens are a kind of their own, whose work is
their time. Idle is ∫ p(t) dt over the time with n(t) = 0.

Source: the virtual time of generalized processor sharing, A. K. Parekh and R. G. Gallager, IEEE/ACM Transactions on
Networking 1 (3), 1993.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from meritorder.metering.capacity import US_PER_S, Span
from meritorder.records.accounting import Use

Integers = NDArray[np.int64]

US_PER_HOUR: Final = 3_600_000_000
WINDOW_US: Final = 20_000_000
"""What attempts of a kind are charged in such a time is shared by work; an hour has whole ones."""
_PER_HOUR: Final = US_PER_HOUR // WINDOW_US
_PACES_PER_TOKEN: Final = 100_000  # paces are whole numbers, whose sums have no error
_MAX_PACE: Final = 2**50
_WITHOUT_TOKENS: Final = -1
_MAX_SHARE: Final = 2.0**61  # of one attempt in one hour, in units of the virtual clock


@dataclass(frozen=True, slots=True)
class Ran:
    """Attempts that ran on one replica, or venue.

    Args:
        starts_us: Starts, epoch microseconds.
        ends_us: Ends.
        kind: What shares its cost by work.
        pace: Work in an hour, in parts of a token; at least 1.
    """

    starts_us: Integers
    ends_us: Integers
    kind: Integers
    pace: Integers

    @classmethod
    def of(
        cls,
        starts_us: Integers,
        ends_us: Integers,
        kind: Integers,
        work_tokens: NDArray[np.float64],
        *,
        repeated: NDArray[np.bool_],
    ) -> "Ran":
        """Return attempts.

        Args:
            starts_us: Starts, epoch microseconds.
            ends_us: Ends.
            kind: Number of the model and lane of each, not negative.
            work_tokens: What each did; zero is work that nobody counted.
            repeated: Whether another attempt followed, which does the work.
        """
        counted = (work_tokens > 0) & ~repeated
        hours = np.maximum(ends_us - starts_us, 1) / US_PER_HOUR
        pace = np.rint(_PACES_PER_TOKEN * work_tokens / hours).clip(1, _MAX_PACE).astype(np.int64)
        return cls(starts_us, ends_us, np.where(counted | repeated, kind, _WITHOUT_TOKENS), np.where(counted, pace, 1))

    def take(self, members: Integers) -> "Ran":
        """Return some of them."""
        return Ran(self.starts_us[members], self.ends_us[members], self.kind[members], self.pace[members])


def settled_s(time_s: float) -> float:
    """Return when the cost of what ran at a time is settled, in epoch seconds: at the end of its window."""
    window_s = WINDOW_US / US_PER_S
    return (time_s // window_s + 1) * window_s


@dataclass(frozen=True, slots=True)
class Shares:
    """What each attempt, and idle time, cost in each hour; it sums to the price of the hour exactly.

    Args:
        attempt: Index of the attempt; -1 for idle time.
        hour: Hours since the epoch.
        picousd: Cost.
    """

    attempt: Integers
    hour: Integers
    picousd: Integers


def crowded_venues(paid: Iterable[Span]) -> set[str]:
    """Return the venues of which several replicas serve at one time."""
    crowded: set[str] = set()
    free_us: dict[str, int] = {}
    for span in sorted((span for span in paid if span.use is Use.BUSY), key=lambda span: span.start_us):
        if span.start_us < free_us.get(span.venue, span.start_us):
            crowded.add(span.venue)
        free_us[span.venue] = max(span.end_us, free_us.get(span.venue, span.end_us))
    return crowded


def serving_units(paid: Iterable[Span], pooled: AbstractSet[str]) -> dict[tuple[str, str], list[Span]]:
    """Return the spans in which requests can run, by what shares its price: a replica, or a pooled venue."""
    units: defaultdict[tuple[str, str], list[Span]] = defaultdict(list)
    for span in paid:
        if span.use is Use.BUSY:
            units[span.venue, "" if span.venue in pooled else span.replica].append(span)
    return units


def hourly(start_us: Integers, end_us: Integers, rates: Integers) -> tuple[Integers, Integers, Integers]:
    """Cut intervals at full hours; return the index of each part, its hour and its cost, shape (parts,).

    Args:
        start_us: Starts, epoch microseconds.
        end_us: Ends, after the starts.
        rates: Picodollars per hour.
    """
    first = start_us // US_PER_HOUR
    index, hour = _repeated(first, (end_us - 1) // US_PER_HOUR - first + 1)
    part_start = np.maximum(start_us[index], hour * US_PER_HOUR)
    part_end = np.minimum(end_us[index], (hour + 1) * US_PER_HOUR)
    # Each part is a difference of rounded sums since the epoch, so that parts add up wherever an interval is cut.
    rates = rates[index]
    return index, hour, _cost_until(rates, part_end) - _cost_until(rates, part_start)


def prices(unit_spans: Sequence[Span]) -> tuple[Integers, Integers, Integers]:
    """Return the times at which the price of some spans together changes, the prices between, and the hourly sums."""
    starts, ends, rates = columns(unit_spans)
    bounds = np.union1d(starts, ends)
    steps = np.zeros(len(bounds), dtype=np.int64)
    np.add.at(steps, np.searchsorted(bounds, starts), rates)
    np.subtract.at(steps, np.searchsorted(bounds, ends), rates)
    _, hour, picousd = hourly(starts, ends, rates)
    first = int(bounds[0]) // US_PER_HOUR
    totals = np.zeros((int(bounds[-1]) - 1) // US_PER_HOUR - first + 1, dtype=np.int64)
    np.add.at(totals, hour - first, picousd)
    return bounds, np.cumsum(steps)[:-1], totals


def columns(some: Sequence[Span]) -> tuple[Integers, Integers, Integers]:
    """Return the starts, ends and prices of spans."""
    table = np.array([(span.start_us, span.end_us, span.picousd_per_hour) for span in some], dtype=np.int64)
    return table[:, 0], table[:, 1], table[:, 2]


def share(ran: Ran, bounds_us: Integers, rates: Integers, paid: Integers) -> Shares:
    """Return what each attempt cost in each hour, and idle time.

    Args:
        ran: The attempts.
        bounds_us: Times at which the price changes, sorted, from the first to the end of what was paid.
        rates: Price from each of these times to the next, picodollars per hour, shape (bounds - 1,).
        paid: What was paid in each hour from the first to the last, picodollars.
    """
    low, high = int(bounds_us[0]), int(bounds_us[-1])
    first_hour = low // US_PER_HOUR
    inside = np.flatnonzero((ran.starts_us < high) & (ran.ends_us > low) & (ran.starts_us < ran.ends_us))
    ran = ran.take(inside)
    starts, ends = np.maximum(ran.starts_us, low), np.minimum(ran.ends_us, high)
    ran = replace(ran, starts_us=starts, ends_us=ends)
    full_windows = np.arange(low // WINDOW_US + 1, (high - 1) // WINDOW_US + 1, dtype=np.int64) * WINDOW_US
    grid = np.union1d(bounds_us, full_windows)
    rates = rates[np.searchsorted(bounds_us, grid[:-1], side="right") - 1]
    clock = _VirtualClock.run(starts, ends, grid, rates)

    began = starts // US_PER_HOUR
    index, hour = _repeated(began, (ends - 1) // US_PER_HOUR - began + 1)
    from_us = np.maximum(starts[index], hour * US_PER_HOUR)
    to_us = np.minimum(ends[index], (hour + 1) * US_PER_HOUR)
    shares = np.empty(len(index))
    for members, parts in zip(_by_kind(ran.kind), _by_kind(ran.kind[index]), strict=True):
        settled = _Settled.of(clock, ran, members, grid)
        shares[parts] = ran.pace[index[parts]] * settled.between(from_us[parts], to_us[parts])

    idle = np.bincount(grid[:-1] // US_PER_HOUR - first_hour, weights=clock.idle, minlength=len(paid))
    place = np.concatenate([hour - first_hour, np.arange(len(paid))])
    rounded = largest_remainder(np.concatenate([shares, idle]), place, paid)
    is_idle = np.full(len(paid), -1, dtype=np.int64)
    cost = Shares(np.concatenate([inside[index], is_idle]), place + first_hour, rounded)
    kept = (cost.picousd != 0) | (cost.attempt >= 0)
    return Shares(cost.attempt[kept], cost.hour[kept], cost.picousd[kept])


def largest_remainder(shares: NDArray[np.float64], place: Integers, totals: Integers) -> Integers:
    """Round shares to whole numbers that sum to the total of their place: the largest fractions are rounded up.

    Args:
        shares: Shares, not negative, that sum to the totals but for errors of floating point.
        place: The total that each is a share of.
        totals: The totals.
    """
    rounded = np.floor(shares)
    remainder = shares - rounded
    rounded = rounded.astype(np.int64)
    missing = totals.copy()
    np.subtract.at(missing, place, rounded)
    counts = np.bincount(place, minlength=len(totals))
    for total in np.flatnonzero((missing < 0) | (missing > counts)):  # rare: errors of floating point in large sums
        members = np.flatnonzero(place == total)
        rounded[members[np.argmax(rounded[members])]] += missing[total]
        missing[total] = 0
    if missing.any():
        # One integer for both keys: the total, and within it the largest fraction first.
        fractions = ((1.0 - remainder) * (1 << 31)).astype(np.int64)
        order = np.argsort((place << 32) | fractions)
        firsts = np.cumsum(counts) - counts
        rank = np.arange(len(order)) - firsts[place[order]]
        rounded[order[rank < missing[place[order]]]] += 1
    return rounded


@dataclass(frozen=True, slots=True)
class _VirtualClock:
    """V(t) in whole units; it may overflow, since differences of 64-bit integers are right all the same.

    Args:
        scale: Units per picodollar.
        at_start: V at the start of each attempt.
        at_end: V at the end of each attempt.
        at_grid: V at each time of the grid.
        idle: Picodollars without a running attempt, from each time of the grid to the next.
    """

    scale: float
    at_start: Integers
    at_end: Integers
    at_grid: Integers
    idle: NDArray[np.float64]

    @classmethod
    def run(cls, starts: Integers, ends: Integers, grid: Integers, rates: Integers) -> "_VirtualClock":
        count = len(starts)
        times = np.concatenate([starts, ends, grid])
        order = np.argsort(times, kind="stable")
        times = times[order]
        is_grid = order >= 2 * count
        running = np.cumsum((order < count).astype(np.int8) - ((order >= count) & ~is_grid), dtype=np.int32)[:-1]
        elapsed = np.diff(times)
        marks = np.flatnonzero(is_grid)  # the first and the last of all times are in the grid
        rate = np.repeat(rates / US_PER_HOUR, np.diff(marks))
        # Attempts that start or end at the first or last time of the grid take no time before or after it.
        elapsed, running = elapsed[marks[0] : marks[-1]], running[marks[0] : marks[-1]]
        price = rate * elapsed
        is_idle = running == 0
        idle = np.add.reduceat(np.where(is_idle, price, 0.0), marks[:-1] - marks[0])
        scale = _MAX_SHARE / max(float(rates.max(initial=1)), 1.0)
        steps = np.zeros(len(order), dtype=np.int64)
        shared = price / np.maximum(running, 1)
        shared[is_idle] = 0.0
        steps[marks[0] + 1 : marks[-1] + 1] = np.rint(shared * scale).astype(np.int64)
        values = np.empty(len(order), dtype=np.int64)
        values[order] = np.cumsum(steps)
        return cls(scale, values[:count], values[count : 2 * count], values[2 * count :], idle)


@dataclass(frozen=True, slots=True)
class _Settled:
    """What a unit of pace costs over time, for attempts of one kind.

    Args:
        windows_us: Starts of the windows; the first may be cut.
        picousd: Cost of a unit of pace for a microsecond of each window.
        before: Cost of a unit of pace from the start of the hour to that of the window, within what was paid.
    """

    windows_us: Integers
    picousd: NDArray[np.float64]
    before: NDArray[np.float64]

    @classmethod
    def of(cls, clock: _VirtualClock, ran: Ran, members: Integers, grid: Integers) -> "_Settled":
        """Return the costs of the attempts at some indexes."""
        starts, ends, pace = ran.starts_us[members], ran.ends_us[members], ran.pace[members]
        first = int(starts.min()) // WINDOW_US
        count = (int(ends.max()) - 1) // WINDOW_US + 1 - first
        bounds = (np.arange(first, first + count + 1, dtype=np.int64) * WINDOW_US).clip(grid[0], grid[-1])
        times = np.concatenate([starts, ends, bounds])
        values = np.concatenate(
            [clock.at_start[members], clock.at_end[members], clock.at_grid[np.searchsorted(grid, bounds)]]
        )
        one, none = np.ones(len(members), dtype=np.int64), np.zeros(len(bounds), dtype=np.int64)
        order = np.argsort(times, kind="stable")
        running = np.cumsum(np.concatenate([one, -one, none])[order])[:-1]
        paces = np.cumsum(np.concatenate([pace, -pace, none])[order])[:-1]
        times, values = times[order], values[order]
        window = np.minimum(times[:-1] // WINDOW_US - first, count - 1)
        cost = np.bincount(window, weights=running * np.diff(values), minlength=count) / clock.scale
        work = np.bincount(window, weights=paces.astype(np.float64) * np.diff(times), minlength=count)
        picousd = np.divide(cost, work, out=np.zeros(count), where=work > 0)
        lead = first % _PER_HOUR
        hours = np.zeros((-(-(lead + count) // _PER_HOUR), _PER_HOUR))
        hours.flat[lead : lead + count] = picousd * np.diff(bounds)
        before = (np.cumsum(hours, axis=1) - hours).flat[lead : lead + count]
        return cls(bounds[:-1], picousd, before)

    def between(self, from_us: Integers, to_us: Integers) -> NDArray[np.float64]:
        """Return what a unit of pace costs between two times of one hour each."""
        return self._until(to_us, (to_us - 1) // WINDOW_US) - self._until(from_us, from_us // WINDOW_US)

    def _until(self, time_us: Integers, window: Integers) -> NDArray[np.float64]:
        index = window - int(self.windows_us[0]) // WINDOW_US
        until: NDArray[np.float64] = self.before[index] + self.picousd[index] * (time_us - self.windows_us[index])
        return until


def _by_kind(kind: Integers) -> list[Integers]:
    """Return the indexes of each kind, in the order of kinds."""
    order = np.argsort(kind, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(kind[order])) + 1) if len(order) else []


def _repeated(first: Integers, counts: Integers) -> tuple[Integers, Integers]:
    """Return, for `counts` consecutive numbers from `first`, the index of each and the number."""
    index = np.repeat(np.arange(len(first), dtype=np.int64), counts)
    offset = np.arange(len(index), dtype=np.int64) - np.repeat(np.cumsum(counts) - counts, counts)
    return index, first[index] + offset


def _cost_until(rates: Integers, elapsed_us: Integers) -> Integers:
    """Return rate * time / hour, rounded down; it may overflow, since its differences are right all the same."""
    whole, rest = np.divmod(rates, US_PER_HOUR)
    hours, remaining_us = np.divmod(elapsed_us, US_PER_HOUR)
    part = rest.astype(np.uint64) * remaining_us.astype(np.uint64) // US_PER_HOUR
    cost: Integers = whole * elapsed_us + rest * hours + part.astype(np.int64)
    return cost
