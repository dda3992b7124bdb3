"""How far a profile was from what was measured, and what that means for other requests."""

from collections.abc import Sequence
from typing import Final, Self

import msgspec
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

# The median of |x| of a normal distribution is this many standard deviations.
_MEDIAN_DEVIATION: Final = 0.6745
_DIGITS: Final = 4


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
        """Compare request by request; requests without a time (a pace at one token) are left out."""
        known = np.isfinite(simulated_s) & np.isfinite(measured_s) & (measured_s > 0)
        ours, theirs = simulated_s[known], measured_s[known]
        if not len(theirs):
            return cls(of_mean=0.0, median=0.0, p90=0.0)
        errors = np.abs(ours / theirs - 1)
        return cls(
            of_mean=round(float(ours.mean() / theirs.mean() - 1), _DIGITS),
            median=round(float(np.median(errors)), _DIGITS),
            p90=round(float(np.quantile(errors, 0.9)), _DIGITS),
        )


class Residuals(msgspec.Struct, frozen=True, kw_only=True):
    """How far a corrected profile was from servers that the correction was not fitted to.

    Args:
        basis: Which servers.
        pace_ratios: Measured / simulated mean time per output token: one of each, or quantiles of many.
    """

    basis: str
    pace_ratios: list[float]


class Calibration(msgspec.Struct, frozen=True, kw_only=True):
    """What a profile was fitted to, and how far it is from requests that it was not fitted to.

    Args:
        log: Where the measurements come from.
        replicas: Replicas that served them.
        fitted_on: Requests that the parameters were fitted to.
        judged_on: Requests that the errors are of; they were not fitted to, or the log was too short for that.
        unseen: Whether the errors are of requests that were not fitted to.
        assumed: Limits that the log does not reach, and that nobody stated.
        parameters: The fitted parameters by name.
        ttft: Errors of the time to first token.
        tpot: Errors of the time per output token.
        e2e: Errors of the whole time.
        pace_ratios: Measured / simulated mean time per output token in stretches of consecutive requests.
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


def stretch_ratios(simulated_s: Floats, measured_s: Floats, stretches: int) -> list[float]:
    """Return measured / simulated mean of each stretch of consecutive requests.

    Neighbours in a log share their batches, so single requests are no independent witnesses; stretches nearly are.
    """
    known = np.isfinite(simulated_s) & np.isfinite(measured_s)
    ours, theirs = simulated_s[known], measured_s[known]
    parts = [part for part in np.array_split(np.arange(len(ours)), stretches) if len(part)]
    return [round(float(theirs[part].mean() / ours[part].mean()), _DIGITS) for part in parts]


def speed_factors(pace_ratios: Sequence[float], error: float, draws: int, generator: np.random.Generator) -> Floats:
    """Draw by how much every step may be longer than the profile says.

    A profile errs on new traffic as it did where it was judged, on what it had not been fitted to: each draw is the
    ratio of one of those, taken at random. Where there are none the factor is lognormal with a median error:

        factor = exp(z error / 0.6745),   z standard normal

    Args:
        pace_ratios: Measured / simulated time per output token, where the profile was judged.
        error: Median of the relative error, used where there are no ratios.
        draws: How many to draw.
        generator: Source of randomness.

    Returns:
        Shape (draws,).
    """
    if pace_ratios:
        return generator.choice(np.array(pace_ratios), draws)
    return np.asarray(np.exp(generator.standard_normal(draws) * error / _MEDIAN_DEVIATION))
