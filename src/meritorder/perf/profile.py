r"""A performance profile: the time of one step of an engine, in a table of about fifty numbers.

An engine step runs `n` prompt tokens and one token for each of `b` decoding sequences. Measured steps of real engines
are, to within a few percent, a sum of what grows with the tokens in the step (the linear layers), what grows with the
KV cache that decoding reads, and what grows with the pairs of tokens that prompt attention computes:

    n = 0:  step_s = decode_base_s[b]      + decode_per_kv_token_s[b] * kv
    n > 0:  step_s = mixed_base_s[n + b]   + decode_per_kv_token_s[b] * kv + prefill_per_pair_s * pairs

with `kv` the context tokens of the decoding sequences, and `pairs = sum(chunk * (context before + chunk / 2))` over the
prompt chunks in the step. Being linear in `kv`, a run of decode steps has a closed form (docs/maths.md).
"""

from typing import Final, NamedTuple, Self

import msgspec
import numpy as np
from numpy.typing import NDArray

from meritorder.domain import Provenance, Replica
from meritorder.errors import PerformanceError
from meritorder.perf.operators import OperatorShares

Floats = NDArray[np.float64]

_DIGITS: Final = 4


class EngineLimits(msgspec.Struct, frozen=True, kw_only=True):
    """Limits of the engine's scheduler; `perf.limits` has those of each engine.

    Args:
        max_num_seqs: Most sequences in a step.
        max_num_batched_tokens: Most tokens in a step, prefill chunks and decodes together.
        block_tokens: Tokens of a KV cache block.
        prefill_first: Prompts run before decodes, in steps of their own, as in SGLang; else they share steps.
        whole_prompts: A prompt joins a step whole or not at all, unless it is the only one in it, as in TensorRT-LLM;
            else it is split to the budget that is left in the step.
        reserve_outputs: A request is admitted once its prompt and all of its output fit in memory, and is never
            preempted, as in TensorRT-LLM; else memory is taken as the output grows.
    """

    max_num_seqs: int = 256
    max_num_batched_tokens: int = 8192
    block_tokens: int = 16
    prefill_first: bool = False
    whole_prompts: bool = False
    reserve_outputs: bool = False


class StepTable(NamedTuple):
    """A profile expanded for direct lookup by the simulator.

    Attributes:
        decode_base_s: Shape (max_num_seqs + 1,), by number of decoding sequences.
        decode_per_kv_token_s: Shape (max_num_seqs + 1,), by number of decoding sequences.
        mixed_base_s: Shape (max_num_batched_tokens + max_num_seqs + 1,), by tokens in the step.
        prefill_per_pair_s: Seconds for each pair of tokens that prompt attention computes.
    """

    decode_base_s: Floats
    decode_per_kv_token_s: Floats
    mixed_base_s: Floats
    prefill_per_pair_s: float


class Errors(msgspec.Struct, frozen=True, kw_only=True):
    """How far simulated times are from measured ones.

    Args:
        of_mean: Simulated mean / measured mean - 1.
        median: Median of |simulated / measured - 1| over requests.
        p90: 90th percentile of the same.
    """

    of_mean: float
    median: float
    p90: float

    @classmethod
    def between(cls, simulated_s: Floats, measured_s: Floats) -> Self:
        """Compare request by request, without requests that lack a time (TPOT at one token)."""
        known = np.isfinite(simulated_s) & np.isfinite(measured_s) & (measured_s > 0)
        simulated, measured = simulated_s[known], measured_s[known]
        if not len(measured):
            return cls(of_mean=0.0, median=0.0, p90=0.0)
        errors = np.abs(simulated / measured - 1)
        return cls(
            of_mean=round(float(simulated.mean() / measured.mean() - 1), _DIGITS),
            median=round(float(np.median(errors)), _DIGITS),
            p90=round(float(np.quantile(errors, 0.9)), _DIGITS),
        )


class Residuals(msgspec.Struct, frozen=True, kw_only=True):
    """How far a corrected profile was from measured servers that the correction was not fitted to.

    Args:
        basis: Description of these servers.
        pace_ratios: Measured / simulated mean time of a request: one for each server, or quantiles over many.
        servers: Number of these servers; 0 if unknown.
    """

    basis: str
    pace_ratios: list[float]
    servers: int = 0


