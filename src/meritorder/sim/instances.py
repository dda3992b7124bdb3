"""Machines: rented, turned on, paid for and given back."""

import numpy as np

from meritorder.sim.agenda import run_ends
from meritorder.sim.compiled import compiled, inlined
from meritorder.sim.replica import look_again, spread
from meritorder.sim.state import DEFERRABLE, NONE, OFF, ON, REALTIME, STARTING, World


@inlined
def instances_of(world: World, p: int) -> range:
    """Return the indices of a pool's instances."""
    pool = world.pools[p]
    return range(pool.first_instance, pool.first_instance + pool.instances)


@inlined
def replicas_of(world: World, p: int, i: int) -> range:
    """Return the indices of an instance's replicas."""
    pool = world.pools[p]
    first = pool.first_replica + (i - pool.first_instance) * pool.pack
    return range(first, first + pool.pack)


@compiled
def first_free(world: World, p: int) -> int:
    """Return the first instance that can be rented; NONE if there is none, or the provider leaves no more."""
    free, held = NONE, 0
    for i in instances_of(world, p):
        if world.instances[i].state != OFF:
            held += 1
        elif free == NONE:
            free = np.int64(i)
    return free if held < world.pools[p].ceiling else NONE


@compiled
def start(world: World, p: int, i: int, now: float, delay_s: float) -> None:
    """Rent an instance; it serves after the delay."""
    pool = world.pools[p]
    instance = world.instances[i]
    instance.state = STARTING if delay_s > 0 else ON
    instance.ready_s = now + delay_s
    paid_s = min(pool.startup_paid_s, delay_s)
    instance.paid_from_s = now + delay_s - paid_s
    instance.ends_s = np.inf
    if pool.lives > 0:
        instance.ends_s = now + pool.life_s[pool.started % pool.lives]
    pool.started += 1
    for r in replicas_of(world, p, i):
        world.state[0].caches += 1
        world.replicas[r].cache = world.state[0].caches
    pool.startup_spent_s += paid_s * pool.pack
    if instance.state == ON:
        turn_on(world, p, i, now)


@compiled
def turn_on(world: World, p: int, i: int, now: float) -> None:
    """Let an instance take work."""
    world.instances[i].state = ON
    for r in replicas_of(world, p, i):
        look_again(world, r, now)


@compiled
def stop(world: World, p: int, i: int, now: float) -> None:
    """Give an instance back, and pay for it. The idle column holds all paid time until the end."""
    pool = world.pools[p]
    state = world.state[0]
    instance = world.instances[i]
    paid_until_s = max(now, instance.paid_from_s + pool.minimum_billing_s)
    pool.paid_s += (paid_until_s - instance.paid_from_s) * pool.pack
    pool.startup_spent_s -= max(0.0, instance.ready_s - paid_until_s) * pool.pack
    spread(world.bins[p, 2], state.bin_s, instance.paid_from_s, paid_until_s, float(pool.pack))
    instance.state = OFF
    for r in replicas_of(world, p, i):
        run_ends(world, r, np.inf)


@compiled
def is_empty(world: World, p: int, i: int) -> bool:
    """Whether none of its replicas has anything to do."""
    for r in replicas_of(world, p, i):
        if (
            world.replicas[r].running > 0
            or world.replicas[r].head[REALTIME] != NONE
            or world.replicas[r].head[DEFERRABLE] != NONE
        ):
            return False
    return True


@compiled
def is_doomed(world: World, p: int, i: int, now: float) -> bool:
    """Whether the provider has given notice that it will take the instance back."""
    return world.instances[i].ends_s - world.pools[p].notice_s <= now
