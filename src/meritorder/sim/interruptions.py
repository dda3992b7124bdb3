"""Instances that the provider takes back, or that fail: what they held is lost, and done again elsewhere."""

import numpy as np

from meritorder.sim.backlog import count_in_flight, queue_up
from meritorder.sim.compiled import compiled
from meritorder.sim.instances import instances_of, is_doomed, replicas_of, stop
from meritorder.sim.replica import spread
from meritorder.sim.routing import offer_deferrable, route_realtime
from meritorder.sim.seats import last_admitted, send_back
from meritorder.sim.state import DEFERRABLE, DRAINING, NONE, OFF, ON, REALTIME, World


@compiled
def interrupt_pool(world: World, p: int, now: float) -> None:
    """Take back what the provider takes back by now, drain what it has given notice of, and do again what was lost."""
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
            stop(world, p, i, now)
            pool.interruptions += 1
            for r in replicas_of(world, p, i):
                _break_off(world, r, now)
            continue
        held += 1
        if instance.state == ON and is_doomed(world, p, i, now):
            instance.state = DRAINING
    _send_on(world, p, now)


@compiled
def _break_off(world: World, r: int, now: float) -> None:
    """End a run in its middle, whose time is lost, and send what ran back to the front of its queue."""
    rep = world.replicas[r]
    pool = world.pools[rep.pool]
    if rep.run_steps > 0:
        pool.lost_s += now - rep.run_start_s
        pool.busy_until_s = now
        deferrable = rep.decoding_deferrable * (rep.run_batch > 0) + rep.run_prompt_deferrable
        share = deferrable / (rep.run_batch + rep.run_prompt)
        bin_s = world.state[0].bin_s
        spread(world.bins[rep.pool, 0], bin_s, rep.run_start_s, now, 1 - share)
        spread(world.bins[rep.pool, 1], bin_s, rep.run_start_s, now, share)
    rep.run_steps = 0
    rep.run_batch = 0
    rep.run_prompt = 0
    while rep.running > 0:
        send_back(world, r, last_admitted(world, r))


@compiled
def _send_on(world: World, p: int, now: float) -> None:
    """Send what waits for an instance that is off to others: what ran there first, in order of admission."""
    first, last = NONE, NONE  # linked by `next`
    for i in instances_of(world, p):
        if world.instances[i].state != OFF:
            continue
        for r in replicas_of(world, p, i):
            rep = world.replicas[r]
            for lane in (REALTIME, DEFERRABLE):
                if rep.head[lane] == NONE:
                    continue
                if first == NONE:
                    first = np.int64(rep.head[lane])
                else:
                    world.requests[last].next = rep.head[lane]
                last = np.int64(rep.tail[lane])
                rep.head[lane] = NONE
            rep.waiting = 0
            rep.work_s = 0.0
    while first != NONE:
        request = first
        first = np.int64(world.requests[request].next)
        _forget(world, p, request)
        if not world.requests[request].deferrable:
            count_in_flight(world, p, now, -1)
        if world.requests[request].lane == REALTIME:
            route_realtime(world, request, now)
        elif not offer_deferrable(world, request, now):
            queue_up(world, request)


@compiled
def _forget(world: World, p: int, request: int) -> None:
    """Lose what a request had been computed, if it had a seat; it is to be done again from its start."""
    row = world.requests[request]
    pool = world.pools[p]
    if row.replica == NONE:
        return
    pool.lost_s += row.spent_s
    if row.deferrable:
        pool.deferrable_s -= row.spent_s
    else:
        pool.realtime_s -= row.spent_s
    row.spent_s = 0.0
    row.replica = NONE
    row.generated = 0
    row.first_token_s = np.nan
    row.attempts += 1
