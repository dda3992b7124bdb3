"""The constraints of the programme, one function each; docs/plan.md has them together with all symbols.

Shared letters: t slot, p pool, o payment, w workload, k token tier; h hours of a slot, s its seconds.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from meritorder.errors import InfeasibleError
from meritorder.planner.model.demand import Cyclic, DeferrableDemand, Horizon, OpenEnd
from meritorder.planner.model.linear_program import Columns, LinearProgram, SparseModel
from meritorder.planner.model.problem import Problem, VenueKind
from meritorder.planner.model.safe_load import concave_envelope, extend, has_pooling_gain, min_machines
from meritorder.planner.model.supply import CapacityBlock, OnDemand, Reserved, Spot
from meritorder.planner.model.variables import Variables, define_variables, min_run_slots

Floats = NDArray[np.float64]


def define_coverage(program: LinearProgram, problem: Problem, x: Variables) -> None:
    """Serve all real-time work as it arrives, in pools and by the token.

    sum_p x[w,p,t] + sum_k x[w,k,t] = 1    for each real-time w, and each t with work
    """
    for w in problem.realtime:
        demand = problem.workloads[w]
        busy = [work > 0 for work in demand.work_s.values()]
        slots = np.flatnonzero(np.any(busy, axis=0)) if busy else np.arange(problem.horizon.length)
        terms = [(x.flow[r][slots], 1.0) for r in problem.routes_of(w)]
        if w in x.unserved:
            terms.append((x.unserved[w][slots], 1.0))
        if len(slots) and not terms:
            raise _nowhere(demand.name, demand.model)
        if len(slots):
            program.constrain(f"coverage {w}", terms, lower=1.0, upper=1.0, slot=slots)


def _nowhere(workload: str, model: str) -> InfeasibleError:
    return InfeasibleError(
        f"no pool and no token API may serve it: there is none for {model}, or its allow and deny lists leave none",
        where=f"workload {workload}",
        fix="add hardware or a provider, or loosen the lists",
    )


def define_safe_load(program: LinearProgram, problem: Problem, x: Variables) -> None:
    """Keep real-time work within what the machines it leans on carry safely.

        sum_w r[w,p,t] x[w,p,t] <= s c(u[p,t])

    by the lines of the envelope of c (`safe_load.envelope`). Where a pool's work is split, the envelope may promise
    more than c does; those slots get steps of their own (`define_steps`).
    """
    for p in x.lean:
        _define_lines(program, problem, x, (p,), f"safe load {p}")
    for pools in interchangeable_pools(problem, x):
        _define_lines(program, problem, x, pools, "safe load together")


def interchangeable_pools(problem: Problem, x: Variables) -> list[tuple[int, ...]]:
    """Group pools of one model and one kind of machine at several places, if splitting work among them cannot help.

    c(m) + c(n) <= c(m + n) holds for them, so what they carry together is no more than one pool of all their machines
    would: the same lines hold for their sums. Without these rows the relaxation would send what is beyond a whole
    machine here to a fraction of a machine there.
    """
    groups: dict[tuple[str, str, bytes], list[int]] = {}
    for p in x.lean:
        pool = problem.pools[p]
        if has_pooling_gain(pool.safe_load):
            groups.setdefault((pool.model, pool.replica, pool.safe_load.tobytes()), []).append(p)
    return [tuple(pools) for pools in groups.values() if len(pools) > 1]


def _define_lines(program: LinearProgram, problem: Problem, x: Variables, pools: tuple[int, ...], name: str) -> None:
    """Add the lines of the envelope for the work and the machines of some pools together."""
    load = np.max([problem.realtime_load(p) for p in pools], axis=0)
    if len(pools) > 1:
        load = np.minimum(_load_of_any(problem, pools), len(pools) * problem.pools[pools[0]].safe_load[-1])
    safe = extend(problem.pools[pools[0]].safe_load, len(pools) * (len(problem.pools[pools[0]].safe_load) - 1))
    safe = safe if len(pools) > 1 else problem.pools[pools[0]].safe_load
    lines = [(t, *line) for t in np.flatnonzero(load) for line in concave_envelope(safe, float(load[t]))]
    if not lines:
        return
    t = np.array([line[0] for line in lines])
    slopes, heights = np.array([line[1] for line in lines]), np.array([line[2] for line in lines])
    work = [term for p in pools for term in _realtime_work(problem, x, p, t)]
    machines = [(x.lean[p][t], -slopes) for p in pools]
    program.constrain(name, [*work, *machines], upper=heights, slot=t)


def _load_of_any(problem: Problem, pools: tuple[int, ...]) -> Floats:
    """Return the real-time work that could come to any of some pools, in replicas' worth, shape (slots,)."""
    work_s: dict[int, Floats] = {}
    for p in pools:
        for r in problem.routes_to(VenueKind.POOL, p):
            if problem.routes[r].workload in problem.realtime:
                work_s[problem.routes[r].workload] = problem.routes[r].load_s
    return np.asarray(sum(work_s.values(), np.zeros(problem.horizon.length)) / problem.horizon.slot_s)


