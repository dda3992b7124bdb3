import io
from decimal import Decimal
from html.parser import HTMLParser

import msgspec
import pytest
from rich.console import Console
from tests.samples.ledgers import attempts, replica

from meritorder.records.accounting import Counterfactual, LedgerReport
from meritorder.report.ledger import html, proof, text, words
from meritorder.study.ledger.answer import account, cost_all, whole_period

HOSTILE = "<script>alert(1)</script>[bold]"


def _report(*by: str, tenants: int = 1) -> LedgerReport:
    rows = attempts(
        *({"started_s": 10, "ended_s": 20 + number, "tenant": f"{HOSTILE}{number}"} for number in range(tenants)),
        {"venue": "api", "ended_s": 30.0, "deadline_s": 60.0, "status_code": 200, "lane": "deferrable"},
    )
    paid = [replica(0, 3600, "3.6", ready_s=5)]
    return account(cost_all(rows, paid, whole_period(rows, paid)), by)


def _text(report: LedgerReport, width: int = 80) -> str:
    console = Console(file=io.StringIO(), width=width)
    text.render(report, console)
    return console.file.getvalue()  # type: ignore[attr-defined]


def test_text_tells_uses_and_warnings() -> None:
    shown = _text(_report("tenant"))
    assert "3.60 USD were paid for 2 requests" in shown
    assert "Deadlines: 1 kept, 0 missed." in shown
    assert "No saving is claimed" in shown
    assert "api: no price for 1 attempt" in shown
    assert "(idle)" in shown


@pytest.mark.parametrize("width", [40, 80, 200])
def test_text_fits_the_terminal(width: int) -> None:
    assert max(map(len, _text(_report("day", "tenant", "use", "model", "venue"), width).splitlines())) <= width


def test_long_tables_are_cut_with_notice() -> None:
    assert "the first 60 of 73 rows" in _text(_report("tenant", tenants=70))


def test_page_escapes_names() -> None:
    page = html.render(_report("tenant"))
    assert "<script>" not in page
    assert "&lt;script&gt;alert(1)" in page
    HTMLParser().feed(page)


def test_empty_groups_leave_no_table() -> None:
    assert "By " not in html.render(_report())


def _simulated(saved_usd: str) -> LedgerReport:
    simulated = Counterfactual(
        arrangement="2 replicas, always on",
        machine="m on 1xl40s",
        realtime_usd=2.0,
        as_ran_usd=1.0,
        paid_usd=Decimal("1.1"),
        busy_simulated=0.5,
        busy_measured=0.52,
        basis="errors",
    )
    saved = {"saved_usd": Decimal(saved_usd), "saved_interval": (Decimal(-2), Decimal("1.5"))}
    return msgspec.structs.replace(_report(), counterfactual=simulated, **saved)


def test_saving_names_its_counterfactual() -> None:
    shown = " ".join(_text(_simulated("1.1"), 200).split())
    assert "Saved $1.10 against real time alone (2 replicas, always on, m on 1xl40s): between -$2.00 and $1.50" in shown
    assert "as it ran, simulated $1.00 50.0 %" in shown
    assert "real time alone, simulated" in html.render(_simulated("1.1"))


def test_loss_is_told_as_loss() -> None:
    assert "Cost $1.10 more than real time alone" in " ".join(_text(_simulated("-1.1"), 200).split())


def _saved(saved_usd: str) -> LedgerReport:
    report = _report("tenant")
    saved = Decimal(saved_usd)
    return msgspec.structs.replace(
        report,
        saved_usd=saved,
        saved_interval=(saved - 1, saved + 1),
        counterfactual_usd=report.paid_usd + saved,
        no_saving_because="",
    )


@pytest.mark.parametrize(
    ("saved_usd", "sentence"),
    [("3.60", "cost $3.60 (50 %) less than in real time alone"), ("-1.80", "cost $1.80 (100 %) more than in")],
)
def test_proof_says_what_was_saved(saved_usd: str, sentence: str) -> None:
    assert sentence in proof.render(_saved(saved_usd))


def test_proof_without_simulation_claims_nothing() -> None:
    page = proof.render(_report())
    assert "No saving is claimed." in page
    assert "What it saved: real time alone was not simulated" in page
    assert "Real time alone</dt>" not in page


def test_groups_show_their_saving() -> None:
    report = _saved("3.60")
    assert words.groups(report).headings[-1] == "saved"
    assert words.groups(_report("tenant")).headings[-1] == "paid"
