"""The linear program written a second time, variable by variable, straight from the equations of docs/plan.md."""

import itertools

import highspy
import numpy as np
import pytest
from tests.samples.planning import HOUR, deferrable, hours, on_demand, pool, realtime, reserved

from meritorder.planner.model.demand import DeferrableDemand, OpenEnd
from meritorder.planner.model.problem import Problem
from meritorder.planner.model.supply import OnDemand, Reserved, SavingsPlan, Spot, TokenTier
from meritorder.planner.solve.highs import Effort
from meritorder.planner.solve.search import find_plan


def second_formulation(problem: Problem, *, integer: bool) -> float:  # noqa: C901, PLR0912  (one program, in one piece)
    """Solve a problem of hourly slots, one replica a machine and one kind of replica; returns its optimum."""
    m = highspy.Highs()
    m.silent()
    kind = highspy.HighsVarType.kInteger if integer else highspy.HighsVarType.kContinuous
    horizon, count = problem.horizon, problem.horizon.slots
    cyclic = not isinstance(horizon.ends, OpenEnd)
    before = [t - 1 if t else (count - 1 if cyclic else None) for t in range(count)]
    cost = 0
    n, u = {}, {}
    for pl, pay in itertools.product(problem.pools, problem.payments):
        if pl.machine != pay.machine:
            continue
        for t in range(count):
            n[pl.name, pay.name, t] = m.addVariable(type=kind)
            if isinstance(pay, OnDemand | Spot):
                cost = cost + n[pl.name, pay.name, t] * pay.usd_per_hour
        if isinstance(pay, OnDemand | Spot) and pl.startup_paid_s:
            for t in range(count):
                s = m.addVariable()
                last = n[pl.name, pay.name, before[t]] if before[t] is not None else 0
                m.addConstr(s - n[pl.name, pay.name, t] + last >= 0)
                cost = cost + s * (pay.usd_per_hour * pl.startup_paid_s / HOUR)
    flow, queue = {}, {}
    for w in problem.workloads:
        work = w.work_s["h100"] / HOUR
        for t in range(count):
            routes = []
            for pl in problem.pools:
                flow[w.name, pl.name, t] = m.addVariable()
                routes.append(flow[w.name, pl.name, t])
            for tier in problem.tiers:
                flow[w.name, tier.name, t] = m.addVariable()
                routes.append(flow[w.name, tier.name, t])
                price = tier.usd[w.name].sum() / work.sum()
                cost = cost + flow[w.name, tier.name, t] * price
            if isinstance(w, DeferrableDemand):
                patience = int(w.due[0]) + 1
                recent = sum(work[t - back] if t >= back or cyclic else 0.0 for back in range(min(patience - 1, count)))
                limit = 0.0 if not cyclic and t == count - 1 else float(recent)
                queue[w.name, t] = m.addVariable(ub=limit)
            else:
                m.addConstr(sum(routes) == work[t])
        if isinstance(w, DeferrableDemand):
            for t in range(count):
                routes = [flow[w.name, v.name, t] for v in (*problem.pools, *problem.tiers)]
                last = queue[w.name, before[t]] if before[t] is not None else 0
                m.addConstr(queue[w.name, t] - last + sum(routes) == work[t])
    for pl in problem.pools:
        for t in range(count):
            there = sum(n[pl.name, pay.name, t] for pay in problem.payments if (pl.name, pay.name, t) in n)
            firm = sum(
                n[pl.name, pay.name, t]
                for pay in problem.payments
                if (pl.name, pay.name, t) in n and not isinstance(pay, Spot)
            )
            every = sum(flow[w.name, pl.name, t] for w in problem.workloads)
            m.addConstr(every - there <= 0)
            online = [flow[w.name, pl.name, t] for w in problem.workloads if not isinstance(w, DeferrableDemand)]
            if online:
                gains = np.diff(pl.safe_load)
                steps = [m.addBinary() for _ in gains]
                m.addConstr(sum(online) - sum(d * g for g, d in zip(gains, steps, strict=True)) <= 0)
                m.addConstr(sum(steps) - firm <= 0)
                for first, second in itertools.pairwise(steps):
                    m.addConstr(second - first <= 0)
    for pay in problem.payments:
        used = {
            t: sum(n[pl.name, pay.name, t] for pl in problem.pools if pl.machine == pay.machine) for t in range(count)
        }
        if isinstance(pay, Reserved):
            bought = m.addVariable(type=kind)
            cost = cost + bought * (count * pay.usd_per_hour)
            for t in range(count):
                m.addConstr(used[t] - bought <= pay.held)
        elif isinstance(pay, Spot):
            for t in range(count):
                m.addConstr(used[t] <= float(pay.available))
        for plan in problem.savings_plans:
            u[plan.name, pay.name] = used
    for plan in problem.savings_plans:
        commitment = m.addVariable()
        cost = cost + commitment * count
        for t in range(count):
            spent = 0
            for pay in problem.payments:
                if isinstance(pay, OnDemand) and pay.machine in plan.usd_per_hour:
                    covered = m.addVariable()
                    m.addConstr(covered - u[plan.name, pay.name][t] <= 0)
                    spent = spent + covered * plan.usd_per_hour[pay.machine]
                    cost = cost - covered * pay.usd_per_hour
            m.addConstr(spent - commitment <= plan.held_usd_per_hour)
    m.setOptionValue("mip_rel_gap", 1e-9)
    m.minimize(cost)
    return float(m.getObjectiveValue())


def random_problem(seed: int, *, with_realtime: bool) -> Problem:
    rng = np.random.default_rng(seed)
    count = 6
    online = realtime(rng.uniform(0.2, 2.5, count))
    deferrable_demand = [
        deferrable(rng.uniform(0, 1.5, count), int(rng.integers(1, 6)), name=f"batch {i}") for i in range(2)
    ]
    workloads = (online, *deferrable_demand) if with_realtime else tuple(deferrable_demand)
    payments = (
        on_demand(rng.uniform(8, 12)),
        on_demand(rng.uniform(8, 12), "gcp-h100"),
        Spot(name="spot", machine="gcp-h100", usd_per_hour=rng.uniform(3, 6), available=np.array(1.0)),
        reserved(rng.uniform(5, 9), held=int(rng.integers(0, 2))),
    )
    tier = TokenTier(
        name="api",
        provider="x",
        model="m",
        usd={w.name: w.work_s["h100"] / HOUR * rng.uniform(9, 30) for w in workloads},
    )
    return Problem(
        horizon=hours(count) if seed % 2 else hours(count, ends=OpenEnd()),
        workloads=workloads,
        pools=(pool(startup_paid_s=600.0), pool("gcp-h100", safe=[0, 0.3, 1.2, 2.2, 3.2], startup_paid_s=300.0)),
        payments=payments,
        savings_plans=(SavingsPlan(name="sp", usd_per_hour={"aws-h100": 6.5, "gcp-h100": 7.0}),),
        tiers=(tier,),
    )


@pytest.mark.parametrize("seed", range(8))
def test_integer_program_has_same_optimum(seed: int) -> None:
    problem = random_problem(seed, with_realtime=True)
    plan = find_plan(problem, Effort(gap=1e-8, time_limit_s=60))
    assert plan.usd == pytest.approx(second_formulation(problem, integer=True), rel=1e-5)


@pytest.mark.parametrize("seed", range(8))
def test_relaxation_has_same_optimum(seed: int) -> None:
    problem = random_problem(seed, with_realtime=False)
    plan = find_plan(problem, Effort(gap=1e-6))
    assert plan.relaxed_usd == pytest.approx(second_formulation(problem, integer=False), rel=1e-6)
