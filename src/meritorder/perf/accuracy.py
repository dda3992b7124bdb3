"""How far profiles are from measured servers."""

from dataclasses import dataclass

import numpy as np

from meritorder.perf.profile import Profile
from meritorder.perf.shipped import corrections


@dataclass(frozen=True, slots=True, kw_only=True)
class Accuracy:
    """The error to expect of a profile's step times.

    Args:
        error: Median absolute relative error of the time per output token.
        basis: What it was measured on.
    """

    error: float
    basis: str


def accuracy(profile: Profile) -> Accuracy | None:
    """Return the error to expect of a profile; None if nothing like it was measured.

    A calibrated profile errs as it did on stretches of its own log. For others it is the error that the published
    validation (docs/validation.md) found for the engine on the hardware; where that was not measured, the largest
    error of the engine on other hardware is taken, and said.
    """
    own = profile.calibration
    if own is not None and own.pace_ratios:
        error = float(np.median(np.abs(np.array(own.pace_ratios) - 1)))
        return Accuracy(error=error, basis=f"median error of stretches of {own.judged_on} requests in {own.log}")
    measured = {each.hardware: each for each in corrections() if each.engine == profile.engine and not each.model}
    if not measured:
        return None
    here = measured.get(profile.hardware)
    if here is not None:
        basis = f"median error of {here.judged_on} servers measured on {profile.hardware}"
        return Accuracy(error=here.tpot_median_before, basis=basis)
    basis = f"largest median error of {profile.engine} on measured hardware, as {profile.hardware} is not among it"
    return Accuracy(error=max(each.tpot_median_before for each in measured.values()), basis=basis)
