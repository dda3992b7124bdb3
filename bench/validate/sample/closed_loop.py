"""A closed loop: each client sends its next request when it has its answer, as the load generators of the sample.

The times of requests depend on the answers, so it contains a minimal engine of its own: the scheduler of `sim.replica`
for one replica without preemption. Only its arrival times are used; the errors on the page are those of the simulator,
which serves requests at these times.
"""

from typing import Final, NamedTuple

import numba
import numpy as np
from numpy.typing import NDArray

from meritorder.perf.profile import EngineLimits, Profile

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

# From an answer to the next request of that client: the load generator and the network of one machine. Assumed.
_TURNAROUND_S: Final = 0.001


class Loop(NamedTuple):
    """The timings of each request in order of sending, shape (requests,), in seconds since the first was sent.

    `arrived_s` is the arrival at the engine.
    """

    arrived_s: Floats
    first_token_s: Floats
    finished_s: Floats


def closed_loop(profile: Profile, limits: EngineLimits, clients: int, input_tokens: Ints, output_tokens: Ints) -> Loop:
    """Serve all requests, at most `clients` at once; all clients start together."""
    table = profile.table(limits)
    return Loop(
        *_serve(
            clients,
            input_tokens,
            output_tokens,
            table.decode_base_s,
            table.decode_per_kv_token_s,
            table.mixed_base_s,
            table.prefill_per_pair_s,
            limits.max_num_batched_tokens,
            profile.kv_capacity_tokens,
            limits.prefill_first,
            limits.whole_prompts,
            _TURNAROUND_S + profile.request_overhead_s + profile.prompt_token_overhead_s * float(input_tokens.mean()),
            profile.first_token_steps,
        )
    )


@numba.njit(cache=True)
def _serve(  # noqa: C901, PLR0912, PLR0915, PLR0917 - one loop over steps, which Numba compiles as a whole
    clients: int,
    inputs: Ints,
    outputs: Ints,
    decode_base_s: Floats,
    per_kv_s: Floats,
    mixed_base_s: Floats,
    per_pair_s: float,
    max_tokens: int,
    capacity_tokens: int,
    prefill_first: bool,  # noqa: FBT001 - an engine's flag; all arguments are positional
    whole_prompts: bool,  # noqa: FBT001 - an engine's flag; all arguments are positional
    delay_s: float,
    delay_steps: float,
) -> tuple[Floats, Floats, Floats]:
    count = len(inputs)
    arrived_s, first_s, finished_s = np.full(count, np.inf), np.full(count, np.nan), np.full(count, np.nan)
    sent = min(clients, count)
    arrived_s[:sent] = 0.0
    head, done, now, kv = 0, 0, 0.0, 0
    left, generated = inputs.copy(), np.zeros(count, np.int64)
    decoding, prompts, chunks = np.empty(clients, np.int64), np.empty(clients, np.int64), np.empty(clients, np.int64)
    batch, prompting = 0, 0
    while done < count:
        budget = max_tokens if prefill_first else max_tokens - batch
        tokens, pairs = 0, 0.0
        for index in range(prompting):
            request = prompts[index]
            chunk = min(left[request], budget)
            chunks[index] = chunk
            pairs += chunk * (inputs[request] - left[request] + chunk / 2)
            tokens += chunk
            budget -= chunk
        while head < sent and arrived_s[head] <= now and budget > 0 and batch + prompting < clients:
            if batch + prompting > 0 and kv + inputs[head] > capacity_tokens:
                break
            if whole_prompts and tokens > 0 and inputs[head] > budget:
                break
            chunk = min(inputs[head], budget)
            prompts[prompting], chunks[prompting] = head, chunk
            prompting += 1
            kv += inputs[head]
            pairs += chunk * chunk / 2
            tokens += chunk
            budget -= chunk
            head += 1
        steps = 1
        advancing = batch
        reading = kv
        for index in range(prompting):
            reading -= inputs[prompts[index]]
        if tokens > 0:
            if prefill_first:
                advancing = 0
            now += mixed_base_s[tokens + advancing] + per_pair_s * pairs
            if advancing > 0:
                now += per_kv_s[advancing] * reading
        elif batch > 0:
            steps = 1 << 40
            for index in range(batch):
                steps = min(steps, outputs[decoding[index]] - generated[decoding[index]])
            first, growth = decode_base_s[batch] + per_kv_s[batch] * reading, per_kv_s[batch] * batch
            if head < sent and batch + prompting < clients and arrived_s[head] > now:
                gap = arrived_s[head] - now
                fewer = 1
                while fewer < steps and fewer * first + growth * fewer * (fewer - 1) / 2 < gap:
                    fewer += 1
                steps = fewer
            now += steps * first + growth * steps * (steps - 1) / 2
        elif head < sent:
            now = arrived_s[head]
            continue
        else:
            break
        kept = 0
        if advancing > 0:
            step_s = decode_base_s[advancing] + per_kv_s[advancing] * reading
            kv += advancing * steps
            for index in range(batch):
                request = decoding[index]
                generated[request] += steps
                if generated[request] >= outputs[request]:
                    finished_s[request] = now
                    done += 1
                    kv -= inputs[request] + generated[request] - 1
                    if sent < count:
                        arrived_s[sent] = now + delay_s + delay_steps * step_s
                        if sent > head:
                            arrived_s[sent] = max(arrived_s[sent], arrived_s[sent - 1])
                        sent += 1
                else:
                    decoding[kept] = request
                    kept += 1
            batch = kept
        if tokens > 0:
            kept = 0
            for index in range(prompting):
                request = prompts[index]
                left[request] -= chunks[index]
                if left[request] > 0:
                    prompts[kept] = request
                    kept += 1
                else:
                    first_s[request], generated[request] = now, 1
                    decoding[batch] = request
                    batch += 1
            prompting = kept
    return arrived_s, first_s, finished_s
