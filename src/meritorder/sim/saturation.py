"""What work costs on a replica that is kept full: the yardstick of utilisation."""

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

_MOST_SAMPLED: Final = 20_000
_BATCHES_SAMPLED: Final = 20
# The trace is kept full in up to so many stretches, for what is asked for changes over a day.
_MOST_STRETCHES: Final = 16
# How much the weights of a step count beside what the stretches took.
_PRIOR: Final = 0.03


@dataclass(frozen=True, slots=True, kw_only=True)
class Saturation:
    """A replica that always has more to do, and how its time is shared out to requests.

        work_s = prefill_s fresh + pair_s fresh (cached + fresh / 2) + (decode_s + context_s context) output
        context = input + output / 2

    Args:
        prefill_s: Seconds for each prompt token that is computed.
        pair_s: Seconds for each pair of tokens that prompt attention visits.
        decode_s: Seconds for each generated token.
        context_s: Seconds for each token of context that a generated token reads, and keeps in memory from others.
        sequences: Sequences that it holds on average.
        tokens_per_s: Input and output tokens together.
    """

    prefill_s: float
    pair_s: float
    decode_s: float
    context_s: float
    sequences: float
    tokens_per_s: float

    def work_s(self, input_tokens: Tokens, cached_tokens: Tokens, output_tokens: Tokens) -> Floats:
        """Return the seconds of the full replica that each request takes."""
        fresh = input_tokens.astype(float) - cached_tokens
        work_s = fresh * (self.prefill_s + self.pair_s * (cached_tokens + fresh / 2))
        context = input_tokens + output_tokens / 2
        return np.asarray(work_s + output_tokens * (self.decode_s + self.context_s * context))

    def slowed(self, factor: float) -> Self:
        """Return the replica with every step longer by this factor."""
        return replace(
            self,
            prefill_s=self.prefill_s * factor,
            pair_s=self.pair_s * factor,
            decode_s=self.decode_s * factor,
            context_s=self.context_s * factor,
            tokens_per_s=self.tokens_per_s / factor,
        )


def saturate(requests: Requests, profile: Profile, limits: EngineLimits) -> Saturation:
    """Keep one replica full with requests such as these, and share out its time.

    Stretches of the requests wait at time 0, each in front of a replica of its own, which is full up to the moment at
    which the last of them is admitted. That time is shared out by tokens. A prompt token weighs its share of a full
    step with prompts in it, a generated token its share of a decode step at the batch that was seen, a token of context
    what it adds to that step; then these three are moved as far as the times of the stretches ask for, and scaled so
    that the work done in all of them is the time that they took.

    Args:
        requests: The requests, in the order in which they come; when does not matter.
        profile: How fast the replica is.
        limits: The engine's limits.
    """
    fewest = _BATCHES_SAMPLED * limits.max_num_seqs
    count = int(np.clip(len(requests) // fewest, 1, _MOST_STRETCHES))
    stretches = [
        _fill(requests, stretch, profile, limits) for stretch in np.array_split(np.arange(len(requests)), count)
    ]
    took_s = np.array([one.took_s for one in stretches])
    done = np.array([one.done for one in stretches])
    sequences = max(float(np.average([one.sequences for one in stretches], weights=took_s)), 1.0)
    weights = _weights(profile, limits, sequences, context=float(done[:, 3].sum() / done[:, 2].sum()))
    weights = _fitted(weights, done, took_s)
    return Saturation(
        prefill_s=float(weights[0]),
        pair_s=float(weights[1]),
        decode_s=float(weights[2]),
        context_s=float(weights[3]),
        sequences=sequences,
        tokens_per_s=float(sum(one.tokens for one in stretches) / took_s.sum()),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Stretch:
    """A replica that was full.

    Args:
        took_s: How long.
        done: Prompt tokens, their pairs, generated tokens, and tokens of context that these read, shape (4,).
        sequences: Sequences that it held on average.
        tokens: Input and output tokens that were done.
    """

    took_s: float
    done: Floats
    sequences: float
    tokens: float


def _fill(requests: Requests, stretch: Indices, profile: Profile, limits: EngineLimits) -> _Stretch:
    """Keep a replica full with a stretch of the requests, again and again if there are few."""
    count = int(np.clip(len(stretch), _BATCHES_SAMPLED * limits.max_num_seqs, _MOST_SAMPLED))
    chosen = stretch[np.linspace(0, max(len(stretch), count), count, endpoint=False).astype(np.int64) % len(stretch)]
    sample = _all_at_once(requests, chosen)
    result = simulate(sample, (SimPool(profile=profile, scaling=Fixed(instances=1), limits=limits),), horizon_s=0.0)
    full_until_s = float(result.admitted_s.max())
    held_s = np.minimum(result.finished_s, full_until_s) - result.admitted_s
    share = np.clip(held_s / (result.finished_s - result.admitted_s), 0.0, 1.0)
    given, generated = sample.input_tokens.astype(float), sample.output_tokens.astype(float)
    fresh = given - sample.cached_tokens
    pairs, context = fresh * (sample.cached_tokens + fresh / 2), given + generated / 2
    return _Stretch(
        took_s=full_until_s,
        done=np.array([fresh, pairs, generated, generated * context]) @ share,
        sequences=float(held_s.sum() / full_until_s),
        tokens=float((given + generated) @ share),
    )


def _weights(profile: Profile, limits: EngineLimits, sequences: float, context: float) -> Floats:
    """Return what steps say of a prompt token, a pair, a generated token and a token of its context, shape (4,)."""
    step_tokens = limits.max_num_batched_tokens
    prompt_s = float(profile.step_time_s(step_tokens, 0, 0)) / step_tokens
    empty_s, full_s = (float(profile.step_time_s(0, sequences, sequences * each)) for each in (0.0, context))
    return np.array(
        [prompt_s, profile.prefill_per_pair_s, empty_s / sequences, (full_s - empty_s) / (sequences * context)]
    )


def _fitted(weights: Floats, done: Floats, took_s: Floats) -> Floats:
    """Move weights to what stretches took: least squares of relative errors, held near the weights as given.

        minimise  mean over stretches (shares @ factor - 1)^2  +  prior sum over parts (mean share (factor - 1))^2

    Prompts, generated tokens and context have a factor each; pairs go with the prompts.

    Args:
        weights: Of the four kinds of tokens, shape (4,).
        done: Tokens of each kind, shape (stretches, 4).
        took_s: Time of each stretch, shape (stretches,).
    """
    part = np.array([0, 0, 1, 2])
    scaled = weights * took_s.sum() / (done @ weights).sum()
    shares = np.zeros((len(took_s), 3))
    np.add.at(shares.T, part, (done * scaled / took_s[:, None]).T)
    pull = np.sqrt(_PRIOR * len(took_s)) * np.diag(shares.mean(axis=0))
    target = np.concatenate((np.ones(len(took_s)), pull.sum(axis=1)))
    factor = np.maximum(np.linalg.lstsq(np.concatenate((shares, pull)), target)[0], 0.0)
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
