"""One replica: continuous batching with chunked prefill, from event to event.

A *run* is what a replica does without a decision: one step with prompt chunks in it, or a stretch of decode steps. At
the start of a run the scheduler decides (`begin`), as vLLM's does: decoding sequences first, one token each; then
prompts that were begun; then real-time requests in order of arrival; then deferrable ones into the seats that policy
leaves. With `prefill_first` a step that has prompts has nothing else, as SGLang's; with `whole_prompts` it has only
whole ones, or a single one, as TensorRT-LLM's. At its end (`finish`) tokens are counted and seats freed. A request that
arrives in a stretch of decode steps ends it at the next step (`cut`). The stretch has a closed form because a step is
linear in context (perf/profile.py):

    time of k steps = k (base + slope kv) + slope b k (k - 1) / 2        b sequences, kv context tokens at the start
"""

import math

import numpy as np

from meritorder.policy.backfill import backfill_sequences
from meritorder.sim.agenda import run_ends
from meritorder.sim.backlog import count_in_flight, most_urgent, unqueue
from meritorder.sim.compiled import compiled, inlined
from meritorder.sim.heaps import pop, push
from meritorder.sim.seats import (
    admit,
    crossing_phase,
    dequeue,
    fits,
    last_admitted,
    last_deferrable_decoding,
    preempt,
    vacate,
    waits_to_be_whole,
)
from meritorder.sim.state import DEFERRABLE, NONE, ON, REALTIME, Floats, World

_backfill_sequences = compiled(backfill_sequences)


@inlined
def steps_until(base_s: float, slope_s: float, batch: int, kv_tokens: int, gap_s: float) -> int:
    """Return the fewest decode steps, at least 1, that take at least `gap_s`."""
    first_s = base_s + slope_s * kv_tokens
    growth_s = slope_s * batch
    half_s = first_s - growth_s / 2
    steps = 2 * gap_s / (half_s + math.sqrt(half_s * half_s + 2 * growth_s * gap_s))
    count = max(1, int(math.ceil(steps)) - 1)
    while count * first_s + growth_s * count * (count - 1) / 2 < gap_s:
        count += 1
    return count


@inlined
def spread(bins: Floats, bin_s: float, start_s: float, end_s: float, weight: float) -> None:
    """Add the time from start to end, times a weight, to its bins; the first and the last take what is beyond."""
    last = bins.shape[0] - 1
    index = max(0, min(int(start_s / bin_s), last))
    while True:
        edge_s = (index + 1) * bin_s
        if end_s <= edge_s or index == last:
            bins[index] += (end_s - start_s) * weight
            return
        bins[index] += (edge_s - start_s) * weight
        start_s = edge_s
        index += 1


@inlined
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
    state.held_up -= rep.held_up
    rep.held_up = 0
    preempted = False
    while rep.running > 1 and rep.decoding > 0 and rep.blocks_used + rep.crossing[rep.step % block] > pool.kv_blocks:
        preempt(world, r, last_admitted(world, r))
        preempted = True

    mixes = pool.prefill_first == 0
    batch = rep.decoding
    budget = pool.max_tokens - batch * mixes
    backfill = min(budget, pool.backfill_tokens)
    prompt, prompt_deferrable, pairs = 0, 0, 0.0
    for index in range(rep.prompts):
        seat = np.int64(rep.prompt_seat[index])
        request = np.int64(rep.seat_request[seat])
        waits = world.requests[request].lane == DEFERRABLE
        chunk = min(rep.seat_left[seat], min(budget, backfill) if waits else budget)
        rep.seat_chunk[seat] = chunk
        pairs += chunk * (rep.seat_context[seat] + chunk / 2)
        budget -= chunk
        prompt += chunk
        prompt_deferrable += chunk * world.requests[request].deferrable
        if waits:
            backfill -= chunk

    while not preempted and budget > 0 and rep.head[REALTIME] != NONE:
        request = np.int64(rep.head[REALTIME])
        if rep.running >= pool.max_seqs or not fits(world, r, request, pool.kv_blocks):
            seat = last_deferrable_decoding(world, r) if state.preempt else NONE
            if seat == NONE:
                break
            preempt(world, r, seat)
            budget += mixes
            batch -= 1
            continue
        if waits_to_be_whole(world, r, request, prompt, budget):
            break
        dequeue(world, r, REALTIME)
        seat = admit(world, r, request, now)
        chunk = min(rep.seat_left[seat], budget)
        rep.seat_chunk[seat] = chunk
        pairs += chunk * (rep.seat_context[seat] + chunk / 2)
        budget -= chunk
        prompt += chunk
        prompt_deferrable += chunk * world.requests[request].deferrable

    while not preempted and budget > 0 and backfill > 0 and rep.head[REALTIME] == NONE:
        own = rep.head[DEFERRABLE] != NONE
        if not own and (state.queued == 0 or world.instances[rep.instance].state != ON):
            break
        if _backfill_sequences(rep.running, 0, pool.backfill_seats) == 0:
            break
        request = np.int64(rep.head[DEFERRABLE]) if own else most_urgent(world, pool.permits)
        if request == NONE:
            break
        if not fits(world, r, request, pool.backfill_blocks if rep.running > 0 else pool.kv_blocks):
            if not own:
                rep.held_up = 1
                state.held_up += 1
            break
        if waits_to_be_whole(world, r, request, prompt, min(budget, backfill)):
            break
        if own:
            dequeue(world, r, DEFERRABLE)
        else:
            unqueue(world, request)
            release_held_up(world, r, now)
        seat = admit(world, r, request, now)
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
        batch *= mixes
        rep.run_steps = 1
        rep.run_batch = batch
        attention_s = pool.decode_per_kv_s[batch] * rep.kv_tokens * (batch > 0) + pool.per_pair_s * pairs
        run_ends(world, r, now + pool.mixed_base_s[prompt + batch] + attention_s)
    elif batch > 0:
        most = 1 if preempted else rep.finish_step[rep.finish_heap[0]] - rep.step
        _run_for(world, r, _steps_that_fit(world, r, most))
    else:
        rep.run_steps = 0
        rep.run_batch = 0
        run_ends(world, r, np.inf)


