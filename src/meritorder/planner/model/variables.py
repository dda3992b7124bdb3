"""The variables of the program, their costs and bounds, and quantities read from their values."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from meritorder.planner.model.linear_program import Columns, LinearProgram
from meritorder.planner.model.problem import Problem
from meritorder.planner.model.safe_load import min_machines
from meritorder.planner.model.supply import CapacityBlock, OnDemand, Reserved, Spot
from meritorder.units import SECONDS_PER_HOUR

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Variables:
    """Columns of each variable, under the symbols of docs/plan.md.

    Args:
        machines: n, machines by pair of a pool and a payment, shape (pairs, slots).
        starts: st, machines started, by pair, shape (slots,); of pairs whose starts cost money or bind machines.
        firm: u, firm machines that the real-time load of a pool is served with, shape (slots,); of pools that take any.
        flow: x, y and z, by route, shape (routes, slots): share of the slot's work, or seconds of backlog.
        backlog: q, backlog at the end of a slot, by deferrable workload, shape (slots,).
        dispatched: Z, work dispatched to asynchronous tiers since the start of the scenario, by deferrable workload,
            shape (slots,).
        committed: K, machines bought, by payment, shape ().
        blocks: b, capacity blocks bought by start, by payment, shape (starts,).
        committed_usd_per_hour: C, hourly spend committed to, by savings plan, shape (plans,).
        covered: v, machine-hours of on-demand use that a plan covers, by (plan, payment), shape (hours,).
        unserved: Slack of coverage, by real-time workload, shape (slots,); of elastic programs.
        late: Slack of patience, by deferrable workload, shape (slots,); of elastic programs.
    """

    machines: Columns
    starts: dict[int, Columns]
    firm: dict[int, Columns]
    flow: Columns
    backlog: dict[int, Columns]
    dispatched: dict[int, Columns]
    committed: dict[int, Columns]
    blocks: dict[int, Columns]
    committed_usd_per_hour: Columns
    covered: dict[tuple[int, int], Columns]
    unserved: dict[int, Columns]
    late: dict[int, Columns]


def define_variables(program: LinearProgram, problem: Problem, *, elastic: bool) -> Variables:
    """Add all variables; the objective is the expected cost of a scenario.

        cost = sum_t probability_t h (price + carbon) n  +  sum_t probability_t price startup st  +  sum tokens
             + H price K  +  H C  -  sum probability price v  +  sum length price b

    Args:
        program: The program.
        problem: The planning problem.
        elastic: Add slack to coverage and patience.
    """
    slots = np.arange(problem.horizon.length)
    committed_usd_per_hour, covered = _define_savings_plans(program, problem)
    return Variables(
        machines=_define_machines(program, problem, slots),
        starts=_define_starts(program, problem, slots),
        firm=_define_firm(program, problem, slots),
        flow=_define_flow(program, problem, slots),
        backlog={w: program.add_variables(slots.shape, slot=slots) for w in problem.deferrable},
        dispatched={
            w: program.add_variables(slots.shape, slot=slots)
            for w in problem.deferrable
            if any(problem.routes[r].asynchronous for r in problem.routes_of(w))
        },
        committed=_define_committed(program, problem),
        blocks=_define_blocks(program, problem),
        committed_usd_per_hour=committed_usd_per_hour,
        covered=covered,
        unserved={w: program.add_variables(slots.shape, cost=1, slot=slots) for w in problem.realtime if elastic},
        late={w: program.add_variables(slots.shape, cost=1, slot=slots) for w in problem.deferrable if elastic},
    )


def machine_usd_by_slot(problem: Problem, pair: int) -> Floats:
    """Return the cost of a machine of a pair in each slot, carbon included, shape (slots,)."""
    p, o = problem.pairs[pair]
    payment, length = problem.payments[o], problem.horizon.length
    price = payment.usd_per_hour if isinstance(payment, OnDemand | Spot) else 0.0
    carbon = problem.carbon.usd_per_hour(problem.pools[p]) if problem.carbon else np.zeros(())
    return np.broadcast_to(problem.horizon.slot_h * (price + carbon), (length,))


def start_usd(problem: Problem, pair: int) -> float:
    """Return the cost of starting a machine of a pair: the paid part of its start-up."""
    p, o = problem.pairs[pair]
    payment = problem.payments[o]
    if not isinstance(payment, OnDemand | Spot):
        return 0.0
    return payment.usd_per_hour * problem.pools[p].startup_paid_s / SECONDS_PER_HOUR


def min_run_slots(problem: Problem, pair: int) -> int:
    """Return the minimum number of slots for which a started machine is paid."""
    payment = problem.payment_of(pair)
    if not isinstance(payment, OnDemand | Spot):
        return 1
    return max(1, int(np.ceil(payment.minimum_billing_s / problem.horizon.slot_s - 1e-9)))


def min_usd_per_replica_s(problem: Problem, p: int) -> float:
    """Return the lowest price of a second of a fully used replica in a pool, or infinity if none can be rented.

    Capacity held already is sunk; `hard_bound_usd` takes off what it may save.
    """
    pool = problem.pools[p]
    prices = [
        payment.usd_per_hour
        for payment in (problem.payment_of(i) for i in problem.pairs_of(pool=p))
        if getattr(payment, "max_machines", 1)
    ]
    prices += [
        plan.usd_per_hour[pool.machine]
        for plan in problem.savings_plans
        if pool.machine in plan.usd_per_hour and plan.max_usd_per_hour > 0
    ]
    carbon = float(np.min(problem.carbon.usd_per_hour(pool))) if problem.carbon else 0.0
    if not prices:
        return np.inf
    return (min(prices) + carbon) / SECONDS_PER_HOUR / (pool.replicas * pool.max_utilization)


def _define_machines(program: LinearProgram, problem: Problem, slots: Columns) -> Columns:
    """Add n; it is whole where machines are rented by the hour, or where several pools share those committed to."""
    pairs = range(len(problem.pairs))
    payments = [problem.payment_of(i) for i in pairs]
    integer = [
        isinstance(payment, OnDemand | Spot) or len(problem.pairs_of(payment=o)) > 1
        for payment, (_, o) in zip(payments, problem.pairs, strict=True)
    ]
    cost = [machine_usd_by_slot(problem, i) * problem.horizon.probability for i in pairs]
    upper = [payment.max_machines if isinstance(payment, OnDemand) else np.inf for payment in payments]
    shape = (len(problem.pairs), len(slots))
    return program.add_variables(
        shape,
        cost=np.array(cost).reshape(shape),
        upper=np.array(upper)[:, None],
        integer=np.array(integer, np.bool_)[:, None],
        slot=slots,
    )


def _define_starts(program: LinearProgram, problem: Problem, slots: Columns) -> dict[int, Columns]:
    return {
        i: program.add_variables(slots.shape, cost=start_usd(problem, i) * problem.horizon.probability, slot=slots)
        for i in range(len(problem.pairs))
        if start_usd(problem, i) > 0 or min_run_slots(problem, i) > 1
    }


def _define_firm(program: LinearProgram, problem: Problem, slots: Columns) -> dict[int, Columns]:
    columns = {}
    for p, pool in enumerate(problem.pools):
        loads = problem.max_realtime_load(p)
        if loads.any():
            upper = [min_machines(pool.safe_load, load) for load in loads]
            columns[p] = program.add_variables(slots.shape, upper=np.array(upper, float), slot=slots)
    return columns


def _define_flow(program: LinearProgram, problem: Problem, slots: Columns) -> Columns:
    """Add x, y and z; no more goes to an asynchronous tier than arrives."""
    routes, shape = problem.routes, (len(problem.routes), len(slots))
    upper = np.full(shape, np.inf)
    for r, route in enumerate(routes):
        if route.asynchronous:
            upper[r] = problem.arrivals_s(route.workload)
    cost = np.array([route.usd * problem.horizon.probability for route in routes]).reshape(shape)
    return program.add_variables(shape, cost=cost, upper=upper, slot=slots)


def _define_committed(program: LinearProgram, problem: Problem) -> dict[int, Columns]:
    return {
        o: program.add_variables(
            (), cost=problem.horizon.hours * payment.usd_per_hour, upper=payment.max_machines, integer=True
        )
        for o, payment in enumerate(problem.payments)
        if isinstance(payment, Reserved)
    }


def _define_blocks(program: LinearProgram, problem: Problem) -> dict[int, Columns]:
    return {
        o: program.add_variables(
            (len(payment.starts),),
            cost=payment.slots * problem.horizon.slot_h * payment.usd_per_hour,
            upper=payment.max_machines,
            integer=True,
        )
        for o, payment in enumerate(problem.payments)
        if isinstance(payment, CapacityBlock)
    }


def _define_savings_plans(program: LinearProgram, problem: Problem) -> tuple[Columns, dict[tuple[int, int], Columns]]:
    """Add C and v; what a plan covers is not paid on demand."""
    horizon = problem.horizon
    committed_usd_per_hour = program.add_variables(
        (len(problem.savings_plans),),
        cost=horizon.hours,
        upper=np.array([plan.max_usd_per_hour for plan in problem.savings_plans]),
    )
    hours, first = np.unique(horizon.hour_of, return_index=True)
    covered = {
        (s, o): program.add_variables(hours.shape, cost=-payment.usd_per_hour * horizon.probability[first], slot=first)
        for s, plan in enumerate(problem.savings_plans)
        for o, payment in enumerate(problem.payments)
        if isinstance(payment, OnDemand) and payment.machine in plan.usd_per_hour and problem.pairs_of(payment=o)
    }
    return committed_usd_per_hour, covered


def pool_load(problem: Problem, variables: Variables, values: Floats, pool: int) -> Floats:
    """Return the real-time load that a pool serves, in saturated replicas, shape (slots,)."""
    load_s = np.zeros(problem.horizon.length)
    for r in problem.realtime_routes_to(pool):
        load_s += problem.routes[r].load_s * values[variables.flow[r]]
    return load_s / problem.horizon.slot_s


def committed_machines(problem: Problem, variables: Variables, values: Floats, o: int) -> Floats:
    """Return the machines that a commitment provides, bought or held, shape (slots,)."""
    horizon, payment = problem.horizon, problem.payments[o]
    match payment:
        case Reserved():
            return np.full(horizon.length, round(float(values[variables.committed[o]])) + payment.held)
        case CapacityBlock():
            machines = np.broadcast_to(payment.held, (horizon.length,)).astype(float)
            local = np.arange(horizon.length) % horizon.slots
            for column, start in zip(variables.blocks[o], payment.starts, strict=True):
                machines += np.round(values[column]) * ((local >= start) & (local < start + payment.slots))
            return machines
        case _:
            raise TypeError(f"{payment.name} is no commitment")
