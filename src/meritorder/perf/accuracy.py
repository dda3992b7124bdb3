"""How far profiles are from measured servers."""

from dataclasses import dataclass
from typing import Final

import numpy as np

from meritorder.perf.profile import Floats, Profile
from meritorder.perf.residuals import speed_factors
from meritorder.perf.shipped import corrections

_DRAWS: Final = 2000


@dataclass(frozen=True, slots=True, kw_only=True)
class Accuracy:
    """The error to expect of a profile's step times.

    Args:
        error: Median absolute relative error of the time per output token.
        basis: What it was measured on.
        pace_ratios: Measured / simulated time per output token there; empty where only the error is known.
    """

    error: float
    basis: str
    pace_ratios: tuple[float, ...] = ()

    def factors(self, levels: tuple[float, ...], seed: int) -> Floats:
        """Return by how much steps may be longer than the profile says, at these quantiles of a bootstrap.

        Args:
            levels: Quantiles, shape (levels,).
            seed: Of the draws.
        """
        drawn = speed_factors(self.pace_ratios, self.error, _DRAWS, np.random.default_rng(seed))
        return np.asarray(np.quantile(drawn, levels))


def accuracy(profile: Profile) -> Accuracy | None:
    """Return the error to expect of a profile; None if nothing like it was measured.

    A calibrated profile errs as it did on stretches of its own log, and a corrected one as it did on the servers that
    its correction was judged on (docs/validation.md). A profile without either, on hardware that no correction is for,
    is taken to err as much as the engine's tables did, uncorrected, where they were furthest off.
    """
    own = profile.calibration
    if own is not None and own.pace_ratios:
        return _of(own.pace_ratios, f"stretches of {own.judged_on} requests in {own.log}")
    if profile.residuals is not None:
        return _of(profile.residuals.pace_ratios, profile.residuals.basis)
    measured = [each for each in corrections() if each.engine == profile.engine and not each.model]
    if not measured:
        return None
    here = [each for each in measured if each.hardware == profile.hardware]
    where = profile.hardware if here else f"measured hardware, as {profile.hardware} is not among it"
    error = max(each.tpot_median_before for each in here or measured)
    return Accuracy(error=error, basis=f"largest median error of {profile.engine} on {where}")


def _of(pace_ratios: list[float], basis: str) -> Accuracy:
    error = float(np.median(np.abs(1 / np.array(pace_ratios) - 1)))
    return Accuracy(error=error, basis=basis, pace_ratios=tuple(pace_ratios))