class Calibration(msgspec.Struct, frozen=True, kw_only=True):
    """What a profile was fitted to, and its errors on requests that it was not fitted to.

    Args:
        log: Source of the measurements.
        replicas: Replicas that served them.
        fitted_on: Number of requests that the parameters were fitted to.
        judged_on: Number of requests that the errors are measured on.
        unseen: Whether these are requests that it was not fitted to; False if the log is too short for that.
        assumed: Engine limits that the log does not reach and the user did not state.
        parameters: The fitted parameters by name.
        ttft: Errors of the time to first token.
        tpot: Errors of the time per output token.
        e2e: Errors of the end-to-end latency.
        pace_ratios: Measured / simulated mean time per output token, by stretch of consecutive requests.
        columns: Fields and the columns of the log that they were read from.
        notes: What was assumed to read the log.
    """

    log: str
    replicas: int
    fitted_on: int
    judged_on: int
    unseen: bool
    assumed: list[str]
    parameters: dict[str, float]
    ttft: Errors
    tpot: Errors
    e2e: Errors
    pace_ratios: list[float]
    columns: str = ""
    notes: list[str] = []


class Memory(msgspec.Struct, frozen=True, kw_only=True):
    """What occupies the memory of one GPU of a replica.

    Args:
        gpu_bytes: Memory of the GPU.
        weights_bytes: Weights.
        step_bytes: Activations and communication buffers of the largest step.
        cache: Precision of the KV cache: bf16 or fp8.
    """

    gpu_bytes: int
    weights_bytes: int
    step_bytes: int
    cache: str = "bf16"


