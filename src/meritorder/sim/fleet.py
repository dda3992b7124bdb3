"""The loop over events: arrivals, the clock's ticks, and runs that end.

At one moment arrivals come first, then the tick (room for deferrable work set, start-ups done, interruptions, scaling
decided), then runs that end.
"""

import numpy as np

from meritorder.sim.backlog import most_urgent, queue_up, unqueue
from meritorder.sim.compiled import compiled, entry
from meritorder.sim.instances import instances_of, stop, turn_on
from meritorder.sim.interruptions import interrupt_pool
from meritorder.sim.replica import begin, finish, release_held_up
from meritorder.sim.routing import escalate, offer_deferrable, permitted_in_real_time, route_realtime, urgent
from meritorder.sim.scaling import fill, open_pool, scale, wanted_instances
from meritorder.sim.state import DEADLINES, FIXED, NONE, OFF, REALTIME, STARTING, World


@compiled
def _tick(world: World, now: float, tick: int) -> None:
    """Set the room for deferrable work, bring up what started, take back, scale, and let urgent work through."""
    for p in range(world.pools.shape[0]):
        if world.pools[p].fills_by_slot > 0:
            fill(world, p, now)
        for i in instances_of(world, p):
            if world.instances[i].state == STARTING and world.instances[i].ready_s <= now:
                turn_on(world, p, i, now)
        if world.pools[p].lives > 0 or world.pools[p].ceilings > 0:
            interrupt_pool(world, p, now)
        if world.pools[p].scaling != FIXED:
            scale(world, p, now, wanted_instances(world, p, now, tick))
    for r in range(world.replicas.shape[0]):
        if world.pools[world.replicas[r].pool].realtime:
            escalate(world, r, now)
    permits = permitted_in_real_time(world)
    request = most_urgent(world, permits)
    while request != NONE and urgent(world, request, now):
        unqueue(world, request)
        release_held_up(world, NONE, now)
        world.requests[request].lane = REALTIME
        route_realtime(world, request, now)
        request = most_urgent(world, permits)


@compiled
def _all_off(world: World) -> bool:
    for p in range(world.pools.shape[0]):
        if world.pools[p].scaling == DEADLINES:
            for i in instances_of(world, p):
                if world.instances[i].state != OFF:
                    return False
    return True


@entry
def run(world: World) -> float:
    """Serve all requests; returns the time at which the last instance was given back or the horizon, if later."""
    state = world.state[0]
    pools = world.pools.shape[0]
    for p in range(pools):
        open_pool(world, p)
    total = world.requests.shape[0]
    arrival, tick, now = np.int64(0), np.int64(1), 0.0
    while True:
        r = np.int64(world.winners[1])
        run_ends_s = world.next_s[r]
        arrives_s = world.requests[arrival].arrived_s if arrival < total else np.inf
        ticks_s = tick * state.tick_s if state.ticking else np.inf
        if arrives_s <= ticks_s and arrives_s <= run_ends_s:
            if arrives_s == np.inf:
                break
            now = arrives_s
            if world.requests[arrival].deferrable == 0:
                route_realtime(world, arrival, now)
            elif not offer_deferrable(world, arrival, now):
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
            if world.replicas[r].run_steps > 0:
                finish(world, r)
            begin(world, r, now)
    end_s = max(now, state.horizon_s)
    for p in range(pools):
        # What is always on serves until the horizon, and longer only if it has work, whatever others still do.
        held_until_s = (
            end_s if world.pools[p].scaling == DEADLINES else max(world.pools[p].busy_until_s, state.horizon_s)
        )
        for i in instances_of(world, p):
            if world.instances[i].state != OFF:
                stop(world, p, i, max(held_until_s, world.instances[i].paid_from_s))
    return end_s
