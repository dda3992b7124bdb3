"""The fleet: the loop over events, which replica serves a request, and what interruptions do.

Events at one moment come in this order: arrivals; the tick of the clock (limits on deferrable work, start-ups that are
complete, interruptions, scaling, escalation); runs that end, by index of the replica.
"""

import numpy as np

from meritorder.policy.backfill import backfill_sequences
from meritorder.policy.replicas import replica_load
from meritorder.sim.compiled import before, compiled, entry, inlined
from meritorder.sim.instances import (
    instances_of,
    next_to_rent,
    open_pool,
    replicas_of,
    scale,
    set_backfill,
    set_state,
    start,
    stop,
    turn_on,
    under_notice,
    wanted_instances,
)
from meritorder.sim.quiet import first_tick_from, next_tick
from meritorder.sim.replica import finish_run, start_run
from meritorder.sim.runs import add_to_bins, reschedule, retry_blocked
from meritorder.sim.sequences import (
    add_to_backlog,
    count_in_flight,
    enqueue,
    last_admitted,
    most_urgent,
    remove_from_backlog,
    requeue,
)
from meritorder.sim.state import (
    CLOSED,
    DEADLINES,
    DEFERRABLE,
    DRAINING,
    FIXED,
    NONE,
    OFF,
    ON,
    REALTIME,
    STARTING,
    KernelState,
)

_backfill_sequences = compiled(backfill_sequences)
_replica_load = compiled(replica_load)


@inlined
def _assign(kernel: KernelState, r: int, lane: int, request: int, now: float) -> None:
    """Add a request to a replica's queue, which the replica reads at its next step."""
    rep = kernel.replicas[r]
    enqueue(kernel, r, lane, request)
    if not kernel.requests[request].deferrable:
        count_in_flight(kernel, rep.pool, now, 1)
    if kernel.instances[rep.instance].state in (ON, DRAINING):
        reschedule(kernel, r, now)


@inlined
def _serves(kernel: KernelState, p: int, access: int) -> bool:
    """Whether a pool serves requests of an access in real time."""
    return (kernel.pools[p].realtime >> access) & 1 > 0


@compiled
def _served_in_real_time(kernel: KernelState) -> int:
    """Return the accesses whose requests some pool with instances serves in real time, a bit each."""
    permits = np.int64(0)
    for p in range(kernel.pools.shape[0]):
        if kernel.pools[p].instances > 0:
            permits |= kernel.pools[p].realtime
    return permits


@inlined
def _least_loaded_of(kernel: KernelState, p: int) -> int:
    """Return the least loaded replica of a pool that is on; the lowest index of equals."""
    pool = kernel.pools[p]
    best, least = NONE, CLOSED
    for r in range(pool.first_replica, pool.first_replica + pool.instances * pool.replicas_per_instance):
        if kernel.loads[r] < least:
            best, least = np.int64(r), kernel.loads[r]
    return best


@inlined
def _least_loaded(kernel: KernelState, access: int) -> int:
    """Return the least loaded replica that serves the access and is on; the lowest index of equals."""
    best = NONE
    for p in range(kernel.pools.shape[0]):
        if _serves(kernel, p, access):
            r = _least_loaded_of(kernel, p)
            if r != NONE and (best == NONE or kernel.loads[r] < kernel.loads[best]):
                best = r
    return best


@compiled
def _least_loaded_later(kernel: KernelState, access: int, state: int, now: float) -> int:
    """Return the least loaded replica that serves the access and starts or drains; the lowest index of equals."""
    best, least = NONE, CLOSED
    for p in range(kernel.pools.shape[0]):
        if not _serves(kernel, p, access):
            continue
        for i in instances_of(kernel, p):
            if kernel.instances[i].state != state or (state == DRAINING and under_notice(kernel, p, i, now)):
                continue
            for r in replicas_of(kernel, p, i):
                load = _replica_load(kernel.replicas[r].running, kernel.replicas[r].waiting)
                if load < least:
                    best, least = np.int64(r), load
    return best


@compiled
def _rent(kernel: KernelState, access: int, now: float) -> int:
    """Rent an instance of the first pool that serves the access and has one left; return its first replica.

    If no pool has, requests wait at the first replica of the first pool until the provider allows more.
    """
    first = NONE
    for p in range(kernel.pools.shape[0]):
        if _serves(kernel, p, access):
            i = next_to_rent(kernel, p)
            if i != NONE:
                start(kernel, p, i, now, kernel.pools[p].startup_s)
                return np.int64(replicas_of(kernel, p, i).start)
            if first == NONE and kernel.pools[p].instances > 0:
                first = np.int64(kernel.pools[p].first_replica)
    return first