def define_exact_safe_load(program: LinearProgram, problem: Problem, x: Variables, p: int, slots: Columns) -> None:
    """Hold c(u) exactly at some slots of a pool, by whole steps d[1] >= d[2] >= ....

    u = sum_n d[n],   sum_w r x <= s sum_n (c(n) - c(n-1)) d[n],   d in {0, 1}
    """
    load, safe = problem.realtime_load(p), problem.pools[p].safe_load
    for t in slots:
        most = min_machines(safe, float(load[t]))
        gains = np.diff(np.minimum(safe[: most + 1], load[t]))
        step = program.variables(f"step {p} {t}", (1, most), upper=1.0, integer=True, slot=int(t))
        at = np.array([t])
        program.constrain(f"steps {p}", [(x.lean[p][at], 1.0), (step, -1.0)], lower=0.0, upper=0.0, slot=at)
        work = _realtime_work(problem, x, p, at)
        program.constrain(f"steps {p}", [*work, (step, -gains[None, :])], upper=0.0, slot=at)
        if most > 1:
            program.constrain(
                f"steps {p}", [(step[0, 1:], 1.0), (step[0, :-1], -1.0)], upper=0.0, slot=np.full(most - 1, t)
            )


def _realtime_work(problem: Problem, x: Variables, p: int, t: Columns) -> list[tuple[Columns, Floats]]:
    """Terms of the real-time work in a pool, in replicas' worth."""
    return [
        (x.flow[r][t], problem.routes[r].load_s[t] / problem.horizon.slot_s)
        for r in problem.routes_to(VenueKind.POOL, p)
        if problem.routes[r].workload in problem.realtime
    ]


def define_firm_machines(program: LinearProgram, problem: Problem, x: Variables) -> None:
    """Let real-time work lean on machines that are there, and never on spot.

    u[p,t] <= sum_{o firm} n[p,o,t]
    """
    slots = np.arange(problem.horizon.length)
    for p, lean in x.lean.items():
        pairs = problem.pairs_of(pool=p)
        firm = [i for i in pairs if not isinstance(problem.payments[problem.pairs[i][1]], Spot)]
        terms = [(lean, 1.0), *((x.on[i], -1.0) for i in firm)]
        program.constrain(f"firm {p}", terms, upper=0.0, slot=slots)


def define_capacity(program: LinearProgram, problem: Problem, x: Variables) -> None:
    """Keep all work of a pool within what its machines can do when full; spot loses a share to interruptions.

    sum_w work[w,p,t] <= s fullest_p room_p[t] replicas_p sum_o useful_o n[p,o,t]
    """
    slots = np.arange(problem.horizon.length)
    for p, pool in enumerate(problem.pools):
        work = [
            (x.flow[r], problem.routes[r].work_s / problem.horizon.slot_s) for r in problem.routes_to(VenueKind.POOL, p)
        ]
        machines = [
            (x.on[i], -pool.max_utilization * pool.headroom * pool.replicas * problem.useful_share(i))
            for i in problem.pairs_of(pool=p)
        ]
        if work:
            program.constrain(f"capacity {p}", [*work, *machines], upper=0.0, slot=slots)


