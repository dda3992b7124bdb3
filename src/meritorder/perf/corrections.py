"""Corrections of profiles for what the operator tables leave out, one for each hardware and engine.

The tables hold kernels measured in isolation; a server adds host work between steps and before requests, and reaches
other rates under load. The published validation (docs/validation.md) fits one correction for each (hardware, engine) on
half of a sample of measured servers and judges it on the other half. It scales classes of operators, with separate
scales for experts and dense layers by precision of the weights, so that models differ by their shares of each class;
and it adds the engine's parameters (`Tuning`). A model and precision with enough rows in the sample has a correction of
its own.
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
        model: `Model.id` that it applies to; "" for any without a correction of its own.
        precision: Precision that it applies to; "" for any.
        tuning: Parameters of `Tuning` by name.
        operator_scales: Factors on the times of operators: in decode steps by class ("attention"), or by class and
            precision of the weights ("experts fp8"); in steps with prompts with a prefix ("prompt experts fp8").
        prompt_step_s: Time added to a step that has prompts: its kernels are launched one by one, without CUDA graphs.
        prompt_token_overhead_s: Latency added for each token of the prompt, outside the engine.
        first_token_steps: Decode steps that a request waits before it is scheduled.
        told_share: Share of a server's configured wait before it schedules a request that requests really wait. Engines
            wait for none by default, so that it is no part of the corrected profile.
        max_num_batched_tokens: Tokens in a step that fit the measurements best.
        fitted_on: Number of rows that it was fitted to.
        judged_on: Number of rows that its errors are measured on.
        ttft_median: Median of |simulated / measured - 1| of the mean TTFT, after correction.
        tpot_median: Median of |simulated / measured - 1| of the mean TPOT, after correction.
        ttft_median_before: The same of TTFT without correction.
        tpot_median_before: The same of TPOT without correction.
        pace_ratios: Measured / simulated mean TPOT after correction: quantiles over the rows judged.
        as_of: Date of the fit.
        source: Measurements that it was fitted to.
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
        """Return the corrected profile, whose source names the correction; its provenance stays measured operators."""
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
        """Description of the servers that it was judged on."""
        subject = f"{self.model} in {self.precision} with {self.engine}" if self.model else self.engine
        return f"{self.judged_on} measured servers of {subject} on {self.hardware}"


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
    """Return a profile with its operators scaled and then tuned; `Correction` explains the arguments."""
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
    """Return a profile with each class of its operators scaled, except attention over the context (`Tuning`)."""
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


def _scales(operator_scales: dict[str, float], prefix: str, precision: str) -> dict[str, float]:
    """Return the scale of each class: the one for the precision, else the general one."""
    general = {kind: operator_scales.get(f"{prefix}{kind}", 1.0) for kind in CLASSES}
    return {kind: operator_scales.get(f"{prefix}{kind} {precision}", general[kind]) for kind in CLASSES}
