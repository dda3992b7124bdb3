"""Requests that wait and requests that run: the backlog, a replica's queues, and its sequences with their memory.

The backlog is deferrable work that no replica holds yet, by latest start. Requests that may run in the same places
share a heap; a replica takes the most urgent request of all heaps that may run there.
"""

import numpy as np

from meritorder.policy.replicas import first_replica_is_due, replica_load, replicas_for_deadline
from meritorder.sim.compiled import before, compiled, inlined, pop, push, remove
from meritorder.sim.state import CLOSED, DUE_BUCKETS, NONE, ON, STARTING, KernelState

_first_replica_is_due = compiled(first_replica_is_due)
_replica_load = inlined(replica_load)
_replicas_for_deadline = compiled(replicas_for_deadline)


@inlined
def count_in_flight(kernel: KernelState, p: int, now: float, change: int) -> None:
    """Change the count of real-time requests in flight that a pool adds to, and integrate it for the autoscaler."""
    pool = kernel.pools[kernel.pools[p].counted_by]
    pool.in_flight_integral += pool.in_flight * (now - pool.in_flight_since_s)
    pool.in_flight_since_s = now
    pool.in_flight += change
    pool.peak_in_flight = max(pool.peak_in_flight, pool.in_flight)


@inlined
def open_load(kernel: KernelState, r: int) -> None:
    """Set the load of a replica that takes new requests."""
    kernel.loads[r] = _replica_load(kernel.replicas[r].running, kernel.replicas[r].waiting)


@inlined
def _update_load(kernel: KernelState, r: int) -> None:
    """Update the load of a replica after a change of its requests."""
    if kernel.loads[r] != CLOSED:
        open_load(kernel, r)


@compiled
def _due_bucket(kernel: KernelState, request: int) -> int:
    index = int(kernel.latest_start_s[request] / kernel.fleet[0].due_bucket_s)
    return max(0, min(index, DUE_BUCKETS - 1))


@compiled
def add_to_backlog(kernel: KernelState, request: int) -> None:
    """Add a request to the backlog."""
    fleet = kernel.fleet[0]
    access = kernel.requests[request].access
    heap = kernel.backlog[fleet.first[access] :]
    fleet.heap[access] = push(heap, fleet.heap[access], request, kernel.latest_start_s)
    fleet.queued += 1
    index = _due_bucket(kernel, request)
    fleet.due_requests[access, index] += 1
    fleet.due_work_s[access, index] += kernel.requests[request].work_s


@compiled
def most_urgent(kernel: KernelState, permits: int) -> int:
    """Return the permitted request of the backlog with the earliest latest start, NONE if there is none."""
    fleet = kernel.fleet[0]
    first = NONE
    for access in range(fleet.accesses):
        if fleet.heap[access] > 0 and (permits >> access) & 1:
            request = np.int64(kernel.backlog[fleet.first[access]])
            if first == NONE or before(kernel.latest_start_s, request, first):
                first = request
    return first


@compiled
def remove_from_backlog(kernel: KernelState, request: int) -> None:
    """Remove a request that is the most urgent of its access."""
    fleet = kernel.fleet[0]
    access = kernel.requests[request].access
    heap = kernel.backlog[fleet.first[access] :]
    fleet.heap[access] = pop(heap, fleet.heap[access], kernel.latest_start_s)
    fleet.queued -= 1
    index = _due_bucket(kernel, request)
    fleet.due_requests[access, index] -= 1
    fleet.due_work_s[access, index] -= kernel.requests[request].work_s
    if fleet.due_requests[access, index] == 0:
        fleet.due_work_s[access, index] = 0.0  # drop what rounding leaves


@compiled
def _queued(kernel: KernelState, permits: int) -> int:
    """Return the permitted requests in the backlog."""
    fleet = kernel.fleet[0]
    queued = np.int64(0)
    for access in range(fleet.accesses):
        if (permits >> access) & 1:
            queued += fleet.heap[access]
    return queued


@compiled
def _due_in(kernel: KernelState, permits: int, index: int) -> tuple[int, float]:
    """Return the permitted requests of the backlog whose latest start is in a bucket, and their work."""
    fleet = kernel.fleet[0]
    requests, work_s = np.int64(0), 0.0
    for access in range(fleet.accesses):
        if (permits >> access) & 1:
            requests += fleet.due_requests[access, index]
            work_s += fleet.due_work_s[access, index]
    return requests, work_s


