"""Headroom: the share of their capacity that machines had to spare where deferrable work was late."""

from collections.abc import Iterable, Mapping
from typing import Final

import numpy as np
from numpy.typing import NDArray

from meritorder.planner.model.demand import Horizon
from meritorder.planner.model.supply import MachinePool
from meritorder.sim.pools import SimResult
from meritorder.study.fleet.load import TraceLoad
from meritorder.study.fleet.machines import CandidateMachine
from meritorder.study.schedule.demand import slot_index
from meritorder.study.schedule.simulate import ModelOutcome

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

# Headroom: a step is the share of late requests within these limits, longer the more was taken before.
_HEADROOM_STEPS: Final = (0.06, 0.15)
_HEADROOM_PERSISTENCE: Final = 0.3
_MIN_HEADROOM: Final = 0.2


def observed_headroom(
    outcomes: Iterable[ModelOutcome],
    pools: Mapping[str, MachinePool],
    machines: Mapping[str, CandidateMachine],
    horizon: Horizon,
) -> dict[str, Floats]:
    """Return the headroom of slots in which machines were busy throughout.

    If work waits at both ends of a slot, the machines do all that they can in it:

        headroom[t] = work done[t] / (max_utilization * time of the replicas[t])

    Other slots get the median of these. A slot between arrival and deadline of late requests loses at least a step, by
    the share of its requests that are late.

    Args:
        outcomes: Outcomes of the plan.
        pools: The planned pools, with their present headroom.
        machines: Replica of each pool.
        horizon: The slots.

    Returns:
        By kind of replica, shape (slots,); only kinds that lose headroom.
    """
    headroom: dict[str, Floats] = {}
    for outcome in outcomes:
        load, result = outcome.load, outcome.result
        if result is None:
            continue
        for kind in {pools[row.pool].replica for row in outcome.schedules}:
            eligible = _eligible(outcome, kind, pools)
            waiting = _waiting(load, result, eligible, horizon)
            waiting_before = np.concatenate(([False], waiting[:-1]))
            late = _late_share(load, result, eligible, horizon)
            judged = (late > 0) & (waiting | waiting_before)
            pool = next(pools[row.pool] for row in outcome.schedules if pools[row.pool].replica == kind)
            done_s, time_s = _work_and_time_s(outcome, result, kind, pools=pools, machines=machines, horizon=horizon)
            busy = waiting & waiting_before & (time_s > 0)
            did = np.divide(done_s, time_s * pool.max_utilization, out=np.ones(horizon.slots), where=busy)
            seen = np.where(busy, did, np.median(did[busy]) if busy.any() else 1.0)
            before = np.broadcast_to(pool.headroom, (horizon.slots,))
            longer = _HEADROOM_PERSISTENCE * (1 - before)
            step = np.clip(late, _HEADROOM_STEPS[0] + longer, _HEADROOM_STEPS[1] + longer)
            stepped = np.where(judged & (time_s > 0), before * (1 - step), before)
            after = np.maximum(np.minimum(stepped, seen), _MIN_HEADROOM)
            if (after < before).any():
                headroom[kind] = after
    return headroom


def _eligible(outcome: ModelOutcome, kind: str, pools: Mapping[str, MachinePool]) -> Bools:
    """Return which deferrable requests a kind of replica may serve, shape (requests,)."""
    places = {
        (pool.provider, pool.region, pool.hardware)
        for row in outcome.schedules
        if (pool := pools[row.pool]).replica == kind
    }
    permitted = np.any([outcome.load.may_run(*place) for place in places], axis=0)
    return np.asarray(outcome.load.deferrable & permitted)


def _late_share(load: TraceLoad, result: SimResult, eligible: Bools, horizon: Horizon) -> Floats:
    """Return the late share of the requests that a slot could have served, shape (slots,)."""
    could = _open_requests(load, eligible, horizon)
    late = _open_requests(load, eligible & ~(result.finished_s <= load.deadline_s), horizon)
    return np.asarray(late / np.maximum(could, 1))


def _open_requests(load: TraceLoad, chosen: Bools, horizon: Horizon) -> Ints:
    """Count the requests with each slot between their arrival and deadline, shape (slots,)."""
    begun = np.bincount(_slot(load.arrived_s[chosen], horizon), minlength=horizon.slots)
    over = np.bincount(_slot(load.deadline_s[chosen], horizon) + 1, minlength=horizon.slots + 1)[: horizon.slots]
    return np.asarray(np.cumsum(begun - over))


def _waiting(load: TraceLoad, result: SimResult, eligible: Bools, horizon: Horizon) -> Bools:
    """Return whether deferrable work was waiting at the end of each slot, shape (slots,)."""
    admitted_s = result.admitted_s[eligible]
    came = np.bincount(_slot(load.arrived_s[eligible], horizon), minlength=horizon.slots)
    left = np.bincount(_slot(admitted_s[np.isfinite(admitted_s)], horizon), minlength=horizon.slots)
    return np.asarray(np.cumsum(came - left) > 0)


def _work_and_time_s(
    outcome: ModelOutcome,
    result: SimResult,
    kind: str,
    *,
    pools: Mapping[str, MachinePool],
    machines: Mapping[str, CandidateMachine],
    horizon: Horizon,
) -> tuple[Floats, Floats]:
    """Return the work and the time of a kind of replica in each slot, in seconds, shapes (slots,)."""
    schedules = outcome.schedules
    of_kind = [pools[row.pool].replica == kind for row in schedules]
    replicas = [pools[row.pool].replicas for row in schedules]
    counts = [max(row.machines) * count for row, count in zip(schedules, replicas, strict=True)]
    machine = next(machines[row.pool] for row, match in zip(schedules, of_kind, strict=True) if match)
    chosen = np.repeat(of_kind, counts)[result.replica] & np.isfinite(result.finished_s)
    begin_s, end_s = result.admitted_s[chosen], result.finished_s[chosen]
    rate = machine.work_s(outcome.load.select(chosen)) / np.maximum(end_s - begin_s, 1e-9)
    time_s = np.zeros(horizon.slots)
    for row, match, count in zip(schedules, of_kind, replicas, strict=True):
        time_s += match * count * horizon.slot_s * np.asarray(row.machines)
    return _area_by_slot(begin_s, rate, horizon) - _area_by_slot(end_s, rate, horizon), time_s


def _area_by_slot(from_s: Floats, rate: Floats, horizon: Horizon) -> Floats:
    """Return the area in each slot under rates that begin at given times and never end, shape (slots,)."""
    slot, slot_s = _slot(from_s, horizon), horizon.slot_s
    height = np.bincount(slot, weights=rate, minlength=horizon.slots)
    into_s = np.minimum(from_s - slot * slot_s, slot_s)
    missing = np.bincount(slot, weights=rate * into_s, minlength=horizon.slots)
    return np.asarray(np.cumsum(height) * slot_s - missing)


def _slot(times_s: Floats, horizon: Horizon) -> Ints:
    return slot_index(times_s, horizon.slot_s, horizon.slots)
