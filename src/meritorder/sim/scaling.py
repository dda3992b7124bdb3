"""How many instances a pool has, and how much deferrable work they take beside other work."""

import numpy as np

from meritorder.policy.replicas import replicas_for_concurrency
from meritorder.policy.schedule import scheduled_machines
from meritorder.sim.backlog import count_in_flight, most_urgent, replicas_to_add
from meritorder.sim.compiled import compiled
from meritorder.sim.instances import (
    first_free,
    instances_of,
    is_doomed,
    is_empty,
    replicas_of,
    start,
    stop,
    turn_on,
)
from meritorder.sim.replica import look_again
from meritorder.sim.state import CONCURRENCY, DRAINING, NONE, OFF, ON, QUEUE, SCHEDULED, STARTING, World

_replicas_for_concurrency = compiled(replicas_for_concurrency)
_scheduled_machines = compiled(scheduled_machines)


@compiled
def open_pool(world: World, p: int) -> None:
    """Hold what a pool has at time 0, and what was rented before it to serve when a slot of its schedule begins."""
    pool = world.pools[p]
    held = pool.initial
    for n in range(held):
        start(world, p, pool.first_instance + n, 0.0, 0.0)
    for slot in range(1, pool.slots):
        rented_s = slot * pool.slot_s - pool.ahead_s
        if rented_s > 0:
            break
        while held < pool.schedule[slot]:
            free = first_free(world, p)
            if free == NONE:
                break
            start(world, p, free, rented_s, pool.startup_s)
            if world.instances[free].ready_s <= 0:
                turn_on(world, p, free, 0.0)
            held += 1
    pool.peak_instances = held


@compiled
def wanted_instances(world: World, p: int, now: float, tick: int) -> int:
    """Return the instances that the pool's scaling asks for."""
    pool = world.pools[p]
    state = world.state[0]
    if pool.scaling == SCHEDULED:
        slot = min(int(now / pool.slot_s), pool.slots - 1)
        until = min(int((now + pool.ahead_s) / pool.slot_s), pool.slots - 1)
        return min(_scheduled_machines(pool.schedule[: pool.slots], slot, until), pool.instances)
    if pool.scaling in (CONCURRENCY, QUEUE):
        count_in_flight(world, p, now, 0)
        metric = pool.in_flight_integral / state.tick_s
        pool.in_flight_integral = 0.0
        if pool.scaling == QUEUE:
            metric = 0.0
            for r in range(pool.first_replica, pool.first_replica + pool.instances * pool.pack):
                metric += world.replicas[r].waiting
        replicas = _replicas_for_concurrency(metric, pool.target)
        ring = pool.stabilization_ticks
        pool.wanted_history[tick % ring] = (replicas + pool.pack - 1) // pool.pack
        most = np.max(pool.wanted_history[:ring])
        return max(pool.minimum, min(most, pool.instances))
    held = 0
    for i in instances_of(world, p):
        if world.instances[i].state in (ON, STARTING):
            held += 1
    to_add = int(replicas_to_add(world, p, now) / pool.pack)
    if to_add > 0:
        return min(held + to_add, pool.instances)
    if most_urgent(world, pool.permits) != NONE:
        return held
    for i in instances_of(world, p):
        if world.instances[i].state == ON and is_empty(world, p, i):
            stop(world, p, i, now)
            held -= 1
    return held


@compiled
def scale(world: World, p: int, now: float, wanted: int) -> None:
    """Start or drain instances until as many are held as wanted: the highest numbers go first."""
    pool = world.pools[p]
    held = 0
    for i in instances_of(world, p):
        if world.instances[i].state in (ON, STARTING):
            held += 1
    for i in instances_of(world, p):
        if held < wanted and world.instances[i].state == DRAINING and not is_doomed(world, p, i, now):
            turn_on(world, p, i, now)
            held += 1
    while held < wanted:
        free = first_free(world, p)
        if free == NONE:
            break
        start(world, p, free, now, pool.startup_s)
        held += 1
    for i in range(pool.first_instance + pool.instances - 1, pool.first_instance - 1, -1):
        if held > wanted and world.instances[i].state == ON:
            world.instances[i].state = DRAINING
            held -= 1
    for i in instances_of(world, p):
        if world.instances[i].state == DRAINING and is_empty(world, p, i):
            stop(world, p, i, now)
    held = 0
    for i in instances_of(world, p):
        if world.instances[i].state != OFF:
            held += 1
    pool.peak_instances = max(pool.peak_instances, held)


@compiled
def fill(world: World, p: int, now: float) -> None:
    """Let in as much deferrable work as the slot allows; where that is more than before, the replicas look again."""
    pool = world.pools[p]
    slot = min(int(now / pool.slot_s), pool.slots)
    seats, blocks = np.int64(pool.seats_in_slot[slot]), np.int64(pool.blocks_in_slot[slot])
    more = seats > pool.backfill_seats or blocks > pool.backfill_blocks
    pool.backfill_seats, pool.backfill_blocks = seats, blocks
    for i in instances_of(world, p):
        if more and world.instances[i].state in (ON, DRAINING):
            for r in replicas_of(world, p, i):
                look_again(world, r, now)