@compiled
def replicas_to_add(kernel: KernelState, p: int, now: float) -> float:
    """Return the replicas, not rounded, that the tightest deadline of the backlog needs beside those already rented."""
    fleet, pool = kernel.fleet[0], kernel.pools[p]
    first, queued = most_urgent(kernel, pool.permits), _queued(kernel, pool.permits)
    if first == NONE:
        return 0.0
    due_s, needed = 0.0, 0.0
    for index in range(_due_bucket(kernel, first), DUE_BUCKETS):
        requests, work_s = _due_in(kernel, pool.permits, index)
        if requests == 0:
            continue
        due_s += work_s
        due_by_s = index * fleet.due_bucket_s - pool.target
        rented_s, rented = 0.0, 0
        for i in range(pool.first_instance, pool.first_instance + pool.instances):
            if kernel.instances[i].state == ON or kernel.instances[i].state == STARTING:
                rented_s += pool.replicas_per_instance * max(0.0, due_by_s - max(now, kernel.instances[i].ready_s))
                rented += 1
        time_left_s = due_by_s - now - pool.startup_s
        if _first_replica_is_due(rented, time_left_s, fleet.tick_s):
            needed = max(needed, float(pool.replicas_per_instance))
        needed = max(needed, _replicas_for_deadline(due_s, rented_s, time_left_s))
        queued -= requests
        if queued == 0:
            break
    return needed


@compiled
def instance_needed_from_s(kernel: KernelState, p: int) -> float:
    """Return when the backlog will need the first instance of a pool that has none, unless more arrives before."""
    fleet, pool = kernel.fleet[0], kernel.pools[p]
    first, queued = most_urgent(kernel, pool.permits), _queued(kernel, pool.permits)
    if first == NONE:
        return np.inf
    due_s, from_s = 0.0, np.inf
    for index in range(_due_bucket(kernel, first), DUE_BUCKETS):
        requests, work_s = _due_in(kernel, pool.permits, index)
        if requests == 0:
            continue
        due_s += work_s
        starts_s = index * fleet.due_bucket_s - pool.target - pool.startup_s
        from_s = min(from_s, starts_s - max(fleet.tick_s, due_s / pool.replicas_per_instance))
        queued -= requests
        if queued == 0:
            break
    return from_s


@inlined
def enqueue(kernel: KernelState, r: int, lane: int, request: int) -> None:
    """Add a request to the end of a replica's queue."""
    rep = kernel.replicas[r]
    kernel.requests[request].next = NONE
    if rep.head[lane] == NONE:
        rep.head[lane] = request
    else:
        kernel.requests[rep.tail[lane]].next = request
    rep.tail[lane] = request
    rep.waiting += 1
    _update_load(kernel, r)


@inlined
def dequeue(kernel: KernelState, r: int, lane: int) -> int:
    """Remove and return the first request of a replica's queue."""
    rep = kernel.replicas[r]
    request = np.int64(rep.head[lane])
    rep.head[lane] = kernel.requests[request].next
    rep.waiting -= 1
    return request


@compiled
def _enqueue_first(kernel: KernelState, r: int, lane: int, request: int) -> None:
    """Add a request to the front of a replica's queue."""
    rep = kernel.replicas[r]
    kernel.requests[request].next = rep.head[lane]
    if rep.head[lane] == NONE:
        rep.tail[lane] = request
    rep.head[lane] = request
    rep.waiting += 1
    _update_load(kernel, r)


@inlined
def _blocks_of(kernel: KernelState, r: int, tokens: int) -> int:
    """Return the memory blocks that a sequence of this many tokens takes on the replica."""
    pool = kernel.pools[kernel.replicas[r].pool]
    return (tokens + pool.block_tokens - 1) // pool.block_tokens + pool.state_blocks


@inlined
def fits(kernel: KernelState, r: int, request: int, blocks: int) -> bool:
    """Whether the request fits below this many blocks of memory, beside what the next decode step needs."""
    rep = kernel.replicas[r]
    pool = kernel.pools[rep.pool]
    taken = rep.blocks_used + rep.crossing[rep.step % pool.block_tokens]
    return taken + _blocks_of(kernel, r, _tokens_at_admission(kernel, r, request)) <= blocks


@inlined
def _tokens_at_admission(kernel: KernelState, r: int, request: int) -> int:
    """Return the tokens that a request has memory for when it is admitted: its prompt, or all that it will have."""
    row = kernel.requests[request]
    outputs = row.generated if kernel.pools[kernel.replicas[r].pool].grows else row.output_tokens
    return np.int64(row.input_tokens) + outputs