class Profile(msgspec.Struct, frozen=True, kw_only=True):
    """Measured step times of one replica, and its memory for context.

    With data-parallel attention, step times and memory are those of one rank while all others are as busy: ranks take
    their steps together, and each holds sequences of its own.

    Args:
        model: `Model.id`.
        hardware: `Hardware.id`.
        gpus: GPUs of the replica.
        engine: Engine that was measured.
        precision: Precision of the weights.
        provenance: Kind of source.
        source: Name and version of the source.
        as_of: Date of the source, ISO 8601.
        kv_capacity_tokens: Tokens of context that fit in memory beside the weights.
        state_tokens: Memory that a running sequence takes beside its context, in tokens of context: the state of
            recurrent layers, and the windows of layers that attend to a window.
        decode_sequences: Grid of the decode columns, increasing from 1.
        decode_base_s: Time of a decode step without context.
        decode_per_kv_token_s: Time added for each context token of the decoding sequences.
        step_tokens: Grid of the mixed column, increasing.
        mixed_base_s: Time of a step with that many tokens, some of them prompt, without attention over the context.
        prefill_per_pair_s: Time added for each pair of tokens that prompt attention computes.
        step_overhead_s: Time added to every step: scheduling, sampling, detokenization.
        table_error_p90: 90th percentile of this table's relative error against its source, between the grid points.
        request_overhead_s: Latency added to each request before its first token, outside the engine: network,
            tokenization, transfer to the engine.
        prompt_token_overhead_s: Latency added for each token of the prompt, outside the engine: tokenization.
        first_token_steps: Decode steps that each request waits before it is scheduled: engines poll for new requests,
            and emit tokens, every few steps.
        operators: Shares of operator classes in its steps, None if unknown.
        memory: What occupies the memory of each GPU, None if unknown.
        limits: Limits of the engine that was calibrated, None if unknown.
        calibration: What the profile was fitted to, and its errors; None if it was not fitted.
        residuals: How far such profiles were from measured servers, None if unknown.
        engine_version: Version of the engine that takes these times; "" if unknown.
        user_version: Version that the user runs; "" if not stated.
        attention_ranks: Ranks of data-parallel attention; 1 if attention is tensor parallel over all GPUs.
    """

    model: str
    hardware: str
    gpus: int
    engine: str
    precision: str
    provenance: Provenance
    source: str
    as_of: str
    kv_capacity_tokens: int
    decode_sequences: list[int]
    decode_base_s: list[float]
    decode_per_kv_token_s: list[float]
    step_tokens: list[int]
    mixed_base_s: list[float]
    prefill_per_pair_s: float
    state_tokens: int = 0
    step_overhead_s: float = 0.0
    table_error_p90: float = 0.0
    request_overhead_s: float = 0.0
    prompt_token_overhead_s: float = 0.0
    first_token_steps: float = 0.0
    operators: OperatorShares | None = None
    memory: Memory | None = None
    limits: EngineLimits | None = None
    calibration: Calibration | None = None
    residuals: Residuals | None = None
    engine_version: str = ""
    user_version: str = ""
    attention_ranks: int = 1

    def __post_init__(self) -> None:
        columns = [
            *self.decode_base_s,
            *self.decode_per_kv_token_s,
            *self.mixed_base_s,
            self.prefill_per_pair_s,
            self.step_overhead_s,
            self.request_overhead_s,
            self.prompt_token_overhead_s,
            self.first_token_steps,
        ]
        for grid, *columns_on_grid in (
            (self.decode_sequences, self.decode_base_s, self.decode_per_kv_token_s),
            (self.step_tokens, self.mixed_base_s),
        ):
            if (
                not grid
                or grid[0] < 1
                or sorted(set(grid)) != grid
                or any(len(column) != len(grid) for column in columns_on_grid)
            ):
                raise PerformanceError(
                    "a column does not match its grid",
                    where=self.replica.label,
                    fix="give each grid in increasing order, and one value for each of its points",
                )
        if not all(np.isfinite(columns)) or min(columns) < 0:
            raise PerformanceError("a step time is negative or not a number", where=self.replica.label)
        if min(*self.decode_base_s, *self.mixed_base_s) == 0:
            raise PerformanceError("a step time of a column is 0", where=self.replica.label, fix="measure it again")
        if self.attention_ranks < 1 or self.gpus % self.attention_ranks:
            raise PerformanceError("attention_ranks does not divide gpus", where=self.replica.label)
        if self.state_tokens < 0:
            raise PerformanceError("state_tokens is negative", where=self.replica.label)
        if self.longest_tokens < 1:
            raise PerformanceError(
                "the weights leave no memory for context",
                where=self.replica.label,
                fix="use more GPUs per replica",
            )

    @property
    def longest_tokens(self) -> int:
        """The longest context of a sequence that runs alone."""
        return self.kv_capacity_tokens - self.state_tokens

    @property
    def replica(self) -> Replica:
        """The replica that was measured."""
        return Replica(
            model=self.model,
            hardware=self.hardware,
            gpus=self.gpus,
            engine=self.engine,
            precision=self.precision,
            attention_ranks=self.attention_ranks,
        )

    def table(self, limits: EngineLimits) -> StepTable:
        """Expand the profile to every batch size and step length that the limits allow."""
        sequences = np.arange(limits.max_num_seqs + 1)
        tokens = np.arange(limits.max_num_batched_tokens + limits.max_num_seqs + 1)
        return StepTable(
            decode_base_s=_interpolate(sequences, self.decode_sequences, self.decode_base_s) + self.step_overhead_s,
            decode_per_kv_token_s=_interpolate(sequences, self.decode_sequences, self.decode_per_kv_token_s),
            mixed_base_s=_interpolate(tokens, self.step_tokens, self.mixed_base_s) + self.step_overhead_s,
            prefill_per_pair_s=self.prefill_per_pair_s,
        )

    def step_time_s(
        self,
        prefill_tokens: Floats | float,
        decode_sequences: Floats | float,
        kv_tokens: Floats | float,
        prefill_pairs: Floats | float = 0.0,
    ) -> Floats:
        """Return the seconds of a step; all arguments broadcast.

        Args:
            prefill_tokens: Prompt tokens in the step.
            decode_sequences: Sequences that generate one token each.
            kv_tokens: Context tokens of those sequences in total.
            prefill_pairs: Pairs of tokens that prompt attention computes.
        """
        n, b = np.asarray(prefill_tokens, float), np.asarray(decode_sequences, float)
        decode_s = _interpolate(b, self.decode_sequences, self.decode_base_s)
        mixed_s = _interpolate(n + b, self.step_tokens, self.mixed_base_s)
        per_kv_s = _interpolate(b, self.decode_sequences, self.decode_per_kv_token_s)
        attention_s = np.where(b > 0, per_kv_s * kv_tokens, 0.0) + self.prefill_per_pair_s * np.asarray(prefill_pairs)
        return np.asarray(np.where(n > 0, mixed_s, decode_s) + attention_s + self.step_overhead_s)

    def slowed(self, factor: float) -> Self:
        """Return the profile with every step longer by this factor."""
        return msgspec.structs.replace(
            self,
            decode_base_s=[s * factor for s in self.decode_base_s],
            decode_per_kv_token_s=[s * factor for s in self.decode_per_kv_token_s],
            mixed_base_s=[s * factor for s in self.mixed_base_s],
            prefill_per_pair_s=self.prefill_per_pair_s * factor,
            step_overhead_s=self.step_overhead_s * factor,
        )


def _interpolate(x: NDArray[np.integer] | Floats, grid: list[int], values: list[float]) -> Floats:
    """Interpolate linearly, and extrapolate beyond the last grid point with the slope before it."""
    last_slope = (values[-1] - values[-2]) / (grid[-1] - grid[-2]) if len(grid) > 1 else 0.0
    beyond = np.maximum(np.asarray(x, float) - grid[-1], 0.0)
    return np.asarray(np.interp(x, grid, values) + beyond * max(last_slope, 0.0))
