"""Instances that the provider takes back, or that fail: what they held is lost, and done again elsewhere."""

import numpy as np

from meritorder.sim.agenda import run_ends
from meritorder.sim.backlog import count_in_flight, queue_up
from meritorder.sim.compiled import compiled
from meritorder.sim.instances import instances_of, is_doomed, replicas_of, stop
from meritorder.sim.routing import offer_deferrable, route_realtime
from meritorder.sim.seats import dequeue, leave
from meritorder.sim.state import DEFERRABLE, DRAINING, NONE, OFF, ON, REALTIME, World


@compiled
def interrupt_pool(world: World, p: int, now: float) -> None:
    """Take back what the provider takes back by now, and drain what it has given notice of."""
    pool = world.pools[p]
    while pool.past_ceilings < pool.ceilings and pool.ceiling_from_s[pool.past_ceilings] <= now:
        pool.ceiling = pool.ceiling_from[pool.past_ceilings]
        pool.past_ceilings += 1
    held = 0
    for i in instances_of(world, p):
        instance = world.instances[i]
        if instance.state == OFF:
            continue
        if instance.ends_s <= now or held >= pool.ceiling:
            _interrupt(world, p, i, now)
            continue
        held += 1
        if instance.state == ON and is_doomed(world, p, i, now):
            instance.state = DRAINING


@compiled
def _interrupt(world: World, p: int, i: int, now: float) -> None:
    """Stop an instance at once, and send what it held to others."""
    stop(world, p, i, now)
    world.pools[p].interruptions += 1
    first = NONE  # of the requests that lose their replica, linked by `next`
    for r in replicas_of(world, p, i):
        first = _clear(world, r, first, now)
    while first != NONE:
        request = first
        first = np.int64(world.requests[request].next)
        if world.requests[request].lane == REALTIME:
            route_realtime(world, request, now)
        elif not offer_deferrable(world, request, now):
            queue_up(world, request)


@compiled
def _clear(world: World, r: int, first: int, now: float) -> int:
    """Empty a replica, and put what it held in front of `first`; the time spent on what was running is lost."""
    rep = world.replicas[r]
    pool = world.pools[rep.pool]
    if rep.run_steps > 0:
        pool.lost_s += now - rep.run_start_s
    rep.run_steps = 0
    rep.run_prompt = 0
    for seat in range(rep.seats):
        request = np.int64(rep.seat_request[seat])
        if request == NONE:
            continue
        leave(world, r, seat)
        row = world.requests[request]
        pool.lost_s += rep.seat_cost_s[seat]
        if row.deferrable:
            pool.deferrable_s -= rep.seat_cost_s[seat]
        else:
            pool.realtime_s -= rep.seat_cost_s[seat]
        row.generated = 0
        row.first_token_s = np.nan
        row.attempts += 1
        first = _hold(world, r, request, first, now)
    while rep.head[REALTIME] != NONE:
        first = _hold(world, r, dequeue(world, r, REALTIME), first, now)
    while rep.head[DEFERRABLE] != NONE:
        first = _hold(world, r, dequeue(world, r, DEFERRABLE), first, now)
    run_ends(world, r, np.inf)
    return first


@compiled
def _hold(world: World, r: int, request: int, first: int, now: float) -> int:
    row = world.requests[request]
    if not row.deferrable:
        count_in_flight(world, world.replicas[r].pool, now, -1)
    row.next = first
    return request
