"""Deferrable work that no replica holds yet, ordered by latest start, and the count of what is in flight.

Requests that may run in the same places share a heap; a replica takes the most urgent of all that may run there.
"""

import numpy as np

from meritorder.policy.replicas import replicas_for_deadline
from meritorder.sim.compiled import compiled, inlined
from meritorder.sim.heaps import before, pop, push
from meritorder.sim.state import DUE_BUCKETS, NONE, ON, STARTING, World

_replicas_for_deadline = compiled(replicas_for_deadline)


@inlined
def count_in_flight(world: World, p: int, now: float, change: int) -> None:
    """Note that a pool has more or fewer real-time requests in flight from now on; its autoscaler asks for them."""
    pool = world.pools[p]
    pool.in_flight_integral += pool.in_flight * (now - pool.in_flight_since_s)
    pool.in_flight_since_s = now
    pool.in_flight += change


@compiled
def _bucket(world: World, request: int) -> int:
    state = world.state[0]
    index = int(world.latest_start_s[request] / state.due_bucket_s)
    return max(0, min(index, DUE_BUCKETS - 1))


@compiled
def queue_up(world: World, request: int) -> None:
    """Add a request to the backlog."""
    state = world.state[0]
    access = world.requests[request].access
    heap = world.backlog[state.first[access] :]
    state.heap[access] = push(heap, state.heap[access], request, world.latest_start_s)
    state.queued += 1
    index = _bucket(world, request)
    state.due_requests[access, index] += 1
    state.due_work_s[access, index] += world.requests[request].work_s


@compiled
def most_urgent(world: World, permits: int) -> int:
    """Return the request of the backlog that must start first of those that are permitted, NONE if there is none."""
    state = world.state[0]
    first = NONE
    for access in range(state.accesses):
        if state.heap[access] > 0 and (permits >> access) & 1:
            request = np.int64(world.backlog[state.first[access]])
            if first == NONE or before(world.latest_start_s, request, first):
                first = request
    return first


@compiled
def unqueue(world: World, request: int) -> None:
    """Take a request out of the backlog that is the most urgent of its access."""
    state = world.state[0]
    access = world.requests[request].access
    heap = world.backlog[state.first[access] :]
    state.heap[access] = pop(heap, state.heap[access], world.latest_start_s)
    state.queued -= 1
    index = _bucket(world, request)
    state.due_requests[access, index] -= 1
    state.due_work_s[access, index] -= world.requests[request].work_s
    if state.due_requests[access, index] == 0:
        state.due_work_s[access, index] = 0.0  # not what rounding leaves of it


@compiled
def replicas_to_add(world: World, p: int, now: float) -> float:
    """Return the replicas, not rounded, that the most pressing of all deadlines asks for beside those that are held."""
    state, pool = world.state[0], world.pools[p]
    due_s, most = 0.0, 0.0
    for index in range(DUE_BUCKETS):
        requests = np.int64(0)
        for access in range(state.accesses):
            if (pool.permits >> access) & 1:
                requests += state.due_requests[access, index]
                due_s += state.due_work_s[access, index]
        if requests == 0:
            continue
        due_by_s = index * state.due_bucket_s - pool.target
        held_s, held = 0.0, 0
        for i in range(pool.first_instance, pool.first_instance + pool.instances):
            if world.instances[i].state == ON or world.instances[i].state == STARTING:
                held_s += pool.pack * max(0.0, due_by_s - max(now, world.instances[i].ready_s))
                held += 1
        time_left_s = due_by_s - now - pool.startup_s
        if held == 0 and time_left_s <= state.tick_s:
            most = max(most, float(pool.pack))
        most = max(most, _replicas_for_deadline(due_s, held_s, time_left_s))
    return most
