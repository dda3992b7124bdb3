"""One replica: continuous batching with chunked prefill, one run at a time (runs.py).

At the start of a run the scheduler decides (`start_run`), in the order of vLLM's: one token for each decoding sequence;
prefill chunks of prompts already begun; real-time requests in order of arrival; deferrable requests up to the limits
that policy sets. With `prefill_first`, as in SGLang, a step that has prompts has nothing else; with `whole_prompts`, as
in TensorRT-LLM, it has whole prompts only, or a single one. With `reserve_outputs`, as there too, a sequence has memory
for all of its output from the start. At the end of the run (`finish_run`) tokens are counted and
complete sequences freed. A request that arrives during decode steps ends their run after the step under way.
"""

import numpy as np

from meritorder.policy.backfill import backfill_sequences
from meritorder.sim.compiled import compiled, inlined, pop, push
from meritorder.sim.runs import add_to_bins, decode_for, retry_blocked, set_run_end
from meritorder.sim.sequences import (
    admit,
    count_in_flight,
    crossing_phase,
    dequeue,
    fits,
    free,
    last_admitted,
    most_urgent,
    preempt,
    remove_from_backlog,
    would_be_split,
)
from meritorder.sim.state import DEFERRABLE, NONE, ON, REALTIME, KernelState

_backfill_sequences = compiled(backfill_sequences)


