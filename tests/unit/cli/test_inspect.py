"""`inspect`: statistics of a trace, and a workloads file that the other commands accept."""

import json
from pathlib import Path

import pytest

from meritorder.cli.inspect import inspect
from meritorder.traces.workloads import load_workloads


@pytest.fixture
def trace(tmp_path: Path) -> str:
    path = tmp_path / "trace.csv"
    rows = "".join(f"{900 * run + 0.1 * n},500,10,index\n" for run in range(96) for n in range(10))
    path.write_text(f"arrived_s,input_tokens,output_tokens,tenant\n{rows}")
    return str(path)


def test_proposed_workloads_can_be_read(trace: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    inspect([trace], propose=tmp_path / "workloads.toml", json=tmp_path / "inspect.json")
    (workload,) = load_workloads(tmp_path / "workloads.toml")
    assert (workload.name, workload.lane) == ("index", "deferrable")
    found = json.loads((tmp_path / "inspect.json").read_text())
    assert found["statistics"]["requests"] == 960
    assert {candidate["kind"] for candidate in found["could_wait"]} >= {"clockwork"}
    assert "could wait" in capsys.readouterr().out


def test_signs_are_shown_on_request(trace: str, capsys: pytest.CaptureFixture[str]) -> None:
    inspect([trace])
    assert "could wait" not in capsys.readouterr().out
