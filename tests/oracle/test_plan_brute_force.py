"""The cheapest of all plans of tiny problems, by enumeration."""

import itertools
import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tests.samples.planning import HOUR, deferrable, hours, on_demand, pool, realtime, reserved

from meritorder.domain import Access
from meritorder.errors import InfeasibleError
from meritorder.planner.model.demand import Demand, OpenEnd
from meritorder.planner.model.problem import Problem
from meritorder.planner.solve.highs import Effort
from meritorder.planner.solve.search import find_plan

EXACT = Effort(gap=1e-9, time_limit_s=30)
QUOTA = 2
SAFE = {"aws-h100": [0.0, 0.4, 1.5, 2.3, 3.2], "gcp-h100": [0.0, 0.7, 1.5]}
SLOTS = 3


def all_done_in_time(spare: np.ndarray, work: list[float], patience: int) -> bool:
    """Serve first come first served, by the definition of a deadline."""
    left = list(work)
    for t, free in enumerate(spare):
        left_free = free
        for arrived in range(t + 1):
            done = min(left[arrived], left_free)
            left[arrived] -= done
            left_free -= done
        if any(left[arrived] > 1e-9 for arrived in range(t + 1) if arrived + patience - 1 <= t):
            return False
    return sum(left) < 1e-9


Fits = Callable[[np.ndarray], bool]


def anywhere(rt: list[float], wait: list[float], patience: int) -> Fits:
    """Whether machines, shape (pools, slots), serve work that may run on any of them."""

    def fits(machines: np.ndarray) -> bool:
        safe = sum(np.array(SAFE[name])[machines[i]] for i, name in enumerate(SAFE))
        enough = bool((safe >= np.array(rt) - 1e-9).all())
        return enough and all_done_in_time(machines.sum(axis=0) - np.array(rt), wait, patience)

    return fits


def apart(rt: list[float], records: list[float], wait: list[float], patience: int) -> Fits:
    """Whether machines serve work of which the records run in the second pool alone, and what waits in the first.

    The second pool takes all the real-time work that it can, which leaves the first as much capacity as possible.
    """

    def fits(machines: np.ndarray) -> bool:
        first, second = (np.array(safe)[each] for safe, each in zip(SAFE.values(), machines, strict=True))
        left = np.maximum(np.array(rt) + np.array(records) - second, 0.0)
        if (second < np.array(records) - 1e-9).any() or (first < left - 1e-9).any():
            return False
        return all_done_in_time(machines[0] - left, wait, patience)

    return fits


def cheapest(fits: Fits, usd: dict[str, float], start_usd: float) -> float:
    best = math.inf
    names = list(usd)
    for owned in range(QUOTA + 1):
        for machines in itertools.product(range(QUOTA + 1), repeat=len(names) * SLOTS):
            n = np.array(machines).reshape(len(names), SLOTS)
            total = n.copy()
            total[0] += owned
            if not fits(total):
                continue
            starts = np.maximum(np.diff(n, axis=1, prepend=0), 0)
            cost = owned * 6.0 * SLOTS + sum(
                price * n[i].sum() + starts[i].sum() * start_usd * price for i, price in enumerate(usd.values())
            )
            best = min(best, float(cost))
    return best


work = st.sampled_from([0.0, 0.3, 0.5, 0.9, 1.2, 1.4])


@settings(max_examples=40, deadline=None)
@given(
    rt=st.lists(work, min_size=SLOTS, max_size=SLOTS),
    wait=st.lists(work, min_size=SLOTS, max_size=SLOTS),
    patience=st.integers(1, 3),
    prices=st.tuples(st.sampled_from([7.0, 10.0]), st.sampled_from([8.0, 9.0, 15.0])),
    start=st.sampled_from([0.0, 0.25]),
)
def test_plan_is_cheapest_of_all(
    rt: list[float], wait: list[float], patience: int, prices: tuple[float, float], start: float
) -> None:
    usd = dict(zip(SAFE, prices, strict=True))
    workloads = (realtime(rt), deferrable(wait, patience))
    assert_is_cheapest(problem_of(workloads, usd, start), cheapest(anywhere(rt, wait, patience), usd, start))


@settings(max_examples=40, deadline=None)
@given(
    loads=st.tuples(*(st.lists(work, min_size=SLOTS, max_size=SLOTS) for _ in range(3))),
    patience=st.integers(1, 3),
    prices=st.tuples(st.sampled_from([7.0, 10.0]), st.sampled_from([5.0, 9.0, 15.0])),
    start=st.sampled_from([0.0, 0.25]),
)
# Each lane alone keeps to the quota of machines, both together would not.
@example(loads=([1.2, 0.0, 0.0], [0.0, 0.0, 0.0], [0.9, 0.0, 0.0]), patience=1, prices=(7.0, 9.0), start=0.0)
def test_restricted_plan_is_cheapest(
    loads: tuple[list[float], list[float], list[float]], patience: int, prices: tuple[float, float], start: float
) -> None:
    rt, records, wait = loads
    usd = dict(zip(SAFE, prices, strict=True))
    workloads = (
        realtime(rt),
        realtime(records, name="records", access=Access(allow_provider=frozenset({"gcp"}))),
        deferrable(wait, patience, access=Access(deny_provider=frozenset({"gcp"}))),
    )
    assert_is_cheapest(problem_of(workloads, usd, start), cheapest(apart(rt, records, wait, patience), usd, start))


def problem_of(workloads: tuple[Demand, ...], usd: dict[str, float], start: float) -> Problem:
    return Problem(
        horizon=hours(SLOTS, ends=OpenEnd()),
        workloads=workloads,
        pools=tuple(pool(name, safe=safe, startup_paid_s=start * HOUR) for name, safe in SAFE.items()),
        payments=(
            *(on_demand(price, name, max_machines=QUOTA) for name, price in usd.items()),
            reserved(6.0, "aws-h100", max_machines=QUOTA),
        ),
    )


def assert_is_cheapest(problem: Problem, best: float) -> None:
    if math.isinf(best):
        with pytest.raises(InfeasibleError):
            find_plan(problem, EXACT)
        return
    plan = find_plan(problem, EXACT)
    assert plan.usd == pytest.approx(best, abs=1e-6)
    assert plan.bound_usd == pytest.approx(best, rel=1e-6, abs=1e-6)
    assert plan.hard_bound_usd <= best + 1e-9
