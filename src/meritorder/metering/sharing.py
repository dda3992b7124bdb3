"""Shares in the price of a replica: at each instant, the attempts that run there share its price equally.

With price p(t) and n(t) running attempts, a virtual clock V(t) = ∫ p(t) / n(t) dt advances while n(t) > 0; the share of
an attempt is V(end) - V(start), and idle is ∫ p(t) dt over the time with n(t) = 0.

Source: the virtual time of generalized processor sharing, A. K. Parekh and R. G. Gallager, IEEE/ACM Transactions on
Networking 1 (3), 1993.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from meritorder.metering.capacity import Span
from meritorder.records.accounting import Use

Integers = NDArray[np.int64]

US_PER_HOUR: Final = 3_600_000_000
_MAX_SHARE: Final = 2.0**61  # of one attempt in one hour, in units of the virtual clock


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


def share(start_us: Integers, end_us: Integers, bounds_us: Integers, rates: Integers, paid: Integers) -> Shares:
    """Return what each attempt cost in each hour, and idle time.

    Args:
        start_us: Starts of the attempts, epoch microseconds.
        end_us: Their ends.
        bounds_us: Times at which the price changes, sorted, from the first to the end of what was paid.
        rates: Price from each of these times to the next, picodollars per hour, shape (bounds - 1,).
        paid: What was paid in each hour from the first to the last, picodollars.
    """
    low, high = int(bounds_us[0]), int(bounds_us[-1])
    first_hour = low // US_PER_HOUR
    ran = np.flatnonzero((start_us < high) & (end_us > low) & (start_us < end_us))
    starts, ends = np.maximum(start_us[ran], low), np.minimum(end_us[ran], high)
    full_hours = np.arange(first_hour + 1, first_hour + len(paid), dtype=np.int64) * US_PER_HOUR
    grid = np.union1d(bounds_us, full_hours)
    rates = rates[np.searchsorted(bounds_us, grid[:-1], side="right") - 1]
    clock = _VirtualClock.run(starts, ends, grid, rates)

    began = starts // US_PER_HOUR
    index, hour = _repeated(began, (ends - 1) // US_PER_HOUR - began + 1)
    at_hour = clock.at_grid[np.searchsorted(grid, (hour - began[index] > 0) * hour * US_PER_HOUR)]
    from_value = np.where(hour > began[index], at_hour, clock.at_start[index])
    is_last = (hour + 1) * US_PER_HOUR >= ends[index]
    next_hour = np.minimum((hour + 1) * US_PER_HOUR, high)
    to_value = np.where(is_last, clock.at_end[index], clock.at_grid[np.searchsorted(grid, next_hour)])
    shares = (to_value - from_value) / clock.scale

    idle = np.bincount(grid[:-1] // US_PER_HOUR - first_hour, weights=clock.idle, minlength=len(paid))
    place = np.concatenate([hour - first_hour, np.arange(len(paid))])
    rounded = largest_remainder(np.concatenate([shares, idle]), place, paid)
    is_idle = np.full(len(paid), -1, dtype=np.int64)
    cost = Shares(np.concatenate([ran[index], is_idle]), place + first_hour, rounded)
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
