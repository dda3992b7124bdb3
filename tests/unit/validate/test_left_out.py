"""Leaving models out, on rows whose servers are known: what every server shares is learned from the others."""

from dataclasses import replace

import msgspec
import numpy as np
import pytest
from bench.validate import left_out
from bench.validate.left_out import left_out_ratios
from bench.validate.sample.flags import ServerSettings
from bench.validate.sample.silicon import Row, quickly_simulated
from tests.samples.fleets import profile

from meritorder.perf.calibration import Tuning
from meritorder.perf.corrections import Correction, correct_profile

HOST = {
    "prompt_step_s": 2e-3,
    "prompt_token_s": 4e-6,
    "prompt_token_overhead_s": 1e-6,
    "first_token_steps": 1.0,
}


@pytest.fixture(autouse=True)
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(left_out, "_ROWS", 12)
    monkeypatch.setattr(left_out, "_ROUNDS", 2)


def rows(model: str, slower: float) -> list[Row]:
    """Return rows of a model whose servers add the time of a host to the tables, and are slower by a factor."""
    plain = msgspec.structs.replace(profile(), engine="vllm", limits=None)
    tuning = Tuning(step_overhead_s=2e-3, sequence_overhead_s=1e-5, request_overhead_s=0.02)
    server = correct_profile(plain, tuning, {}, **HOST).slowed(slower)
    found = []
    for number in range(12):
        fields = {"model": model, "hardware": f"h{number % 2}00", "engine": "vllm", "precision": "bf16"}
        lengths = {"input_tokens": 200 + 50 * number, "output_tokens": 60, "concurrency": 1 + number % 4}
        row = Row(
            **fields,
            **lengths,
            id=str(number),
            engine_version="",
            settings=ServerSettings(),
            ttft_s=1.0,
            tpot_s=1.0,
            half=number % 2,
            contradicted="",
            profile=plain,
        )
        ttft_s, tpot_s = quickly_simulated(row, server)
        found.append(replace(row, ttft_s=ttft_s, tpot_s=tpot_s))
    return found


def correction(**changes: object) -> Correction:
    plain = {
        "hardware": "h100",
        "engine": "vllm",
        "tuning": {},
        "fitted_on": 10,
        "judged_on": 12,
        "ttft_median": 0.1,
        "tpot_median": 0.1,
        "ttft_median_before": 0.3,
        "tpot_median_before": 0.7,
        "pace_ratios": [0.9, 1.1],
        "as_of": "2026-11-30",
        "source": "a sample",
    }
    return Correction(**(plain | changes))  # type: ignore[arg-type]


def test_shared_host_time_helps_unseen_models() -> None:
    ratios = left_out_ratios([*rows("one", 1.0), *rows("two", 1.0)], host_only=True)
    ((before, after),) = ratios.values()
    assert np.median(np.abs(after)) < np.median(np.abs(before)) / 2


def test_single_model_earns_nothing() -> None:
    assert left_out_ratios(rows("one", 1.0), host_only=True) == {}


def test_corrections_far_from_their_own_servers_are_dropped() -> None:
    near, far = (correction(tpot_median=error, transfers={}) for error in (0.1, 0.6))
    assert left_out.earned([], [near, far], lambda _: None) == [near]
