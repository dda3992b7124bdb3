"""Files of an exported plan, as they were when last looked at."""

from pathlib import Path

import pytest

from meritorder.__main__ import main

FILES = Path(__file__).with_name("files") / "export"
PLAN = Path(__file__).with_name("plan.json")


@pytest.mark.parametrize("target", ["keda", "kubernetes", "skypilot", "csv"])
def test_exported_files_are_frozen(target: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["meritorder", "export", str(PLAN), "--to", target, "--out", str(tmp_path / "new")])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code in {0, None}
    written = sorted((tmp_path / "new").iterdir())
    assert [path.name for path in written] == sorted(path.name for path in FILES.iterdir() if _is_of(target, path.name))
    for path in written:
        assert path.read_text(encoding="utf-8") == (FILES / path.name).read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--to", "nomad"], "--to: unknown target 'nomad'"),
        (["--to", "csv", "--start", "4h"], "--start: '4h' is not a time"),
        (["--to", "csv", "--out", str(PLAN)], "name another folder"),
    ],
)
def test_wrong_options_are_one_line(
    options: list[str], message: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["meritorder", "export", str(PLAN), *options])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert message in capsys.readouterr().err


def _is_of(target: str, name: str) -> bool:
    kinds = {"keda.yaml": "keda", "kubernetes.yaml": "kubernetes", "schedule.csv": "csv"}
    return kinds.get(name, "skypilot") == target
