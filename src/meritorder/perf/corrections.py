"""What the operator tables leave out, as a few numbers for each hardware and engine, and how sure the result is.

The tables hold kernels, measured alone; a server adds host work between steps and before requests, and reaches other
rates under load. The published validation (docs/validation.md) fits one correction for each (hardware, engine) on half
of a sample of measured servers and judges it on the other half. It scales classes of operators, experts and dense
layers apart for each precision of the weights, so that it differs by model in the measure in which models are made of
them; and it adds the numbers of `Tuning`, which are the engine's. One more for each model and precision that the sample
has enough rows of is nearer to these.
"""

import msgspec
import numpy as np

from meritorder.perf.calibration import Tuning
from meritorder.perf.operators import CLASSES
from meritorder.perf.profile import EngineLimits, Profile, Residuals


class Correction(msgspec.Struct, frozen=True, kw_only=True):
    """The correction of one hardware and engine.

    Args:
        hardware: `Hardware.id`.
        engine: Engine.
        model: `Model.id` that it is for; "" for any without one of its own.
        precision: Precision that it is for; "" for any.
        tuning: `Tuning` by name of its numbers.
        operator_scales: What times of operators are multiplied by in decode steps, by class, such as "attention", or by
            class and precision of the weights, such as "experts fp8"; in steps with prompts, "prompt experts fp8".
        prompt_step_s: Added to a step that has prompts: its kernels are launched one by one, without captured graphs.
        prompt_token_overhead_s: Added to each request for each token of its prompt, before the engine.
        first_token_steps: Decode steps that a request waits before it is taken up.
        told_share: Of the steps that a measured server was told to wait before it takes a request up, those that one
            waited; engines are told none by default, so that it is no part of the corrected profile.
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
    prompt_step_s: float = 0.0
    prompt_token_overhead_s: float = 0.0
    first_token_steps: float = 0.0
    told_share: float = 0.0
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

    def apply(self, profile: Profile) -> Profile:
        """Return the corrected profile; it is measured operators still, and its source says what was added."""
        corrected = correct_profile(
            profile,
            Tuning(**self.tuning),
            self.operator_scales,
            prompt_step_s=self.prompt_step_s,
            prompt_token_overhead_s=self.prompt_token_overhead_s,
            first_token_steps=self.first_token_steps,
            step_tokens=self.max_num_batched_tokens,
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


def correct_profile(
    profile: Profile,
    tuning: Tuning,
    operator_scales: dict[str, float],
    *,
    prompt_step_s: float,
    prompt_token_overhead_s: float,
    first_token_steps: float,
    step_tokens: int,
) -> Profile:
    """Return a profile with its operators scaled, then tuned; see `Correction` for the arguments."""
    limits = profile.limits or EngineLimits.for_engine(profile.engine)
    tuned = tuning.apply(_rescaled(profile, operator_scales))
    return msgspec.structs.replace(
        tuned,
        mixed_base_s=[float(f"{step_s + prompt_step_s:.6g}") for step_s in tuned.mixed_base_s],
        prompt_token_overhead_s=prompt_token_overhead_s,
        first_token_steps=first_token_steps,
        limits=msgspec.structs.replace(limits, max_num_batched_tokens=step_tokens),
    )


def _rescaled(profile: Profile, operator_scales: dict[str, float]) -> Profile:
    """Return a profile with each class of its operators scaled; attention over the context is `Tuning`'s."""
    shares = profile.operators
    if shares is None or not operator_scales:
        return profile
    decode = shares.decode_factors(profile.decode_sequences, _scales(operator_scales, "", profile.precision))
    step = shares.step_factors(profile.step_tokens, _scales(operator_scales, "prompt ", profile.precision))
    return msgspec.structs.replace(
        profile,
        decode_base_s=(np.array(profile.decode_base_s) * decode).tolist(),
        mixed_base_s=(np.array(profile.mixed_base_s) * step).tolist(),
    )


def _scales(operator_scales: dict[str, float], of: str, precision: str) -> dict[str, float]:
    """Return the scale of each class: that for the precision before the general one."""
    general = {kind: operator_scales.get(f"{of}{kind}", 1.0) for kind in CLASSES}
    return {kind: operator_scales.get(f"{of}{kind} {precision}", general[kind]) for kind in CLASSES}
