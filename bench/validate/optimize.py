"""Optimizers for corrections: robust Gauss-Newton steps, and coordinate descent for what jumps."""

from collections.abc import Callable
from typing import Final

import numpy as np

from meritorder.perf.profile import Floats

# Derivatives are taken over this share of a parameter's spread, wider than the jumps of a simulation of discrete steps.
_PROBE: Final = 0.15
_DAMPINGS: Final = 4
# Residuals above this count linearly, not quadratically (Huber loss).
_HUBER: Final = 0.1


def least_deviations(
    residuals: Callable[[Floats], Floats], start: Floats, rounds: int, regularization: float, spread: Floats
) -> tuple[Floats, float]:
    """Minimize the sum of absolute residuals, by damped Gauss-Newton steps with reweighting.

        minimize  sum_i huber(r_i(x)) / n  +  regularization sum_k (x_k / spread_k)^2

    For smooth residuals, such as means over many requests; it needs an eighth of the evaluations of a simplex.

    Args:
        residuals: Logarithms of simulated / measured, shape (rows,).
        start: Initial point, shape (parameters,), on the scale of `Tuning.moved`.
        rounds: Steps; each takes one evaluation per parameter, and one or two more.
        regularization: Weight of the regularization.
        spread: Expected distance of each parameter from 0, shape (parameters,).

    Returns:
        The best point and its value.

    Source: P. W. Holland and R. E. Welsch, "Robust regression using iteratively reweighted least-squares", 1977.
    """
    point, here = start, residuals(start)
    best = deviation(here, start, regularization, spread)
    damping = 1e-2
    for _ in range(rounds):
        moves = np.diag(spread * _PROBE)
        slopes = np.stack([(residuals(point + move) - here) / move.sum() for move in moves], axis=1)
        weights = 1 / np.maximum(np.abs(here), _HUBER) / len(here)
        curvature = slopes.T @ (slopes * weights[:, None]) + np.diag(2 * regularization / spread**2)
        downhill = slopes.T @ (weights * here) + 2 * regularization * point / spread**2
        for _ in range(_DAMPINGS):
            step = np.linalg.solve(curvature + damping * np.diag(np.diag(curvature)), -downhill)
            trial = point + np.clip(step, -2 * spread, 2 * spread)
            there = residuals(trial)
            value = deviation(there, trial, regularization, spread)
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
    """Minimize a function of many parameters, one at a time, without derivatives.

    A move that helps becomes half as long again the next time; one that does not help becomes half as long.

    Args:
        function: Objective.
        start: Initial point, shape (parameters,).
        size: Initial moves, shape (parameters,).
        sweeps: Passes over all parameters.

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


def deviation(residuals: Floats, point: Floats, regularization: float, spread: Floats) -> float:
    """Return the mean Huber loss of the residuals, plus the regularization of the parameters."""
    size = np.abs(residuals)
    huber = np.where(size < _HUBER, size**2 / (2 * _HUBER) + _HUBER / 2, size)
    return float(huber.mean()) + regularization * float(np.sum((point / spread) ** 2))