@inlined
def _steps_that_fit(kernel: KernelState, r: int, limit: int) -> int:
    """Return how many decode steps, up to a limit, fit into the free memory blocks."""
    rep = kernel.replicas[r]
    pool = kernel.pools[rep.pool]
    block = pool.block_tokens
    batch = rep.decoding
    free_blocks = pool.kv_blocks - rep.blocks_used
    if not pool.grows or free_blocks >= batch * ((limit + block - 1) // block):
        return limit
    cycles = free_blocks // batch
    steps = cycles * block
    free_blocks -= cycles * batch
    phase = rep.step % block
    while steps < limit:
        free_blocks -= rep.crossing[phase]
        if free_blocks < 0:
            break
        steps += 1
        phase = phase + 1 if phase + 1 < block else 0
    return max(1, min(steps, limit))


@compiled
def start_run(kernel: KernelState, r: int, now: float) -> None:
    """Decide what the replica does next, and when that ends."""
    rep = kernel.replicas[r]
    pool = kernel.pools[rep.pool]
    fleet = kernel.fleet[0]
    block = pool.block_tokens
    fleet.blocked -= rep.blocked
    rep.blocked = 0
    preempted = False
    while rep.running > 1 and rep.decoding > 0 and rep.blocks_used + rep.crossing[rep.step % block] > pool.kv_blocks:
        preempt(kernel, r, last_admitted(kernel, r))
        preempted = True

    mixes = pool.prefill_first == 0
    batch = rep.decoding
    budget = pool.max_tokens - batch * mixes
    backfill_budget = min(budget, pool.backfill_tokens)
    prompt, prompt_deferrable, pairs = 0, 0, 0.0
    for index in range(rep.prefilling):
        seq = np.int64(rep.prefill_seq[index])
        request = np.int64(rep.seq_request[seq])
        in_backfill = kernel.requests[request].lane == DEFERRABLE
        chunk = min(rep.seq_prompt_left[seq], min(budget, backfill_budget) if in_backfill else budget)
        rep.seq_chunk[seq] = chunk
        pairs += chunk * (rep.seq_context[seq] + chunk / 2)
        budget -= chunk
        prompt += chunk
        prompt_deferrable += chunk * kernel.requests[request].deferrable
        if in_backfill:
            backfill_budget -= chunk

    while not preempted and budget > 0 and rep.head[REALTIME] != NONE:
        request = np.int64(rep.head[REALTIME])
        if rep.running >= pool.max_seqs or not fits(kernel, r, request, pool.kv_blocks):
            break
        if would_be_split(kernel, r, request, prompt, budget):
            break
        dequeue(kernel, r, REALTIME)
        seq = admit(kernel, r, request, now)
        chunk = min(rep.seq_prompt_left[seq], budget)
        rep.seq_chunk[seq] = chunk
        pairs += chunk * (rep.seq_context[seq] + chunk / 2)
        budget -= chunk
        prompt += chunk
        prompt_deferrable += chunk * kernel.requests[request].deferrable

    while not preempted and budget > 0 and backfill_budget > 0 and rep.head[REALTIME] == NONE:
        own = rep.head[DEFERRABLE] != NONE
        if not own and (fleet.queued == 0 or kernel.instances[rep.instance].state != ON):
            break
        if _backfill_sequences(rep.running, 0, pool.backfill_sequences) == 0:
            break
        request = np.int64(rep.head[DEFERRABLE]) if own else most_urgent(kernel, pool.permits)
        if request == NONE:
            break
        if not fits(kernel, r, request, pool.backfill_blocks if rep.running > 0 else pool.kv_blocks):
            if not own:
                rep.blocked = 1
                fleet.blocked += 1
            break
        if would_be_split(kernel, r, request, prompt, min(budget, backfill_budget)):
            break
        if own:
            dequeue(kernel, r, DEFERRABLE)
        else:
            remove_from_backlog(kernel, request)
            retry_blocked(kernel, r, now)
        seq = admit(kernel, r, request, now)
        chunk = min(rep.seq_prompt_left[seq], budget, backfill_budget)
        rep.seq_chunk[seq] = chunk
        pairs += chunk * (rep.seq_context[seq] + chunk / 2)
        budget -= chunk
        backfill_budget -= chunk
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
        set_run_end(kernel, r, now + pool.mixed_base_s[prompt + batch] + attention_s)
    elif batch > 0:
        limit = 1 if preempted else rep.finish_step[rep.finish_heap[0]] - rep.step
        decode_for(kernel, r, _steps_that_fit(kernel, r, limit))
    else:
        rep.run_steps = 0
        rep.run_batch = 0
        set_run_end(kernel, r, np.inf)


@inlined
def finish_run(kernel: KernelState, r: int) -> None:
    """Apply the run that ended: account for its time, count its tokens, and complete sequences."""
    rep = kernel.replicas[r]
    pool = kernel.pools[rep.pool]
    fleet = kernel.fleet[0]
    block = pool.block_tokens
    now = kernel.run_end_s[r]
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
        add_to_bins(kernel.bins[rep.pool, 0], fleet.bin_s, rep.run_start_s, now, 1 - share)
    if share > 0:
        add_to_bins(kernel.bins[rep.pool, 1], fleet.bin_s, rep.run_start_s, now, share)

    if batch > 0:
        rep.blocks_used += (steps // block) * batch * pool.grows
        phase = rep.step % block
        for _ in range(steps % block):
            rep.blocks_used += rep.crossing[phase]
            phase = phase + 1 if phase + 1 < block else 0
        rep.kv_tokens += steps * batch
    rep.step += steps

    decoding = rep.decoding
    while decoding > 0 and rep.finish_step[rep.finish_heap[0]] <= rep.step:
        seq = np.int64(rep.finish_heap[0])
        decoding = pop(rep.finish_heap, decoding, rep.finish_step)
        _complete(kernel, r, seq, now)
    if prompt > 0:
        _advance_prompts(kernel, r, now, taken_s / tokens)


@inlined
def _complete(kernel: KernelState, r: int, seq: int, now: float) -> None:
    """Complete the request of a sequence, and free the sequence."""
    rep = kernel.replicas[r]
    request = kernel.requests[rep.seq_request[seq]]
    request.finished_s = now
    request.generated = request.output_tokens
    if not request.deferrable:
        count_in_flight(kernel, rep.pool, now, -1)
    late = request.first_token_s - request.arrived_s > request.ttft_limit_s
    if late or now - request.first_token_s > request.tpot_limit_s * (request.output_tokens - 1):
        kernel.fleet[0].broken += 1
    kernel.fleet[0].done += 1
    free(kernel, r, seq)


@inlined
def _advance_prompts(kernel: KernelState, r: int, now: float, token_s: float) -> None:
    """Count the prefill chunks of a step; a prompt that is complete yields its first token and starts to decode."""
    rep = kernel.replicas[r]
    pool = kernel.pools[rep.pool]
    block = pool.block_tokens
    kept = 0
    for index in range(rep.prefilling):
        seq = np.int64(rep.prefill_seq[index])
        request = np.int64(rep.seq_request[seq])
        chunk = rep.seq_chunk[seq]
        rep.seq_cost_s[seq] += chunk * token_s
        rep.seq_prompt_left[seq] -= chunk
        rep.seq_context[seq] += chunk
        if rep.seq_prompt_left[seq] > 0:
            rep.prefill_seq[kept] = seq
            kept += 1
            continue
        row = kernel.requests[request]
        row.generated += 1
        if np.isnan(row.first_token_s):
            row.first_token_s = now
        if row.generated >= row.output_tokens:
            _complete(kernel, r, seq, now)
            continue
        context = rep.seq_context[seq]
        rep.seq_began[seq] = rep.step
        rep.seq_cost_s[seq] -= rep.share_s
        rep.finish_step[seq] = rep.step + row.output_tokens - row.generated
        rep.crossing[crossing_phase(context, rep.step, block)] += pool.grows
        push(rep.finish_heap, rep.decoding, seq, rep.finish_step)
        rep.decoding += 1
        rep.decoding_deferrable += row.deferrable
        rep.kv_tokens += context
    rep.prefilling = kept
