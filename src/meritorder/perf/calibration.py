"""The parameters that tune a profile to an endpoint, and how they are fitted.

    decode_base  = decode_scale base[b] + sequence_overhead_s b
    decode_per_kv_token = kv_scale per_kv[b]
    mixed_base   = decode_scale floor + prefill_scale (mixed[n] - floor)          floor = min mixed
    prefill_per_pair    = prefill_scale per_pair

so that a step with one prompt token takes as long as a decode step, and `prefill_scale` scales what prompts add.
Every parameter is positive. It is fitted on a logarithmic scale and regularized toward its start, so that a scale that
the log holds no information about stays at 1.
"""

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Final, NamedTuple, Self

import msgspec
import numpy as np
from numpy.typing import NDArray

from meritorder.perf.profile import Profile

Floats = NDArray[np.float64]


class Timings(NamedTuple):
    """Latencies of requests, shape (requests,); `tpot_s` is nan at one token."""

    ttft_s: Floats
    tpot_s: Floats
    e2e_s: Floats

    def only(self, keep: slice | NDArray[np.bool_]) -> "Timings":
        """Return the selected requests."""
        return Timings(*(column[keep] for column in self))


@dataclass(frozen=True, slots=True, kw_only=True)
class Tuning:
    """The parameters by which calibration changes a profile.

    Args:
        decode_scale: Scales the time that every step takes at least: reading the weights.
        kv_scale: Scales what each context token adds to a decode step.
        prefill_scale: Scales what prompt tokens add to a step.
        kv_capacity_scale: Scales the memory for context.
        sequence_overhead_s: Added to a decode step for each sequence in it: sampling, detokenization, scheduling.
        step_overhead_s: Added to every step.
        request_overhead_s: Added to each request before its first token.
    """

    decode_scale: float = 1.0
    kv_scale: float = 1.0
    prefill_scale: float = 1.0
    kv_capacity_scale: float = 1.0
    sequence_overhead_s: float = 0.0
    step_overhead_s: float = 0.0
    request_overhead_s: float = 0.0

    @classmethod
    def start(cls, profile: Profile) -> Self:
        """Return the start of the search: the profile unchanged, with overheads small beside its shortest step."""
        step_s = min(profile.decode_base_s)
        return cls(
            sequence_overhead_s=step_s * _SEQUENCE_OVERHEAD,
            step_overhead_s=step_s * _STEP_OVERHEAD,
            request_overhead_s=_REQUEST_OVERHEAD_S,
        )

    def moved(self, by: Floats) -> Self:
        """Return the parameters moved on a logarithmic scale, in the order of their declaration."""
        names = [field.name for field in fields(self)]
        factors = np.exp(np.clip(by, -MAX_MOVE, MAX_MOVE))
        return type(self)(**{n: getattr(self, n) * float(f) for n, f in zip(names, factors, strict=True)})

    def apply(self, profile: Profile) -> Profile:
        """Return the profile with these parameters applied."""
        floor_s = min(profile.mixed_base_s)
        batch = zip(profile.decode_base_s, profile.decode_sequences, strict=True)
        return msgspec.structs.replace(
            profile,
            kv_capacity_tokens=max(1, round(profile.kv_capacity_tokens * self.kv_capacity_scale)),
            decode_base_s=[_rounded(self.decode_scale * s + self.sequence_overhead_s * b) for s, b in batch],
            decode_per_kv_token_s=[_rounded(self.kv_scale * s) for s in profile.decode_per_kv_token_s],
            mixed_base_s=[
                _rounded(self.decode_scale * floor_s + self.prefill_scale * (s - floor_s)) for s in profile.mixed_base_s
            ],
            prefill_per_pair_s=_rounded(self.prefill_scale * profile.prefill_per_pair_s),
            step_overhead_s=_rounded(profile.step_overhead_s + self.step_overhead_s),
            request_overhead_s=_rounded(profile.request_overhead_s + self.request_overhead_s),
        )


# Host work that engines do not overlap: a few percent of a step, microseconds per sequence, milliseconds per request.
_STEP_OVERHEAD: Final = 0.05
_SEQUENCE_OVERHEAD: Final = 5e-4
_REQUEST_OVERHEAD_S: Final = 2e-3
MAX_MOVE: Final = 4.0
_DIGITS: Final = 4

