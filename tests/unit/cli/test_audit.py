"""The command: what it writes, what it refuses, and in which words."""

import csv
import datetime as dt
import json
import re
import shlex
import sys
from collections.abc import Callable
from html.parser import HTMLParser
from itertools import chain
from pathlib import Path

import polars as pl
import pytest
from tests.samples.charges import Row, line, machine, reservation, tokens, write

from meritorder import cli
from meritorder.bills.accounts import aws
from meritorder.bills.accounts.aws import AccountRead
from meritorder.bills.files import SourceFile
from meritorder.bills.formats.cost_explorer import COLUMNS
from meritorder.report.audit.record import decode

ATTACK = "</style><script>alert(1)</script><img src=x onerror=alert(2)>[bold]"


def rows() -> list[Row]:
    patient = {"latency_class": "deferrable", "service": ATTACK}
    return list(
        chain(
            machine(range(200), instance="g6e.12xlarge", usd=10.49264, tags=patient),
            machine(range(200), instance="p5.48xlarge", usd=56.0, tags={"service": "=cmd|calc"}),
            tokens(range(200), usd=3.0, thousands=1000, tags=patient),
            reservation(range(50), 200, instance="g5.12xlarge", rate=3.5, listed=5.672),
            [line("Refund", 3, -100.0, line_item_usage_type="BoxUsage:p5.48xlarge")],
        )
    )


def run(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    monkeypatch.setattr(sys, "argv", ["meritorder", "audit", *map(str, arguments)])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    return int(ended.value.code or 0)


@pytest.fixture
def bill(tmp_path: Path) -> Path:
    return write(tmp_path / "my bill.csv", rows())


def test_one_answer_in_four_forms(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], bill: Path, tmp_path: Path
) -> None:
    json_, html, csv_ = (tmp_path / f"audit.{name}" for name in ("json", "html", "csv"))
    brief = tmp_path / "brief.html"
    written = ("--json", json_, "--html", html, "--csv", csv_, "--brief", brief)
    assert run(monkeypatch, bill, *written, "--by", "tag:service") == 0
    assert "What to do, by whom" in brief.read_text()
    answer = decode(json_.read_bytes())
    said = " ".join(capsys.readouterr().out.split())
    assert next(iter(json.loads(json_.read_text()))) == "schema"
    assert answer.findings
    table = list(csv.DictReader(csv_.read_text().splitlines()))
    assert [row["kind"] for row in table] == [finding.kind for finding in answer.findings]
    for finding in answer.findings:
        assert f"${finding.usd_per_month:,.0f}" in said
        assert f"${finding.usd_per_month:,.0f}" in html.read_text()
    assert "of refunds, credits and corrections" in said
    assert answer.bill.negative_usd == pytest.approx(-100)


def test_page_is_static_and_escaped(monkeypatch: pytest.MonkeyPatch, bill: Path, tmp_path: Path) -> None:
    page = tmp_path / "audit.html"
    run(monkeypatch, bill, "--html", page, "--by", "tag:service")
    found: list[tuple[str, dict[str, str | None]]] = []

    class Reader(HTMLParser):
        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            found.append((tag, dict(attrs)))

    Reader().feed(page.read_text())
    tags = {tag for tag, _ in found}
    assert {"svg", "path", "table"} <= tags
    assert not {"script", "img", "iframe", "object"} & tags
    assert not [each for tag, each in found if {"src", "onload", "onerror"} & set(each)]
    assert "alert(1)" in page.read_text()


def test_csv_holds_no_formula(monkeypatch: pytest.MonkeyPatch, bill: Path, tmp_path: Path) -> None:
    target = tmp_path / "audit.csv"
    run(monkeypatch, bill, "--csv", target)
    cells = [cell for row in csv.reader(target.read_text().splitlines()) for cell in row]
    assert not [cell for cell in cells if re.match(r"[=+@]", cell)]


def test_commands_of_fixes_run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], bill: Path, tmp_path: Path
) -> None:
    """Each command of a finding succeeds as it is printed, next to the bill."""
    monkeypatch.chdir(tmp_path)
    target = tmp_path / "audit.json"
    run(monkeypatch, bill.name, "--json", target)
    fixes = [finding.fix for finding in decode(target.read_bytes()).findings]
    commands = {fix.rpartition(": meritorder ")[2] for fix in fixes}
    assert len(commands) > 1
    for command in commands:
        name, *arguments = shlex.split(command)
        assert name in {"audit", "prices"}, command
        monkeypatch.setattr(sys, "argv", ["meritorder", name, *arguments])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        assert not ended.value.code, (command, capsys.readouterr().err)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda text: text[: len(text) * 2 // 3], "the file is truncated"),
        (lambda text: text.replace(",USD,", ",EUR,", 3), "mixes currencies: USD in"),
        (lambda _: "name,age\nbob,3\n", "not a bill of a known format"),
        (lambda _: "", "the file is empty"),
    ],
)
def test_unusable_bill_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], bill: Path, change: object, said: str
) -> None:
    bill.write_text(change(bill.read_text()))  # type: ignore[operator]
    assert run(monkeypatch, bill, "--json", bill.parent / "audit.json") == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
    assert not (bill.parent / "audit.json").exists()


def test_duplicates_are_counted_once(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], bill: Path
) -> None:
    lines = bill.read_text().splitlines()
    bill.write_text("\n".join([*lines, *lines[1:4]]) + "\n")
    assert run(monkeypatch, bill) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "3 duplicate line items" in said
    assert "of copies and unusable rows is not" in said
    assert run(monkeypatch, bill, "--strict") == 2


