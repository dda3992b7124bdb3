"""Whole machines for real-time work: the cheapest sequence of pools beside the machines committed to.

Within a slot, load beyond the committed machines is best served in one pool, because c(n) / n increases. Which pool is
a choice in each slot, with a cost of starting machines after a change: the cheapest path through slots and pools, found
by dynamic programming in time linear in the slots. Workloads that may use different pools are placed one group after
the other, those with the fewest pools first.
"""

from dataclasses import dataclass

import numpy as np

from meritorder.planner.model.constraints import Formulation
from meritorder.planner.model.linear_program import Columns, Floats
from meritorder.planner.model.problem import RouteKind
from meritorder.planner.model.supply import OnDemand
from meritorder.planner.model.variables import machine_usd_by_slot, start_usd


@dataclass(frozen=True, slots=True)
class _Option:
    """One way to serve load beyond the committed machines: machines of a pair, or tokens (pair -1), shape (slots,)."""

    pair: int
    machines: Columns
    usd: Floats
    start_usd: float


def min_realtime_machines(
    formulation: Formulation, values: Floats, replica_value_usd_per_s: dict[int, Floats]
) -> Columns:
    """Return the machines of each pair that real-time work needs, shape (pairs, slots).

    Args:
        formulation: The program.
        values: A solution with whole commitments; it gives the machines committed to, rounded down.
        replica_value_usd_per_s: By pool, value of a replica-second to deferrable work, shape (slots,).
    """
    problem, var = formulation.problem, formulation.variables
    machines = np.zeros(var.machines.shape, np.int64)
    for i, (_, o) in enumerate(problem.pairs):
        if o in var.committed or o in var.blocks:
            machines[i] = np.floor(values[var.machines[i]] + 1e-6).astype(np.int64)
    load = {p: np.zeros(problem.horizon.length) for p in var.firm}
    for model in sorted({problem.pools[p].model for p in var.firm}):
        for workloads in _group_by_pools(formulation, model):
            _place(formulation, workloads, machines, load, replica_value_usd_per_s)
    return machines


def _group_by_pools(formulation: Formulation, model: str) -> list[set[int]]:
    """Return the real-time workloads of a model grouped by the pools that they may use, fewest pools first."""
    problem = formulation.problem
    groups: dict[frozenset[int], set[int]] = {}
    for w in problem.realtime:
        if problem.workloads[w].model == model:
            pools = {r.venue for r in problem.routes if r.workload == w and r.kind is RouteKind.POOL}
            groups.setdefault(frozenset(pools & set(formulation.variables.firm)), set()).add(w)
    return [groups[pools] for pools in sorted(groups, key=lambda pools: (len(pools), sorted(pools)))]


def _place(
    formulation: Formulation,
    workloads: set[int],
    machines: Columns,
    load: dict[int, Floats],
    replica_value_usd_per_s: dict[int, Floats],
) -> None:
    """Add the machines that a group of workloads needs to `machines`, and its load on each pool to `load`."""
    problem = formulation.problem
    routes = [route for route in problem.routes if route.workload in workloads]
    group_load, share, present = {}, {}, {}
    for p in sorted({route.venue for route in routes if route.kind is RouteKind.POOL} & set(load)):
        safe_load = problem.pools[p].safe_load
        loads_s = [route.load_s for route in routes if route.kind is RouteKind.POOL and route.venue == p]
        group_load[p] = np.sum(loads_s, axis=0) / problem.horizon.slot_s
        present[p] = np.minimum(machines[list(problem.pairs_of(pool=p))].sum(axis=0), len(safe_load) - 1)
        spare = np.maximum(safe_load[present[p]] - load[p], 0.0)
        share[p] = np.divide(spare, group_load[p], out=np.ones(len(spare)), where=group_load[p] > 0)
    served = np.sum([*share.values(), np.zeros(problem.horizon.length)], axis=0)
    missing = {p: np.maximum(1.0 - (served - share[p]), 0.0) for p in group_load}
    options = []
    for p, whole_load in group_load.items():
        required = missing[p] * whole_load + load[p]
        value = replica_value_usd_per_s.get(p, np.zeros(len(required)))
        options += _pool_options(formulation, p, required, present[p], value)
    options += _token_option(formulation, workloads, served)
    if not options:
        return
    path = _cheapest_path(options, problem.horizon.slots)
    chosen = np.array([option.pair for option in options])[path]
    for index, option in enumerate(options):
        if option.pair >= 0:
            machines[option.pair] += np.where(path == index, option.machines, 0)
    for p, whole_load in group_load.items():
        here = np.isin(chosen, problem.pairs_of(pool=p))
        load[p] += whole_load * np.where(here, missing[p], share[p] / np.maximum(served, 1.0))


