"""What work costs on a replica that is kept full: the yardstick of utilisation."""

from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from meritorder.perf.profile import EngineLimits, Profile
from meritorder.sim.pools import Fixed, Pool, Requests
from meritorder.sim.run import simulate

Floats = NDArray[np.float64]
Tokens = NDArray[np.int32]

_MOST_SAMPLED: Final = 20_000
_BATCHES_SAMPLED: Final = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Saturation:
    """A replica that always has more to do, and how its time is shared out to requests.

        work_s = prefill_s fresh + pair_s fresh (cached + fresh / 2) + decode_s output

    Args:
        prefill_s: Seconds for each prompt token that is computed.
        pair_s: Seconds for each pair of tokens that prompt attention visits.
        decode_s: Seconds for each generated token.
        sequences: Sequences that it holds on average.
        tokens_per_s: Input and output tokens together.
    """

    prefill_s: float
    pair_s: float
    decode_s: float
    sequences: float
    tokens_per_s: float

    def work_s(self, input_tokens: Tokens, cached_tokens: Tokens, output_tokens: Tokens) -> Floats:
        """Return the seconds of the full replica that each request takes."""
        fresh = input_tokens.astype(float) - cached_tokens
        pairs = fresh * (cached_tokens + fresh / 2)
        return np.asarray(fresh * self.prefill_s + pairs * self.pair_s + output_tokens * self.decode_s)


def saturate(requests: Requests, profile: Profile, limits: EngineLimits) -> Saturation:
    """Keep one replica full with requests such as these, and share out its time.

    A sample of the requests waits at time 0. Up to the moment at which the last of them is admitted the replica is
    full; that time is shared out by tokens: a prompt token weighs its share of a full step with prompts in it, a
    generated token its share of a decode step at the batch and context seen, scaled so that the work done is that time.

    Args:
        requests: The requests; their arrival does not matter.
        profile: How fast the replica is.
        limits: The engine's limits.
    """
    count = int(np.clip(len(requests), _BATCHES_SAMPLED * limits.max_num_seqs, _MOST_SAMPLED))
    chosen = np.linspace(0, max(len(requests), count), count, endpoint=False).astype(np.int64) % len(requests)
    sample = _all_at_once(requests, chosen)
    result = simulate(sample, (Pool(profile=profile, scaling=Fixed(instances=1), limits=limits),), horizon_s=0.0)
    full_until_s = float(result.admitted_s.max())
    held_s = np.minimum(result.finished_s, full_until_s) - result.admitted_s
    done = np.clip(held_s / (result.finished_s - result.admitted_s), 0.0, 1.0)
    sequences = max(float(held_s.sum() / full_until_s), 1.0)
    context = float(np.mean(sample.input_tokens + sample.output_tokens / 2))
    step_tokens = limits.max_num_batched_tokens
    unscaled = Saturation(
        prefill_s=float(profile.step_time_s(step_tokens, 0, 0)) / step_tokens,
        pair_s=profile.prefill_per_pair_s,
        decode_s=float(profile.step_time_s(0, sequences, sequences * context)) / sequences,
        sequences=sequences,
        tokens_per_s=float(((sample.input_tokens.astype(float) + sample.output_tokens) * done).sum() / full_until_s),
    )
    work_s = unscaled.work_s(sample.input_tokens, sample.cached_tokens, sample.output_tokens)
    scale = full_until_s / float((work_s * done).sum())
    return replace(
        unscaled,
        prefill_s=unscaled.prefill_s * scale,
        pair_s=unscaled.pair_s * scale,
        decode_s=unscaled.decode_s * scale,
    )


def _all_at_once(requests: Requests, chosen: NDArray[np.int64]) -> Requests:
    zeros = np.zeros(len(chosen))
    return Requests(
        arrived_s=zeros,
        input_tokens=requests.input_tokens[chosen],
        cached_tokens=requests.cached_tokens[chosen],
        output_tokens=requests.output_tokens[chosen],
        latest_start_s=np.full(len(chosen), np.inf),
        work_s=zeros,
    )


def alone_on_a_replica(requests: Requests, profile: Profile, limits: EngineLimits) -> tuple[Floats, Floats]:
    """Return each request's time to first token and time per output token on an idle replica: the best it can have.

    Returns:
        ttft_s: Shape (requests,).
        tpot_s: Shape (requests,).
    """
    fresh = requests.input_tokens.astype(float) - requests.cached_tokens
    whole, rest = np.divmod(fresh, limits.max_num_batched_tokens)
    pairs = fresh * (requests.cached_tokens + fresh / 2)
    full_step_s = float(profile.step_time_s(limits.max_num_batched_tokens, 0, 0))
    last_step_s = np.where(rest > 0, profile.step_time_s(np.maximum(rest, 1), 0, 0), 0.0)
    context = requests.input_tokens + requests.output_tokens / 2
    tpot_s = profile.step_time_s(0, 1, context)
    host_s = profile.request_overhead_s + profile.prompt_token_overhead_s * requests.input_tokens
    waits_s = host_s + profile.first_token_steps * tpot_s
    return whole * full_step_s + last_step_s + pairs * profile.prefill_per_pair_s + waits_s, tpot_s