def define_backlog(program: LinearProgram, problem: Problem, x: Variables) -> None:
    """Carry what was not done to the next slot, around the end if time is a cycle.

    q[w,t] = q[w,t-1] + a[w,t] - sum_p y[w,p,t] - sum_k z[w,k,t]
    """
    horizon = problem.horizon
    before = horizon.before
    for w, queue in x.queue.items():
        earlier = np.where(before >= 0, queue[before], -1)
        done = [(x.flow[r], 1.0) for r in problem.routes_of(w)]
        arrivals_s = problem.arrivals_s(w)
        if arrivals_s.any() and not done:
            raise _nowhere(problem.workloads[w].name, problem.workloads[w].model)
        terms = [(queue, 1.0), (earlier, -1.0), *done]
        program.constrain(f"backlog {w}", terms, lower=arrivals_s, upper=arrivals_s, slot=np.arange(horizon.length))


def define_patience(program: LinearProgram, problem: Problem, x: Variables) -> None:
    """Leave nothing late: what waits is no more than what arrived and is not yet due.

        q[w,t] + sum_{v = first(t)..t} z[w,slow,v] <= sum_{v = first(t)..t} a[w,v]     first(t) = min {v: due(v) > t}

    What is handed to a slow tier as it arrives waits there, not here, so it leaves both sides. At an open end nothing
    may be left.
    """
    horizon = problem.horizon
    slots = np.arange(horizon.length)
    for w, queue in x.queue.items():
        demand = problem.deferrable_demand(w)
        limit = max_backlog(problem, w)
        terms: list[tuple[Columns, float]] = [(queue, 1.0)]
        if w in x.handed:
            terms += _dispatched_since(horizon, demand, x.handed[w])
        if w in x.late:
            terms.append((x.late[w], -1.0))
        program.constrain(f"patience {w}", terms, upper=limit, slot=slots)


def max_backlog(problem: Problem, w: int) -> Floats:
    """Return the most that may wait of a deferrable workload at the end of each slot, shape (slots,)."""
    horizon, demand = problem.horizon, problem.deferrable_demand(w)
    arrivals_s = problem.arrivals_s(w).reshape(horizon.scenarios, horizon.slots)
    total = np.concatenate((np.zeros((horizon.scenarios, 1)), np.cumsum(arrivals_s, axis=1)), axis=1)
    scenario, slot = np.divmod(np.arange(horizon.length), horizon.slots)
    first = first_open_slot(horizon, demand)
    around = first < 0
    limit = total[scenario, slot + 1] - np.where(around, 0.0, total[scenario, np.maximum(first, 0)])
    limit += np.where(around, total[scenario, -1] - total[scenario, first % horizon.slots], 0.0)
    if isinstance(horizon.ends, OpenEnd):
        limit[horizon.slots - 1 :: horizon.slots] = 0.0
    return np.asarray(np.maximum(limit, 0.0))


def first_open_slot(horizon: Horizon, demand: DeferrableDemand) -> Columns:
    """Return the first slot whose work may still wait at the end of each slot, within its scenario, shape (slots,).

    Negative where that is in the cycle before; t + 1 where nothing may wait. A patience longer than the cycle counts
    as the cycle.
    """
    slots = np.arange(horizon.slots)
    first = np.empty(horizon.length, np.int64)
    for scenario in range(horizon.scenarios):
        mine = slice(scenario * horizon.slots, (scenario + 1) * horizon.slots)
        due = demand.due[mine] - scenario * horizon.slots
        if isinstance(horizon.ends, Cyclic):
            due = np.minimum.accumulate(np.concatenate((due - horizon.slots, due))[::-1])[::-1]
            found = np.searchsorted(due, slots, side="right") - horizon.slots
            first[mine] = np.maximum(found, slots - horizon.slots + 1)
        else:
            first[mine] = np.searchsorted(due, slots, side="right")
    return first


def _dispatched_since(horizon: Horizon, demand: DeferrableDemand, handed: Columns) -> list[tuple[Columns, float]]:
    """Terms of sum_{v = first(t)..t} z, as differences of the running total Z."""
    scenario, slot = np.divmod(np.arange(horizon.length), horizon.slots)
    first = first_open_slot(horizon, demand)
    offset = scenario * horizon.slots
    around = first < 0
    until = first % horizon.slots - 1
    ended = np.where(around, offset + horizon.slots - 1, -1)
    skipped = np.where(until >= 0, offset + until, -1)
    nothing_waits = first > slot
    now = np.where(nothing_waits, -1, handed)
    return [
        (now, 1.0),
        (np.where(ended >= 0, handed[ended], -1), 1.0),
        (np.where((skipped >= 0) & ~nothing_waits, handed[skipped], -1), -1.0),
    ]


