"""Corrections of profiles for what the operator tables leave out, one for each hardware and engine.

The tables hold kernels measured in isolation; a server adds host work between steps and before requests, and reaches
other rates under load. The published validation (docs/validation.md) fits one correction for each (hardware, engine) on
half of a sample of measured servers and judges it on the other half. It scales classes of operators, with separate
scales for experts and dense layers by precision of the weights, so that models differ by their shares of each class;
and it adds the engine's parameters (`Tuning`). A model and precision with enough rows in the sample has a correction of
its own. A model that no row is of is corrected only where corrections helped models that they were not fitted to.
"""

import msgspec
import numpy as np

from meritorder.perf.calibration import Tuning
from meritorder.perf.operators import CLASSES
from meritorder.perf.profile import Profile, Residuals


class Correction(msgspec.Struct, frozen=True, kw_only=True):
    """The correction of one hardware and engine.

    Args:
        hardware: `Hardware.id`; "" for any, if it is only the time that the engine's host adds.
        engine: Engine.
        model: `Model.id` of its rows; "" for a correction of all models of the engine.
        precision: Precision that it applies to; "" for any.
        fitted_to: Models and precisions of its rows, such as "llama-3.1-70b fp8", with all models of these layers.
        engine_versions: Version of the servers of each of these, the median, where it is known.
        transfers: Kinds of models, "dense" or "experts", whose errors such a correction lowered without having seen
            the model (`bench.validate.left_out`), with measured / simulated times of requests there: quantiles.
        tuning: Parameters of `Tuning` by name.
        operator_scales: Factors on the times of operators: in decode steps by class ("attention"), or by class and
            precision of the weights ("experts fp8"); in steps with prompts with a prefix ("prompt experts fp8").
        prompt_step_s: Time added to a step that has prompts: its kernels are launched one by one, without CUDA graphs.
        prompt_token_s: Time added to a step for each of its prompt tokens: its inputs are prepared on the host.
        prompt_token_overhead_s: Latency added for each token of the prompt, outside the engine.
        first_token_steps: Decode steps that a request waits before it is scheduled.
        told_share: Share of a server's configured wait before it schedules a request that requests really wait. Engines
            wait for none by default, so that it is no part of the corrected profile.
        fitted_on: Number of rows that it was fitted to.
        judged_on: Number of rows that its errors are measured on.
        ttft_median: Median of |simulated / measured - 1| of the mean TTFT, after correction.
        tpot_median: Median of |simulated / measured - 1| of the mean TPOT, after correction.
        ttft_median_before: The same of TTFT without correction.
        tpot_median_before: The same of TPOT without correction.
        pace_ratios: Measured / simulated mean time of a request after correction: quantiles over the rows judged.
        as_of: Date of the fit.
        source: Measurements that it was fitted to.
    """

    hardware: str
    engine: str
    model: str = ""
    precision: str = ""
    fitted_to: list[str] = []
    engine_versions: dict[str, str] = {}
    transfers: dict[str, list[float]] = {}
    tuning: dict[str, float]
    operator_scales: dict[str, float] = {}
    prompt_step_s: float = 0.0
    prompt_token_s: float = 0.0
    prompt_token_overhead_s: float = 0.0
    first_token_steps: float = 0.0
    told_share: float = 0.0
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
            prompt_token_s=self.prompt_token_s,
            prompt_token_overhead_s=self.prompt_token_overhead_s,
            first_token_steps=self.first_token_steps,
        )
        return msgspec.structs.replace(
            corrected,
            source=f"{profile.source}, corrected by the validation of {self.as_of}",
            residuals=self._residuals(profile),
            engine_version=self._version(profile) or profile.engine_version,
        )

    def covers(self, profile: Profile) -> bool:
        """Return whether it is known to help a profile's model: it was fitted to it, or helped others of its kind."""
        if profile.engine != self.engine or self.hardware not in {"", profile.hardware}:
            return False
        return self.has_seen(profile) or (not self.model and model_kind(profile) in self.transfers)

    def has_seen(self, profile: Profile) -> bool:
        """Return whether it was fitted to servers of this hardware with a model of these layers."""
        return bool(self.hardware) and _weights(profile) in self.fitted_to

    def _version(self, profile: Profile) -> str:
        return self.engine_versions.get(_weights(profile), "") if self.hardware else ""

    def _residuals(self, profile: Profile) -> Residuals:
        """Return the errors on servers that it was not fitted to: of the same models, or else of models left out."""
        kind = model_kind(profile)
        if self.has_seen(profile) or kind not in self.transfers:
            return Residuals(basis=self.basis, pace_ratios=self.pace_ratios, servers=self.judged_on)
        models = "mixtures of experts" if kind == "experts" else "dense models"
        where = f" on {self.hardware}" if self.hardware else ""
        basis = f"measured servers of {self.engine}{where} with {models} left out of the fit"
        return Residuals(basis=basis, pace_ratios=self.transfers[kind], servers=self.judged_on)

    @property
    def basis(self) -> str:
        """Description of the servers that it was judged on."""
        subject = f"{self.model} in {self.precision} with {self.engine}" if self.model else self.engine
        where = f" on {self.hardware}" if self.hardware else ""
        return f"{self.judged_on} measured servers of {subject}{where}"


def _weights(profile: Profile) -> str:
    return f"{profile.model} {profile.precision}"


def model_kind(profile: Profile) -> str:
    """Return "experts" for a mixture of experts, else "dense"."""
    return "experts" if profile.operators is not None and "experts" in profile.operators.decode else "dense"


def correct_profile(
    profile: Profile,
    tuning: Tuning,
    operator_scales: dict[str, float],
    *,
    prompt_step_s: float,
    prompt_token_s: float,
    prompt_token_overhead_s: float,
    first_token_steps: float,
) -> Profile:
    """Return a profile with its operators scaled and then tuned; `Correction` explains the arguments.

    mixed_base[n] = tuned mixed_base[n] + prompt_step_s + prompt_token_s n
    """
    tuned = tuning.apply(_rescaled(profile, operator_scales))
    return msgspec.structs.replace(
        tuned,
        mixed_base_s=[
            float(f"{step_s + prompt_step_s + prompt_token_s * tokens:.6g}")
            for step_s, tokens in zip(tuned.mixed_base_s, tuned.step_tokens, strict=True)
        ],
        prompt_token_overhead_s=prompt_token_overhead_s,
        first_token_steps=first_token_steps,
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
