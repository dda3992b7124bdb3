"""Whole machines for the real-time work of each model: the cheapest sequence of pools to add to what is committed.

In one slot, what committed machines do not carry is best added in one pool, since pools pay (c(n) / n rises). Which
one is a choice by slot, with a price on changing it: the cheapest path through slots and pools, found by dynamic
programming in time proportional to the slots. Workloads that may not use the same pools are carried one after the
other, those with fewest pools first.
"""

from dataclasses import dataclass

import numpy as np

from meritorder.planner.model.constraints import Formulation
from meritorder.planner.model.linear_program import Columns, Floats
from meritorder.planner.model.problem import VenueKind
from meritorder.planner.model.supply import OnDemand
from meritorder.planner.model.variables import machine_usd_by_slot, start_usd


@dataclass(frozen=True, slots=True)
class _Choice:
    """One way to carry what committed machines do not: machines of a pair, or tokens (no pair)."""

    pair: int
    machines: Columns
    usd: Floats
    start_usd: float


def min_realtime_machines(formulation: Formulation, x: Floats, replica_value_usd_per_s: dict[int, Floats]) -> Columns:
    """Return the machines of each pair that real-time work needs, shape (pairs, slots).

    Args:
        formulation: The programme.
        x: A solution with whole commitments; machines of shared commitments are taken from it, rounded down.
        replica_value_usd_per_s: By pool, what a second of a full replica saves elsewhere, shape (slots,).
    """
    problem = formulation.problem
    floor = np.zeros(formulation.x.on.shape, np.int64)
    for i, (_, o) in enumerate(problem.pairs):
        if o in formulation.x.commit or o in formulation.x.blocks:
            floor[i] = np.floor(x[formulation.x.on[i]] + 1e-6).astype(np.int64)
    taken = {p: np.zeros(problem.horizon.length) for p in formulation.x.lean}
    for model in sorted({problem.pools[p].model for p in formulation.x.lean}):
        for workloads in _together(formulation, model):
            _carry(formulation, workloads, floor, taken, replica_value_usd_per_s)
    return floor


def _together(formulation: Formulation, model: str) -> list[set[int]]:
    """Return the real-time workloads of a model by the pools that they may use, those with fewest first."""
    problem = formulation.problem
    groups: dict[frozenset[int], set[int]] = {}
    for w in problem.realtime:
        if problem.workloads[w].model == model:
            may = {r.venue for r in problem.routes if r.workload == w and r.kind is VenueKind.POOL}
            groups.setdefault(frozenset(may & set(formulation.x.lean)), set()).add(w)
    return [groups[pools] for pools in sorted(groups, key=lambda pools: (len(pools), sorted(pools)))]


def _carry(
    formulation: Formulation,
    workloads: set[int],
    floor: Columns,
    taken: dict[int, Floats],
    replica_value_usd_per_s: dict[int, Floats],
) -> None:
    """Add the machines that some workloads need to the floor, and what they take of each pool to what is taken."""
    problem = formulation.problem
    routes = [r for r in problem.routes if r.workload in workloads]
    load, share, machines = {}, {}, {}
    for p in sorted({r.venue for r in routes if r.kind is VenueKind.POOL} & set(taken)):
        safe = problem.pools[p].safe_load
        load[p] = np.sum([r.load_s for r in routes if r.kind is VenueKind.POOL and r.venue == p], axis=0)
        load[p] = load[p] / problem.horizon.slot_s
        machines[p] = np.minimum(floor[list(problem.pairs_of(pool=p))].sum(axis=0), len(safe) - 1)
        spare = np.maximum(safe[machines[p]] - taken[p], 0.0)
        share[p] = np.divide(spare, load[p], out=np.ones(len(spare)), where=load[p] > 0)
    carried = np.sum([*share.values(), np.zeros(problem.horizon.length)], axis=0)
    missing = {p: np.maximum(1.0 - (carried - share[p]), 0.0) for p in load}
    choices = []
    for p, all_of_it in load.items():
        wanted = missing[p] * all_of_it + taken[p]
        choices += _in_pool(formulation, p, wanted, machines[p], replica_value_usd_per_s.get(p, np.zeros(len(wanted))))
    bought = [r for r in routes if r.kind is VenueKind.TIER and np.isfinite(r.usd).all()]
    cheapest = [min((r.usd for r in bought if r.workload == w), key=np.sum, default=None) for w in workloads]
    tokens = [usd for usd in cheapest if usd is not None]
    if len(tokens) == len(workloads):
        usd = np.maximum(1.0 - carried, 0.0) * np.sum(tokens, axis=0)
        choices.append(_Choice(-1, np.zeros(len(usd), np.int64), usd, 0.0))
    if not choices:
        return
    path = _cheapest_path(choices, problem.horizon.slots)
    chosen = np.array([choice.pair for choice in choices])[path]
    for c, choice in enumerate(choices):
        if choice.pair >= 0:
            floor[choice.pair] += np.where(path == c, choice.machines, 0)
    for p, all_of_it in load.items():
        here = np.isin(chosen, problem.pairs_of(pool=p))
        taken[p] += all_of_it * np.where(here, missing[p], share[p] / np.maximum(carried, 1.0))


def _in_pool(
    formulation: Formulation, p: int, wanted: Floats, there: Columns, replica_value_usd_per_s: Floats
) -> list[_Choice]:
    """Return the ways to have a pool carry what is wanted of it, with machines that are there already."""
    problem = formulation.problem
    safe = problem.pools[p].safe_load
    needed = np.searchsorted(safe, wanted * (1 - 1e-9))
    extra = np.maximum(needed - there, 0)
    spare_s = problem.pools[p].replicas * problem.horizon.slot_s * replica_value_usd_per_s
    choices = []
    for i in problem.pairs_of(pool=p):
        payment = problem.payments[problem.pairs[i][1]]
        if not isinstance(payment, OnDemand):
            continue
        # What deferrable work would pay for the room is taken off, up to most of the price.
        price = np.maximum(machine_usd_by_slot(problem, i) - spare_s, 0.1 * machine_usd_by_slot(problem, i))
        headroom = (needed < len(safe)) & (extra <= payment.max_machines)
        usd = np.where(headroom, extra * price, np.inf)
        choices.append(_Choice(i, np.where(headroom, extra, 0), usd, start_usd(problem, i)))
    return choices


def _cheapest_path(choices: list[_Choice], slots: int) -> Columns:
    """Return the choice of each slot: the path of least cost, starts of machines included; scenarios are apart."""
    usd = np.stack([choice.usd for choice in choices])
    machines = np.stack([choice.machines for choice in choices])
    start_usd = np.array([choice.start_usd for choice in choices])
    length = usd.shape[1]
    came_from = np.zeros(usd.shape, np.int64)
    total = usd[:, 0].copy()
    for t in range(1, length):
        if t % slots == 0:
            best = int(np.argmin(total))
            came_from[:, t] = best
            total = total[best] + usd[:, t]
            continue
        kept = np.where(np.eye(len(choices), dtype=bool), machines[:, t - 1][:, None], 0)
        change = total[:, None] + start_usd * np.maximum(machines[:, t] - kept, 0)
        came_from[:, t] = np.argmin(change, axis=0)
        total = change[came_from[:, t], np.arange(len(choices))] + usd[:, t]
    path = np.zeros(length, np.int64)
    path[-1] = int(np.argmin(total))
    for t in range(length - 1, 0, -1):
        path[t - 1] = came_from[path[t], t]
    return path
