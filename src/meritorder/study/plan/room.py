"""How full machines really were where work that could wait was late: what a slot leaves room for."""

from collections.abc import Iterable, Mapping
from typing import Final

import numpy as np
from numpy.typing import NDArray

from meritorder.planner.model.demand import Horizon
from meritorder.planner.model.supply import MachinePool
from meritorder.sim.pools import SimResult
from meritorder.study.fleet.load import TraceLoad
from meritorder.study.fleet.machines import CandidateMachine
from meritorder.study.plan.check import ModelRun

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

# A step is as long as the share of requests that were late, within these.
_STEPS: Final = (0.06, 0.15)
# And the longer, the more was taken before in vain.
_PERSISTENT: Final = 0.3
_LEAST: Final = 0.2


def less_room(
    runs: Iterable[ModelRun],
    pools: Mapping[str, MachinePool],
    machines: Mapping[str, CandidateMachine],
    horizon: Horizon,
) -> dict[str, Floats]:
    """Return what slots leave room for, as far as machines were seen to be full.

    While work waits at both ends of a slot, what the machines do in it is all that they can do:

        room[t] = work done[t] / (fullest * time of the replicas[t])

    Slots in which they were not full are taken to leave what the others leave in the median. Between the arrival and
    the deadline of requests that were late a slot loses a step in any case, by their share in its requests.

    Args:
        runs: What became of the plan.
        pools: The pools that were planned with, with their room so far.
        machines: Replica of each pool.
        horizon: The slots.

    Returns:
        By kind of replica, shape (slots,); without those that lose none.
    """
    room: dict[str, Floats] = {}
    for run in runs:
        if run.result is None:
            continue
        for kind in {pools[one.pool].replica for one in run.schedules}:
            mine = _may_run(run, kind, pools)
            waiting = _waiting(run.load, run.result, mine, horizon)
            before = np.concatenate(([False], waiting[:-1]))
            late = _share_late(run.load, run.result, mine, horizon)
            judged = (late > 0) & (waiting | before)
            one = next(pools[one.pool] for one in run.schedules if pools[one.pool].replica == kind)
            done_s, held_s = _work_and_time(run, run.result, kind, pools=pools, machines=machines, horizon=horizon)
            full = waiting & before & (held_s > 0)
            did = np.divide(done_s, held_s * one.max_utilization, out=np.ones(horizon.slots), where=full)
            seen = np.where(full, did, np.median(did[full]) if full.any() else 1.0)
            was = np.broadcast_to(one.headroom, (horizon.slots,))
            step = np.clip(late, _STEPS[0] + _PERSISTENT * (1 - was), _STEPS[1] + _PERSISTENT * (1 - was))
            new = np.maximum(np.minimum(np.where(judged & (held_s > 0), was * (1 - step), was), seen), _LEAST)
            if (new < was).any():
                room[kind] = new
    return room


def _may_run(run: ModelRun, kind: str, pools: Mapping[str, MachinePool]) -> Bools:
    """Return which requests may wait for replicas of a kind, shape (requests,)."""
    places = {
        (pool.provider, pool.region, pool.hardware)
        for one in run.schedules
        if (pool := pools[one.pool]).replica == kind
    }
    return np.asarray(run.load.deferrable & np.any([run.load.may_run(*place) for place in places], axis=0))


def _share_late(load: TraceLoad, result: SimResult, mine: Bools, horizon: Horizon) -> Floats:
    """Return, of the requests that could have been served in a slot, the share that was late, shape (slots,)."""
    could = _windows(load, mine, horizon)
    late = _windows(load, mine & ~(result.finished_s <= load.deadline_s), horizon)
    return np.asarray(late / np.maximum(could, 1))


def _windows(load: TraceLoad, chosen: Bools, horizon: Horizon) -> NDArray[np.int64]:
    """Count the requests between whose arrival and deadline each slot lies, shape (slots,)."""
    begun = np.bincount(_slot(load.arrived_s[chosen], horizon), minlength=horizon.slots)
    over = np.bincount(_slot(load.deadline_s[chosen], horizon) + 1, minlength=horizon.slots + 1)[: horizon.slots]
    return np.asarray(np.cumsum(begun - over))


def _waiting(load: TraceLoad, result: SimResult, mine: Bools, horizon: Horizon) -> Bools:
    """Return whether work that may wait was waiting at the end of each slot, shape (slots,)."""
    came_s, admitted_s = load.arrived_s[mine], result.admitted_s[mine]
    came = np.bincount(_slot(came_s, horizon), minlength=horizon.slots)
    left = np.bincount(_slot(admitted_s[np.isfinite(admitted_s)], horizon), minlength=horizon.slots)
    return np.asarray(np.cumsum(came - left) > 0)


def _work_and_time(
    run: ModelRun,
    result: SimResult,
    kind: str,
    *,
    pools: Mapping[str, MachinePool],
    machines: Mapping[str, CandidateMachine],
    horizon: Horizon,
) -> tuple[Floats, Floats]:
    """Return the work that replicas of a kind did in each slot, and their time, in seconds, shape (slots,)."""
    of_kind = [pools[one.pool].replica == kind for one in run.schedules]
    replicas = [pools[one.pool].replicas for one in run.schedules]
    counts = [max(one.machines) * count for one, count in zip(run.schedules, replicas, strict=True)]
    machine = next(machines[one.pool] for one, mine in zip(run.schedules, of_kind, strict=True) if mine)
    chosen = np.repeat(of_kind, counts)[result.replica] & np.isfinite(result.finished_s)
    begin_s, end_s = result.admitted_s[chosen], result.finished_s[chosen]
    rate = machine.work_s(run.load.select(chosen)) / np.maximum(end_s - begin_s, 1e-9)
    held_s = np.zeros(horizon.slots)
    for one, mine, count in zip(run.schedules, of_kind, replicas, strict=True):
        held_s += mine * count * horizon.slot_s * np.asarray(one.machines)
    return _area(begin_s, rate, horizon) - _area(end_s, rate, horizon), held_s


def _area(from_s: Floats, rate: Floats, horizon: Horizon) -> Floats:
    """Return the area in each slot under steps that begin at some moments and never end, shape (slots,)."""
    slot, slot_s = _slot(from_s, horizon), horizon.slot_s
    height = np.bincount(slot, weights=rate, minlength=horizon.slots)
    into_s = np.minimum(from_s - slot * slot_s, slot_s)
    missing = np.bincount(slot, weights=rate * into_s, minlength=horizon.slots)
    return np.asarray(np.cumsum(height) * slot_s - missing)


def _slot(times_s: Floats, horizon: Horizon) -> NDArray[np.int64]:
    return np.minimum((times_s / horizon.slot_s).astype(np.int64), horizon.slots - 1)
