"""A ledger against invoices: its own costs as a bill, and a bill of AWS that differs in known ways."""

import io
from decimal import Decimal
from pathlib import Path

import pytest
from rich.console import Console
from tests.samples import charges
from tests.samples.ledgers import attempts, replica

from meritorder.errors import BillError
from meritorder.records.accounting import BillMatch
from meritorder.report.ledger import html, text, words
from meritorder.study.ledger.answer import Paid, account, cost_all
from meritorder.study.ledger.costing import Period
from meritorder.study.ledger.focus import to_focus
from meritorder.study.ledger.reconcile import period_of, read_bill, reconcile

START_S = charges.START.timestamp()
MACHINE = "aws p5.48xlarge us-east-1"


def _match(path: Path, *paid: Paid, **row: object) -> BillMatch:
    bill = read_bill([str(path)])
    rows = attempts({"started_s": START_S, "ended_s": START_S + 60, **row})
    return reconcile(cost_all(rows, paid, period_of(bill)), bill)


def _hours(hours: float, usd: str, **fields: str) -> Paid:
    return replica(START_S, START_S + hours * 3600, usd, **{"machine": MACHINE, **fields})


def test_own_costs_match_to_the_cent(tmp_path: Path) -> None:
    rows = attempts(
        {"started_s": START_S, "ended_s": START_S + 1000},
        {"venue": "api", "started_s": START_S, "ended_s": START_S + 9.0, "cost_picousd": 1_234_567_890_123},
    )
    paid = [_hours(2, "3.6")]
    bill = tmp_path / "costs.parquet"
    costed = cost_all(rows, paid, Period(from_s=START_S, to_s=START_S + 3 * 3600))
    bill.write_bytes(to_focus(costed, ".parquet"))
    match = reconcile(costed, read_bill([str(bill)]))
    assert [(line.what, line.reasons) for line in match.lines] == [("gpu", ()), ("api", ())]
    assert match.matched_usd == match.bill_usd == match.ledger_usd == Decimal("8.434567890123")
    assert (match.difference_usd, match.other_usd) == (0, 0)


def test_hours_and_price_explain_the_difference(tmp_path: Path) -> None:
    """Ten hours at 60 USD were billed, eight at 55 are in the ledger: 110 for two hours, 50 for the price."""
    charges.write(tmp_path / "bill.csv", charges.machine(range(10), usd=60.0))
    match = _match(tmp_path / "bill.csv", _hours(8, "55"))
    (line,) = match.lines
    assert (line.what, line.ledger_usd, line.bill_usd, line.difference_usd) == ("gpu", 440, 600, 160)
    assert [part.usd for part in line.reasons] == [110, 50]
    assert line.reasons[0].why == "10.00 hours were billed, 8.00 are in the ledger"
    assert line.reasons[1].why == "$60.00 an hour were billed, $55.00 are in the ledger"
    assert match.matched_usd == 0


def test_what_only_one_side_has(tmp_path: Path) -> None:
    lines = [*charges.machine(range(4)), *charges.machine(range(4), instance="g6e.xlarge", name="i-2", usd=2.0)]
    charges.write(tmp_path / "bill.csv", lines)
    match = _match(tmp_path / "bill.csv", _hours(4, "55.04"), _hours(1, "7", venue="own", machine="my own"))
    whys = {line.what: [part.why for part in line.reasons] for line in match.lines}
    assert whys.pop("gpu") == []
    assert whys.pop("own") == ["the bill has nothing of it"]
    assert list(whys.values()) == [["the ledger has nothing of it"]]
    assert "g6e.xlarge i-2" in next(iter(whys))
    assert match.difference_usd == 8 - 7


def test_venues_on_one_machine_are_one_line(tmp_path: Path) -> None:
    charges.write(tmp_path / "bill.csv", charges.machine(range(4), count=2))
    match = _match(tmp_path / "bill.csv", _hours(4, "55.04"), _hours(4, "55.04", venue="gpu2"))
    assert [(line.what, line.difference_usd) for line in match.lines] == [("gpu, gpu2", 0)]


