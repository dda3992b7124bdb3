"""Which replica takes a request."""

import numpy as np

from meritorder.policy.release import backfill_seats
from meritorder.policy.route import load_of
from meritorder.sim.backlog import count_in_flight
from meritorder.sim.compiled import compiled, inlined
from meritorder.sim.instances import first_free, instances_of, is_doomed, replicas_of, start, turn_on
from meritorder.sim.replica import look_again
from meritorder.sim.seats import enqueue
from meritorder.sim.state import (
    AFFINITY,
    DEFERRABLE,
    DRAINING,
    LEAST_WORK,
    NONE,
    ON,
    REALTIME,
    ROUND_ROBIN,
    STARTING,
    World,
)

_backfill_seats = compiled(backfill_seats)
_load_of = compiled(load_of)


@inlined
def take(world: World, r: int, lane: int, request: int, now: float) -> None:
    """Hand a request to a replica, and have it look at its queue at its next step."""
    rep = world.replicas[r]
    enqueue(world, r, lane, request)
    if not world.requests[request].deferrable:
        count_in_flight(world, rep.pool, now, 1)
    if world.instances[rep.instance].state in (ON, DRAINING):
        look_again(world, r, now)


@compiled
def first_realtime(world: World) -> int:
    """Return the first pool with instances that takes real-time requests, or NONE."""
    for p in range(world.pools.shape[0]):
        if world.pools[p].realtime and world.pools[p].instances > 0:
            return np.int64(p)
    return NONE


@compiled
def _on_replicas(world: World, state: int) -> int:
    """Count the replicas of real-time pools whose instance is in that state."""
    count = 0
    for p in range(world.pools.shape[0]):
        if world.pools[p].realtime:
            for i in instances_of(world, p):
                if world.instances[i].state == state:
                    count += world.pools[p].pack
    return count


@compiled
def _nth_replica(world: World, state: int, place: int) -> int:
    """Return the replica at that place among those of real-time pools whose instance is in that state."""
    for p in range(world.pools.shape[0]):
        if world.pools[p].realtime:
            for i in instances_of(world, p):
                if world.instances[i].state == state:
                    if place < world.pools[p].pack:
                        return np.int64(replicas_of(world, p, i).start + place)
                    place -= world.pools[p].pack
    return NONE


@inlined
def _least_loaded(world: World, state: int, now: float) -> int:
    """Return the replica of a real-time pool in that state with the least load, the lowest index among equals."""
    by_work = world.state[0].routing == LEAST_WORK
    best, least = NONE, np.inf
    for p in range(world.pools.shape[0]):
        if not world.pools[p].realtime:
            continue
        for i in instances_of(world, p):
            if world.instances[i].state != state or (state == DRAINING and is_doomed(world, p, i, now)):
                continue
            for r in replicas_of(world, p, i):
                rep = world.replicas[r]
                load = rep.work_s if by_work else float(_load_of(rep.running, rep.waiting))
                if load < least:
                    best, least = np.int64(r), load
    return best


@inlined
def _choose(world: World, request: int, now: float) -> int:
    """Choose among the replicas that are on, by the routing of the fleet; NONE if there are none."""
    state = world.state[0]
    if state.routing == ROUND_ROBIN:
        count = _on_replicas(world, ON)
        if count == 0:
            return NONE
        state.turn += 1
        return _nth_replica(world, ON, (state.turn - 1) % count)
    session = world.requests[request].session
    if state.routing == AFFINITY and session != NONE:
        count = _on_replicas(world, ON)
        return _nth_replica(world, ON, session % count) if count > 0 else NONE
    return _least_loaded(world, ON, now)


@compiled
def _rent(world: World, now: float) -> int:
    """Rent an instance of the first real-time pool that may have one more, and return its first replica.

    If none may, requests wait at the first replica of all until the provider leaves more (interruptions.py).
    """
    for p in range(world.pools.shape[0]):
        if world.pools[p].realtime:
            i = first_free(world, p)
            if i != NONE:
                start(world, p, i, now, world.pools[p].startup_s)
                return np.int64(replicas_of(world, p, i).start)
    return np.int64(world.pools[first_realtime(world)].first_replica)


@compiled
def route_realtime(world: World, request: int, now: float) -> None:
    """Send a request to a replica that is on; if none is, to one that starts, started now if need be."""
    r = _choose(world, request, now)
    if r == NONE:
        r = _least_loaded(world, STARTING, now)
    if r == NONE:
        r = _least_loaded(world, DRAINING, now)
        if r != NONE:
            turn_on(world, world.replicas[r].pool, world.replicas[r].instance, now)
    if r == NONE:
        r = _rent(world, now)
    take(world, r, REALTIME, request, now)


@compiled
def offer_deferrable(world: World, request: int, now: float) -> bool:
    """Send a request to the replica with the most room, in merit order of pools; returns whether there is room."""
    for p in range(world.pools.shape[0]):
        best, least = NONE, np.int64(1 << 60)
        for i in instances_of(world, p):
            if world.instances[i].state != ON:
                continue
            for r in replicas_of(world, p, i):
                waiting = world.replicas[r].waiting
                if _backfill_seats(world.replicas[r].running, waiting, world.pools[p].backfill_seats) > 0:
                    load = _load_of(world.replicas[r].running, waiting)
                    if load < least:
                        best, least = np.int64(r), load
        if best != NONE:
            take(world, best, DEFERRABLE, request, now)
            return True
    return False


@compiled
def urgent(world: World, request: int, now: float) -> bool:
    """Whether deferrable work is to be served as real-time work from now on: it cannot wait for another tick."""
    return world.latest_start_s[request] <= now + world.state[0].tick_s


@compiled
def escalate(world: World, r: int, now: float) -> None:
    """Move urgent requests of a replica from its deferrable to its real-time queue."""
    request = np.int64(world.replicas[r].head[DEFERRABLE])
    if request == NONE:
        return
    world.replicas[r].head[DEFERRABLE] = NONE
    while request != NONE:
        behind = np.int64(world.requests[request].next)
        world.replicas[r].waiting -= 1
        world.replicas[r].work_s -= world.requests[request].work_s
        if urgent(world, request, now):
            world.requests[request].lane = REALTIME
            look_again(world, r, now)
        enqueue(world, r, np.int64(world.requests[request].lane), request)
        request = behind
