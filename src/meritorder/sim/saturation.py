"""The time that requests take on a saturated replica: the unit of work, and the basis of utilization."""

from dataclasses import dataclass, replace
from typing import Final, Self

import numpy as np
from numpy.typing import NDArray

from meritorder.perf.profile import EngineLimits, Profile
from meritorder.sim.pools import Fixed, Requests, SimPool
from meritorder.sim.run import simulate

Floats = NDArray[np.float64]
Tokens = NDArray[np.int32]
Indices = NDArray[np.int64]

_MAX_SAMPLED: Final = 10_000
_BATCHES_SAMPLED: Final = 20
# Stretches that a trace is cut into, since its mix of requests changes over a day.
_MAX_STRETCHES: Final = 16
# Weight of the step times in the fit, against the measured times of the stretches.
_PRIOR: Final = 0.03


@dataclass(frozen=True, slots=True, kw_only=True)
class Saturation:
    """The throughput of a replica that always has more work, and how its time is attributed to requests.

        work_s = prefill_s fresh + pair_s fresh (cached + fresh / 2) + (decode_s + context_s context) output
        context = input + output / 2

    Args:
        prefill_s: Seconds per prompt token that is computed.
        pair_s: Seconds per pair of tokens that prompt attention computes.
        decode_s: Seconds per generated token.
        context_s: Seconds per context token that a generated token reads, including the memory that it occupies.
        sequences: Mean number of running sequences.
        tokens_per_s: Input and output tokens per second.
    """

    prefill_s: float
    pair_s: float
    decode_s: float
    context_s: float
    sequences: float
    tokens_per_s: float

    def work_s(self, input_tokens: Tokens, cached_tokens: Tokens, output_tokens: Tokens) -> Floats:
        """Return the seconds of the saturated replica that each request takes."""
        fresh = input_tokens.astype(float) - cached_tokens
        work_s = fresh * (self.prefill_s + self.pair_s * (cached_tokens + fresh / 2))
        context = input_tokens + output_tokens / 2
        return np.asarray(work_s + output_tokens * (self.decode_s + self.context_s * context))

    def slowed(self, factor: float) -> Self:
        """Return the saturation of a replica with every step longer by this factor."""
        return replace(
            self,
            prefill_s=self.prefill_s * factor,
            pair_s=self.pair_s * factor,
            decode_s=self.decode_s * factor,
            context_s=self.context_s * factor,
            tokens_per_s=self.tokens_per_s / factor,
        )


