"""A trace cut into days: which of them count, and days busier than they were."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from meritorder.study.fleet.load import TraceLoad
from meritorder.study.forward.forecast import day_type
from meritorder.units import SECONDS_PER_DAY, SECONDS_PER_HOUR, SECONDS_PER_MINUTE

Floats = NDArray[np.float64]

# A day counts if the trace covers it but for this long.
_UNCOVERED_S: Final = SECONDS_PER_HOUR
# A time without requests is a hole in the log if it is this long, and most other days have this many requests in it.
_HOLE_S: Final = 20 * SECONDS_PER_MINUTE
_USUAL_REQUESTS: Final = 30.0
# Copies of requests are shifted by up to this much.
_SHIFT_S: Final = 10 * SECONDS_PER_MINUTE


@dataclass(frozen=True, slots=True, kw_only=True)
class Day:
    """The requests of one day.

    Args:
        index: Days since the beginning of the trace's first day.
        kind: Weekday, Monday 0.
        load: Its requests; times count from its beginning, and deadlines may lie beyond its end.
        hole_s: Time of its longest hole, in which requests are missing from the log; 0 if it has none.
    """

    index: int
    kind: int
    load: TraceLoad
    hole_s: float = 0.0


def split_days(load: TraceLoad, epoch_s: float | None = None, holidays: frozenset[str] = frozenset()) -> list[Day]:
    """Cut a load into days; the first and the last are left out where the trace does not cover them.

    Days begin at midnight UTC if the trace has dates, else they are counted from its beginning.

    Args:
        load: The requests.
        epoch_s: Unix time of time 0; None if the trace has no dates.
        holidays: Dates that are forecast as Sundays.
    """
    begin_s = 0.0 if epoch_s is None else -(epoch_s % SECONDS_PER_DAY)
    loads: dict[int, TraceLoad] = {}
    for index in range(max(0, math.ceil((load.span_s - begin_s) / SECONDS_PER_DAY))):
        day_s = begin_s + index * SECONDS_PER_DAY
        covered_s = min(load.span_s, day_s + SECONDS_PER_DAY) - max(0.0, day_s)
        if covered_s >= SECONDS_PER_DAY - _UNCOVERED_S:
            loads[index] = _between(load, day_s, day_s + SECONDS_PER_DAY)
    return [
        Day(
            index=index,
            kind=day_type(index, None if epoch_s is None else epoch_s + begin_s, holidays),
            load=requests,
            hole_s=longest_hole_s(
                requests.arrived_s, [other.arrived_s for place, other in loads.items() if place != index]
            ),
        )
        for index, requests in loads.items()
    ]


def _between(load: TraceLoad, begin_s: float, end_s: float) -> TraceLoad:
    first, last = np.searchsorted(load.arrived_s, [begin_s, end_s])
    requests = load.select(np.arange(first, last))
    return replace(
        requests,
        arrived_s=requests.arrived_s - begin_s,
        deadline_s=requests.deadline_s - begin_s,
        span_s=end_s - begin_s,
    )


def longest_hole_s(arrived_s: Floats, others: Sequence[Floats]) -> float:
    """Return the longest time of a day without requests in which most other days have many; 0 if there is none.

    Args:
        arrived_s: Arrivals since the beginning of the day.
        others: Those of other days, each since its beginning.
    """
    edges_s = np.concatenate(([0.0], arrived_s, [SECONDS_PER_DAY]))
    longest_s = 0.0
    for place in np.flatnonzero(np.diff(edges_s) >= _HOLE_S):
        begin_s, end_s = edges_s[place], edges_s[place + 1]
        counts = [float(np.diff(np.searchsorted(other_s, [begin_s, end_s]))[0]) for other_s in others]
        if counts and np.median(counts) >= _USUAL_REQUESTS:
            longest_s = max(longest_s, float(end_s - begin_s))
    return longest_s


def surged(load: TraceLoad, factor: float) -> TraceLoad:
    """Return a load with `factor` times the requests: copies of some, shifted in time as one."""
    parts = [load]
    random = np.random.default_rng(0)
    while factor > 1 + 1e-9:
        chosen = load.select(random.random(len(load)) < min(1.0, factor - 1))
        arrived_s = (chosen.arrived_s + random.uniform(-_SHIFT_S, _SHIFT_S)) % load.span_s
        moved_s = arrived_s - chosen.arrived_s
        parts.append(replace(chosen, arrived_s=arrived_s, deadline_s=chosen.deadline_s + moved_s))
        factor -= 1
    return _merged(parts)


def _merged(parts: Sequence[TraceLoad]) -> TraceLoad:
    whole = parts[0]
    for part in parts[1:]:
        whole = part.joined(whole)
    return whole.select(np.argsort(whole.arrived_s, kind="stable"))


def with_margin(load: TraceLoad, share: float) -> TraceLoad:
    """Return a load of which only this share of the permitted requests may miss the SLO."""

    def strict(attainment: float) -> float:
        return 1 - share * (1 - attainment)

    workloads = tuple(
        replace(workload, slo=replace(workload.slo, attainment=strict(workload.slo.attainment)))
        if workload.slo
        else workload
        for workload in load.workloads
    )
    return replace(load, workloads=workloads, attainment=strict(load.attainment))
