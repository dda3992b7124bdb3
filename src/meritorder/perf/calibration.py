"""The few numbers that turn a profile into that of a given endpoint, and the search for them.

    decode_base  = decode_scale base[b] + sequence_overhead_s b
    decode_per_kv_token = kv_scale per_kv[b]
    mixed_base   = decode_scale floor + prefill_scale (mixed[n] - floor)          floor = min mixed
    prefill_per_pair    = prefill_scale per_pair

so that a step with one prompt token costs what a decode step costs, and `prefill_scale` scales what prompts add.
Every number is positive and is searched for on a logarithmic scale, pulled towards where it starts: a scale that the
log says nothing about stays at 1.
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
    """Times of requests, shape (requests,); `tpot_s` is nan at one token."""

    ttft_s: Floats
    tpot_s: Floats
    e2e_s: Floats

    def only(self, keep: slice | NDArray[np.bool_]) -> "Timings":
        """Return some of the requests."""
        return Timings(*(column[keep] for column in self))


@dataclass(frozen=True, slots=True, kw_only=True)
class Tuning:
    """What calibration changes in a profile.

    Args:
        decode_scale: Scales the steps' floor: reading the weights.
        kv_scale: Scales what each context token adds to a decode step.
        prefill_scale: Scales what prompt tokens add to a step.
        kv_capacity_scale: Scales the memory for context.
        sequence_overhead_s: Added to a decode step for each sequence in it: sampling, detokenisation, scheduling.
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
        """Where the search begins: the profile as it is, with overheads that are small beside its shortest step."""
        step_s = min(profile.decode_base_s)
        return cls(
            sequence_overhead_s=step_s * _SEQUENCE_OVERHEAD,
            step_overhead_s=step_s * _STEP_OVERHEAD,
            request_overhead_s=_REQUEST_OVERHEAD_S,
        )

    def moved(self, by: Floats) -> Self:
        """Return the numbers moved by so much on a logarithmic scale, in the order of their declaration."""
        names = [field.name for field in fields(self)]
        factors = np.exp(np.clip(by, -_FARTHEST, _FARTHEST))
        return type(self)(**{n: getattr(self, n) * float(f) for n, f in zip(names, factors, strict=True)})

    def applied(self, profile: Profile) -> Profile:
        """Return the profile with these numbers."""
        floor_s = min(profile.mixed_base_s)
        batch = zip(profile.decode_base_s, profile.decode_sequences, strict=True)
        return msgspec.structs.replace(
            profile,
            kv_capacity_tokens=max(1, round(profile.kv_capacity_tokens * self.kv_capacity_scale)),
            decode_base_s=[_short(self.decode_scale * s + self.sequence_overhead_s * b) for s, b in batch],
            decode_per_kv_token_s=[_short(self.kv_scale * s) for s in profile.decode_per_kv_token_s],
            mixed_base_s=[
                _short(self.decode_scale * floor_s + self.prefill_scale * (s - floor_s)) for s in profile.mixed_base_s
            ],
            prefill_per_pair_s=_short(self.prefill_scale * profile.prefill_per_pair_s),
            step_overhead_s=_short(profile.step_overhead_s + self.step_overhead_s),
            request_overhead_s=_short(profile.request_overhead_s + self.request_overhead_s),
        )


# Host work that engines do not hide: a few per cent of a step, microseconds a sequence, milliseconds a request.
_STEP_OVERHEAD: Final = 0.05
_SEQUENCE_OVERHEAD: Final = 5e-4
_REQUEST_OVERHEAD_S: Final = 2e-3
_FARTHEST: Final = 4.0

# How far each number may be expected from its start, as a standard deviation of its logarithm, by declaration.
SPREAD: Final = np.array([0.3, 0.5, 0.5, 0.2, 1.0, 1.0, 1.0])
# Weight of that expectation against the mean squared misfit of a request.
_PULL: Final = 1e-4
# Beyond this relative error a request counts by its distance, not by its square.
_ROBUST: Final = 0.1
# A single first token depends on where in a step it arrives, which no simulator can know; its mean does not.
_TTFT_WEIGHT: Final = 0.2


def misfit(simulated: Timings, measured: Timings, moved: Floats) -> float:
    """Return how badly simulated times fit, and how far the parameters were moved for it.

        sum over ttft, tpot, e2e of  w mean huber(log(simulated / measured)) + w log(mean simulated / mean measured)^2
        + pull sum (moved / spread)^2

    Args:
        simulated: Times under trial.
        measured: Times to be met, same shape.
        moved: Parameters, on the logarithmic scale of `Tuning.moved`.
    """
    total = _PULL * float(np.sum((moved / SPREAD) ** 2))
    for weight, ours, theirs in zip((_TTFT_WEIGHT, 1.0, 1.0), simulated, measured, strict=True):
        known = np.isfinite(theirs) & (theirs > 0) & np.isfinite(ours) & (ours > 0)
        if not known.any():
            continue
        distance = np.abs(np.log(ours[known] / theirs[known]))
        huber = np.where(distance < _ROBUST, distance**2, _ROBUST * (2 * distance - _ROBUST))
        bias = np.log(ours[known].mean() / theirs[known].mean())
        total += weight * (float(huber.mean()) + float(bias) ** 2)
    return total