def saturate(requests: Requests, profile: Profile, limits: EngineLimits) -> Saturation:
    """Measure a saturated replica under requests such as these, and attribute its time to tokens.

    Each stretch of the requests queues at time 0 for a replica of its own, which is saturated until the last of them is
    admitted. That time is attributed to tokens: a prompt token takes its share of a full step with prompts, a generated
    token its share of a decode step at the mean batch, a context token what it adds to that step. These weights are
    then fitted to the times of the stretches, and scaled so that the total work is the total time.

    Args:
        requests: The requests in order of arrival; the times do not matter.
        profile: How fast the replica is.
        limits: The engine's limits.
    """
    min_requests = _BATCHES_SAMPLED * _most_sequences(requests, profile, limits)
    count = int(np.clip(len(requests) // min_requests, 1, _MAX_STRETCHES))
    stretches = [
        _saturate_stretch(requests, chosen, profile, limits)
        for chosen in np.array_split(np.arange(len(requests)), count)
    ]
    took_s = np.array([stretch.took_s for stretch in stretches])
    done = np.array([stretch.done for stretch in stretches])
    sequences = max(float(np.average([stretch.sequences for stretch in stretches], weights=took_s)), 1.0)
    weights = _weights(profile, limits, sequences, context=float(done[:, 3].sum() / done[:, 2].sum()))
    weights = _fit_weights(weights, done, took_s)
    return Saturation(
        prefill_s=float(weights[0]),
        pair_s=float(weights[1]),
        decode_s=float(weights[2]),
        context_s=float(weights[3]),
        sequences=sequences,
        tokens_per_s=float(sum(stretch.tokens for stretch in stretches) / took_s.sum()),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Stretch:
    """The outcome of saturating a replica with one stretch of requests.

    Args:
        took_s: Time for which it was saturated.
        done: Prompt tokens, their pairs, generated tokens, and context tokens that these read, shape (4,).
        sequences: Mean number of running sequences.
        tokens: Input and output tokens served.
    """

    took_s: float
    done: Floats
    sequences: float
    tokens: float


def _saturate_stretch(requests: Requests, stretch: Indices, profile: Profile, limits: EngineLimits) -> _Stretch:
    """Saturate a replica with a stretch of the requests, repeated if there are few."""
    count = int(np.clip(len(stretch), _BATCHES_SAMPLED * _most_sequences(requests, profile, limits), _MAX_SAMPLED))
    chosen = stretch[np.linspace(0, max(len(stretch), count), count, endpoint=False).astype(np.int64) % len(stretch)]
    sample = _all_at_once(requests, chosen)
    result = simulate(sample, (SimPool(profile=profile, scaling=Fixed(instances=1), limits=limits),), horizon_s=0.0)
    full_until_s = float(result.admitted_s.max())
    held_s = np.minimum(result.finished_s, full_until_s) - result.admitted_s
    share = np.clip(held_s / (result.finished_s - result.admitted_s), 0.0, 1.0)
    prompt, generated = sample.input_tokens.astype(float), sample.output_tokens.astype(float)
    fresh = prompt - sample.cached_tokens
    pairs, context = fresh * (sample.cached_tokens + fresh / 2), prompt + generated / 2
    return _Stretch(
        took_s=full_until_s,
        done=np.array([fresh, pairs, generated, generated * context]) @ share,
        sequences=float(held_s.sum() / full_until_s),
        tokens=float((prompt + generated) @ share),
    )


def _most_sequences(requests: Requests, profile: Profile, limits: EngineLimits) -> int:
    """Return the sequences of a full batch: the engine's limit, or as many requests of mean length as memory holds."""
    tokens = float(np.mean(requests.input_tokens.astype(float) + requests.output_tokens))
    return max(1, min(limits.max_num_seqs, int(profile.kv_capacity_tokens / (tokens + profile.state_tokens))))


def _weights(profile: Profile, limits: EngineLimits, sequences: float, context: float) -> Floats:
    """Return the seconds per prompt token, pair, generated token and context token from step times, shape (4,)."""
    step_tokens = limits.max_num_batched_tokens
    prompt_s = float(profile.step_time_s(step_tokens, 0, 0)) / step_tokens
    empty_s, full_s = (float(profile.step_time_s(0, sequences, sequences * tokens)) for tokens in (0.0, context))
    return np.array(
        [prompt_s, profile.prefill_per_pair_s, empty_s / sequences, (full_s - empty_s) / (sequences * context)]
    )


def _fit_weights(weights: Floats, done: Floats, took_s: Floats) -> Floats:
    """Fit weights to the times of stretches: least squares of relative errors, regularized toward the given weights.

        minimize  mean over stretches (shares @ factor - 1)^2  +  prior sum over parts (mean share (factor - 1))^2

    Prompt tokens, generated tokens and context tokens have a factor each; pairs share that of prompt tokens.

    Args:
        weights: Seconds of each kind of token, shape (4,).
        done: Tokens of each kind, shape (stretches, 4).
        took_s: Time of each stretch, shape (stretches,).
    """
    part = np.array([0, 0, 1, 2])
    scaled = weights * took_s.sum() / (done @ weights).sum()
    shares = np.zeros((len(took_s), 3))
    np.add.at(shares.T, part, (done * scaled / took_s[:, None]).T)
    prior = np.sqrt(_PRIOR * len(took_s)) * np.diag(shares.mean(axis=0))
    target = np.concatenate((np.ones(len(took_s)), prior.sum(axis=1)))
    factor = np.maximum(np.linalg.lstsq(np.concatenate((shares, prior)), target)[0], 0.0)
    moved = scaled * factor[part]
    return np.asarray(moved * took_s.sum() / (done @ moved).sum())


def _all_at_once(requests: Requests, chosen: Indices) -> Requests:
    zeros = np.zeros(len(chosen))
    return Requests(
        arrived_s=zeros,
        input_tokens=requests.input_tokens[chosen],
        cached_tokens=requests.cached_tokens[chosen],
        output_tokens=requests.output_tokens[chosen],
        latest_start_s=np.full(len(chosen), np.inf),
        work_s=zeros,
    )


def unloaded_latency(requests: Requests, profile: Profile, limits: EngineLimits) -> tuple[Floats, Floats]:
    """Return the TTFT and TPOT of each request alone on an idle replica: the best possible.

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
    outside_s = host_s + profile.first_token_steps * tpot_s
    return whole * full_step_s + last_step_s + pairs * profile.prefill_per_pair_s + outside_s, tpot_s
