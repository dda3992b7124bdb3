"""Instances: rented, turned on, paid for and stopped; and how many of them a pool wants."""

import numpy as np

from meritorder.policy.replicas import machines_above_floor, machines_for_concurrency
from meritorder.policy.schedule import scheduled_machines
from meritorder.sim.compiled import compiled, inlined
from meritorder.sim.runs import add_to_bins, reschedule, set_run_end
from meritorder.sim.sequences import count_in_flight, most_urgent, open_load, replicas_to_add
from meritorder.sim.state import (
    CLOSED,
    CONCURRENCY,
    DEFERRABLE,
    DRAINING,
    NONE,
    OFF,
    ON,
    REALTIME,
    SCHEDULED,
    STARTING,
    KernelState,
)

_machines_above_floor = compiled(machines_above_floor)
_machines_for_concurrency = compiled(machines_for_concurrency)
_scheduled_machines = compiled(scheduled_machines)


@inlined
def instances_of(kernel: KernelState, p: int) -> range:
    """Return the indices of a pool's instances."""
    pool = kernel.pools[p]
    return range(pool.first_instance, pool.first_instance + pool.instances)


@inlined
def replicas_of(kernel: KernelState, p: int, i: int) -> range:
    """Return the indices of an instance's replicas."""
    pool = kernel.pools[p]
    first = pool.first_replica + (i - pool.first_instance) * pool.replicas_per_instance
    return range(first, first + pool.replicas_per_instance)


@compiled
def set_state(kernel: KernelState, p: int, i: int, state: int) -> None:
    """Change the state of an instance."""
    kernel.instances[i].state = state
    for r in replicas_of(kernel, p, i):
        if state == ON:
            open_load(kernel, r)
        else:
            kernel.loads[r] = CLOSED


@compiled
def next_to_rent(kernel: KernelState, p: int) -> int:
    """Return the first instance that is off; NONE if there is none, or if the provider allows no more."""
    free, rented = NONE, 0
    for i in instances_of(kernel, p):
        if kernel.instances[i].state != OFF:
            rented += 1
        elif free == NONE:
            free = np.int64(i)
    return free if rented < kernel.pools[p].ceiling else NONE


@compiled
def start(kernel: KernelState, p: int, i: int, now: float, delay_s: float) -> None:
    """Rent an instance, which serves after the delay."""
    pool = kernel.pools[p]
    instance = kernel.instances[i]
    set_state(kernel, p, i, STARTING if delay_s > 0 else ON)
    instance.ready_s = now + delay_s
    kernel.fleet[0].changed = 1
    paid_s = min(pool.startup_paid_s, delay_s)
    instance.paid_from_s = now + delay_s - paid_s
    instance.ends_s = np.inf
    if pool.lifetimes > 0:
        instance.ends_s = now + pool.lifetime_s[pool.started % pool.lifetimes]
    pool.started += 1
    pool.startup_spent_s += paid_s * pool.replicas_per_instance
    if instance.state == ON:
        turn_on(kernel, p, i, now)


@compiled
def turn_on(kernel: KernelState, p: int, i: int, now: float) -> None:
    """Let an instance take requests."""
    set_state(kernel, p, i, ON)
    kernel.fleet[0].changed = 1
    for r in replicas_of(kernel, p, i):
        reschedule(kernel, r, now)


@compiled
def stop(kernel: KernelState, p: int, i: int, now: float) -> None:
    """Stop an instance, and pay for it."""
    pool = kernel.pools[p]
    instance = kernel.instances[i]
    paid_until_s = max(now, instance.paid_from_s + pool.minimum_billing_s)
    pool.paid_s += (paid_until_s - instance.paid_from_s) * pool.replicas_per_instance
    pool.startup_spent_s -= max(0.0, instance.ready_s - paid_until_s) * pool.replicas_per_instance
    weight = float(pool.replicas_per_instance)
    add_to_bins(kernel.bins[p, 2], kernel.fleet[0].bin_s, instance.paid_from_s, paid_until_s, weight)
    set_state(kernel, p, i, OFF)
    kernel.fleet[0].changed = 1
    for r in replicas_of(kernel, p, i):
        set_run_end(kernel, r, np.inf)


@compiled
def is_empty(kernel: KernelState, p: int, i: int) -> bool:
    """Whether none of its replicas has requests, running or waiting."""
    for r in replicas_of(kernel, p, i):
        if (
            kernel.replicas[r].running > 0
            or kernel.replicas[r].head[REALTIME] != NONE
            or kernel.replicas[r].head[DEFERRABLE] != NONE
        ):
            return False
    return True


@compiled
def under_notice(kernel: KernelState, p: int, i: int, now: float) -> bool:
    """Whether the provider has given notice that it will take the instance back."""
    return kernel.instances[i].ends_s - kernel.pools[p].notice_s <= now


@compiled
def open_pool(kernel: KernelState, p: int) -> None:
    """Start the instances of time 0, and those rented before it to serve when a slot of the schedule begins."""
    pool = kernel.pools[p]
    rented = pool.initial
    for n in range(rented):
        start(kernel, p, pool.first_instance + n, 0.0, 0.0)
    for slot in range(int(-pool.first_slot_s / pool.slot_s) + 1, pool.slots):
        rented_s = pool.first_slot_s + slot * pool.slot_s - pool.ahead_s
        if rented_s > 0:
            break
        while rented < kernel.schedule[pool.first_scheduled + slot]:
            free = next_to_rent(kernel, p)
            if free == NONE:
                break
            start(kernel, p, free, rented_s, pool.startup_s)
            if kernel.instances[free].ready_s <= 0:
                turn_on(kernel, p, free, 0.0)
            rented += 1
    pool.peak_instances = rented


