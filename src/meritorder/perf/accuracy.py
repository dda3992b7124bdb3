"""The error to expect of a profile, from measured servers and logs."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from meritorder.perf.profile import Floats, Profile
from meritorder.perf.shipped import shipped_corrections

_DRAWS: Final = 2000
SOURCE_SPREAD: Final = 0.08
"""Standard deviation of log(measured / simulated) between sources of measurements: their machines, engine versions and
load generators differ. With it, ranges hold eight in ten points of sources left out (docs/validation.md, intervals)."""
_COST_LEVELS: Final = (0.1, 0.9)
# The median of |x| of a normal distribution is this many standard deviations.
_MEDIAN_DEVIATION: Final = 0.6745


@dataclass(frozen=True, slots=True, kw_only=True)
class Accuracy:
    """The error to expect of a profile's step times.

    Args:
        error: Median absolute relative error of the time per output token.
        basis: What the error was measured on.
        pace_ratios: Measured / simulated time per output token there; empty if only the error is known.
        source_spread: Standard deviation of the logarithm by which other sources differ; 0 for the user's own.
    """

    error: float
    basis: str
    pace_ratios: tuple[float, ...] = ()
    source_spread: float = SOURCE_SPREAD

    def factors(self, levels: tuple[float, ...], seed: int) -> Floats:
        """Return the factors by which steps may be longer than in the profile, at quantiles of a bootstrap.

        Args:
            levels: Quantiles, shape (levels,).
            seed: Seed of the draws.
        """
        drawn = speed_factors(self.pace_ratios, self.error, _DRAWS, np.random.default_rng(seed))
        return np.asarray(np.quantile(drawn, levels))

    def cost_factors(self) -> tuple[float, float]:
        """Return the factors on a cost between which eight in ten measurements of other sources lie."""
        generator = np.random.default_rng(0)
        paces = speed_factors(self.pace_ratios, self.error, _DRAWS, generator)
        drawn = paces * np.exp(generator.standard_normal(_DRAWS) * self.source_spread)
        low, high = np.quantile(drawn, _COST_LEVELS)
        return float(low), float(high)


def expected_accuracy(profile: Profile) -> Accuracy | None:
    """Return the error to expect of a profile; None if nothing comparable was measured.

    A calibrated profile has the error that it had on stretches of its own log; a corrected one that of the servers that
    its correction was judged on (docs/validation.md). Any other profile is assigned the largest error of the engine's
    uncorrected tables: on its hardware, or on any if its hardware has no correction.
    """
    own = profile.calibration
    if own is not None and own.pace_ratios:
        known = _from_ratios(own.pace_ratios, f"stretches of {own.judged_on} requests in {own.log}")
        return replace(known, source_spread=0.0)
    if profile.residuals is not None:
        return _from_ratios(profile.residuals.pace_ratios, profile.residuals.basis)
    measured = [item for item in shipped_corrections() if item.engine == profile.engine and not item.model]
    if not measured:
        return None
    here = [item for item in measured if item.hardware == profile.hardware]
    where = profile.hardware if here else f"measured hardware, as {profile.hardware} is not among it"
    error = max(item.tpot_median_before for item in here or measured)
    return Accuracy(error=error, basis=f"largest median error of {profile.engine} on {where}")


def _from_ratios(pace_ratios: list[float], basis: str) -> Accuracy:
    error = float(np.median(np.abs(1 / np.array(pace_ratios) - 1)))
    return Accuracy(error=error, basis=basis, pace_ratios=tuple(pace_ratios))


def speed_factors(pace_ratios: Sequence[float], error: float, draws: int, generator: np.random.Generator) -> Floats:
    """Draw factors by which every step may be longer than in the profile.

    The error on new traffic is drawn from the ratios seen where the profile was judged. Without ratios the factor is
    lognormal with the given median error:

        factor = exp(z error / 0.6745),   z standard normal

    Args:
        pace_ratios: Measured / simulated time per output token, where the profile was judged.
        error: Median relative error, used if there are no ratios.
        draws: Number of draws.
        generator: Source of randomness.

    Returns:
        Shape (draws,).
    """
    if pace_ratios:
        return generator.choice(np.array(pace_ratios), draws)
    return np.asarray(np.exp(generator.standard_normal(draws) * error / _MEDIAN_DEVIATION))