@inlined
def _run_for(world: World, r: int, steps: int) -> None:
    """Let the run under way be this many decode steps."""
    rep = world.replicas[r]
    pool = world.pools[rep.pool]
    batch = rep.decoding
    slope_s = pool.decode_per_kv_s[batch]
    first_s = pool.decode_base_s[batch] + slope_s * rep.kv_tokens
    rep.run_steps = steps
    rep.run_batch = batch
    taken_s = steps * first_s + slope_s * batch * steps * (steps - 1) / 2
    run_ends(world, r, rep.run_start_s + taken_s)


@inlined
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


@inlined
def look_again(world: World, r: int, now: float) -> None:
    """Have a replica decide again: now if it has nothing to do, else at its next step."""
    rep = world.replicas[r]
    if world.next_s[r] == np.inf:
        rep.run_start_s = now
        rep.run_steps = 0
        rep.run_batch = 0
        rep.run_prompt = 0
        run_ends(world, r, now)
    else:
        cut(world, r, now)


@compiled
def release_held_up(world: World, acting: int, now: float) -> None:
    """Have the replicas that had no memory for the first of the backlog try the next one.

    Those before the one that acts have looked at this moment already, and look again at the end of a step after it.
    """
    if world.state[0].held_up > 0:
        for r in range(world.replicas.shape[0]):
            if world.replicas[r].held_up:
                cut(world, r, np.nextafter(now, np.inf) if r < acting else now)


@inlined
def finish(world: World, r: int) -> None:
    """Apply the run that ended: count its tokens, complete what is complete."""
    rep = world.replicas[r]
    pool = world.pools[rep.pool]
    state = world.state[0]
    block = pool.block_tokens
    now = world.next_s[r]
    pool.busy_until_s = now
    taken_s = now - rep.run_start_s
    batch = rep.run_batch
    decodes = batch == rep.decoding
    steps = rep.run_steps * decodes
    prompt = rep.run_prompt
    tokens = batch + prompt
    share = (rep.decoding_deferrable * decodes + rep.run_prompt_deferrable) / tokens
    pool.realtime_s += taken_s * (1 - share)
    pool.deferrable_s += taken_s * share
    rep.share_s += taken_s / tokens * decodes
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


@inlined
def _complete(world: World, r: int, seat: int, now: float) -> None:
    """Note that a request has all its tokens, and free its seat."""
    rep = world.replicas[r]
    request = world.requests[rep.seat_request[seat]]
    request.finished_s = now
    request.generated = request.output_tokens
    if not request.deferrable:
        count_in_flight(world, rep.pool, now, -1)
    world.state[0].done += 1
    vacate(world, r, seat)


@inlined
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
        rep.crossing[crossing_phase(context, rep.step, block)] += 1
        push(rep.finish_heap, rep.decoding, seat, rep.finish_step)
        rep.decoding += 1
        rep.decoding_deferrable += row.deferrable
        rep.kv_tokens += context
    rep.prompts = kept
