"""What the operator tables leave out, as a few numbers for each hardware and engine, and how sure the result is.

The tables hold kernels, measured alone; a server adds host work between steps and before requests, and reaches other
rates under load. The published validation (docs/validation.md) fits one correction for each (hardware, engine) on half
of a sample of measured servers and judges it on the other half. It scales classes of operators, experts and dense
layers apart for each precision of the weights, so that it differs by model in the measure in which models are made of
them; and it adds the numbers of `Tuning`, which are the engine's. One more for each model and precision that the sample
has enough rows of is nearer to these.
"""

import msgspec

from meritorder.perf.calibration import Tuning
from meritorder.perf.operators import CLASSES
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
        operator_scales: What times of operators are multiplied by, by class, such as "attention", or by class and
            precision of the weights, such as "experts fp8".
        first_token_steps: Decode steps that a request waits before it is taken up.
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
    operator_scales: dict[str, float] = {}
    first_token_steps: float = 0.0
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
        corrected = corrected_by(
            profile, Tuning(**self.tuning), self.operator_scales, self.first_token_steps, self.max_num_batched_tokens
        )
        return msgspec.structs.replace(
            corrected,
            source=f"{profile.source}, corrected by the validation of {self.as_of}",
            residuals=Residuals(basis=self.basis, pace_ratios=self.pace_ratios),
        )

    @property
    def basis(self) -> str:
        """Which servers it was judged on."""
        what = f"{self.model} in {self.precision} with {self.engine}" if self.model else self.engine
        return f"{self.judged_on} measured servers of {what} on {self.hardware}"


def corrected_by(
    profile: Profile, tuning: Tuning, operator_scales: dict[str, float], first_token_steps: float, step_tokens: int
) -> Profile:
    """Return a profile with its operators scaled, then tuned; see `Correction` for the arguments."""
    limits = profile.limits or EngineLimits.of(profile.engine)
    return msgspec.structs.replace(
        tuning.applied(_rescaled(profile, operator_scales)),
        first_token_steps=first_token_steps,
        limits=msgspec.structs.replace(limits, max_num_batched_tokens=step_tokens),
    )


def _rescaled(profile: Profile, operator_scales: dict[str, float]) -> Profile:
    """Return a profile with each class of its operators scaled; attention over the context is `Tuning`'s."""
    shares = profile.operators
    if shares is None or not operator_scales:
        return profile
    general = {kind: operator_scales.get(kind, 1.0) for kind in CLASSES}
    scales = {kind: operator_scales.get(f"{kind} {profile.precision}", general[kind]) for kind in CLASSES}
    decode = shares.decode_factors(profile.decode_sequences, scales)
    step = shares.step_factors(profile.step_tokens, scales)
    return msgspec.structs.replace(
        profile,
        decode_base_s=[s * factor for s, factor in zip(profile.decode_base_s, decode, strict=True)],
        mixed_base_s=[s * factor for s, factor in zip(profile.mixed_base_s, step, strict=True)],
    )
