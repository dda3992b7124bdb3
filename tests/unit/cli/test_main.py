"""The entry point: exit codes, and one line for every mistake."""

import contextlib
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from meritorder import __version__, cli
from meritorder.errors import ConfigError


def outcome(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> object:
    monkeypatch.setattr(sys, "argv", ["meritorder", *arguments])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    return ended.value.code


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["compare"], "Missing argument 'TRACE...'"),
        (["compare", "x", "--tp", "many"], "'--tp'"),
        (["compare", "x", "--tp", "0"], "'--tp'"),
        (["compare", "x", "--seed", "-1"], "'--seed'"),
        (["prices", "--limit", "0"], "'--limit'"),
        (["prices", "--pricing-model", "begging"], "'begging'"),
        (["prices", "--json"], "'--json'"),
        (["compere"], "No such command 'compere'"),
        (["--nonsense"], "No such option: --nonsense"),
    ],
)
def test_usage_error_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: list[str], expected: str
) -> None:
    assert outcome(monkeypatch, *arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert err.startswith("meritorder: ")
    assert expected.strip("'") in err
    assert "--help`" in err
    assert "; see `meritorder" in err


def test_interruption_writes_nothing(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("meritorder.study.prices.listing.list_prices", interrupted)
    assert outcome(monkeypatch, "prices") == 130
    assert "nothing was written" in capsys.readouterr().err


def test_lines_to_add_follow_the_error(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def refused(*_: object, **__: object) -> None:
        raise ConfigError("lacks a venue", where="plan.json", fix="add it", lines='[[venue]]\nname = "x"')

    monkeypatch.setattr("meritorder.study.prices.listing.list_prices", refused)
    assert outcome(monkeypatch, "prices") == 2
    assert capsys.readouterr().err == 'meritorder: plan.json: lacks a venue; add it\n\n[[venue]]\nname = "x"\n'


def test_version_is_printed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert not outcome(monkeypatch, "--version")
    assert capsys.readouterr().out == f"meritorder {__version__}\n"


@pytest.mark.parametrize("arguments", [["prices", "--model", "llama-3.1-8b"], ["--help"]])
def test_standard_output_fails_in_one_line(arguments: list[str]) -> None:
    command = [sys.executable, "-m", "meritorder", *arguments]
    with open("/dev/full", "w") as full:  # noqa: PTH123  (a device, not a file)
        ended = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert (ended.returncode, ended.stderr) == (2, "meritorder: standard output: No space left on device\n")
    closed = subprocess.run(
        ["bash", "-c", 'set -o pipefail; "$@" | true', "bash", *command], capture_output=True, text=True, check=False
    )
    assert (closed.returncode, closed.stderr) == (0, "")


def test_interruption_while_loading(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    from meritorder import __main__ as entry

    class Interrupting:
        def find_spec(self, name: str, *_: object) -> None:
            if name == "meritorder.cli":
                raise KeyboardInterrupt

    monkeypatch.delitem(sys.modules, "meritorder.cli")
    monkeypatch.delattr("meritorder.cli")
    monkeypatch.setattr(sys, "meta_path", [Interrupting(), *sys.meta_path])
    with pytest.raises(SystemExit) as ended:
        entry.main()
    assert ended.value.code == 130
    assert capsys.readouterr().err == "interrupted; nothing was written\n"


def test_store_is_migrated_alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    config, store = tmp_path / "gateway.toml", tmp_path / "gateway.db"
    venue = '[[venue]]\nname = "v"\nurl = "http://127.0.0.1:1/v1"\nmodels = ["m"]\n'
    config.write_text(f'[store]\nurl = "sqlite:///{store}"\n{venue}', encoding="utf-8")
    for _ in range(2):  # the second time it has nothing to do
        assert outcome(monkeypatch, "serve", "--config", str(config), "--migrate") in {None, 0}
        with contextlib.closing(sqlite3.connect(store)) as connection:
            tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        assert {"requests", "ledger", "alembic_version"} <= tables
