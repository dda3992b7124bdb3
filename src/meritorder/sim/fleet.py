"""Pools of instances: routing, scaling and the loop over events.

An *instance* is a rented machine with one or more replicas on it; it is started, paid for and stopped as a whole. At
one moment arrivals come first, then the clock tick (start-ups done, scaling decided), then runs that end.
"""

import numpy as np

from meritorder.policy.release import backfill_seats
from meritorder.policy.route import load_of
from meritorder.policy.scale import for_concurrency
from meritorder.sim.backlog import count_in_flight, queue_up, replicas_to_add, unqueue
from meritorder.sim.compiled import compiled, entry
from meritorder.sim.replica import begin, cut, enqueue, finish, spread
from meritorder.sim.state import (
    CONCURRENCY,
    DEADLINES,
    DEFERRABLE,
    DRAINING,
    FIXED,
    NONE,
    OFF,
    ON,
    REALTIME,
    SCHEDULED,
    STARTING,
    World,
)

_backfill_seats = compiled(backfill_seats)
_load_of = compiled(load_of)
_for_concurrency = compiled(for_concurrency)


@compiled
def _start(world: World, p: int, i: int, now: float, delay_s: float) -> None:
    """Rent an instance; it serves after the delay."""
    pool = world.pools[p]
    instance = world.instances[i]
    instance.state = STARTING if delay_s > 0 else ON
    instance.ready_s = now + delay_s
    paid_s = min(pool.startup_paid_s, delay_s)
    instance.paid_from_s = now + delay_s - paid_s
    pool.startup_spent_s += paid_s * pool.pack


@compiled
def _stop(world: World, p: int, i: int, now: float) -> None:
    """Give an instance back, and pay for it. The idle column holds all paid time until the end."""
    pool = world.pools[p]
    state = world.state[0]
    instance = world.instances[i]
    paid_until_s = max(now, instance.paid_from_s + pool.minimum_billing_s)
    pool.paid_s += (paid_until_s - instance.paid_from_s) * pool.pack
    # One that is given back before it serves has not paid for all of its start-up.
    pool.startup_spent_s -= max(0.0, instance.ready_s - paid_until_s) * pool.pack
    spread(world.bins[p, 2], state.bin_s, instance.paid_from_s, paid_until_s, float(pool.pack))
    instance.state = OFF


@compiled
def _replicas_of(world: World, p: int, i: int) -> range:
    pool = world.pools[p]
    first = pool.first_replica + (i - pool.first_instance) * pool.pack
    return range(first, first + pool.pack)


@compiled
def _is_empty(world: World, p: int, i: int) -> bool:
    for r in _replicas_of(world, p, i):
        if (
            world.replicas[r].running > 0
            or world.replicas[r].head[REALTIME] != NONE
            or world.replicas[r].head[DEFERRABLE] != NONE
        ):
            return False
    return True


@compiled
def _take(world: World, r: int, lane: int, request: int, now: float) -> None:
    """Hand a request to a replica, and have it look at its queue at its next step."""
    rep = world.replicas[r]
    enqueue(world, r, lane, request)
    if not world.requests[request].deferrable:
        count_in_flight(world, rep.pool, now, 1)
    if world.instances[rep.instance].state == STARTING:
        return
    if world.next_s[r] == np.inf:
        begin(world, r, now)
    else:
        cut(world, r, now)


@compiled
def _least_loaded(world: World, state: int) -> int:
    """Return the replica of a real-time pool in that state with the least load, the lowest index among equals."""
    best, least = NONE, np.int64(1 << 60)
    for p in range(world.pools.shape[0]):
        if not world.pools[p].realtime:
            continue
        for i in range(world.pools[p].first_instance, world.pools[p].first_instance + world.pools[p].instances):
            if world.instances[i].state != state:
                continue
            for r in _replicas_of(world, p, i):
                load = _load_of(world.replicas[r].running, world.replicas[r].waiting)
                if load < least:
                    best, least = np.int64(r), load
    return best


@compiled
def _route_realtime(world: World, request: int, now: float) -> None:
    """Send a request to the least loaded replica that is on; if none is, to one that starts, started now if need be."""
    r = _least_loaded(world, ON)
    if r == NONE:
        r = _least_loaded(world, STARTING)
    if r == NONE:
        r = _least_loaded(world, DRAINING)
        if r != NONE:
            world.instances[world.replicas[r].instance].state = ON
    if r == NONE:
        p = 0
        while not world.pools[p].realtime:
            p += 1
        i = world.pools[p].first_instance
        _start(world, p, i, now, world.pools[p].startup_s)
        r = world.pools[p].first_replica
    _take(world, r, REALTIME, request, now)


@compiled
def _offer_deferrable(world: World, request: int, now: float) -> bool:
    """Send a request to the replica with the most room, in merit order of pools; returns whether there is room."""
    for p in range(world.pools.shape[0]):
        best, least = NONE, np.int64(1 << 60)
        for i in range(world.pools[p].first_instance, world.pools[p].first_instance + world.pools[p].instances):
            if world.instances[i].state != ON:
                continue
            for r in _replicas_of(world, p, i):
                waiting = world.replicas[r].waiting
                if _backfill_seats(world.replicas[r].running, waiting, world.pools[p].backfill_seats) > 0:
                    load = _load_of(world.replicas[r].running, waiting)
                    if load < least:
                        best, least = np.int64(r), load
        if best != NONE:
            _take(world, best, DEFERRABLE, request, now)
            return True
    return False


