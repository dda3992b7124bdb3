"""`prices`: the table is limited, its JSON is complete."""

import json
from pathlib import Path

import pytest
import typer
from tests.samples.price_lists import skypilot

from meritorder.cli.prices import cache, prices


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


def test_update_shows_and_keeps_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    folder = tmp_path / "skypilot" / "lambda"
    folder.mkdir(parents=True)
    (folder / "vms.csv").write_bytes(
        skypilot(("gpu_1x_h100", "H100", 1, "us-west-1", 3.5, ""), ("\x1b[31mred", "H100", 1, "us-west-1", 4.5, ""))
    )
    prices("update", mirror=str(tmp_path), dry_run=True, json=tmp_path / "changes.json")
    assert "nothing was written" in capsys.readouterr().out
    prices("update", mirror=str(tmp_path))
    shown = capsys.readouterr().out
    assert "lambda gpu_1x_h100 us-west-1 (on demand): $3.50" in shown
    assert str(tmp_path / "data" / "meritorder" / "prices") in shown
    assert "\x1b[31mred" not in shown
    changes = json.loads((tmp_path / "changes.json").read_text())["changes"]
    assert {"added", "removed"} == {change["kind"] for change in changes}
    prices("reset")
    assert "the shipped prices are in use" in capsys.readouterr().out


def test_cache_is_shown_and_cleared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    kernels, of_others = tmp_path / "meritorder" / "kernels-1", tmp_path / "pip"
    kernels.mkdir(parents=True)
    of_others.mkdir()
    (kernels / "a.nbi").write_bytes(bytes(1 << 20))
    for action, shown in (
        ("show", "1 files, 1.0 MiB in use"),
        ("clear", "1 files, 1.0 MiB deleted"),
        ("show", "0 files"),
    ):
        cache(action)
        assert capsys.readouterr().out.startswith(f"{tmp_path / 'meritorder'}: {shown}")
        assert kernels.exists() == ("in use" in shown and "1 files" in shown)
    assert of_others.exists()
    with pytest.raises(typer.BadParameter, match="none of show, clear"):
        cache("drop")