@compiled
def _route_realtime(kernel: KernelState, request: int, now: float) -> None:
    """Send a request to a replica that is on, else to one that starts or drains, else rent an instance for it."""
    access = np.int64(kernel.requests[request].access)
    r = _least_loaded(kernel, access)
    if r == NONE:
        r = _least_loaded_later(kernel, access, STARTING, now)
    if r == NONE:
        r = _least_loaded_later(kernel, access, DRAINING, now)
        if r != NONE:
            turn_on(kernel, kernel.replicas[r].pool, kernel.replicas[r].instance, now)
    if r == NONE:
        r = _rent(kernel, access, now)
    _assign(kernel, r, REALTIME, request, now)


@compiled
def _route_deferrable(kernel: KernelState, request: int, now: float) -> None:
    """Send a request to the least loaded replica with capacity, in merit order of pools; else to the backlog.

    Capacity is for the most urgent request first: a pool takes none while the backlog has one that starts before it.
    """
    access = np.int64(kernel.requests[request].access)
    for p in range(kernel.pools.shape[0]):
        if (kernel.pools[p].permits >> access) & 1 == 0:
            continue
        first = most_urgent(kernel, kernel.pools[p].permits)
        if first != NONE and before(kernel.latest_start_s, first, request):
            continue
        r = _least_loaded_of(kernel, p)
        if r == NONE:
            continue
        running, waiting = kernel.replicas[r].running, kernel.replicas[r].waiting
        if _backfill_sequences(running, waiting, kernel.pools[p].backfill_sequences) > 0:
            _assign(kernel, r, DEFERRABLE, request, now)
            return
    add_to_backlog(kernel, request)


@compiled
def _is_urgent(kernel: KernelState, request: int, now: float) -> bool:
    """Whether deferrable work cannot wait for another tick, and so is served as real-time work from now on."""
    return kernel.latest_start_s[request] <= now + kernel.fleet[0].tick_s


@compiled
def _escalate(kernel: KernelState, r: int, now: float) -> None:
    """Move urgent requests of a replica from its deferrable to its real-time queue."""
    request = np.int64(kernel.replicas[r].head[DEFERRABLE])
    if request == NONE:
        return
    kernel.replicas[r].head[DEFERRABLE] = NONE
    while request != NONE:
        behind = np.int64(kernel.requests[request].next)
        kernel.replicas[r].waiting -= 1
        if _is_urgent(kernel, request, now):
            kernel.requests[request].lane = REALTIME
            reschedule(kernel, r, now)
        enqueue(kernel, r, np.int64(kernel.requests[request].lane), request)
        request = behind


@compiled
def _interrupt_pool(kernel: KernelState, p: int, now: float) -> None:
    """Take back the instances that end by now, drain those under notice, and reroute what the former held."""
    pool = kernel.pools[p]
    while pool.past_ceilings < pool.ceilings and pool.ceiling_from_s[pool.past_ceilings] <= now:
        pool.ceiling = pool.ceiling_from[pool.past_ceilings]
        pool.past_ceilings += 1
    rented = 0
    for i in instances_of(kernel, p):
        instance = kernel.instances[i]
        if instance.state == OFF:
            continue
        if instance.ends_s <= now or rented >= pool.ceiling:
            stop(kernel, p, i, now)
            pool.interruptions += 1
            for r in replicas_of(kernel, p, i):
                _abort_run(kernel, r, now)
            continue
        rented += 1
        if instance.state == ON and under_notice(kernel, p, i, now):
            set_state(kernel, p, i, DRAINING)
    _reroute(kernel, p, now)


@compiled
def _abort_run(kernel: KernelState, r: int, now: float) -> None:
    """End a run before its time, which is lost, and requeue all sequences."""
    rep = kernel.replicas[r]
    pool = kernel.pools[rep.pool]
    if rep.run_steps > 0:
        pool.lost_s += now - rep.run_start_s
        pool.busy_until_s = now
        deferrable = rep.decoding_deferrable * (rep.run_batch > 0) + rep.run_prompt_deferrable
        share = deferrable / (rep.run_batch + rep.run_prompt)
        bin_s = kernel.fleet[0].bin_s
        add_to_bins(kernel.bins[rep.pool, 0], bin_s, rep.run_start_s, now, 1 - share)
        add_to_bins(kernel.bins[rep.pool, 1], bin_s, rep.run_start_s, now, share)
    rep.run_steps = 0
    rep.run_batch = 0
    rep.run_prompt = 0
    while rep.running > 0:
        requeue(kernel, r, last_admitted(kernel, r))


