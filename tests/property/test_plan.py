"""Properties of every plan: promises kept, bounds in order, more freedom never more expensive."""

import dataclasses

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.samples.planning import HOUR, deferrable, hours, on_demand, pool, realtime, reserved

from meritorder.planner.model.demand import DeferrableDemand, OpenEnd
from meritorder.planner.model.problem import Problem
from meritorder.planner.model.supply import SavingsPlan, Spot, TokenTier
from meritorder.planner.solve.highs import Effort
from meritorder.planner.solve.search import find_plan
from meritorder.planner.solve.solution import Solution, realtime_load

SLOTS = 8
EXACT = Effort(gap=1e-7, time_limit_s=20)
TOLERANCE = 1e-5

loads = st.lists(st.floats(0, 2), min_size=SLOTS, max_size=SLOTS)


@st.composite
def problems(draw: st.DrawFn) -> Problem:
    rt, wait = draw(loads), draw(loads)
    patience = draw(st.integers(1, 5))
    cyclic = draw(st.booleans())
    names = ["aws-h100", "gcp-h100"][: draw(st.integers(1, 2))]
    payments = [on_demand(draw(st.floats(5, 15)), name) for name in names]
    if draw(st.booleans()):
        payments.append(reserved(draw(st.floats(3, 12)), held=draw(st.integers(0, 1))))  # type: ignore[arg-type]
    if draw(st.booleans()):
        payments.append(  # type: ignore[arg-type]
            Spot(
                name="spot", machine="aws-h100", usd_per_hour=3.0, available=np.array(1.0), interruptions_per_hour=0.05
            )
        )
    plans = (SavingsPlan(name="sp", usd_per_hour={"aws-h100": 6.0}),) if draw(st.booleans()) else ()
    tiers = ()
    if draw(st.booleans()):
        costs = {"chat": np.array(rt) * 30.0, "batch": np.array(wait) * 30.0}
        tiers = (TokenTier(name="api", provider="x", model="m", usd=costs),)
    return Problem(
        horizon=hours(SLOTS) if cyclic else hours(SLOTS, ends=OpenEnd()),
        workloads=(realtime(rt), deferrable(wait, patience)),
        pools=tuple(pool(name, startup_paid_s=240.0) for name in names),
        payments=tuple(payments),
        savings_plans=plans,
        tiers=tiers,
    )


def machines(plan: Solution, name: str) -> np.ndarray:
    return sum((schedule.machines for schedule in plan.schedules if schedule.pool == name), np.zeros(SLOTS))


@settings(max_examples=40, deadline=None)
@given(problem=problems())
def test_plans_keep_every_promise(problem: Problem) -> None:
    plan = find_plan(problem, Effort(gap=0.01, time_limit_s=5))
    rt, wait = problem.workloads
    assert isinstance(wait, DeferrableDemand)
    flows = {(routing.workload, routing.venue): routing.flow for routing in plan.routing}
    busy = rt.work_s["h100"] > 0
    served = sum((flow for (name, _), flow in flows.items() if name == "chat"), np.zeros(SLOTS))
    assert np.allclose(served[busy], 1, atol=TOLERANCE)
    for machine_pool in plan.problem.pools:
        firm = sum(
            (s.machines for s in plan.schedules if s.pool == machine_pool.name and s.payment != "spot"), np.zeros(SLOTS)
        )
        safe = machine_pool.safe_load[np.minimum(firm, len(machine_pool.safe_load) - 1).astype(int)]
        load = realtime_load(plan, machine_pool.name)
        assert (load <= safe + TOLERANCE).all()
        # The load that the SLO must survive has a floor, so that no request is lost in it; the work has none.
        work_s = rt.work_s["h100"] * flows.get(("chat", machine_pool.name), np.zeros(SLOTS))
        work = (work_s + flows.get(("batch", machine_pool.name), np.zeros(SLOTS))) / HOUR
        assert (work <= machines(plan, machine_pool.name) + TOLERANCE).all()
    done = sum((flow for (name, _), flow in flows.items() if name == "batch"), np.zeros(SLOTS))
    assert_in_time(
        done, wait.work_s["h100"], int(wait.due[0]) + 1, cyclic=not isinstance(problem.horizon.ends, OpenEnd)
    )
    assert plan.hard_bound_usd <= plan.bound_usd + TOLERANCE
    assert plan.relaxed_usd <= plan.bound_usd + TOLERANCE
    assert plan.bound_usd <= plan.usd + TOLERANCE
    parts = [*plan.schedules, *plan.purchases, *(routing for routing in plan.routing if routing.kind == "tier")]
    assert np.isclose(sum(part.usd for part in parts), plan.usd, atol=1e-4)


def assert_in_time(done: np.ndarray, work: np.ndarray, patience: int, *, cyclic: bool) -> None:
    """Assert that no work runs before it arrives or after it is due; a cycle is unrolled three times."""
    if cyclic:
        done, work = np.tile(done, 3), np.tile(work, 3)
    arrived, ran = np.cumsum(work), np.cumsum(done)
    begun = float(np.max(ran - arrived, initial=0.0)) if cyclic else 0.0
    assert (ran <= arrived + begun + HOUR * TOLERANCE).all()
    due = np.concatenate((np.zeros(patience - 1), arrived))[: len(ran)]
    first = 2 * SLOTS if cyclic else 0
    # The backlog at the start of the cycle runs before its arrivals.
    assert (ran[first:] - begun >= due[first:] - HOUR * TOLERANCE * 10).all() or cyclic
    assert np.isclose(done.sum(), work.sum(), atol=HOUR * TOLERANCE * 10)


@settings(max_examples=15, deadline=None)
@given(problem=problems())
def test_more_patience_never_costs_more(problem: Problem) -> None:
    rt, wait = problem.workloads
    assert isinstance(wait, DeferrableDemand)
    patient = dataclasses.replace(problem, workloads=(rt, dataclasses.replace(wait, due=wait.due + 1)))
    before, after = find_plan(problem, EXACT), find_plan(patient, EXACT)
    assert after.relaxed_usd <= before.relaxed_usd + TOLERANCE
    assert after.bound_usd <= before.usd + TOLERANCE


@settings(max_examples=15, deadline=None)
@given(problem=problems(), usd=st.floats(2, 12))
def test_more_offers_never_cost_more(problem: Problem, usd: float) -> None:
    more = dataclasses.replace(
        problem,
        pools=(*problem.pools, pool("lambda-h100", startup_paid_s=240.0)),
        payments=(*problem.payments, on_demand(usd, "lambda-h100")),
    )
    before, after = find_plan(problem, EXACT), find_plan(more, EXACT)
    assert after.bound_usd <= before.usd + TOLERANCE
    assert after.usd <= before.usd * (1 + 1e-3) + TOLERANCE
    assert after.hard_bound_usd <= before.hard_bound_usd + TOLERANCE