@pytest.mark.parametrize(("invoice", "said"), [("0", "more than the invoice"), ("$9,999,999.99", "less than the")])
def test_invoice_difference_is_printed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], bill: Path, invoice: str, said: str
) -> None:
    assert run(monkeypatch, bill, "--invoice", invoice) == 0
    assert said in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--select", "team"), "is not COLUMN=GLOB"),
        (("--select", "color=blue"), "no column color"),
        (("--serving", "=x"), "is not COLUMN=GLOB"),
        (("--serving", "color=x"), "--serving: no column color"),
        (("--may-wait", "color=x"), "no column color"),
        (("--by", "color"), "no column color to break costs down by"),
        (("--invoice", "much"), "is not an amount"),
        (("--metrics", "nowhere.csv"), "nowhere.csv: no such file"),
        (("--model", "gpt-9000"), "unknown model"),
        (("--format", "paper"), "no bill format paper"),
    ],
)
def test_mistake_is_one_line(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    bill: Path,
    arguments: tuple[str, ...],
    said: str,
) -> None:
    assert run(monkeypatch, bill, *arguments) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1


def test_may_wait_selector(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    bill, target = tmp_path / "bill.csv", tmp_path / "audit.json"
    write(bill, chain(tokens(range(200), usd=3.0, thousands=1000), machine(range(9), usd=1.0)))
    assert run(monkeypatch, bill, "--json", target) == 0
    assert "tokens_could_wait" not in {finding.kind for finding in decode(target.read_bytes()).findings}
    assert run(monkeypatch, bill, "--json", target, "--may-wait", "service=*Bedrock") == 0
    found = next(finding for finding in decode(target.read_bytes()).findings if finding.kind == "tokens_could_wait")
    assert found.usd == pytest.approx(300)


def test_break_down_by_any_column(monkeypatch: pytest.MonkeyPatch, bill: Path, tmp_path: Path) -> None:
    target = tmp_path / "audit.json"
    assert run(monkeypatch, bill, "--by", "resource", "--json", target) == 0
    by = {breakdown.by: breakdown for breakdown in decode(target.read_bytes()).breakdowns}
    assert {spend.name for spend in by["resource"].spends} == {"i-1", "(not named)"}


def test_terms_reuse_the_fleet_of_audit(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], bill: Path, tmp_path: Path
) -> None:
    from meritorder.study.audit import pools

    calls = []
    read_fleet = pools.read_fleet
    monkeypatch.setattr(pools, "read_fleet", lambda *inputs: calls.append(1) or read_fleet(*inputs))
    rates, held = tmp_path / "rates.csv", tmp_path / "held.toml"
    assert run(monkeypatch, bill, "--rates", rates, "--held", held) == 0
    assert "p5.48xlarge" in rates.read_text()
    assert "g5.12xlarge" in held.read_text()
    assert len(calls) == 1, capsys.readouterr().out


def test_unread_rows_need_partial(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], bill: Path
) -> None:
    bill.write_text(bill.read_text().replace("56.0000000000", "fifty-six"))
    assert run(monkeypatch, bill) == 2
    assert re.search(
        r"\d+ % of the bill cannot be read: .*200 rows refused, no readable amount", capsys.readouterr().err
    )
    assert run(monkeypatch, bill, "--partial") == 0
    said = " ".join(capsys.readouterr().out.split())
    assert said.startswith("200 of 652 rows are not read")
    assert "accounted for" not in said


def test_rate_converts_the_bill(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    row = "2026-10-01T00:00:00Z,2026-10-01T01:00:00Z,100,EUR"
    path = tmp_path / "euro.csv"
    path.write_text(f"ChargePeriodStart,ChargePeriodEnd,BilledCost,BillingCurrency\n{row}\n")
    assert run(monkeypatch, path, "--rate", "eur=1.25") == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "Every dollar in the files is accounted for: $125.00." in said
    assert "one EUR is 1.25 dollars" in said
    for rate in ("EUR", "EUR=0", "euro=1", "EUR=x", "EUR=nan"):
        assert run(monkeypatch, path, "--rate", rate) == 2
        assert "write EUR=1.08" in capsys.readouterr().err


def test_account_is_audited_without_a_file(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """A file of that name is a bill, no account."""
    periods = []

    def read_account(_: object, start: dt.date, end: dt.date, update: Callable[[str], None]) -> AccountRead:
        periods.append(end - start)
        update("reading")
        row = {
            "start": "2026-11-02",
            "end": "2026-11-03",
            "record_type": "Usage",
            "usage_type": "BoxUsage:p5.48xlarge",
            "unblended_cost": "1320.96",
            "amortized_cost": "1320.96",
            "currency": "USD",
            "quantity": "24",
        }
        frame = pl.DataFrame([row], schema=dict.fromkeys(COLUMNS, pl.String)).lazy().with_row_index("row")
        costs = SourceFile(name="AWS Cost Explorer", frame=frame, columns=frozenset(COLUMNS), assumptions=("noted",))
        return AccountRead(costs=costs, metrics=None)

    monkeypatch.setattr(aws, "open_session", lambda profile: profile)
    monkeypatch.setattr(aws, "read_account", read_account)
    monkeypatch.chdir(tmp_path)
    assert run(monkeypatch, "aws", "--aws-profile", "finops", "--days", "7") == 0
    said = " ".join(capsys.readouterr().out.split())
    assert said.startswith("Of $1,321 for inference")
    assert "noted" in said
    assert periods == [dt.timedelta(days=7)]
    (tmp_path / "aws").write_text("")
    assert run(monkeypatch, "aws") == 2
    assert "the file is empty" in capsys.readouterr().err
