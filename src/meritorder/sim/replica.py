"""One replica: continuous batching with chunked prefill, from event to event.

A *run* is what a replica does without a decision: one step with prompt chunks in it, or a stretch of decode steps. At
the start of a run the scheduler decides (`begin`), as vLLM's does: decoding sequences first, one token each; then
prompts that were begun; then real-time requests in order of arrival; then deferrable ones into the seats that policy
leaves. At its end (`finish`) tokens are counted and seats freed. A request that arrives in a stretch of decode steps
ends it at the next step (`cut`). The stretch has a closed form because a step is linear in context (perf/profile.py):

    time of k steps = k (base + slope kv) + slope b k (k - 1) / 2        b sequences, kv context tokens at the start
"""

import math

import numpy as np

from meritorder.policy.release import backfill_seats
from meritorder.sim.backlog import count_in_flight, unqueue
from meritorder.sim.compiled import compiled
from meritorder.sim.heaps import pop, push, remove
from meritorder.sim.state import DEFERRABLE, NONE, REALTIME, Floats, World

_backfill_seats = compiled(backfill_seats)


@compiled
def steps_until(base_s: float, slope_s: float, batch: int, kv_tokens: int, gap_s: float) -> int:
    """Return the fewest decode steps, at least 1, that take at least `gap_s`."""
    first_s = base_s + slope_s * kv_tokens
    growth_s = slope_s * batch
    if growth_s * gap_s < 1e-18 * first_s:
        steps = gap_s / first_s
    else:
        half = first_s - growth_s / 2
        steps = (math.sqrt(half * half + 2 * growth_s * gap_s) - half) / growth_s
    count = max(1, int(math.ceil(steps)) - 1)
    while count * first_s + growth_s * count * (count - 1) / 2 < gap_s:
        count += 1
    return count


@compiled
def spread(bins: Floats, bin_s: float, start_s: float, end_s: float, weight: float) -> None:
    """Add the time from start to end, times a weight, to its bins; the last bin takes what is beyond."""
    last = bins.shape[0] - 1
    index = min(int(start_s / bin_s), last)
    while True:
        edge_s = (index + 1) * bin_s
        if end_s <= edge_s or index == last:
            bins[index] += (end_s - start_s) * weight
            return
        bins[index] += (edge_s - start_s) * weight
        start_s = edge_s
        index += 1


@compiled
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


@compiled
def dequeue(world: World, r: int, lane: int) -> int:
    """Take the first request of a replica's queue."""
    rep = world.replicas[r]
    request = np.int64(rep.head[lane])
    rep.head[lane] = world.requests[request].next
    rep.waiting -= 1
    return request


@compiled
def _requeue_first(world: World, r: int, lane: int, request: int) -> None:
    rep = world.replicas[r]
    world.requests[request].next = rep.head[lane]
    if rep.head[lane] == NONE:
        rep.tail[lane] = request
    rep.head[lane] = request
    rep.waiting += 1


@compiled
def _crossing_phase(context: int, began: int, block: int) -> int:
    """Return the remainder of the steps at which a sequence needs a new block."""
    return (began + (block - context % block) % block) % block


@compiled
def _vacate(world: World, r: int, seat: int) -> None:
    """Free a seat and its memory; the heap or the list that the sequence stood in is the caller's."""
    rep = world.replicas[r]
    pool = world.pools[rep.pool]
    block = pool.block_tokens
    request = np.int64(rep.seat_request[seat])
    began = rep.seat_began[seat]
    tokens = rep.seat_context[seat]
    if began != NONE:
        rep.crossing[_crossing_phase(tokens, began, block)] -= 1
        tokens += rep.step - began
        rep.decoding -= 1
        rep.decoding_deferrable -= world.requests[request].deferrable
        rep.kv_tokens -= tokens
        rep.seat_cost_s[seat] += rep.share_s
    else:
        tokens += rep.seat_left[seat]
    rep.blocks_used -= (tokens + block - 1) // block
    rep.running -= 1
    rep.seat_request[seat] = NONE
    rep.free_seat[rep.free_seats] = seat
    rep.free_seats += 1


@compiled
def leave(world: World, r: int, seat: int) -> None:
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
    _vacate(world, r, seat)


@compiled
def _preempt_last(world: World, r: int) -> None:
    """Send the sequence that was admitted last back to its queue, deferrable ones before others.

    It keeps its generated tokens and computes their context again (recomputation, as in vLLM).
    """
    rep = world.replicas[r]
    state = world.state[0]
    victim, rank = NONE, NONE
    for seat in range(rep.seats):
        request = np.int64(rep.seat_request[seat])
        if request == NONE:
            continue
        order = rep.seat_order[seat] + (np.int64(1) << 60) * world.requests[request].deferrable
        if order > rank:
            rank, victim = order, np.int64(seat)
    request = np.int64(rep.seat_request[victim])
    leave(world, r, victim)
    _requeue_first(world, r, np.int64(world.requests[request].deferrable), request)
    state.preemptions += 1


