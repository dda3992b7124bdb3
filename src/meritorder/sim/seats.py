"""The seats of a replica and its queues: who waits, who holds a seat and memory, and who is sent back."""

import numpy as np

from meritorder.sim.compiled import compiled, inlined
from meritorder.sim.heaps import remove
from meritorder.sim.state import DEFERRABLE, NONE, World


@inlined
def enqueue(world: World, r: int, lane: int, request: int) -> None:
    """Put a request at the end of a replica's queue."""
    rep = world.replicas[r]
    world.requests[request].next = NONE
    if rep.head[lane] == NONE:
        rep.head[lane] = request
    else:
        world.requests[rep.tail[lane]].next = request
    rep.tail[lane] = request
    rep.waiting += 1
    rep.work_s += world.requests[request].work_s


@inlined
def _count_off(world: World, r: int, request: int) -> None:
    """Count off the work of a request; what rounding leaves of it makes no replica busier than another."""
    rep = world.replicas[r]
    rep.work_s -= world.requests[request].work_s
    if rep.running + rep.waiting == 0:
        rep.work_s = 0.0


@inlined
def dequeue(world: World, r: int, lane: int) -> int:
    """Take the first request of a replica's queue."""
    rep = world.replicas[r]
    request = np.int64(rep.head[lane])
    rep.head[lane] = world.requests[request].next
    rep.waiting -= 1
    _count_off(world, r, request)
    return request


@compiled
def _requeue_first(world: World, r: int, lane: int, request: int) -> None:
    """Put a request at the front of a replica's queue."""
    rep = world.replicas[r]
    world.requests[request].next = rep.head[lane]
    if rep.head[lane] == NONE:
        rep.tail[lane] = request
    rep.head[lane] = request
    rep.waiting += 1
    rep.work_s += world.requests[request].work_s


@inlined
def crossing_phase(context: int, began: int, block: int) -> int:
    """Return the remainder of the steps at which a sequence needs a new block."""
    return (began + (block - context % block) % block) % block


@inlined
def vacate(world: World, r: int, seat: int) -> None:
    """Free a seat and its memory; the heap or the list that the sequence stood in is the caller's."""
    rep = world.replicas[r]
    pool = world.pools[rep.pool]
    block = pool.block_tokens
    request = np.int64(rep.seat_request[seat])
    began = rep.seat_began[seat]
    tokens = rep.seat_context[seat]
    if began != NONE:
        rep.crossing[crossing_phase(tokens, began, block)] -= 1
        tokens += rep.step - began
        rep.decoding -= 1
        rep.decoding_deferrable -= world.requests[request].deferrable
        rep.kv_tokens -= tokens
        rep.seat_cost_s[seat] += rep.share_s
    else:
        tokens += rep.seat_left[seat]
    rep.blocks_used -= (tokens + block - 1) // block
    rep.running -= 1
    _count_off(world, r, request)
    rep.seat_request[seat] = NONE
    rep.free_seat[rep.free_seats] = seat
    rep.free_seats += 1


@compiled
def _leave(world: World, r: int, seat: int) -> None:
    """Take an unfinished sequence off the replica, keeping count of what it generated."""
    rep = world.replicas[r]
    request = np.int64(rep.seat_request[seat])
    if rep.seat_began[seat] != NONE:
        world.requests[request].generated = world.requests[request].output_tokens - (rep.finish_step[seat] - rep.step)
        remove(rep.finish_heap, rep.decoding, seat, rep.finish_step)
    else:
        place = 0
        while rep.prompt_seat[place] != seat:
            place += 1
        rep.prompts -= 1
        for index in range(place, rep.prompts):
            rep.prompt_seat[index] = rep.prompt_seat[index + 1]
    vacate(world, r, seat)
    world.requests[request].spent_s = rep.seat_cost_s[seat]


