"""Which replica takes a request."""

import numpy as np

from meritorder.policy.backfill import backfill_sequences
from meritorder.policy.replicas import replica_load
from meritorder.sim.backlog import count_in_flight, most_urgent
from meritorder.sim.compiled import compiled, inlined
from meritorder.sim.heaps import before
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

_backfill_sequences = compiled(backfill_sequences)
_replica_load = compiled(replica_load)


@inlined
def take(world: World, r: int, lane: int, request: int, now: float) -> None:
    """Hand a request to a replica, and have it look at its queue at its next step."""
    rep = world.replicas[r]
    enqueue(world, r, lane, request)
    if not world.requests[request].deferrable:
        count_in_flight(world, rep.pool, now, 1)
    if world.instances[rep.instance].state in (ON, DRAINING):
        look_again(world, r, now)


@inlined
def _serves(world: World, p: int, access: int) -> bool:
    """Whether a pool takes requests of an access in real time."""
    return (world.pools[p].realtime >> access) & 1 > 0


@compiled
def permitted_in_real_time(world: World) -> int:
    """Return the accesses whose requests some pool with instances takes in real time, a bit each."""
    permits = np.int64(0)
    for p in range(world.pools.shape[0]):
        if world.pools[p].instances > 0:
            permits |= world.pools[p].realtime
    return permits


@compiled
def _on_replicas(world: World, access: int) -> int:
    """Count the replicas whose instance is on and takes requests of an access in real time."""
    count = 0
    for p in range(world.pools.shape[0]):
        if _serves(world, p, access):
            for i in instances_of(world, p):
                if world.instances[i].state == ON:
                    count += world.pools[p].pack
    return count


@compiled
def _nth_replica(world: World, access: int, place: int) -> int:
    """Return the replica at that place among those that `_on_replicas` counts."""
    for p in range(world.pools.shape[0]):
        if _serves(world, p, access):
            for i in instances_of(world, p):
                if world.instances[i].state == ON:
                    if place < world.pools[p].pack:
                        return np.int64(replicas_of(world, p, i).start + place)
                    place -= world.pools[p].pack
    return NONE


@inlined
def _least_loaded(world: World, access: int, state: int, now: float) -> int:
    """Return the replica in that state that takes the access and has the least load, the lowest index of equals."""
    by_work = world.state[0].routing == LEAST_WORK
    best, least = NONE, np.inf
    for p in range(world.pools.shape[0]):
        if not _serves(world, p, access):
            continue
        for i in instances_of(world, p):
            if world.instances[i].state != state or (state == DRAINING and is_doomed(world, p, i, now)):
                continue
            for r in replicas_of(world, p, i):
                rep = world.replicas[r]
                load = rep.work_s if by_work else float(_replica_load(rep.running, rep.waiting))
                if load < least:
                    best, least = np.int64(r), load
    return best


@inlined
def _choose(world: World, request: int, access: int, now: float) -> int:
    """Choose among the replicas that are on, by the routing of the fleet; NONE if there are none."""
    state = world.state[0]
    if state.routing == ROUND_ROBIN:
        count = _on_replicas(world, access)
        if count == 0:
            return NONE
        state.turn[access] += 1
        return _nth_replica(world, access, (state.turn[access] - 1) % count)
    session = world.requests[request].session
    if state.routing == AFFINITY and session != NONE:
        count = _on_replicas(world, access)
        return _nth_replica(world, access, session % count) if count > 0 else NONE
    return _least_loaded(world, access, ON, now)


@compiled
def _rent(world: World, access: int, now: float) -> int:
    """Rent an instance of the first pool that takes the access and may have one more; return its first replica.

    If none may, requests wait at the first replica of all until the provider leaves more (interruptions.py).
    """
    first = NONE
    for p in range(world.pools.shape[0]):
        if _serves(world, p, access):
            i = first_free(world, p)
            if i != NONE:
                start(world, p, i, now, world.pools[p].startup_s)
                return np.int64(replicas_of(world, p, i).start)
            if first == NONE and world.pools[p].instances > 0:
                first = np.int64(world.pools[p].first_replica)
    return first


@compiled
def route_realtime(world: World, request: int, now: float) -> None:
    """Send a request to a replica that is on; if none is, to one that starts, started now if need be."""
    access = np.int64(world.requests[request].access)
    r = _choose(world, request, access, now)
    if r == NONE:
        r = _least_loaded(world, access, STARTING, now)
    if r == NONE:
        r = _least_loaded(world, access, DRAINING, now)
        if r != NONE:
            turn_on(world, world.replicas[r].pool, world.replicas[r].instance, now)
    if r == NONE:
        r = _rent(world, access, now)
    take(world, r, REALTIME, request, now)


@compiled
def offer_deferrable(world: World, request: int, now: float) -> bool:
    """Send a request to the replica with the most room, in merit order of its pools; returns whether there is room.

    Room is for the most urgent: where the backlog holds something that must start before it, it has to wait, too.
    """
    access = np.int64(world.requests[request].access)
    for p in range(world.pools.shape[0]):
        if (world.pools[p].permits >> access) & 1 == 0:
            continue
        first = most_urgent(world, world.pools[p].permits)
        if first != NONE and before(world.latest_start_s, first, request):
            continue
        best, least = NONE, np.int64(1 << 60)
        for i in instances_of(world, p):
            if world.instances[i].state != ON:
                continue
            for r in replicas_of(world, p, i):
                waiting = world.replicas[r].waiting
                if _backfill_sequences(world.replicas[r].running, waiting, world.pools[p].backfill_seats) > 0:
                    load = _replica_load(world.replicas[r].running, waiting)
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
