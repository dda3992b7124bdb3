"""The profile that a calibration starts from: measured operators, else the data sheet, else the log itself."""

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
from meritorder.traces.timed import TimedLog

# A rate of prompts for a log in which no request met an idle engine.
_PROMPT_TOKENS_PER_S: Final = 10_000.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployment:
    """What the user says about an endpoint; "" and None leave it to the log.

    Args:
        model: Name of the model.
        hardware: Name of the accelerator.
        gpus: GPUs of a replica.
        engine: Inference engine.
        precision: Precision of the weights; None takes the model's own.
    """

    model: str = ""
    hardware: str = ""
    gpus: int | None = None
    engine: str = "vllm"
    precision: str | None = None


def starting_profile(log: TimedLog, catalog: facts.Catalog, setup: Deployment, *, as_of: str) -> Profile:
    """Return the nearest profile to what the log was measured on.

    Args:
        log: Measured requests.
        catalog: Hardware and models.
        setup: What the user says.
        as_of: Date to state where nothing was measured.
    """
    model = _model(catalog, setup.model, log.model)
    hardware = _hardware(catalog, setup.hardware, log.hardware)
    replica = Replica(
        model=model.id if model else setup.model or log.model or "unknown-model",
        hardware=hardware.id if hardware else setup.hardware or log.hardware or "unknown-hardware",
        gpus=setup.gpus or log.gpus or 1,
        engine=setup.engine,
        precision=setup.precision or (model.precision if model else "bf16"),
    )
    if model is None or hardware is None:
        return profile_from_timings(replica, log.tpot_s, _prompt_rate(log), _context(log), as_of=as_of)
    try:
        found = find_profiles(model, hardware.id, engine=replica.engine, precision=replica.precision, gpus=replica.gpus)
        return found[0]
    except (PerformanceError, MissingExtraError):
        return roofline(model, hardware, replica, as_of=as_of)


def _model(catalog: facts.Catalog, asked: str, logged: str) -> Model | None:
    """Return the model; for a name in the log that the catalog lacks, the one whose name it begins with.

    A fine-tune or a later release (`Qwen3-30B-A3B-Instruct-2507`) has the architecture of the model that it is named
    after, which is all that a start needs.
    """
    if asked:
        return catalog.find_model(asked)
    if not logged:
        return None
    try:
        return catalog.find_model(logged)
    except CatalogError:
        name = plain(logged)
        begins = [one for one in catalog.models.values() if name.startswith(f"{one.id}-")]
        return max(begins, key=lambda one: len(one.id), default=None)


def _hardware(catalog: facts.Catalog, asked: str, logged: str) -> Hardware | None:
    if asked:
        return catalog.find_hardware(asked)
    try:
        return catalog.find_hardware(logged) if logged else None
    except CatalogError:
        names = difflib.get_close_matches(plain(logged), list(catalog.hardware), 1, cutoff=0.9)
        return catalog.hardware[names[0]] if names else None


def _prompt_rate(log: TimedLog) -> float:
    """Return prompt tokens a second of the fastest requests."""
    rates = log.input_tokens / log.ttft_s
    return float(np.quantile(rates, 0.9)) if len(rates) else _PROMPT_TOKENS_PER_S


def _context(log: TimedLog) -> int:
    """Return the memory that all requests in flight at one time take: at most what there is, if none queued."""
    tokens = np.cumsum(log.input_tokens.astype(np.int64) + log.output_tokens)
    ends = np.sort(log.arrived_s + log.e2e_s)
    gone = np.searchsorted(ends, log.arrived_s, side="right")
    held = tokens - np.concatenate([[0], tokens])[gone]
    return int(held.max())