@compiled
def _admit(world: World, r: int, request: int, now: float) -> int:
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
    rep.seat_context[seat] = row.cached_tokens
    rep.seat_left[seat] = tokens - row.cached_tokens
    rep.seat_order[seat] = state.admissions
    rep.seat_cost_s[seat] = 0.0
    state.admissions += 1
    rep.prompt_seat[rep.prompts] = seat
    rep.prompts += 1
    rep.running += 1
    rep.blocks_used += (tokens + block - 1) // block
    row.replica = r
    if np.isnan(row.admitted_s):
        row.admitted_s = now
    return seat


@compiled
def _fits(world: World, r: int, request: int) -> bool:
    """Whether the prompt fits in memory beside what the next decode step takes."""
    rep = world.replicas[r]
    pool = world.pools[rep.pool]
    row = world.requests[request]
    block = pool.block_tokens
    tokens = np.int64(row.input_tokens) + row.generated
    taken = rep.blocks_used + rep.crossing[rep.step % block]
    return taken + (tokens + block - 1) // block <= pool.kv_blocks


@compiled
def _steps_that_fit(world: World, r: int, most: int) -> int:
    """Return how many decode steps, up to `most`, the free blocks allow."""
    rep = world.replicas[r]
    pool = world.pools[rep.pool]
    block = pool.block_tokens
    batch = rep.decoding
    free = pool.kv_blocks - rep.blocks_used
    if free >= batch * ((most + block - 1) // block):
        return most
    cycles = free // batch
    steps = cycles * block
    free -= cycles * batch
    phase = rep.step % block
    while steps < most:
        free -= rep.crossing[phase]
        if free < 0:
            break
        steps += 1
        phase = phase + 1 if phase + 1 < block else 0
    return max(1, min(steps, most))


@compiled
def begin(world: World, r: int, now: float) -> None:
    """Decide what the replica does next, and when that ends."""
    rep = world.replicas[r]
    pool = world.pools[rep.pool]
    state = world.state[0]
    block = pool.block_tokens
    preempted = False
    while rep.running > 1 and rep.decoding > 0 and rep.blocks_used + rep.crossing[rep.step % block] > pool.kv_blocks:
        _preempt_last(world, r)
        preempted = True

    batch = rep.decoding
    budget = pool.max_tokens - batch
    backfill = min(budget, pool.backfill_tokens)
    prompt, prompt_deferrable, pairs = 0, 0, 0.0
    for index in range(rep.prompts):
        seat = np.int64(rep.prompt_seat[index])
        deferrable = world.requests[rep.seat_request[seat]].deferrable == 1
        chunk = min(rep.seat_left[seat], min(budget, backfill) if deferrable else budget)
        rep.seat_chunk[seat] = chunk
        pairs += chunk * (rep.seat_context[seat] + chunk / 2)
        budget -= chunk
        prompt += chunk
        if deferrable:
            backfill -= chunk
            prompt_deferrable += chunk

    while not preempted and budget > 0 and rep.head[REALTIME] != NONE:
        request = np.int64(rep.head[REALTIME])
        if rep.running >= pool.max_seqs or not _fits(world, r, request):
            if not (state.preempt and prompt == 0 and rep.decoding_deferrable > 0):
                break
            _preempt_last(world, r)
            budget += batch - rep.decoding
            batch = rep.decoding
            continue
        dequeue(world, r, REALTIME)
        seat = _admit(world, r, request, now)
        chunk = min(rep.seat_left[seat], budget)
        rep.seat_chunk[seat] = chunk
        pairs += chunk * (rep.seat_context[seat] + chunk / 2)
        budget -= chunk
        prompt += chunk
        prompt_deferrable += chunk * world.requests[request].deferrable

    while not preempted and budget > 0 and backfill > 0 and rep.head[REALTIME] == NONE:
        own = rep.head[DEFERRABLE] != NONE
        if not own and state.queued == 0:
            break
        if _backfill_seats(rep.running, 0, pool.backfill_seats) == 0:
            break
        request = np.int64(rep.head[DEFERRABLE] if own else world.backlog[0])
        if not _fits(world, r, request):
            break
        if own:
            dequeue(world, r, DEFERRABLE)
        else:
            unqueue(world)
        seat = _admit(world, r, request, now)
        chunk = min(rep.seat_left[seat], budget, backfill)
        rep.seat_chunk[seat] = chunk
        pairs += chunk * (rep.seat_context[seat] + chunk / 2)
        budget -= chunk
        backfill -= chunk
        prompt += chunk
        prompt_deferrable += chunk

    rep.run_start_s = now
    rep.run_prompt = prompt
    rep.run_prompt_deferrable = prompt_deferrable
    if prompt > 0:
        rep.run_steps = 1
        world.next_s[r] = (
            now
            + pool.mixed_base_s[prompt + batch]
            + pool.decode_per_kv_s[batch] * rep.kv_tokens
            + pool.per_pair_s * pairs
        )
    elif batch > 0:
        most = rep.finish_step[rep.finish_heap[0]] - rep.step
        _run_for(world, r, _steps_that_fit(world, r, most))
    else:
        rep.run_steps = 0
        world.next_s[r] = np.inf


@compiled
def _run_for(world: World, r: int, steps: int) -> None:
    """Let the run under way be this many decode steps."""
    rep = world.replicas[r]
    pool = world.pools[rep.pool]
    batch = rep.decoding
    slope_s = pool.decode_per_kv_s[batch]
    first_s = pool.decode_base_s[batch] + slope_s * rep.kv_tokens
    rep.run_steps = steps
    world.next_s[r] = rep.run_start_s + steps * first_s + slope_s * batch * steps * (steps - 1) / 2


@compiled
def cut(world: World, r: int, now: float) -> None:
    """End a stretch of decode steps at the first step that ends now or later."""
    rep = world.replicas[r]
    if rep.run_prompt > 0 or rep.run_steps <= 1:
        return
    p = rep.pool
    batch = rep.decoding
    steps = steps_until(
        world.pools[p].decode_base_s[batch],
        world.pools[p].decode_per_kv_s[batch],
        batch,
        rep.kv_tokens,
        now - rep.run_start_s,
    )
    if steps < rep.run_steps:
        _run_for(world, r, steps)


@compiled
def finish(world: World, r: int) -> None:
    """Apply the run that ended: count its tokens, complete what is complete."""
    rep = world.replicas[r]
    pool = world.pools[rep.pool]
    state = world.state[0]
    block = pool.block_tokens
    now = world.next_s[r]
    pool.busy_until_s = now
    taken_s = now - rep.run_start_s
    steps = rep.run_steps
    batch = rep.decoding
    prompt = rep.run_prompt
    tokens = batch + prompt
    share = (rep.decoding_deferrable + rep.run_prompt_deferrable) / tokens
    pool.realtime_s += taken_s * (1 - share)
    pool.deferrable_s += taken_s * share
    rep.share_s += taken_s / tokens
    if share < 1:
        spread(world.bins[rep.pool, 0], state.bin_s, rep.run_start_s, now, 1 - share)
    if share > 0:
        spread(world.bins[rep.pool, 1], state.bin_s, rep.run_start_s, now, share)

    if batch > 0:
        rep.blocks_used += (steps // block) * batch
        for index in range(steps % block):
            rep.blocks_used += rep.crossing[(rep.step + index) % block]
        rep.kv_tokens += steps * batch
    rep.step += steps

    waiting = rep.decoding
    while waiting > 0 and rep.finish_step[rep.finish_heap[0]] <= rep.step:
        seat = np.int64(rep.finish_heap[0])
        waiting = pop(rep.finish_heap, waiting, rep.finish_step)
        _complete(world, r, seat, now)
    if prompt > 0:
        _advance_prompts(world, r, now, taken_s / tokens)


@compiled
def _complete(world: World, r: int, seat: int, now: float) -> None:
    """Note that a request has all its tokens, and free its seat."""
    rep = world.replicas[r]
    request = world.requests[rep.seat_request[seat]]
    request.finished_s = now
    request.generated = request.output_tokens
    if not request.deferrable:
        count_in_flight(world, rep.pool, now, -1)
    world.state[0].done += 1
    _vacate(world, r, seat)


@compiled
def _advance_prompts(world: World, r: int, now: float, token_s: float) -> None:
    """Count the prompt chunks of a step; a finished prompt gives its first token and starts to decode."""
    rep = world.replicas[r]
    pool = world.pools[rep.pool]
    block = pool.block_tokens
    kept = 0
    for index in range(rep.prompts):
        seat = np.int64(rep.prompt_seat[index])
        request = np.int64(rep.seat_request[seat])
        chunk = rep.seat_chunk[seat]
        rep.seat_cost_s[seat] += chunk * token_s
        rep.seat_left[seat] -= chunk
        rep.seat_context[seat] += chunk
        if rep.seat_left[seat] > 0:
            rep.prompt_seat[kept] = seat
            kept += 1
            continue
        row = world.requests[request]
        row.generated += 1
        if np.isnan(row.first_token_s):
            row.first_token_s = now
        if row.generated >= row.output_tokens:
            _complete(world, r, seat, now)
            continue
        context = rep.seat_context[seat]
        rep.seat_began[seat] = rep.step
        rep.seat_cost_s[seat] -= rep.share_s
        rep.finish_step[seat] = rep.step + row.output_tokens - row.generated
        rep.crossing[_crossing_phase(context, rep.step, block)] += 1
        push(rep.finish_heap, rep.decoding, seat, rep.finish_step)
        rep.decoding += 1
        rep.decoding_deferrable += row.deferrable
        rep.kv_tokens += context
    rep.prompts = kept