@compiled
def _wanted(world: World, p: int, now: float, tick: int) -> int:
    """Return the instances that the pool's scaling asks for."""
    pool = world.pools[p]
    state = world.state[0]
    first, beyond = pool.first_instance, pool.first_instance + pool.instances
    if pool.scaling == SCHEDULED:
        slot = min(int(now / pool.slot_s), pool.slots - 1)
        return min(pool.schedule[slot], beyond - first)
    if pool.scaling == CONCURRENCY:
        count_in_flight(world, p, now, 0)
        mean = pool.in_flight_integral / state.tick_s
        pool.in_flight_integral = 0.0
        replicas = _for_concurrency(mean, pool.target)
        ring = pool.stabilization_ticks
        pool.wanted_history[tick % ring] = (replicas + pool.pack - 1) // pool.pack
        most = np.max(pool.wanted_history[:ring])
        return max(pool.minimum, min(most, beyond - first))
    held = 0
    for i in range(first, beyond):
        if world.instances[i].state in (ON, STARTING):
            held += 1
    to_add = int(replicas_to_add(world, p, now) / pool.pack)
    if to_add > 0:
        return min(held + to_add, pool.instances)
    if state.queued > 0:
        return held
    for i in range(first, beyond):
        if world.instances[i].state == ON and _is_empty(world, p, i):
            _stop(world, p, i, now)
            held -= 1
    return held


@compiled
def _scale(world: World, p: int, now: float, wanted: int) -> None:
    """Start or drain instances until as many are held as wanted: the last started go first."""
    pool = world.pools[p]
    first, beyond = pool.first_instance, pool.first_instance + pool.instances
    held = 0
    for i in range(first, beyond):
        if world.instances[i].state in (ON, STARTING):
            held += 1
    for i in range(first, beyond):
        if held < wanted and world.instances[i].state == DRAINING:
            world.instances[i].state = ON
            held += 1
    for i in range(first, beyond):
        if held < wanted and world.instances[i].state == OFF:
            _start(world, p, i, now, pool.startup_s)
            held += 1
    for i in range(beyond - 1, first - 1, -1):
        if held > wanted and world.instances[i].state == ON:
            world.instances[i].state = DRAINING
            held -= 1
    for i in range(first, beyond):
        if world.instances[i].state == DRAINING and _is_empty(world, p, i):
            _stop(world, p, i, now)
    held = 0
    for i in range(first, beyond):
        if world.instances[i].state != OFF:
            held += 1
    pool.peak_instances = max(pool.peak_instances, held)


@compiled
def _any_realtime(world: World) -> bool:
    for p in range(world.pools.shape[0]):
        if world.pools[p].realtime:
            return True
    return False


@compiled
def _tick(world: World, now: float, tick: int) -> None:
    """Bring up what has started, let urgent work through, and scale."""
    state = world.state[0]
    for p in range(world.pools.shape[0]):
        for i in range(world.pools[p].first_instance, world.pools[p].first_instance + world.pools[p].instances):
            if world.instances[i].state == STARTING and world.instances[i].ready_s <= now:
                world.instances[i].state = ON
                for r in _replicas_of(world, p, i):
                    begin(world, r, now)
        if world.pools[p].scaling != FIXED:
            _scale(world, p, now, _wanted(world, p, now, tick))
    if _any_realtime(world):
        while state.queued > 0 and world.latest_start_s[world.backlog[0]] <= now + state.tick_s:
            _route_realtime(world, unqueue(world), now)


@compiled
def _all_off(world: World) -> bool:
    for p in range(world.pools.shape[0]):
        if world.pools[p].scaling == DEADLINES:
            for i in range(world.pools[p].first_instance, world.pools[p].first_instance + world.pools[p].instances):
                if world.instances[i].state != OFF:
                    return False
    return True


@entry
def run(world: World) -> float:
    """Serve all requests; returns the time at which the last instance was given back or the horizon, if later."""
    state = world.state[0]
    pools = world.pools.shape[0]
    for p in range(pools):
        for n in range(world.pools[p].initial):
            _start(world, p, world.pools[p].first_instance + n, 0.0, 0.0)
        world.pools[p].peak_instances = world.pools[p].initial
    ticking = False
    for p in range(pools):
        ticking = ticking or world.pools[p].scaling != FIXED or world.pools[p].backfill_seats > 0
    total = world.requests.shape[0]
    replicas = world.next_s.shape[0]
    arrival, tick, now = np.int64(0), np.int64(1), 0.0
    while True:
        r, run_ends_s = NONE, np.inf
        for index in range(replicas):
            if world.next_s[index] < run_ends_s:
                r, run_ends_s = np.int64(index), world.next_s[index]
        arrives_s = world.requests[arrival].arrived_s if arrival < total else np.inf
        ticks_s = tick * state.tick_s if ticking else np.inf
        if arrives_s <= ticks_s and arrives_s <= run_ends_s:
            if arrives_s == np.inf:
                break
            now = arrives_s
            if world.requests[arrival].deferrable == 0:
                _route_realtime(world, arrival, now)
            elif not _offer_deferrable(world, arrival, now):
                queue_up(world, arrival)
            arrival += 1
        elif ticks_s <= run_ends_s:
            served = state.done == total and ticks_s > state.horizon_s and _all_off(world)
            if served or ticks_s > state.give_up_s:
                break
            now = ticks_s
            _tick(world, now, tick)
            tick += 1
        else:
            now = run_ends_s
            finish(world, r)
            begin(world, r, now)
    end_s = max(now, state.horizon_s)
    for p in range(pools):
        # What is always on serves until the horizon, and longer only if it has work, whatever others still do.
        held_until_s = (
            end_s if world.pools[p].scaling == DEADLINES else max(world.pools[p].busy_until_s, state.horizon_s)
        )
        for i in range(world.pools[p].first_instance, world.pools[p].first_instance + world.pools[p].instances):
            if world.instances[i].state != OFF:
                _stop(world, p, i, max(held_until_s, world.instances[i].paid_from_s))
    return end_s