@compiled
def last_admitted(world: World, r: int) -> int:
    """Return the seat of the sequence that was admitted last, of a deferrable one if there is any."""
    rep = world.replicas[r]
    last, rank = NONE, NONE
    for seat in range(rep.seats):
        request = np.int64(rep.seat_request[seat])
        if request != NONE:
            order = rep.seat_order[seat] + (np.int64(1) << 60) * world.requests[request].lane
            if order > rank:
                rank, last = order, np.int64(seat)
    return last


@compiled
def last_deferrable_decoding(world: World, r: int) -> int:
    """Return the seat of the deferrable sequence that was admitted last among those past their prompt, or NONE."""
    rep = world.replicas[r]
    last, rank = NONE, NONE
    if rep.decoding_deferrable > 0:
        for place in range(rep.decoding):
            seat = np.int64(rep.finish_heap[place])
            if world.requests[rep.seat_request[seat]].lane == DEFERRABLE and rep.seat_order[seat] > rank:
                rank, last = rep.seat_order[seat], seat
    return last


@compiled
def send_back(world: World, r: int, seat: int) -> None:
    """Send a sequence back to the front of its queue."""
    request = np.int64(world.replicas[r].seat_request[seat])
    _leave(world, r, seat)
    _requeue_first(world, r, np.int64(world.requests[request].lane), request)


@compiled
def preempt(world: World, r: int, seat: int) -> None:
    """Send a sequence back, which keeps its generated tokens; their context is computed again, as in vLLM."""
    send_back(world, r, seat)
    world.state[0].preemptions += 1


@inlined
def cached_tokens(world: World, r: int, request: int) -> int:
    """Return the prompt tokens that need no computing here."""
    row = world.requests[request]
    if world.state[0].local_prefixes and row.session != NONE and world.homes[row.session] != world.replicas[r].cache:
        return np.int64(0)
    return np.int64(row.cached_tokens)


@inlined
def waits_to_be_whole(world: World, r: int, request: int, prompt_tokens: int, most_tokens: int) -> bool:
    """Whether the step would have to cut the prompt, which it may not beside so many tokens of others."""
    if prompt_tokens == 0 or world.pools[world.replicas[r].pool].whole_prompts == 0:
        return False
    row = world.requests[request]
    return np.int64(row.input_tokens) + row.generated - cached_tokens(world, r, request) > most_tokens


@inlined
def admit(world: World, r: int, request: int, now: float) -> int:
    """Give a request a seat and memory for its prompt; returns the seat."""
    rep = world.replicas[r]
    pool = world.pools[rep.pool]
    state = world.state[0]
    row = world.requests[request]
    block = pool.block_tokens
    tokens = np.int64(row.input_tokens) + row.generated
    rep.free_seats -= 1
    seat = np.int64(rep.free_seat[rep.free_seats])
    rep.seat_request[seat] = request
    rep.seat_began[seat] = NONE
    rep.seat_context[seat] = cached_tokens(world, r, request)
    rep.seat_left[seat] = tokens - rep.seat_context[seat]
    rep.seat_order[seat] = state.admissions
    rep.seat_cost_s[seat] = row.spent_s
    state.admissions += 1
    rep.prompt_seat[rep.prompts] = seat
    rep.prompts += 1
    rep.running += 1
    rep.work_s += row.work_s
    rep.blocks_used += (tokens + block - 1) // block
    row.replica = r
    if row.session != NONE:
        world.homes[row.session] = rep.cache
    if np.isnan(row.admitted_s):
        row.admitted_s = now
    return seat


@inlined
def fits(world: World, r: int, request: int, blocks: int) -> bool:
    """Whether the prompt fits into so many blocks of memory beside what the next decode step takes."""
    rep = world.replicas[r]
    pool = world.pools[rep.pool]
    row = world.requests[request]
    block = pool.block_tokens
    tokens = np.int64(row.input_tokens) + row.generated
    taken = rep.blocks_used + rep.crossing[rep.step % block]
    return taken + (tokens + block - 1) // block <= blocks
