"""Ticks that decide nothing: they are skipped, so that the cost of simulating grows with work and not with time.

While no replica has requests, a tick changes something only from a time on that is known: a slot begins, an instance
is ready or ends, the provider's limit changes, a high recommendation leaves the autoscaler's window, or waiting work
becomes urgent. A tick too many does no harm, so the times below may be early.
"""

import numpy as np

from meritorder.sim.compiled import compiled
from meritorder.sim.instances import instances_of
from meritorder.sim.sequences import instance_needed_from_s
from meritorder.sim.state import CONCURRENCY, DEADLINES, DRAINING, NONE, OFF, STARTING, KernelState


@compiled
def next_tick(kernel: KernelState, tick: int, now: float, arrived: int, urgent: int) -> int:
    """Return the next tick that may decide anything, unless a request arrives before it.

    Args:
        kernel: The state after the tick `tick`, which is now.
        tick: Its number.
        now: Its time.
        arrived: Requests that have arrived.
        urgent: The request of the backlog that is escalated first, NONE if none is.
    """
    fleet = kernel.fleet[0]
    idle = fleet.done + fleet.queued == arrived and kernel.run_end_s[kernel.winners[1]] == np.inf
    if not idle or fleet.changed:
        return tick + 1
    until_s = fleet.horizon_s if fleet.done == kernel.requests.shape[0] else fleet.give_up_s
    if urgent != NONE:
        until_s = min(until_s, kernel.latest_start_s[urgent] - fleet.tick_s)
    for p in range(kernel.pools.shape[0]):
        until_s = min(until_s, _unchanged_until_s(kernel, p, tick, now))
    # One tick early, since the times are rounded.
    return max(tick + 1, int(until_s / fleet.tick_s) - 1)


@compiled
def first_tick_from(kernel: KernelState, time_s: float) -> int:
    """Return the first tick that is not before a time."""
    tick_s = kernel.fleet[0].tick_s
    tick = int(time_s / tick_s)
    while tick * tick_s < time_s:
        tick += 1
    return tick


@compiled
def _unchanged_until_s(kernel: KernelState, p: int, tick: int, now: float) -> float:
    """Return the time before which no tick changes anything in a pool without requests."""
    pool = kernel.pools[p]
    until_s = _next_slot_s(kernel, p, now)
    if pool.past_ceilings < pool.ceilings:
        until_s = min(until_s, pool.ceiling_from_s[pool.past_ceilings])
    for i in instances_of(kernel, p):
        instance = kernel.instances[i]
        if instance.state == OFF:
            continue
        if instance.state == DRAINING or pool.scaling == DEADLINES:
            return now
        if instance.state == STARTING:
            until_s = min(until_s, instance.ready_s)
        until_s = min(until_s, instance.ends_s - pool.notice_s)
    if pool.scaling == CONCURRENCY:
        until_s = min(until_s, _recommended_until_s(kernel, p, tick))
    if pool.scaling == DEADLINES:
        until_s = min(until_s, instance_needed_from_s(kernel, p))
    return until_s


@compiled
def _next_slot_s(kernel: KernelState, p: int, now: float) -> float:
    """Return when the next slot with other limits or another number of instances begins, or when they are rented."""
    pool = kernel.pools[p]
    next_s = np.inf
    for ahead_s in (0.0, pool.ahead_s):
        slot = int((now - pool.first_slot_s + ahead_s) / pool.slot_s)
        if slot >= pool.slots:
            continue
        slot += 1
        schedule = kernel.schedule[pool.first_scheduled : pool.first_scheduled + pool.slots]
        while pool.backfill_by_slot == 0 and slot < pool.slots and schedule[slot] == schedule[slot - 1]:
            slot += 1
        if slot < pool.slots or pool.backfill_by_slot > 0:
            next_s = min(next_s, pool.first_slot_s + slot * pool.slot_s - ahead_s)
    return next_s


@compiled
def _recommended_until_s(kernel: KernelState, p: int, tick: int) -> float:
    """Return when the highest recommendation of the autoscaler leaves its window; never if the minimum is as high."""
    pool = kernel.pools[p]
    ring = pool.stabilization_ticks
    highest = np.int64(np.max(pool.wanted_history[:ring]))
    if highest <= pool.minimum:
        return np.inf
    last = tick
    while pool.wanted_history[last % ring] != highest:
        last -= 1
    return float((last + ring) * kernel.fleet[0].tick_s)