@compiled
def _reroute(kernel: KernelState, p: int, now: float) -> None:
    """Route again what waits for an instance that is off: what ran there first, in order of admission."""
    first, last = NONE, NONE  # linked by `next`
    for i in instances_of(kernel, p):
        if kernel.instances[i].state != OFF:
            continue
        for r in replicas_of(kernel, p, i):
            rep = kernel.replicas[r]
            for lane in (REALTIME, DEFERRABLE):
                if rep.head[lane] == NONE:
                    continue
                if first == NONE:
                    first = np.int64(rep.head[lane])
                else:
                    kernel.requests[last].next = rep.head[lane]
                last = np.int64(rep.tail[lane])
                rep.head[lane] = NONE
            rep.waiting = 0
    while first != NONE:
        request = first
        first = np.int64(kernel.requests[request].next)
        _discard_progress(kernel, p, request)
        if not kernel.requests[request].deferrable:
            count_in_flight(kernel, p, now, -1)
        if kernel.requests[request].lane == REALTIME:
            _route_realtime(kernel, request, now)
        else:
            _route_deferrable(kernel, request, now)


@compiled
def _discard_progress(kernel: KernelState, p: int, request: int) -> None:
    """Discard what was computed of a request that has run, and account for it as lost."""
    row = kernel.requests[request]
    pool = kernel.pools[p]
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


@compiled
def _tick(kernel: KernelState, now: float, tick: int) -> int:
    """Decide what is decided by the clock, pool by pool; then serve urgent work as real-time work.

    Returns:
        The request of the backlog that is served as real-time work next, NONE if none can be.
    """
    kernel.fleet[0].changed = 0
    for p in range(kernel.pools.shape[0]):
        if kernel.pools[p].backfill_by_slot > 0:
            set_backfill(kernel, p, now)
        for i in instances_of(kernel, p):
            if kernel.instances[i].state == STARTING and kernel.instances[i].ready_s <= now:
                turn_on(kernel, p, i, now)
        if kernel.pools[p].lifetimes > 0 or kernel.pools[p].ceilings > 0:
            _interrupt_pool(kernel, p, now)
        if kernel.pools[p].scaling != FIXED:
            scale(kernel, p, now, wanted_instances(kernel, p, now, tick))
    for r in range(kernel.replicas.shape[0]):
        if kernel.pools[kernel.replicas[r].pool].realtime:
            _escalate(kernel, r, now)
    permits = _served_in_real_time(kernel)
    request = most_urgent(kernel, permits)
    while request != NONE and _is_urgent(kernel, request, now):
        remove_from_backlog(kernel, request)
        retry_blocked(kernel, NONE, now)
        kernel.requests[request].lane = REALTIME
        _route_realtime(kernel, request, now)
        request = most_urgent(kernel, permits)
    kernel.fleet[0].last_tick = tick
    return request


@compiled
def _all_off(kernel: KernelState) -> bool:
    """Whether every pool that scales for deadlines has stopped its instances."""
    for p in range(kernel.pools.shape[0]):
        if kernel.pools[p].scaling == DEADLINES:
            for i in instances_of(kernel, p):
                if kernel.instances[i].state != OFF:
                    return False
    return True


@entry
def serve_all(kernel: KernelState) -> float:
    """Serve all requests; return when the last instance was stopped, or the horizon if that is later.

    It ends early once more requests have broken their SLO than may.
    """
    fleet = kernel.fleet[0]
    pools = kernel.pools.shape[0]
    for p in range(pools):
        open_pool(kernel, p)
    total = kernel.requests.shape[0]
    arrival, tick, now = np.int64(0), np.int64(1), 0.0
    while fleet.broken <= fleet.may_break:
        r = np.int64(kernel.winners[1])
        run_ends_s = kernel.run_end_s[r]
        arrives_s = kernel.requests[arrival].arrived_s if arrival < total else np.inf
        ticks_s = tick * fleet.tick_s if fleet.ticking else np.inf
        if arrives_s <= ticks_s and arrives_s <= run_ends_s:
            if arrives_s == np.inf:
                break
            now = arrives_s
            if kernel.requests[arrival].deferrable == 0:
                _route_realtime(kernel, arrival, now)
            else:
                _route_deferrable(kernel, arrival, now)
            arrival += 1
            if tick > fleet.last_tick + 1:
                tick = min(tick, max(fleet.last_tick + 1, first_tick_from(kernel, now)))
        elif ticks_s <= run_ends_s:
            served = fleet.done == total and ticks_s > fleet.horizon_s and _all_off(kernel)
            if served or ticks_s > fleet.give_up_s:
                break
            now = ticks_s
            urgent = _tick(kernel, now, tick)
            tick = next_tick(kernel, tick, now, arrival, urgent)
        else:
            now = run_ends_s
            if kernel.replicas[r].run_steps > 0:
                finish_run(kernel, r)
            start_run(kernel, r, now)
    end_s = max(now, fleet.horizon_s)
    for p in range(pools):
        pool = kernel.pools[p]
        # Instances that are always on serve until the horizon, and longer only if they have work.
        until_s = end_s if pool.scaling == DEADLINES else max(pool.busy_until_s, fleet.horizon_s)
        for i in instances_of(kernel, p):
            if kernel.instances[i].state != OFF:
                stop(kernel, p, i, max(until_s, kernel.instances[i].paid_from_s))
    return end_s