def define_asynchronous_tiers(program: LinearProgram, problem: Problem, x: Variables) -> None:
    """Count what is handed to slow tiers as it arrives.

    Z[w,t] = Z[w,t-1] + sum_{k slow} z[w,k,t]        sum_{k slow} z[w,k,t] <= a[w,t]
    """
    horizon = problem.horizon
    slots = np.arange(horizon.length)
    for w, handed in x.handed.items():
        earlier = np.where(slots % horizon.slots > 0, handed - 1, -1)
        slow = [(x.flow[r], 1.0) for r in problem.routes_of(w) if problem.routes[r].asynchronous]
        counted = [(handed, 1.0), (earlier, -1.0), *((columns, -1.0) for columns, _ in slow)]
        program.constrain(f"handed {w}", counted, lower=0.0, upper=0.0, slot=slots)
        program.constrain(f"on arrival {w}", slow, upper=problem.arrivals_s(w), slot=slots)


def define_starts(program: LinearProgram, problem: Problem, x: Variables) -> None:
    """Count machines that are started, and keep them for the shortest time that is billed.

    s[p,o,t] >= n[p,o,t] - n[p,o,t-1]        n[p,o,t] >= sum_{v = t-m+1..t} s[p,o,v]
    """
    horizon = problem.horizon
    slots, before = np.arange(horizon.length), horizon.before
    for i, start in x.start.items():
        running = np.zeros(horizon.length)
        if isinstance(horizon.ends, OpenEnd) and horizon.ends.warm:
            running[before < 0] = np.inf
        earlier = np.where(before >= 0, x.on[i][before], -1)
        program.constrain(f"starts {i}", [(x.on[i], 1.0), (earlier, -1.0), (start, -1.0)], upper=running, slot=slots)
        run = min_run_slots(problem, i)
        if run > 1:
            recent = [slots]
            for _ in range(min(run, horizon.slots) - 1):
                recent.append(np.where(recent[-1] >= 0, before[recent[-1]], -1))
            started = np.stack([np.where(t >= 0, start[t], -1) for t in recent], axis=1)
            program.constrain(f"minimum billing {i}", [(x.on[i], -1.0), (started, 1.0)], upper=0.0, slot=slots)


def define_limits(program: LinearProgram, problem: Problem, x: Variables) -> None:
    """Share out what is limited among the pools that draw on it: quotas, spot that can be had, what was committed.

    on demand: sum_p n <= quota     spot: sum_p n <= available[t]     reserved: sum_p n <= have + K
    blocks:    sum_p n <= have[t] + sum_{v = t-length+1..t} b[v]
    """
    horizon = problem.horizon
    slots = np.arange(horizon.length)
    for o, payment in enumerate(problem.payments):
        machines = [(x.on[i], 1.0) for i in problem.pairs_of(payment=o)]
        if not machines:
            continue
        match payment:
            case OnDemand(max_machines=most) if np.isfinite(most) and len(machines) > 1:
                program.constrain(f"quota {o}", machines, upper=most, slot=slots)
            case Spot(available=available):
                program.constrain(f"spot {o}", machines, upper=available, slot=slots)
            case Reserved(held=have):
                bought = np.full(slots.shape, x.commit[o])
                program.constrain(f"reserved {o}", [*machines, (bought, -1.0)], upper=have, slot=slots)
            case CapacityBlock(held=held):
                local = slots % horizon.slots
                extend_to_load = np.stack(
                    [
                        np.where((local >= start) & (local < start + payment.slots), x.blocks[o][j], -1)
                        for j, start in enumerate(payment.starts)
                    ],
                    axis=1,
                )
                program.constrain(f"blocks {o}", [*machines, (extend_to_load, -1.0)], upper=held, slot=slots)


