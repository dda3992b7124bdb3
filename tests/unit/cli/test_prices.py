"""`prices`: the table is limited, its JSON is complete."""

import json
from pathlib import Path

import pytest

from meritorder.cli.prices import prices


def test_json_has_every_row(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    prices(hardware="h100", limit=2, json=tmp_path / "prices.json")
    rows = json.loads((tmp_path / "prices.json").read_text())["offers"]
    assert len(rows) > 2
    assert f"and {len(rows) - 2} more" in capsys.readouterr().out


def test_rejected_prices_are_optional(capsys: pytest.CaptureFixture[str]) -> None:
    prices()
    assert "Rejected" not in capsys.readouterr().out
    prices(refused=True)
    assert "Rejected" in capsys.readouterr().out
