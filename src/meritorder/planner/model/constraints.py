"""The constraints of the program, one function each, with its equation; docs/plan.md lists them with all symbols.

Indices: t slot, p pool, o payment, w workload, k token tier, g savings plan; h hours and s seconds of a slot.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from meritorder.errors import InfeasibleError
from meritorder.planner.model.demand import DeferrableDemand, Horizon, OpenEnd
from meritorder.planner.model.linear_program import Columns, LinearProgram, SparseModel
from meritorder.planner.model.problem import Problem, RouteKind
from meritorder.planner.model.safe_load import concave_envelope, extend, has_pooling_gain, min_machines
from meritorder.planner.model.supply import CapacityBlock, OnDemand, Reserved, Spot
from meritorder.planner.model.variables import Variables, define_variables, min_run_slots

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Formulation:
    """A problem formulated as a mixed-integer linear program.

    Args:
        problem: The planning problem.
        model: The program as arrays.
        variables: Columns of the variables.
        rows: Rows of the constraints by name.
    """

    problem: Problem
    model: SparseModel
    variables: Variables
    rows: Mapping[str, Columns]


def formulate(problem: Problem, *, exact: Mapping[int, Columns] | None = None, elastic: bool = False) -> Formulation:
    """Formulate a problem.

    Args:
        problem: The planning problem.
        exact: By pool, slots in which c(n) holds exactly instead of by its envelope.
        elastic: Minimize unserved and late work instead of cost.
    """
    program = LinearProgram()
    var = define_variables(program, problem, elastic=elastic)
    define_coverage(program, problem, var)
    define_safe_load(program, problem, var)
    define_firm_machines(program, problem, var)
    define_capacity(program, problem, var)
    define_backlog(program, problem, var)
    define_patience(program, problem, var)
    define_dispatched(program, problem, var)
    define_starts(program, problem, var)
    define_limits(program, problem, var)
    define_savings_plans(program, problem, var)
    define_rate_limits(program, problem, var)
    for pool, slots in (exact or {}).items():
        define_exact_safe_load(program, problem, var, pool, slots)
    model = program.to_model()
    if elastic:
        slack = [column for columns in (*var.unserved.values(), *var.late.values()) for column in columns]
        model.cost[:] = 0.0
        model.cost[slack] = 1.0
    return Formulation(problem=problem, model=model, variables=var, rows=program.rows)


def define_coverage(program: LinearProgram, problem: Problem, var: Variables) -> None:
    """Serve all real-time work as it arrives, in pools and by token tiers.

    sum_p x[w,p,t] + sum_k x[w,k,t] = 1    for each real-time w, and each t with work
    """
    for w in problem.realtime:
        demand = problem.workloads[w]
        busy = [work > 0 for work in demand.work_s.values()]
        slots = np.flatnonzero(np.any(busy, axis=0)) if busy else np.arange(problem.horizon.length)
        terms = [(var.flow[r][slots], 1.0) for r in problem.routes_of(w)]
        if w in var.unserved:
            terms.append((var.unserved[w][slots], 1.0))
        if len(slots) and not terms:
            raise _no_venue(demand.name, demand.model)
        if len(slots):
            program.add_constraints(f"coverage {w}", terms, lower=1.0, upper=1.0, slot=slots)


def _no_venue(workload: str, model: str) -> InfeasibleError:
    return InfeasibleError(
        f"no pool and no token API may serve it: there is none for {model}, or its allow and deny lists exclude all",
        where=f"workload {workload}",
        fix="add hardware or a provider, or loosen the lists",
    )


def define_safe_load(program: LinearProgram, problem: Problem, var: Variables) -> None:
    """Keep the real-time load of a pool within the safe load of its firm machines.

        sum_w load[w,p,t] x[w,p,t] <= s c(u[p,t])

    by the lines of the concave envelope of c. Where a workload is split among pools, the envelope may exceed c; in such
    slots `define_exact_safe_load` takes its place.
    """
    for p in var.firm:
        _define_envelope(program, problem, var, (p,), f"safe load {p}")
    for pools in interchangeable_pools(problem, var):
        _define_envelope(program, problem, var, pools, "joint safe load")


def interchangeable_pools(problem: Problem, var: Variables) -> list[tuple[int, ...]]:
    """Group pools of one model and one kind of machine in several places among which splitting load cannot help.

    Since c(m) + c(n) <= c(m + n), their joint load is at most what one pool of all their machines would serve, and the
    envelope holds for their sums. Without these rows the relaxation would serve the load beyond a whole machine in one
    place with a fraction of a machine in another.
    """
    groups: dict[tuple[str, str, bytes], list[int]] = {}
    for p in var.firm:
        pool = problem.pools[p]
        if has_pooling_gain(pool.safe_load):
            groups.setdefault((pool.model, pool.replica, pool.safe_load.tobytes()), []).append(p)
    return [tuple(pools) for pools in groups.values() if len(pools) > 1]


def _define_envelope(
    program: LinearProgram, problem: Problem, var: Variables, pools: tuple[int, ...], name: str
) -> None:
    """Add the lines of the envelope for the joint load and the firm machines of some pools."""
    safe_load = problem.pools[pools[0]].safe_load
    load = np.max([problem.max_realtime_load(p) for p in pools], axis=0)
    if len(pools) > 1:
        load = np.minimum(_max_joint_load(problem, pools), len(pools) * safe_load[-1])
        safe_load = extend(safe_load, len(pools) * (len(safe_load) - 1))
    lines = [(t, *line) for t in np.flatnonzero(load) for line in concave_envelope(safe_load, float(load[t]))]
    if not lines:
        return
    t = np.array([line[0] for line in lines])
    slopes, intercepts = np.array([line[1] for line in lines]), np.array([line[2] for line in lines])
    served = [term for p in pools for term in _realtime_terms(problem, var, p, t)]
    machines = [(var.firm[p][t], -slopes) for p in pools]
    program.add_constraints(name, [*served, *machines], upper=intercepts, slot=t)


def _max_joint_load(problem: Problem, pools: tuple[int, ...]) -> Floats:
    """Return the real-time load that could come to any of some pools, in saturated replicas, shape (slots,)."""
    load_s: dict[int, Floats] = {}
    for p in pools:
        for r in problem.realtime_routes_to(p):
            load_s[problem.routes[r].workload] = problem.routes[r].load_s
    return np.asarray(sum(load_s.values(), np.zeros(problem.horizon.length)) / problem.horizon.slot_s)


def define_exact_safe_load(program: LinearProgram, problem: Problem, var: Variables, p: int, slots: Columns) -> None:
    """Hold c(u) exactly in some slots of a pool, by a binary variable for each machine.

    u = sum_n d[n],   sum_w load x <= s sum_n (c(n) - c(n-1)) d[n],   d[1] >= d[2] >= ...,   d in {0, 1}
    """
    load, safe_load = problem.max_realtime_load(p), problem.pools[p].safe_load
    for t in slots:
        count = min_machines(safe_load, float(load[t]))
        gains = np.diff(np.minimum(safe_load[: count + 1], load[t]))
        unit = program.add_variables((1, count), upper=1.0, integer=True, slot=int(t))
        name, at = f"exact safe load {p}", np.array([t])
        program.add_constraints(name, [(var.firm[p][at], 1.0), (unit, -1.0)], lower=0.0, upper=0.0, slot=at)
        served = _realtime_terms(problem, var, p, at)
        program.add_constraints(name, [*served, (unit, -gains[None, :])], upper=0.0, slot=at)
        if count > 1:
            order = [(unit[0, 1:], 1.0), (unit[0, :-1], -1.0)]
            program.add_constraints(name, order, upper=0.0, slot=np.full(count - 1, t))


def _realtime_terms(problem: Problem, var: Variables, p: int, t: Columns) -> list[tuple[Columns, Floats]]:
    """Return the terms of the real-time load of a pool, in saturated replicas."""
    return [
        (var.flow[r][t], problem.routes[r].load_s[t] / problem.horizon.slot_s) for r in problem.realtime_routes_to(p)
    ]


def define_firm_machines(program: LinearProgram, problem: Problem, var: Variables) -> None:
    """Serve real-time load with firm machines only: on demand or committed, never spot.

    u[p,t] <= sum_{o firm} n[p,o,t]
    """
    slots = np.arange(problem.horizon.length)
    for p, firm in var.firm.items():
        pairs = [i for i in problem.pairs_of(pool=p) if not isinstance(problem.payment_of(i), Spot)]
        terms = [(firm, 1.0), *((var.machines[i], -1.0) for i in pairs)]
        program.add_constraints(f"firm {p}", terms, upper=0.0, slot=slots)


def define_capacity(program: LinearProgram, problem: Problem, var: Variables) -> None:
    """Keep all work of a pool within the usable throughput of its machines, less what interruptions cost spot.

    sum_w work[w,p,t] <= s max_utilization_p headroom_p[t] replicas_p sum_o useful_o n[p,o,t]
    """
    slots = np.arange(problem.horizon.length)
    for p, pool in enumerate(problem.pools):
        work = [
            (var.flow[r], problem.routes[r].work_s / problem.horizon.slot_s)
            for r in problem.routes_to(RouteKind.POOL, p)
        ]
        machines = [
            (var.machines[i], -pool.max_utilization * pool.headroom * pool.replicas * problem.useful_share(i))
            for i in problem.pairs_of(pool=p)
        ]
        if work:
            program.add_constraints(f"capacity {p}", [*work, *machines], upper=0.0, slot=slots)


def define_backlog(program: LinearProgram, problem: Problem, var: Variables) -> None:
    """Carry unserved deferrable work over to the next slot, across the end of the horizon if time is cyclic.

    q[w,t] = q[w,t-1] + a[w,t] - sum_p y[w,p,t] - sum_k z[w,k,t]
    """
    horizon = problem.horizon
    previous = horizon.previous
    for w, backlog in var.backlog.items():
        before = np.where(previous >= 0, backlog[previous], -1)
        served = [(var.flow[r], 1.0) for r in problem.routes_of(w)]
        arrivals = problem.arrivals_s(w)
        if arrivals.any() and not served:
            raise _no_venue(problem.workloads[w].name, problem.workloads[w].model)
        terms = [(backlog, 1.0), (before, -1.0), *served]
        program.add_constraints(f"backlog {w}", terms, lower=arrivals, upper=arrivals, slot=np.arange(horizon.length))


def define_patience(program: LinearProgram, problem: Problem, var: Variables) -> None:
    """Leave no work late: the backlog is at most what arrived and is not yet due.

        q[w,t] + sum_{v = first(t)..t} z[w,k,v] <= sum_{v = first(t)..t} a[w,v]     k asynchronous

    with first(t) = min {v: due(v) > t}. Work dispatched to an asynchronous tier waits there and not in the backlog, so
    it is taken off both sides.
    """
    horizon = problem.horizon
    slots = np.arange(horizon.length)
    for w, backlog in var.backlog.items():
        terms: list[tuple[Columns, float]] = [(backlog, 1.0)]
        if w in var.dispatched:
            terms += _dispatched_since(horizon, problem.deferrable_demand(w), var.dispatched[w])
        if w in var.late:
            terms.append((var.late[w], -1.0))
        program.add_constraints(f"patience {w}", terms, upper=problem.max_backlog_s(w), slot=slots)


def _dispatched_since(horizon: Horizon, demand: DeferrableDemand, dispatched: Columns) -> list[tuple[Columns, float]]:
    """Return the terms of sum_{v = first(t)..t} z, as differences of the running total Z."""
    scenario, slot = np.divmod(np.arange(horizon.length), horizon.slots)
    first = demand.first_open_slot(horizon)
    offset = scenario * horizon.slots
    wraps = first < 0
    until = first % horizon.slots - 1
    end = np.where(wraps, offset + horizon.slots - 1, -1)
    skipped = np.where(until >= 0, offset + until, -1)
    none_open = first > slot
    now = np.where(none_open, -1, dispatched)
    return [
        (now, 1.0),
        (np.where(end >= 0, dispatched[end], -1), 1.0),
        (np.where((skipped >= 0) & ~none_open, dispatched[skipped], -1), -1.0),
    ]


def define_dispatched(program: LinearProgram, problem: Problem, var: Variables) -> None:
    """Sum the work dispatched to asynchronous tiers, which take work only as it arrives.

    Z[w,t] = Z[w,t-1] + sum_k z[w,k,t],        sum_k z[w,k,t] <= a[w,t]        k asynchronous
    """
    horizon = problem.horizon
    slots = np.arange(horizon.length)
    for w, dispatched in var.dispatched.items():
        before = np.where(slots % horizon.slots > 0, dispatched - 1, -1)
        flows = [(var.flow[r], 1.0) for r in problem.routes_of(w) if problem.routes[r].asynchronous]
        total = [(dispatched, 1.0), (before, -1.0), *((columns, -1.0) for columns, _ in flows)]
        program.add_constraints(f"dispatched {w}", total, lower=0.0, upper=0.0, slot=slots)
        program.add_constraints(f"on arrival {w}", flows, upper=problem.arrivals_s(w), slot=slots)


def define_starts(program: LinearProgram, problem: Problem, var: Variables) -> None:
    """Count started machines, and keep each for its minimum billed time of m slots.

    st[p,o,t] >= n[p,o,t] - n[p,o,t-1]        n[p,o,t] >= sum_{v = t-m+1..t} st[p,o,v]
    """
    horizon = problem.horizon
    slots, previous = np.arange(horizon.length), horizon.previous
    for i, starts in var.starts.items():
        running = np.zeros(horizon.length)
        if isinstance(horizon.ends, OpenEnd) and horizon.ends.warm:
            running[previous < 0] = np.inf
        machines = var.machines[i]
        before = np.where(previous >= 0, machines[previous], -1)
        program.add_constraints(
            f"starts {i}", [(machines, 1.0), (before, -1.0), (starts, -1.0)], upper=running, slot=slots
        )
        min_run = min_run_slots(problem, i)
        if min_run > 1:
            recent = [slots]
            for _ in range(min(min_run, horizon.slots) - 1):
                recent.append(np.where(recent[-1] >= 0, previous[recent[-1]], -1))
            started = np.stack([np.where(t >= 0, starts[t], -1) for t in recent], axis=1)
            program.add_constraints(f"minimum billing {i}", [(machines, -1.0), (started, 1.0)], upper=0.0, slot=slots)


def define_limits(program: LinearProgram, problem: Problem, var: Variables) -> None:
    """Share limited machines among pools: quotas, available spot machines, commitments.

    on demand: sum_p n <= quota     spot: sum_p n <= available[t]     reserved: sum_p n <= held + K
    blocks:    sum_p n <= held[t] + sum_{v = t-length+1..t} b[v]
    """
    horizon = problem.horizon
    slots = np.arange(horizon.length)
    for o, payment in enumerate(problem.payments):
        machines = [(var.machines[i], 1.0) for i in problem.pairs_of(payment=o)]
        if not machines:
            continue
        match payment:
            case OnDemand(max_machines=quota) if np.isfinite(quota) and len(machines) > 1:
                program.add_constraints(f"quota {o}", machines, upper=quota, slot=slots)
            case Spot(available=available):
                program.add_constraints(f"spot {o}", machines, upper=available, slot=slots)
            case Reserved(held=held):
                committed = np.full(slots.shape, var.committed[o])
                program.add_constraints(f"reserved {o}", [*machines, (committed, -1.0)], upper=held, slot=slots)
            case CapacityBlock(held=held_by_slot):
                local = slots % horizon.slots
                running = np.stack(
                    [
                        np.where((local >= start) & (local < start + payment.slots), var.blocks[o][j], -1)
                        for j, start in enumerate(payment.starts)
                    ],
                    axis=1,
                )
                program.add_constraints(f"blocks {o}", [*machines, (running, -1.0)], upper=held_by_slot, slot=slots)


def define_savings_plans(program: LinearProgram, problem: Problem, var: Variables) -> None:
    """Charge on-demand use at the rates of a plan until the hourly spend committed to is used up.

        sum_o rate[g,o] v[g,o,hour] <= held_g + C_g        sum_g v[g,o,hour] <= h sum_{t in hour} sum_p n[p,o,t]

    The order of coverage needs no constraint. A dollar of commitment saves price / rate dollars, so that the optimum is
    that of a fractional knapsack: the highest price / rate first, which is the highest saving 1 - rate / price, the
    provider's own order. Commitment left unused in an hour is lost, as each hour has its own row.

    Source: AWS, Savings Plans user guide, "How Savings Plans apply to your usage", 2025.
    """
    horizon = problem.horizon
    hours, first = np.unique(horizon.hour_of, return_index=True)
    # The last hour may be cut short by the horizon.
    hour_h = np.asarray(np.bincount(horizon.hour_of, minlength=len(hours)) * horizon.slot_h, float)
    for g, plan in enumerate(problem.savings_plans):
        terms: list[tuple[Columns, float | Floats]] = [
            (columns, plan.usd_per_hour[problem.payments[o].machine])
            for (covering, o), columns in var.covered.items()
            if covering == g
        ]
        if terms:
            terms.append((np.full(hours.shape, var.committed_usd_per_hour[g]), -hour_h))
            program.add_constraints(f"savings plan {g}", terms, upper=plan.held_usd_per_hour * hour_h, slot=first)
    for o in {o for _, o in var.covered}:
        covered = [(columns, 1.0) for (_, payment), columns in var.covered.items() if payment == o]
        used = _by_hour(horizon, np.stack([var.machines[i] for i in problem.pairs_of(payment=o)]))
        program.add_constraints(f"covered {o}", [*covered, (used, -horizon.slot_h)], upper=0.0, slot=first)


def _by_hour(horizon: Horizon, columns: Columns) -> Columns:
    """Return columns of shape (pairs, slots) by hour, shape (hours, pairs * slots of an hour)."""
    hour = horizon.hour_of
    first = np.unique(hour, return_index=True)[1]
    place = np.arange(horizon.length) - first[hour]
    table = np.full((len(first), len(columns), horizon.slots_per_hour), -1)
    for i, row in enumerate(columns):
        table[hour, i, place] = row
    return table.reshape(len(first), -1)


def define_rate_limits(program: LinearProgram, problem: Problem, var: Variables) -> None:
    """Stay within the rate limits of token APIs.

    sum_w tokens[w,t] z[w,k,t] <= s limit_k
    """
    slot_s, slots = problem.horizon.slot_s, np.arange(problem.horizon.length)
    for k, tier in enumerate(problem.tiers):
        routes = problem.routes_to(RouteKind.TIER, k)
        if np.isfinite(tier.tokens_per_s) and routes:
            terms = [(var.flow[r], problem.routes[r].tokens / slot_s) for r in routes]
            program.add_constraints(f"rate limit {k}", terms, upper=tier.tokens_per_s, slot=slots)
