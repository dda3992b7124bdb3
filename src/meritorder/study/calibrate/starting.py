"""The profile that a calibration starts from: measured operators, else data sheets, else rates of the log itself."""

import difflib
from dataclasses import dataclass
from typing import Final

import numpy as np

from meritorder import catalog as facts
from meritorder.catalog.lookup import plain
from meritorder.domain import Hardware, Model, Replica
from meritorder.errors import CatalogError, MissingExtraError, PerformanceError
from meritorder.perf.profile import Profile
from meritorder.perf.roofline import profile_from_timings, roofline
from meritorder.perf.shipped import find_profiles
from meritorder.perf.versions import Engine
from meritorder.traces.timed import TimedLog

# Prompt rate assumed for a log without requests.
_PROMPT_TOKENS_PER_S: Final = 10_000.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployment:
    """What the user states about an endpoint; "" and None leave it to the log.

    Args:
        model: Name of the model.
        hardware: Name of the accelerator.
        gpus: GPUs of a replica.
        engine: Inference engine, with its version if known: `vllm` or `vllm@0.10.2`.
        precision: Precision of the weights; None for the model's native one.
    """

    model: str = ""
    hardware: str = ""
    gpus: int | None = None
    engine: str = "vllm"
    precision: str | None = None


def starting_profile(log: TimedLog, catalog: facts.Catalog, deployment: Deployment, *, as_of: str) -> Profile:
    """Return the nearest profile to the deployment that a log was measured on.

    Args:
        log: Measured requests.
        catalog: Hardware and models.
        deployment: What the user states about it.
        as_of: Date of the profile if nothing was measured.
    """
    model = _model(catalog, deployment.model, log.model)
    hardware = _hardware(catalog, deployment.hardware, log.hardware)
    replica = Replica(
        model=model.id if model else deployment.model or log.model or "unknown-model",
        hardware=hardware.id if hardware else deployment.hardware or log.hardware or "unknown-hardware",
        gpus=deployment.gpus or log.gpus or 1,
        engine=Engine.parse(deployment.engine).name,
        precision=deployment.precision or (model.served_precision if model else "bf16"),
    )
    if model is None or hardware is None:
        return profile_from_timings(replica, log.tpot_s, _prompt_rate(log), _context(log), as_of=as_of)
    try:
        found = find_profiles(model, hardware.id, engine=replica.engine, precision=replica.precision, gpus=replica.gpus)
        return found[0]
    except (PerformanceError, MissingExtraError):
        return roofline(model, hardware, replica, as_of=as_of)


def _model(catalog: facts.Catalog, stated: str, logged: str) -> Model | None:
    """Return the model; for a logged name that the catalog lacks, the model with the longest name that it begins with.

    A fine-tune or later release (`Qwen3-30B-A3B-Instruct-2507`) has the architecture of the model that it is named
    after, which suffices for a start.
    """
    if stated:
        return catalog.find_model(stated)
    if not logged:
        return None
    try:
        return catalog.find_model(logged)
    except CatalogError:
        name = plain(logged)
        related = [model for model in catalog.models.values() if name.startswith(f"{model.id}-")]
        return max(related, key=lambda model: len(model.id), default=None)


def _hardware(catalog: facts.Catalog, stated: str, logged: str) -> Hardware | None:
    if stated:
        return catalog.find_hardware(stated)
    try:
        return catalog.find_hardware(logged) if logged else None
    except CatalogError:
        names = difflib.get_close_matches(plain(logged), list(catalog.hardware), 1, cutoff=0.9)
        return catalog.hardware[names[0]] if names else None


def _prompt_rate(log: TimedLog) -> float:
    """Return the prompt tokens per second of the fastest requests."""
    rates = log.input_tokens / log.ttft_s
    return float(np.quantile(rates, 0.9)) if len(rates) else _PROMPT_TOKENS_PER_S


def _context(log: TimedLog) -> int:
    """Return the most tokens of requests in flight at one time, a lower bound on the KV capacity if none queued."""
    tokens = np.cumsum(log.input_tokens.astype(np.int64) + log.output_tokens)
    ends = np.sort(log.arrived_s + log.e2e_s)
    finished = np.searchsorted(ends, log.arrived_s, side="right")
    in_flight = tokens - np.concatenate([[0], tokens])[finished]
    return int(in_flight.max())