@compiled
def _serving_beside(kernel: KernelState, p: int) -> int:
    """Return the replicas of the other pools whose requests in flight the pool counts, on or starting."""
    replicas = np.int64(0)
    for other in range(kernel.pools.shape[0]):
        if other == p or kernel.pools[other].counted_by != p:
            continue
        for i in instances_of(kernel, other):
            if kernel.instances[i].state in (ON, STARTING):
                replicas += kernel.pools[other].replicas_per_instance
    return replicas


@compiled
def _scheduled_instances(kernel: KernelState, p: int, now: float) -> int:
    """Return the instances that the pool's slots ask for now, or for when one that is rented now serves."""
    pool = kernel.pools[p]
    since_s = now - pool.first_slot_s
    slot = min(int(since_s / pool.slot_s), pool.slots - 1)
    until = min(int((since_s + pool.ahead_s) / pool.slot_s), pool.slots - 1)
    first = pool.first_scheduled
    return np.int64(_scheduled_machines(kernel.schedule[first : first + pool.slots], slot, until))


@compiled
def wanted_instances(kernel: KernelState, p: int, now: float, tick: int) -> int:
    """Return the instances that the pool's scaling asks for."""
    pool = kernel.pools[p]
    if pool.scaling == SCHEDULED:
        return min(_scheduled_instances(kernel, p, now), pool.instances)
    if pool.scaling == CONCURRENCY:
        count_in_flight(kernel, p, now, 0)
        mean_in_flight = pool.in_flight_integral / kernel.fleet[0].tick_s
        pool.in_flight_integral = 0.0
        ring = pool.stabilization_ticks
        for skipped in range(max(kernel.fleet[0].last_tick, tick - ring) + 1, tick):
            pool.wanted_history[skipped % ring] = 0  # nothing was in flight
        pool.wanted_history[tick % ring] = _machines_for_concurrency(
            mean_in_flight, pool.target, _serving_beside(kernel, p), pool.replicas_per_instance
        )
        highest = np.int64(np.max(pool.wanted_history[:ring]))
        floor = _scheduled_instances(kernel, p, now) if pool.slots > 0 else 0
        return _machines_above_floor(highest, pool.minimum, floor, pool.instances)
    serving = 0
    for i in instances_of(kernel, p):
        if kernel.instances[i].state in (ON, STARTING):
            serving += 1
    to_add = int(replicas_to_add(kernel, p, now) / pool.replicas_per_instance)
    if to_add > 0:
        return min(serving + to_add, pool.instances)
    if most_urgent(kernel, pool.permits) != NONE:
        return serving
    for i in instances_of(kernel, p):
        if kernel.instances[i].state == ON and is_empty(kernel, p, i):
            stop(kernel, p, i, now)
            serving -= 1
    return serving


@compiled
def scale(kernel: KernelState, p: int, now: float, wanted: int) -> None:
    """Start or drain instances until as many serve as wanted; the highest indices drain first."""
    pool = kernel.pools[p]
    serving = 0
    for i in instances_of(kernel, p):
        if kernel.instances[i].state in (ON, STARTING):
            serving += 1
    for i in instances_of(kernel, p):
        if serving < wanted and kernel.instances[i].state == DRAINING and not under_notice(kernel, p, i, now):
            turn_on(kernel, p, i, now)
            serving += 1
    while serving < wanted:
        free = next_to_rent(kernel, p)
        if free == NONE:
            break
        start(kernel, p, free, now, pool.startup_s)
        serving += 1
    for i in range(pool.first_instance + pool.instances - 1, pool.first_instance - 1, -1):
        if serving > wanted and kernel.instances[i].state == ON:
            set_state(kernel, p, i, DRAINING)
            serving -= 1
    for i in instances_of(kernel, p):
        if kernel.instances[i].state == DRAINING and is_empty(kernel, p, i):
            stop(kernel, p, i, now)
    rented = 0
    for i in instances_of(kernel, p):
        if kernel.instances[i].state != OFF:
            rented += 1
    pool.peak_instances = max(pool.peak_instances, rented)


@compiled
def set_backfill(kernel: KernelState, p: int, now: float) -> None:
    """Set the slot's limits on deferrable work; where they rise, the replicas decide again."""
    pool = kernel.pools[p]
    slot = min(int((now - pool.first_slot_s) / pool.slot_s), pool.slots)
    sequences, blocks = np.int64(pool.sequences_in_slot[slot]), np.int64(pool.blocks_in_slot[slot])
    rises = sequences > pool.backfill_sequences or blocks > pool.backfill_blocks
    pool.backfill_sequences, pool.backfill_blocks = sequences, blocks
    for i in instances_of(kernel, p):
        if rises and kernel.instances[i].state in (ON, DRAINING):
            for r in replicas_of(kernel, p, i):
                reschedule(kernel, r, now)
