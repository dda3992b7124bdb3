"""The record of decisions survives kills, and finds what it is asked for."""

from pathlib import Path

import pytest

from meritorder.errors import ConfigError
from meritorder.records.autopilot import KEPT, Decision
from meritorder.study.autopilot.log import DecisionLog, next_id


def decision(name: str) -> Decision:
    return Decision(id=name, at="2026-11-30T00:00:00Z", at_s=0.0, mode="apply", outcome=KEPT, why="nothing better")


def test_decisions_are_read_in_order(tmp_path: Path) -> None:
    log = DecisionLog(tmp_path / "new")
    assert log.read() == []
    log.append(decision("d00001"))
    log.append(decision("d00002"))
    assert [known.id for known in log.read()] == ["d00001", "d00002"]
    assert next_id(log.read()) == "d00003"


def test_line_cut_off_by_a_kill_is_replaced(tmp_path: Path) -> None:
    log = DecisionLog(tmp_path)
    log.append(decision("d00001"))
    with (tmp_path / "decisions.jsonl").open("ab") as file:
        file.write(b'{"id": "d000')
    assert [known.id for known in log.read()] == ["d00001"]
    log.append(decision("d00002"))
    assert [known.id for known in log.read()] == ["d00001", "d00002"]


def test_strange_line_is_named(tmp_path: Path) -> None:
    (tmp_path / "decisions.jsonl").write_bytes(b"{}\n")
    with pytest.raises(ConfigError, match="line 1"):
        DecisionLog(tmp_path).read()


def test_decision_is_found_by_its_id(tmp_path: Path) -> None:
    log = DecisionLog(tmp_path)
    log.append(decision("d00001"))
    log.append(decision("d00012"))
    assert log.find("d00012").id == "d00012"
    for wrong in ("d000", "d00003", ""):
        with pytest.raises(ConfigError, match="autopilot log"):
            log.find(wrong)
