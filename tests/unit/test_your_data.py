"""The page "Your data": every command of its tables reads an export of the tool that it stands beside."""

import re
import shlex
from pathlib import Path
from typing import Any, Final

import pytest
import typer
from tests.samples.command import ROOT
from tests.samples.exports import benchmarks, calls, clouds, forms
from tests.samples.exports.bills import BILL_USD, BILLS

from meritorder import bills
from meritorder.cli import app
from meritorder.cli.parsing import parse_pairs
from meritorder.traces.read import read_trace
from meritorder.traces.timed import read_timed

PAGE: Final = (ROOT / "docs/how-to/your-data.md").read_text("utf-8").partition("\n## Bills")
LOGS: Final = calls.CALLS | clouds.CLOUDS | benchmarks.BENCHMARKS
COMMANDS: Final = typer.main.get_command(app)
# A file that counts no requests, in the tests of bills; and the user's own account.
ELSEWHERE: Final = ("meritorder audit usage.json", "meritorder audit ccusage.json", "meritorder audit aws")
ESTIMATED: Final = ("batch API, input", "LibreChat", "prompts without", "WildChat")


def rows(text: str) -> list[tuple[str, str]]:
    """Return the rows of a table with commands, and each command of a row."""
    found = [line[2:] for line in text.splitlines() if line.startswith("| ")]
    commands = [(row, command) for row in found for command in re.findall(r"`(meritorder [^`]*)`", row.split(" | ")[2])]
    return [(row, command) for row, command in commands if command not in ELSEWHERE]


def placed(path: str, content: bytes) -> str:
    """Write a file where a command looks for it, and return its name there; a pattern gets a file that it matches."""
    local = path.replace("s3://", "s3/").replace("~", "home")
    file = Path(local.replace("**", "2026").replace("*", "a"))
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content)
    return local


def options(command: str) -> tuple[str, str, dict[str, Any]]:
    """Return the name of a command, its file, and its options as the command line reads them."""
    _, name, *words = shlex.split(command)
    subcommand = COMMANDS.commands[name]  # type: ignore[attr-defined]
    values = subcommand.make_context(name, list(words)).params
    return name, words[0], values


@pytest.mark.parametrize(("row", "command"), rows(PAGE[0]), ids=lambda text: text[:40])
def test_command_reads_export_of_tool(row: str, command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    tool = next(tool for tool in LOGS if row.startswith(tool))
    name, path, values = options(command)
    path = placed(path, LOGS[tool])
    columns = parse_pairs(values["columns"], "--columns") if values.get("columns") else None
    if name == "calibrate":
        (log,) = read_timed([path], columns=columns)
        assert log.output_tokens.tolist() == forms.OUTPUT
        assert log.ttft_s == pytest.approx(0.1)
        return
    trace = read_trace([path], columns=columns, aggregate=values.get("aggregate", False))
    if tool in ESTIMATED:
        assert trace.requests.height == forms.REQUESTS
        assert trace.report.estimated_tokens
        return
    scale = forms.CALLS_A_ROW if values.get("aggregate") else 1
    read = trace.requests
    totals = (read.height, int(read["input_tokens"].sum()), int(read["output_tokens"].sum()))
    assert totals == tuple(scale * total for total in forms.TOTALS)


@pytest.mark.parametrize(("row", "command"), rows(PAGE[2]), ids=lambda text: text[:40])
def test_command_reads_bill_of_provider(
    row: str, command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    provider = next(provider for provider in BILLS if row.startswith(provider))
    _, path, values = options(command)
    placed(path + "2026.csv" if path.endswith("/") else path, BILLS[provider])
    columns = parse_pairs(values["columns"], "--columns") if values["columns"] else None
    report = bills.read([path], columns=columns).report
    assert (report.billed_usd, report.refused_rows) == (BILL_USD, 0)
