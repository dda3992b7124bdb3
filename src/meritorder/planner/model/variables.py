"""The variables of the programme and what each costs."""

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
    """Columns of each variable; the letters are those of docs/plan.md.

    Args:
        on: n, machines by pair of pool and payment, shape (pairs, slots).
        start: s, machines started, by pair, shape (slots,); only where a start costs something.
        lean: u, machines that the real-time work of a pool leans on, shape (slots,); only of pools that take any.
        flow: x, y and z, by route, shape (routes, slots): share of the slot's work, or seconds of backlog.
        queue: q, backlog at the end of a slot, by deferrable workload, shape (slots,).
        handed: Z, work handed to slow tiers since the start of the scenario, by deferrable workload, shape (slots,).
        commit: K, machines bought, by index of the payment, shape ().
        blocks: b, blocks bought by start, by index of the payment, shape (starts,).
        promise: C, dollars an hour promised, by savings plan, shape (plans,).
        covered: v, machine-hours of on-demand use that a plan covers, by (plan, payment), shape (hours,).
        unserved: Slack of coverage, by real-time workload, shape (slots,); only when looking for what cannot be kept.
        late: Slack of patience, by deferrable workload, shape (slots,); likewise.
    """

    on: Columns
    start: dict[int, Columns]
    lean: dict[int, Columns]
    flow: Columns
    queue: dict[int, Columns]
    handed: dict[int, Columns]
    commit: dict[int, Columns]
    blocks: dict[int, Columns]
    promise: Columns
    covered: dict[tuple[int, int], Columns]
    unserved: dict[int, Columns]
    late: dict[int, Columns]


def define_variables(program: LinearProgram, problem: Problem, *, elastic: bool) -> Variables:
    """Add all variables; the objective is the expected cost of one scenario.

        cost = sum_t chance_t h (price + carbon) n  +  starts  +  tokens  +  H K price
             + H C  -  h on_demand_price v  +  blocks

    Args:
        program: The programme.
        problem: What it is about.
        elastic: Allow promises to be broken, for a price of 1 each and everything else for nothing: what is left is
            what cannot be kept.
    """
    horizon = problem.horizon
    slots = np.arange(horizon.length)
    promise, covered = _savings_plans(program, problem)
    return Variables(
        on=_machines(program, problem, slots),
        start=_starts(program, problem, slots),
        lean=_leaning(program, problem, slots),
        flow=_flow(program, problem, slots),
        queue={w: program.variables(f"queue {w}", slots.shape, slot=slots) for w in problem.deferrable},
        handed={
            w: program.variables(f"handed {w}", slots.shape, slot=slots)
            for w in problem.deferrable
            if any(problem.routes[r].asynchronous for r in problem.routes_of(w))
        },
        commit={
            o: program.variables(
                f"commit {o}",
                (),
                cost=horizon.hours * payment.usd_per_hour,
                upper=payment.max_machines,
                integer=True,
            )
            for o, payment in enumerate(problem.payments)
            if isinstance(payment, Reserved)
        },
        blocks={
            o: program.variables(
                f"blocks {o}",
                (len(payment.starts),),
                cost=payment.slots * horizon.slot_h * payment.usd_per_hour,
                upper=payment.max_machines,
                integer=True,
            )
            for o, payment in enumerate(problem.payments)
            if isinstance(payment, CapacityBlock)
        },
        promise=promise,
        covered=covered,
        unserved={w: program.variables(f"unserved {w}", slots.shape, cost=1, slot=slots) for w in problem.realtime}
        if elastic
        else {},
        late={w: program.variables(f"late {w}", slots.shape, cost=1, slot=slots) for w in problem.deferrable}
        if elastic
        else {},
    )


def machine_usd_by_slot(problem: Problem, pair: int) -> Floats:
    """Return what a machine of a pair costs in each slot, carbon included, shape (slots,), chances not counted."""
    p, o = problem.pairs[pair]
    payment, length = problem.payments[o], problem.horizon.length
    price = payment.usd_per_hour if isinstance(payment, OnDemand | Spot) else 0.0
    carbon = problem.carbon.usd_per_hour(problem.pools[p]) if problem.carbon else np.zeros(())
    return np.broadcast_to(problem.horizon.slot_h * (price + carbon), (length,))


def start_usd(problem: Problem, pair: int) -> float:
    """Return what it costs to start a machine of a pair: time that is paid and does no work."""
    p, o = problem.pairs[pair]
    payment = problem.payments[o]
    if not isinstance(payment, OnDemand | Spot):
        return 0.0
    return payment.usd_per_hour * problem.pools[p].startup_paid_s / SECONDS_PER_HOUR