def _pool_options(
    formulation: Formulation, p: int, required: Floats, present: Columns, replica_value_usd_per_s: Floats
) -> list[_Option]:
    """Return the on-demand machines that let a pool serve the required load, beside those present."""
    problem = formulation.problem
    safe_load = problem.pools[p].safe_load
    needed = np.searchsorted(safe_load, required * (1 - 1e-9))
    extra = np.maximum(needed - present, 0)
    value_usd = problem.pools[p].replicas * problem.horizon.slot_s * replica_value_usd_per_s
    options = []
    for i in problem.pairs_of(pool=p):
        payment = problem.payment_of(i)
        if not isinstance(payment, OnDemand):
            continue
        # The value of spare capacity to deferrable work is taken off the price, up to 90 % of it.
        price = np.maximum(machine_usd_by_slot(problem, i) - value_usd, 0.1 * machine_usd_by_slot(problem, i))
        possible = (needed < len(safe_load)) & (extra <= payment.max_machines)
        usd = np.where(possible, extra * price, np.inf)
        options.append(_Option(i, np.where(possible, extra, 0), usd, start_usd(problem, i)))
    return options


def _token_option(formulation: Formulation, workloads: set[int], served: Floats) -> list[_Option]:
    """Return the cheapest token tiers as one option, if there is one for every workload."""
    problem = formulation.problem
    bought = [
        route
        for route in problem.routes
        if route.workload in workloads and route.kind is RouteKind.TIER and np.isfinite(route.usd).all()
    ]
    cheapest = [min((r.usd for r in bought if r.workload == w), key=np.sum, default=None) for w in workloads]
    tokens = [usd for usd in cheapest if usd is not None]
    if len(tokens) < len(workloads):
        return []
    usd = np.maximum(1.0 - served, 0.0) * np.sum(tokens, axis=0)
    return [_Option(-1, np.zeros(len(usd), np.int64), usd, 0.0)]


def _cheapest_path(options: list[_Option], slots: int) -> Columns:
    """Return the index of the option in each slot, on the path of least cost including starts, shape (slots,).

        total[c,t] = usd[c,t] + min_b (total[b,t-1] + start_usd[c] max(machines[c,t] - [b = c] machines[c,t-1], 0))

    Scenarios have no starts between them.
    """
    usd = np.stack([option.usd for option in options])
    machines = np.stack([option.machines for option in options])
    start_usd = np.array([option.start_usd for option in options])
    length = usd.shape[1]
    previous = np.zeros(usd.shape, np.int64)
    total = usd[:, 0].copy()
    for t in range(1, length):
        if t % slots == 0:
            best = int(np.argmin(total))
            previous[:, t] = best
            total = total[best] + usd[:, t]
            continue
        kept = np.where(np.eye(len(options), dtype=bool), machines[:, t - 1][:, None], 0)
        change = total[:, None] + start_usd * np.maximum(machines[:, t] - kept, 0)
        previous[:, t] = np.argmin(change, axis=0)
        total = change[previous[:, t], np.arange(len(options))] + usd[:, t]
    path = np.zeros(length, np.int64)
    path[-1] = int(np.argmin(total))
    for t in range(length - 1, 0, -1):
        path[t - 1] = previous[path[t], t]
    return path