def minimise(function: Callable[[Floats], float], start: Floats, size: Floats, trials: int) -> tuple[Floats, float]:
    """Find where a function of a few numbers is least, without its slope.

    A simulation of discrete steps jumps, so that slopes mislead; a simplex does not use them.

    Args:
        function: What is to be least.
        start: First point, shape (numbers,).
        size: Edges of the first simplex, shape (numbers,).
        trials: Points to try, about.

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
        centre = points[:-1].mean(axis=0)
        away = centre - points[-1]
        point = centre + away
        value = function(point)
        tried += 1
        if value < values[0]:
            further = centre + 2 * away
            further_value = function(further)
            tried += 1
            if further_value < value:
                point, value = further, further_value
        elif value >= values[-2]:
            nearer = centre + (0.5 if value < values[-1] else -0.5) * away
            nearer_value = function(nearer)
            tried += 1
            if nearer_value >= min(value, values[-1]):
                points[1:] = points[0] + 0.5 * (points[1:] - points[0])
                values[1:] = [function(each) for each in points[1:]]
                tried += len(points) - 1
                continue
            point, value = nearer, nearer_value
        points[-1], values[-1] = point, value
    best = int(np.argmin(values))
    return points[best], float(values[best])


def least_deviations(
    residuals: Callable[[Floats], Floats], start: Floats, rounds: int, pull: float, spread: Floats
) -> tuple[Floats, float]:
    """Find where the sum of absolute residuals is least, by damped Gauss-Newton steps with reweighting.

        minimise  sum_i huber(r_i(x)) / n  +  pull sum_k (x_k / spread_k)^2

    For smooth residuals, such as means over many requests; it takes an eighth of the trials of a simplex.

    Args:
        residuals: Logarithms of simulated / measured, shape (rows,).
        start: First point, shape (numbers,), on the scale of `Tuning.moved`.
        rounds: Steps, each of as many trials as there are numbers, and one or two more.
        pull: Weight of the expectation.
        spread: How far each number may be expected from 0, shape (numbers,).

    Returns:
        The best point and its value.

    Source: P. W. Holland and R. E. Welsch, "Robust regression using iteratively reweighted least-squares", 1977.
    """
    point, here = start, residuals(start)
    best = deviation(here, start, pull, spread)
    damping = 1e-2
    for _ in range(rounds):
        moves = np.diag(spread * _PROBE)
        slopes = np.stack([(residuals(point + move) - here) / move.sum() for move in moves], axis=1)
        weights = 1 / np.maximum(np.abs(here), _ROBUST) / len(here)
        curvature = slopes.T @ (slopes * weights[:, None]) + np.diag(2 * pull / spread**2)
        downhill = slopes.T @ (weights * here) + 2 * pull * point / spread**2
        for _ in range(_DAMPINGS):
            step = np.linalg.solve(curvature + damping * np.diag(np.diag(curvature)), -downhill)
            trial = point + np.clip(step, -2 * spread, 2 * spread)
            there = residuals(trial)
            value = deviation(there, trial, pull, spread)
            if value < best:
                point, here, best, damping = trial, there, value, damping / 4
                break
            damping *= 6
        else:
            break
    return point, best


def coordinate_descent(
    function: Callable[[Floats], float], start: Floats, size: Floats, sweeps: int
) -> tuple[Floats, float]:
    """Find where a function of many numbers is less, one number at a time, without its slope.

    A move that helps is made half as long again the next time, one that does not half as long.

    Args:
        function: What is to be least.
        start: First point, shape (numbers,).
        size: First moves, shape (numbers,).
        sweeps: Times that each number is tried.

    Returns:
        The best point and its value.

    Source: Hooke and Jeeves, "Direct search solution of numerical and statistical problems", JACM 8 (1961).
    """
    point, best, moves = start, function(start), size.copy()
    for _ in range(sweeps):
        for number in range(len(point)):
            for direction in (1, -1):
                trial = point.copy()
                trial[number] += direction * moves[number]
                value = function(trial)
                if value < best:
                    point, best = trial, value
                    moves[number] *= 1.5 * direction
                    break
            else:
                moves[number] *= 0.5
    return point, best


# Slopes are taken over this share of a parameter's spread, wider than the jumps of a simulation of discrete steps.
_PROBE: Final = 0.15
_DAMPINGS: Final = 4


def deviation(residuals: Floats, point: Floats, pull: float, spread: Floats) -> float:
    """Return the mean size of residuals, small ones squared, and how far the numbers were moved for it."""
    size = np.abs(residuals)
    huber = np.where(size < _ROBUST, size**2 / (2 * _ROBUST) + _ROBUST / 2, size)
    return float(huber.mean()) + pull * float(np.sum((point / spread) ** 2))


def _short(value: float) -> float:
    return float(f"{value:.6g}")
