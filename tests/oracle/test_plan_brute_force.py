"""Every plan of tiny problems, tried one by one."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.samples.planning import HOUR, deferrable, hours, on_demand, pool, realtime, reserved

from meritorder.errors import InfeasibleError
from meritorder.plan.demand import OpenEnd
from meritorder.plan.problem import Problem
from meritorder.plan.solution import find_plan
from meritorder.plan.solve import Effort

EXACT = Effort(gap=1e-9, time_limit_s=30)
MOST = 2
SAFE = {"aws-h100": [0.0, 0.4, 1.5, 2.3, 3.2], "gcp-h100": [0.0, 0.7, 1.5]}
SLOTS = 3


def all_done_in_time(spare: np.ndarray, work: list[float], patience: int) -> bool:
    """Serve first come first served, by the definition of a deadline."""
    left = list(work)
    for t, free in enumerate(spare):
        room = free
        for arrived in range(t + 1):
            done = min(left[arrived], room)
            left[arrived] -= done
            room -= done
        if any(left[arrived] > 1e-9 for arrived in range(t + 1) if arrived + patience - 1 <= t):
            return False
    return sum(left) < 1e-9


def cheapest(rt: list[float], wait: list[float], patience: int, usd: dict[str, float], start_usd: float) -> float:
    best = math.inf
    names = list(usd)
    for owned in range(MOST + 1):
        for machines in itertools.product(range(MOST + 1), repeat=len(names) * SLOTS):
            n = np.array(machines).reshape(len(names), SLOTS)
            total = n.copy()
            total[0] += owned
            carried = sum(np.array(SAFE[name])[total[i]] for i, name in enumerate(names))
            if (carried < np.array(rt) - 1e-9).any():
                continue
            if not all_done_in_time(total.sum(axis=0) - np.array(rt), wait, patience):
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
def test_the_plan_is_the_cheapest_of_all(
    rt: list[float], wait: list[float], patience: int, prices: tuple[float, float], start: float
) -> None:
    usd = dict(zip(SAFE, prices, strict=True))
    problem = Problem(
        horizon=hours(SLOTS, ends=OpenEnd()),
        workloads=(realtime(rt), deferrable(wait, patience)),
        pools=tuple(pool(name, safe=safe, startup_paid_s=start * HOUR) for name, safe in SAFE.items()),
        payments=(
            *(on_demand(price, name, most=MOST) for name, price in usd.items()),
            reserved(6.0, "aws-h100", most=MOST),
        ),
    )
    best = cheapest(rt, wait, patience, usd, start)
    if math.isinf(best):
        with pytest.raises(InfeasibleError):
            find_plan(problem, EXACT)
        return
    plan = find_plan(problem, EXACT)
    assert plan.usd == pytest.approx(best, abs=1e-6)
    assert plan.bound_usd == pytest.approx(best, rel=1e-6, abs=1e-6)
    assert plan.hard_bound_usd <= best + 1e-9