def test_tag_names_the_venue(tmp_path: Path) -> None:
    lines = [
        *charges.machine(range(4), tags={"venue": "gpu"}),
        *charges.machine(range(2), name="i-2", tags={"venue": "b"}),
    ]
    charges.write(tmp_path / "bill.csv", lines)
    match = _match(tmp_path / "bill.csv", _hours(4, "55.04"), _hours(2, "55.04", venue="b"))
    assert {line.what: line.difference_usd for line in match.lines} == {"gpu": 0, "b": 0}


def test_longer_name_of_a_machine_is_another(tmp_path: Path) -> None:
    charges.write(tmp_path / "bill.csv", charges.machine(range(4), instance="g6e.xlarge", usd=2.0))
    match = _match(tmp_path / "bill.csv", _hours(4, "2", machine="aws g6e.xlarge.metal us-east-1"))
    assert len(match.lines) == 2


def test_bill_is_shown_beside_the_ledger(tmp_path: Path) -> None:
    charges.write(tmp_path / "bill.csv", charges.machine(range(10), usd=60.0))
    bill = read_bill([str(tmp_path / "bill.csv")])
    rows = attempts({"started_s": START_S, "ended_s": START_S + 60})
    report = account(cost_all(rows, [_hours(10, "60")], period_of(bill)), (), bill=bill)
    assert words.bill(report).startswith(
        "Bill: 600.00 USD were billed for inference and 600.00 USD are in the ledger; 600.00 USD match to the cent"
    )
    console = Console(file=io.StringIO(), width=100)
    text.render(report, console)
    assert "Against the bill" in console.file.getvalue()  # type: ignore[attr-defined]
    assert words.bill_reasons(report) == ()


def test_reasons_are_shown_in_a_narrow_terminal_and_on_the_page(tmp_path: Path) -> None:
    charges.write(tmp_path / "bill.csv", charges.machine(range(10), usd=60.0))
    bill = read_bill([str(tmp_path / "bill.csv")])
    report = account(cost_all(attempts(), [_hours(8, "60")], period_of(bill)), (), bill=bill)
    why = "gpu: +120.00, 10.00 hours were billed, 8.00 are in the ledger"
    console = Console(file=io.StringIO(), width=80)
    text.render(report, console)
    assert why in console.file.getvalue()  # type: ignore[attr-defined]
    assert why in html.render(report)


def test_ledger_of_another_time_is_named(tmp_path: Path) -> None:
    charges.write(tmp_path / "bill.csv", charges.machine(range(1)))
    bill = read_bill([str(tmp_path / "bill.csv")])
    assert (
        reconcile(cost_all(attempts(), [replica(0, 60)], period_of(bill)), bill)
        .warnings[-1]
        .startswith("the ledger has")
    )


def test_tokens_and_their_price_explain_the_difference(tmp_path: Path) -> None:
    """4,000 tokens at 10 USD a thousand were billed, 3,000 at 8 are in the ledger: 8 USD by tokens, 8 by price."""
    path = tmp_path / "bill.csv"
    charges.write(path, charges.tokens([0], usd=40.0, thousands=4, tags={"venue": "api"}))
    cost = {"venue": "api", "input_tokens": 2_000, "output_tokens": 1_000, "cost_picousd": 24 * 10**12}
    (line,) = _match(path, **cost).lines
    assert [part.usd for part in line.reasons] == [8, 8]
    assert "$10,000 a million tokens were billed, $8,000 are in the ledger" in line.reasons[1].why


def test_what_is_no_bill_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "bill.csv").write_text("a,b\n1,2\n")
    with pytest.raises(BillError, match=r"bill\.csv"):
        read_bill([str(tmp_path / "bill.csv")])