def min_run_slots(problem: Problem, pair: int) -> int:
    """Return the slots for which a started machine is paid at least."""
    payment = problem.payments[problem.pairs[pair][1]]
    if not isinstance(payment, OnDemand | Spot):
        return 1
    return max(1, int(np.ceil(payment.minimum_billing_s / problem.horizon.slot_s - 1e-9)))


def is_shared(problem: Problem, payment: int) -> bool:
    """Whether several pools draw machines from one payment, so that whole machines must be dealt out."""
    return len(problem.pairs_of(payment=payment)) > 1


def _machines(program: LinearProgram, problem: Problem, slots: Columns) -> Columns:
    pairs = range(len(problem.pairs))
    elastic = [isinstance(problem.payments[o], OnDemand | Spot) for _, o in problem.pairs]
    integer = [e or is_shared(problem, o) for e, (_, o) in zip(elastic, problem.pairs, strict=True)]
    probability = problem.horizon.probability
    cost = [machine_usd_by_slot(problem, i) * probability for i in pairs]
    upper = [
        problem.payments[o].max_machines if isinstance(problem.payments[o], OnDemand) else np.inf  # type: ignore[union-attr]
        for _, o in problem.pairs
    ]
    shape = (len(problem.pairs), len(slots))
    return program.variables(
        "on",
        shape,
        cost=np.array(cost).reshape(shape),
        upper=np.array(upper)[:, None],
        integer=np.array(integer, np.bool_)[:, None],
        slot=slots,
    )


def _starts(program: LinearProgram, problem: Problem, slots: Columns) -> dict[int, Columns]:
    return {
        i: program.variables(
            f"start {i}", slots.shape, cost=start_usd(problem, i) * problem.horizon.probability, slot=slots
        )
        for i in range(len(problem.pairs))
        if start_usd(problem, i) > 0 or min_run_slots(problem, i) > 1
    }


def _leaning(program: LinearProgram, problem: Problem, slots: Columns) -> dict[int, Columns]:
    columns = {}
    for p, pool in enumerate(problem.pools):
        load = problem.realtime_load(p)
        if load.any():
            most = [min_machines(pool.safe_load, one) for one in load]
            columns[p] = program.variables(f"lean {p}", slots.shape, upper=np.array(most, float), slot=slots)
    return columns


def _flow(program: LinearProgram, problem: Problem, slots: Columns) -> Columns:
    routes, shape = problem.routes, (len(problem.routes), len(slots))
    probability = problem.horizon.probability
    closed = np.full(shape, np.inf)
    for r, route in enumerate(routes):
        if route.asynchronous:
            closed[r] = problem.arrivals_s(route.workload)
    cost = np.array([route.usd * probability for route in routes]).reshape(shape)
    return program.variables("flow", shape, cost=cost, upper=closed, slot=slots)


def _savings_plans(program: LinearProgram, problem: Problem) -> tuple[Columns, dict[tuple[int, int], Columns]]:
    horizon = problem.horizon
    promise = program.variables(
        "promise",
        (len(problem.savings_plans),),
        cost=horizon.hours,
        upper=np.array([plan.max_usd_per_hour for plan in problem.savings_plans]),
    )
    hours, first = np.unique(horizon.hour_of, return_index=True)
    covered = {
        (s, o): program.variables(
            f"covered {s} {o}", hours.shape, cost=-payment.usd_per_hour * horizon.probability[first], slot=first
        )
        for s, plan in enumerate(problem.savings_plans)
        for o, payment in enumerate(problem.payments)
        if isinstance(payment, OnDemand) and payment.machine in plan.usd_per_hour and problem.pairs_of(payment=o)
    }
    return promise, covered


def realtime_work(problem: Problem, variables: Variables, x: Floats, p: int) -> Floats:
    """Return the real-time work that a pool is given, in replicas' worth, shape (slots,)."""
    work = np.zeros(problem.horizon.length)
    for r, route in enumerate(problem.routes):
        if route.kind == "pool" and route.venue == p and route.workload in problem.realtime:
            work += route.load_s * x[variables.flow[r]]
    return work / problem.horizon.slot_s


def commitment_level(problem: Problem, variables: Variables, x: Floats, o: int) -> Floats:
    """Return the machines that a commitment gives in each slot, shape (slots,)."""
    horizon, payment = problem.horizon, problem.payments[o]
    if o in variables.commit:
        return np.full(horizon.length, round(float(x[variables.commit[o]])) + payment.held)  # type: ignore[union-attr]
    level = np.broadcast_to(payment.held, (horizon.length,)).astype(float)  # type: ignore[union-attr]
    local = np.arange(horizon.length) % horizon.slots
    for column, start in zip(variables.blocks[o], payment.starts, strict=True):  # type: ignore[union-attr]
        level = level + np.round(x[column]) * ((local >= start) & (local < start + payment.slots))  # type: ignore[union-attr]
    return level
