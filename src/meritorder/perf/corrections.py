"""What the operator tables leave out, as a few numbers for each hardware and engine, and how sure the result is.

The tables hold kernels, measured alone; a server adds host work between steps and before requests, and reaches other
rates under load. The published validation (docs/validation.md) fits one `Tuning` for each (hardware, engine) on half of
a sample of measured servers and judges it on the other half; and one more for each model and precision that the sample
has enough rows of, since kernels differ by model more than engines differ by overhead.
"""

import msgspec

from meritorder.perf.calibration import Tuning
from meritorder.perf.profile import EngineLimits, Profile
from meritorder.perf.residuals import Residuals


class Correction(msgspec.Struct, frozen=True, kw_only=True):
    """The correction of one hardware and engine.

    Args:
        hardware: `Hardware.id`.
        engine: Engine.
        model: `Model.id` that it is for; "" for any without one of its own.
        precision: Precision that it is for; "" for any.
        tuning: `Tuning` by name of its numbers.
        max_num_batched_tokens: Prompt tokens in a step that fit the measurements best.
        fitted_on: Rows that it was fitted to.
        judged_on: Rows that the errors are of.
        ttft_median: Median of |simulated / measured - 1| of the mean time to first token, after correction.
        tpot_median: The same of the mean time per output token.
        ttft_median_before: Of the time to first token, without correction.
        tpot_median_before: Of the time per output token, without correction.
        pace_ratios: Measured / simulated mean time per output token after correction: quantiles of the rows judged.
        as_of: Date of the fit.
        source: What it was fitted to.
    """

    hardware: str
    engine: str
    model: str = ""
    precision: str = ""
    tuning: dict[str, float]
    max_num_batched_tokens: int
    fitted_on: int
    judged_on: int
    ttft_median: float
    tpot_median: float
    ttft_median_before: float
    tpot_median_before: float
    pace_ratios: list[float]
    as_of: str
    source: str

    def applied(self, profile: Profile) -> Profile:
        """Return the corrected profile; it is measured operators still, and its source says what was added."""
        limits = profile.limits or EngineLimits()
        return msgspec.structs.replace(
            Tuning(**self.tuning).applied(profile),
            limits=msgspec.structs.replace(limits, max_num_batched_tokens=self.max_num_batched_tokens),
            source=f"{profile.source}, corrected by the validation of {self.as_of}",
            residuals=Residuals(basis=self.basis, pace_ratios=self.pace_ratios),
        )

    @property
    def basis(self) -> str:
        """Which servers it was judged on."""
        what = f"{self.model} in {self.precision} with {self.engine}" if self.model else self.engine
        return f"{self.judged_on} measured servers of {what} on {self.hardware}"