def define_savings_plans(program: LinearProgram, problem: Problem, x: Variables) -> None:
    """Charge on-demand use at a plan's rates until the dollars promised for the hour are spent.

        sum_o rate[s,o] v[s,o,hour] <= have_s + C_s        sum_s v[s,o,hour] <= h sum_{t in hour} sum_p n[p,o,t]

    Which use is covered first needs no rule: a dollar of promise takes off price / rate dollars of bill, so the optimum
    is that of a fractional knapsack, the highest price / rate first; and the highest price / rate is the highest saving
    1 - rate / price, which is the provider's own order. Dollars that nothing uses are lost: each hour has its own row.

    Source: AWS, Savings Plans user guide, "How Savings Plans apply to your usage", 2025.
    """
    horizon = problem.horizon
    hours, first = np.unique(horizon.hour_of, return_index=True)
    for s, plan in enumerate(problem.savings_plans):
        terms = [
            (columns, plan.usd_per_hour[problem.payments[o].machine])
            for (plan_index, o), columns in x.covered.items()
            if plan_index == s
        ]
        if terms:
            # An hour that the horizon cuts short has its share of the promise.
            length_h = np.bincount(horizon.hour_of, minlength=len(hours)) * horizon.slot_h
            terms.append((np.full(hours.shape, x.promise[s]), -length_h))  # type: ignore[arg-type]
            upper = plan.held_usd_per_hour * length_h
            program.constrain(f"savings plan {s}", terms, upper=upper, slot=first)
    for o in {o for _, o in x.covered}:
        covered = [(columns, 1.0) for (_, payment), columns in x.covered.items() if payment == o]
        used = _by_hour(horizon, np.stack([x.on[i] for i in problem.pairs_of(payment=o)]))
        program.constrain(f"covered {o}", [*covered, (used, -horizon.slot_h)], upper=0.0, slot=first)


def _by_hour(horizon: Horizon, columns: Columns) -> Columns:
    """Gather columns of shape (pairs, slots) by hour, shape (hours, pairs * slots of an hour)."""
    hour = horizon.hour_of
    first = np.unique(hour, return_index=True)[1]
    place = np.arange(horizon.length) - first[hour]
    table = np.full((len(first), len(columns), horizon.slots_per_hour), -1)
    for i, row in enumerate(columns):
        table[hour, i, place] = row
    return table.reshape(len(first), -1)


def define_rate_limits(program: LinearProgram, problem: Problem, x: Variables) -> None:
    """Stay within the rate limits of token APIs.

    sum_w tokens[w,t] z[w,k,t] <= s limit_k
    """
    slot_s, slots = problem.horizon.slot_s, np.arange(problem.horizon.length)
    for k, tier in enumerate(problem.tiers):
        routes = problem.routes_to(VenueKind.TIER, k)
        if np.isfinite(tier.tokens_per_s) and routes:
            terms = [(x.flow[r], problem.routes[r].tokens / slot_s) for r in routes]
            program.constrain(f"rate limit {k}", terms, upper=tier.tokens_per_s, slot=slots)


@dataclass(frozen=True, slots=True, kw_only=True)
class Formulation:
    """A programme ready to be solved.

    Args:
        problem: What it is about.
        model: Its arrays.
        x: Columns of its variables.
        rows: Rows of its constraints by name.
    """

    problem: Problem
    model: SparseModel
    x: Variables
    rows: Mapping[str, Columns]


def formulate(problem: Problem, *, exact: Mapping[int, Columns] | None = None, elastic: bool = False) -> Formulation:
    """Write a problem as a programme.

    Args:
        problem: What to plan.
        exact: By pool, slots at which its safe load is held by whole steps instead of by the envelope.
        elastic: Minimise broken promises instead of cost.
    """
    program = LinearProgram()
    x = define_variables(program, problem, elastic=elastic)
    define_coverage(program, problem, x)
    define_safe_load(program, problem, x)
    define_firm_machines(program, problem, x)
    define_capacity(program, problem, x)
    define_backlog(program, problem, x)
    define_patience(program, problem, x)
    define_asynchronous_tiers(program, problem, x)
    define_starts(program, problem, x)
    define_limits(program, problem, x)
    define_savings_plans(program, problem, x)
    define_rate_limits(program, problem, x)
    for pool, slots in (exact or {}).items():
        define_exact_safe_load(program, problem, x, pool, slots)
    model = program.model()
    if elastic:
        slack = [column for one in (x.unserved, x.late) for columns in one.values() for column in columns]
        model.cost[:] = 0.0
        model.cost[slack] = 1.0
    return Formulation(problem=problem, model=model, x=x, rows=program.rows)