@inlined
def would_be_split(kernel: KernelState, r: int, request: int, prompt_tokens: int, max_tokens: int) -> bool:
    """Whether the step would have to split the prompt, which `whole_prompts` forbids beside prompts of others."""
    if prompt_tokens == 0 or kernel.pools[kernel.replicas[r].pool].whole_prompts == 0:
        return False
    row = kernel.requests[request]
    return np.int64(row.input_tokens) + row.generated - row.cached_tokens > max_tokens


@inlined
def admit(kernel: KernelState, r: int, request: int, now: float) -> int:
    """Give a request a sequence and memory for its prompt; return the sequence."""
    rep = kernel.replicas[r]
    fleet = kernel.fleet[0]
    row = kernel.requests[request]
    tokens = np.int64(row.input_tokens) + row.generated
    rep.free_seqs -= 1
    seq = np.int64(rep.free_seq[rep.free_seqs])
    rep.seq_request[seq] = request
    rep.seq_began[seq] = NONE
    rep.seq_context[seq] = row.cached_tokens
    rep.seq_prompt_left[seq] = tokens - rep.seq_context[seq]
    rep.seq_order[seq] = fleet.admissions
    rep.seq_cost_s[seq] = row.spent_s
    fleet.admissions += 1
    rep.prefill_seq[rep.prefilling] = seq
    rep.prefilling += 1
    rep.running += 1
    _update_load(kernel, r)
    rep.blocks_used += _blocks_of(kernel, r, _tokens_at_admission(kernel, r, request))
    row.replica = r
    if np.isnan(row.admitted_s):
        row.admitted_s = now
    return seq


@inlined
def crossing_phase(context: int, began: int, block: int) -> int:
    """Return the remainder of the steps at which a sequence needs a new block."""
    return (began + (block - context % block) % block) % block


@inlined
def free(kernel: KernelState, r: int, seq: int) -> None:
    """Free a sequence and its memory; the caller removes it from the heap or list that it is in."""
    rep = kernel.replicas[r]
    pool = kernel.pools[rep.pool]
    block = pool.block_tokens
    request = np.int64(rep.seq_request[seq])
    began = rep.seq_began[seq]
    tokens = rep.seq_context[seq]
    if began != NONE:
        rep.crossing[crossing_phase(tokens, began, block)] -= pool.grows
        tokens += rep.step - began
        rep.decoding -= 1
        rep.decoding_deferrable -= kernel.requests[request].deferrable
        rep.kv_tokens -= tokens
        rep.seq_cost_s[seq] += rep.share_s
    else:
        tokens += rep.seq_prompt_left[seq]
    rep.blocks_used -= _blocks_of(kernel, r, tokens if pool.grows else _tokens_at_admission(kernel, r, request))
    rep.running -= 1
    _update_load(kernel, r)
    rep.seq_request[seq] = NONE
    rep.free_seq[rep.free_seqs] = seq
    rep.free_seqs += 1


@compiled
def last_admitted(kernel: KernelState, r: int) -> int:
    """Return the sequence that was admitted last, of the deferrable lane if it has any."""
    rep = kernel.replicas[r]
    last, rank = NONE, NONE
    for seq in range(kernel.pools[rep.pool].max_seqs):
        request = np.int64(rep.seq_request[seq])
        if request != NONE:
            order = rep.seq_order[seq] + (np.int64(1) << 60) * kernel.requests[request].lane
            if order > rank:
                rank, last = order, np.int64(seq)
    return last


@compiled
def requeue(kernel: KernelState, r: int, seq: int) -> None:
    """Return an unfinished sequence to the front of its queue; it keeps the tokens that it has generated."""
    rep = kernel.replicas[r]
    request = np.int64(rep.seq_request[seq])
    if rep.seq_began[seq] != NONE:
        kernel.requests[request].generated = kernel.requests[request].output_tokens - (rep.finish_step[seq] - rep.step)
        remove(rep.finish_heap, rep.decoding, seq, rep.finish_step)
    else:
        place = 0
        while rep.prefill_seq[place] != seq:
            place += 1
        rep.prefilling -= 1
        for index in range(place, rep.prefilling):
            rep.prefill_seq[index] = rep.prefill_seq[index + 1]
    free(kernel, r, seq)
    kernel.requests[request].spent_s = rep.seq_cost_s[seq]
    _enqueue_first(kernel, r, np.int64(kernel.requests[request].lane), request)


@compiled
def preempt(kernel: KernelState, r: int, seq: int) -> None:
    """Requeue a sequence for lack of memory; the context of its tokens is computed again, as in vLLM."""
    requeue(kernel, r, seq)
    kernel.fleet[0].preemptions += 1
