"""The section on twins, on servers that take exactly the corrected times of a twin."""

from collections.abc import Sequence
from dataclasses import replace
from types import SimpleNamespace

import msgspec
import pytest
from bench.validate import twins
from bench.validate.sample.flags import ServerSettings
from bench.validate.sample.silicon import Row, quickly_simulated
from tests.samples.fleets import profile

from meritorder.perf.corrections import Correction
from meritorder.perf.profile import Profile

SLOW = Correction(
    hardware="b300",
    engine="vllm",
    fitted_to=["a-model bf16"],
    tuning={"step_overhead_s": 0.01},
    fitted_on=10,
    judged_on=10,
    ttft_median=0.1,
    tpot_median=0.1,
    ttft_median_before=0.3,
    tpot_median_before=0.3,
    pace_ratios=[0.9, 1.1],
    as_of="2026-11-30",
    source="a sample",
)


def replica(hardware: str) -> Profile:
    return msgspec.structs.replace(profile(), model="maker/A-Model", hardware=hardware, engine="vllm", precision="bf16")


def row(number: int) -> Row:
    times = {"ttft_s": 1.0, "tpot_s": 1.0}
    fields = {"model": "A-Model", "hardware": "b200", "engine": "vllm", "precision": "bf16"}
    lengths = {"input_tokens": 200, "output_tokens": 40, "concurrency": 1 + number % 4}
    found = Row(
        **fields,
        **lengths,
        **times,
        id=str(number),
        engine_version="",
        settings=ServerSettings(),
        half=1,
        contradicted="",
        profile=replica("b200"),
    )
    ttft_s, tpot_s = quickly_simulated(found, SLOW.apply(replica("b300")))
    return replace(found, ttft_s=ttft_s, tpot_s=tpot_s)


def test_errors_of_twins_and_of_own_tables(monkeypatch: pytest.MonkeyPatch) -> None:
    def on_twin(hardware: str, found: Sequence[Row]) -> dict[str, Profile]:
        return {row.id: replica(hardware) for row in found}

    monkeypatch.setattr(twins, "replicas_on", on_twin)
    judged = [row(number) for number in range(24)]
    silicon = SimpleNamespace(judged=judged, kept=range(len(judged)), corrections=[SLOW])
    *_, table = twins.section(silicon)  # type: ignore[arg-type]
    (line,) = [line for line in table.splitlines() if line.startswith("| b200")]
    own, twin = line.split("|")[4:6]
    assert "b300 | 24" in line
    assert float(twin.rstrip(" %")) == pytest.approx(0.0, abs=0.1)
    assert float(own.rstrip(" %")) > 10.0