# Expected distance of each parameter from its start: standard deviation of its logarithm, in order of declaration.
SPREAD: Final = np.array([0.3, 0.5, 0.5, 0.2, 1.0, 1.0, 1.0])
# Weight of the regularization against the mean squared misfit of a request.
_REGULARIZATION: Final = 1e-4
# Above this relative error a request counts linearly, not quadratically (Huber loss).
_HUBER: Final = 0.1
# A single TTFT depends on the position in a step at which the request arrives, which is unknown; the mean does not.
_TTFT_WEIGHT: Final = 0.2


def misfit(simulated: Timings, measured: Timings, moved: Floats) -> float:
    """Return the misfit of simulated times, plus the regularization of the parameters.

        sum over ttft, tpot, e2e of  w mean huber(log(simulated / measured)) + w log(mean simulated / mean measured)^2
        + regularization sum (moved / spread)^2

    Args:
        simulated: Simulated times.
        measured: Measured times, same shape.
        moved: Parameters, on the logarithmic scale of `Tuning.moved`.
    """
    total = _REGULARIZATION * float(np.sum((moved / SPREAD) ** 2))
    for weight, ours, theirs in zip((_TTFT_WEIGHT, 1.0, 1.0), simulated, measured, strict=True):
        known = np.isfinite(theirs) & (theirs > 0) & np.isfinite(ours) & (ours > 0)
        if not known.any():
            continue
        distance = np.abs(np.log(ours[known] / theirs[known]))
        huber = np.where(distance < _HUBER, distance**2, _HUBER * (2 * distance - _HUBER))
        bias = np.log(ours[known].mean() / theirs[known].mean())
        total += weight * (float(huber.mean()) + float(bias) ** 2)
    return total


def minimize(function: Callable[[Floats], float], start: Floats, size: Floats, trials: int) -> tuple[Floats, float]:
    """Minimize a function of a few parameters without derivatives.

    A simulation of discrete steps is discontinuous, so that gradients mislead; a simplex does not need them.

    Args:
        function: Objective.
        start: Initial point, shape (parameters,).
        size: Edges of the initial simplex, shape (parameters,).
        trials: Approximate number of evaluations.

    Returns:
        The best point and its value.

    Source: Nelder and Mead, "A simplex method for function minimization", Computer Journal 7 (1965).
    """
    points = np.vstack([start, start + np.diag(size)])
    values = np.array([function(point) for point in points])
    tried = len(points)
    while tried < trials:
        order = np.argsort(values, kind="stable")
        points, values = points[order], values[order]
        center = points[:-1].mean(axis=0)
        away = center - points[-1]
        point = center + away
        value = function(point)
        tried += 1
        if value < values[0]:
            further = center + 2 * away
            further_value = function(further)
            tried += 1
            if further_value < value:
                point, value = further, further_value
        elif value >= values[-2]:
            nearer = center + (0.5 if value < values[-1] else -0.5) * away
            nearer_value = function(nearer)
            tried += 1
            if nearer_value >= min(value, values[-1]):
                points[1:] = points[0] + 0.5 * (points[1:] - points[0])
                values[1:] = [function(point) for point in points[1:]]
                tried += len(points) - 1
                continue
            point, value = nearer, nearer_value
        points[-1], values[-1] = point, value
    best = int(np.argmin(values))
    return points[best], float(values[best])


def stretch_ratios(simulated_s: Floats, measured_s: Floats, stretches: int) -> list[float]:
    """Return measured / simulated mean of each stretch of consecutive requests.

    Neighbors in a log share batches, so that single requests are not independent samples; stretches nearly are.
    """
    known = np.isfinite(simulated_s) & np.isfinite(measured_s)
    simulated, measured = simulated_s[known], measured_s[known]
    parts = [part for part in np.array_split(np.arange(len(simulated)), stretches) if len(part)]
    return [round(float(measured[part].mean() / simulated[part].mean()), _DIGITS) for part in parts]


def _rounded(value: float) -> float:
    return float(f"{value:.6g}")
