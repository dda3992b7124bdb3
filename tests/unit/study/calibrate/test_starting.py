"""The profile that a calibration starts from, by what is known of the deployment."""

from dataclasses import replace

import numpy as np
import pytest

from meritorder import catalog
from meritorder.domain import Provenance
from meritorder.errors import CatalogError
from meritorder.perf.profile import Profile
from meritorder.study.calibrate.starting import Deployment, starting_profile
from meritorder.traces.timed import TimedLog

FACTS = catalog.load(())


def log(*, model: str = "", hardware: str = "") -> TimedLog:
    """Two requests of 1,000 + 100 tokens that overlap, then one alone."""
    return TimedLog(
        name="log",
        model=model,
        hardware=hardware,
        gpus=1,
        replicas=1,
        arrived_s=np.array([0.0, 1.0, 10.0]),
        input_tokens=np.full(3, 1000, np.int32),
        cached_tokens=np.zeros(3, np.int32),
        output_tokens=np.full(3, 100, np.int32),
        ttft_s=np.full(3, 0.5),
        tpot_s=np.full(3, 0.02),
        e2e_s=np.full(3, 2.5),
    )


def start(timed: TimedLog, **stated: object) -> Profile:
    return starting_profile(timed, FACTS, Deployment(**stated), as_of="2026-01-01")  # type: ignore[arg-type]


def test_known_deployment_starts_from_operators() -> None:
    found = start(log(model="llama-3.1-8b", hardware="h100"))
    assert found.provenance is Provenance.SILICON
    assert (found.model, found.hardware, found.gpus) == ("llama-3.1-8b", "h100", 1)


def test_stated_model_precedes_the_log() -> None:
    assert start(log(model="llama-3.1-70b", hardware="h100"), model="llama-3.1-8b").model == "llama-3.1-8b"


def test_fine_tune_takes_its_base_model() -> None:
    assert start(log(model="Qwen3-30B-A3B-Tuned-9999", hardware="h100")).model == "qwen3-30b-a3b"


def test_hardware_without_measurements_uses_roofline() -> None:
    found = start(log(model="llama-3.1-8b", hardware="l4"))
    assert found.provenance is Provenance.ROOFLINE
    assert found.source == "roofline of the data sheets"


def test_unknown_model_starts_from_the_log() -> None:
    found = start(log(model="no-such-model", hardware="h100"))
    assert found.source == "rates of the log itself"
    assert found.decode_base_s[0] == pytest.approx(0.8 * 0.02)
    assert found.mixed_base_s[-1] == pytest.approx(16_384 / 2000), "1,000 prompt tokens in half a second"
    assert found.kv_capacity_tokens == 2200, "the most tokens in flight at one time"


def test_unknown_stated_model_is_refused() -> None:
    with pytest.raises(CatalogError):
        start(replace(log(), gpus=2), model="no-such-model")
