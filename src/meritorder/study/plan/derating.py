"""How far machines are trusted: at first, and less where a plan broke a promise."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from meritorder import planfile
from meritorder.planner.solve.solution import realtime_load
from meritorder.study.fleet.options import Progress
from meritorder.study.plan.bursts import bursts_for, raised, strictest
from meritorder.study.plan.check import ModelRun, carry_out
from meritorder.study.plan.demand import realtime_classes_of
from meritorder.study.plan.made import Made
from meritorder.study.plan.options import PlanOptions
from meritorder.study.plan.problem import Asked, Trust
from meritorder.study.plan.room import less_room
from meritorder.study.plan.seats import fewer_seats

Floats = NDArray[np.float64]

# Of the requests that may break the SLO, the share that real-time work alone may use up and leave room for others.
_ALONE: Final = 0.8
# Factor on what machines may be planned for in all, where nothing tells which slots are too full.
_FULL_STEP: Final = 0.97


def first_bursts(asked: Asked, progress: Progress) -> dict[str, Floats]:
    """Return what the traffic's bursts ask for, by workload, found on the replica with the cheapest work."""
    horizon, found = asked.problem.horizon, {}
    for model, load in asked.loads.items():
        for each in realtime_classes_of(load, model if asked.several else ""):
            lane = load.select(each.members)
            progress(f"measuring the bursts of {each.name}")
            pools = [site for site in asked.sites.values() if site.pool.model == model and site.serving.realtime]
            mine = [site for site in pools if each.may_use(site.pool)] or pools
            serving = min((site.serving for site in mine), key=lambda one: one.machine.price_work(lane))
            found[each.name] = bursts_for(lane, serving, horizon.slot_s, horizon.slots)
    return found


def with_more_room(trust: Trust) -> Trust:
    """Return the trust with half of the room back that slots lost."""
    return replace(trust, room={kind: (1 + room) / 2 for kind, room in trust.room.items()})


def less(trust: Trust, made: Made, options: PlanOptions) -> Trust:
    """Return less trust in what broke a promise: tried by carrying the plan out with real-time work alone.

    Where the SLO breaks only beside deferrable work, that loses seats; if it did so before and real time alone has
    next to nothing to spare, or there are no seats left to lose, real time gets machines as well.
    """
    if made.simulated.deadlines_missed:
        seen = as_seen(trust, made)
        return replace(trust, full=trust.full * _FULL_STEP) if seen is trust else seen
    lanes = {model: load.select(~load.deferrable) for model, load in made.asked.loads.items()}
    alone, runs = carry_out(made.file, lanes, made.asked.machines, made.asked.tokens, seed=options.seed)
    if alone.kept:
        fewer = _fewer_seats(trust, made, runs)
        spare = 1 - (alone.slo_attainment or 0.0) <= _ALONE * _may_break(made)
        if not trust.seats or (spare and not _alike(trust.seats, fewer.seats)):
            return fewer
        trust = fewer
    burst = dict(trust.burst)
    for model, run in runs.items():
        if alone.kept or not run.attained:
            burst |= _bursts(made, model, run, burst)
    return replace(trust, burst=burst)


def _fewer_seats(trust: Trust, made: Made, alone: Mapping[str, ModelRun]) -> Trust:
    """Return less trust in the seats of deferrable work beside real-time work, of models whose SLO broke."""
    every, slot_s = np.ones(made.file.slots), made.file.slot_s
    fewer = {
        model: fewer_seats(trust.seats.get(model, every), run, alone[model], slot_s)
        for model, run in made.runs.items()
        if not run.attained
    }
    return replace(trust, seats={**trust.seats, **fewer})


def _alike(one: Mapping[str, Floats], other: Mapping[str, Floats]) -> bool:
    return one.keys() == other.keys() and all(np.array_equal(one[model], other[model]) for model in one)


def _may_break(made: Made) -> float:
    return min(1 - strictest(load) for load in made.asked.loads.values())


def _bursts(made: Made, model: str, run: ModelRun, before: Mapping[str, Floats]) -> dict[str, Floats]:
    """Return the bursts that ask for more machines in the slots where most requests broke the SLO, by workload."""
    file, solution, load, broken = made.file, made.solution, run.load, run.broken
    pools = {pool.name: pool for pool in solution.problem.pools if pool.model == model and len(pool.safe_load) > 1}
    rented = sorted({one.pool for one in file.schedule if one.realtime} & set(pools))
    demands = {one.name: one for one in solution.problem.workloads}
    found: dict[str, Floats] = {}
    for each in realtime_classes_of(load, model if made.asked.several else ""):
        serving = [name for name in rented if each.may_use(pools[name])]
        if not serving or not broken[each.members].any():
            continue
        # Where several pools share a slot, it is the one with most of it that grows.
        there = np.array([realtime_load(solution, name) for name in serving])
        most = np.argmax(there, axis=0)
        slots = np.arange(file.slots)
        machines = np.array([_machines(file, name) for name in serving])
        work_s = np.array([demands[each.name].work_s[pools[name].replica] for name in serving])
        found[each.name] = raised(
            before[each.name],
            mean=work_s[most, slots] / file.slot_s,
            there=there[most, slots],
            machines=machines[most, slots],
            safe=[pools[serving[place]].safe_load for place in most.tolist()].__getitem__,
            slot=np.minimum((load.arrived_s[each.members] / file.slot_s).astype(np.int64), file.slots - 1),
            broken=broken[each.members],
            attainment=strictest(load),
        )
    return found


def _machines(file: planfile.Plan, pool: str) -> NDArray[np.int64]:
    """Return the machines of a pool that serve real-time work, of all payments, shape (slots,)."""
    return np.asarray(np.sum([one.machines for one in file.schedule if one.pool == pool and one.realtime], axis=0))


def as_seen(trust: Trust, made: Made) -> Trust:
    """Return the trust that full machines deserve, as they were seen to be; of models that were late, if any were."""
    problem = made.solution.problem
    pools = {pool.name: pool for pool in problem.pools}
    late = [run for run in made.runs.values() if run.missed]
    room = less_room(late or made.runs.values(), pools, made.asked.machines, problem.horizon)
    return replace(trust, room={**trust.room, **room}) if room else trust


def between(before: Trust, after: Trust) -> Trust:
    """Return the trust half way back to what broke a promise: the last step may have been too long."""
    seats = {model: np.sqrt(before.seats.get(model, 1.0) * shares) for model, shares in after.seats.items()}
    return replace(after, seats=seats)
