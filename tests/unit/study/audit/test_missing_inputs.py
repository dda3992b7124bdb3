"""Questions that the bill alone cannot answer."""

from dataclasses import replace
from decimal import Decimal
from types import SimpleNamespace

import polars as pl
import pytest
from tests.samples import audits as samples
from tests.samples.charges import machine
from tests.unit.study.audit.conftest import MONTH, WEEKS, Audited

from meritorder.study.audit.context import AuditContext
from meritorder.study.audit.ledger import Ledger, TokenPurchase
from meritorder.study.audit.missing_inputs import missing_inputs
from meritorder.study.audit.pools import PaidRates


def test_missing_inputs_are_named(audited: Audited) -> None:
    answer = audited(machine(MONTH))
    assert answer.missing_inputs[0].option == "--trace requests.csv or --metrics gpu.csv"
    assert answer.missing_inputs[0].usd_per_month == pytest.approx(WEEKS * 55.04)
    assert any("commitment to p5.48xlarge" in missing.question for missing in answer.missing_inputs)


BILL = pl.DataFrame(
    {"kind": ["accelerator", "tokens"], "amortised_usd": [Decimal(80), Decimal(20)]},
    schema={"kind": pl.String, "amortised_usd": pl.Decimal(38, 12)},
)


def questions(left: Ledger, context: AuditContext, groups: pl.DataFrame = BILL) -> dict[str, float]:
    """Return dollars a month by question, from a ledger without findings."""
    bill = SimpleNamespace(groups=groups, report=SimpleNamespace(files=()))
    missing = missing_inputs(bill, left, left, context)  # type: ignore[arg-type]
    amounts = [question.usd_per_month for question in missing]
    assert amounts == sorted(amounts, reverse=True)
    return {" ".join(asked.question.split()[:2]): asked.usd_per_month for asked in missing}


def token_purchase(usd: float, **more: object) -> TokenPurchase:
    plain = TokenPurchase(
        provider="aws",
        model="m",
        token_type="",
        tier="standard",
        unit="",
        may_wait=False,
        quantity=1.0,
        usd=usd,
        batch_usd_per_unit=None,
    )
    return replace(plain, **more)  # type: ignore[arg-type]


def test_questions_concern_untagged_machines() -> None:
    """Three machines at 10 in an hour: one deferrable, one named, one untagged; over two months."""
    left = samples.ledger(
        samples.pool([1.0], may_wait=True), samples.pool([1.0], names=("chat",)), samples.pool([1.0]), months=2.0
    )
    assert questions(left, samples.context()) == pytest.approx(
        {"what a": 15.0, "which machine": 10.0, "whether the": 5.0}
    )


def test_known_usage_needs_no_trace() -> None:
    left = samples.ledger(samples.pool([1.0], names=("chat",)))
    rates = PaidRates(reserved={samples.MACHINE: 6.0})
    known = samples.context(rates=rates, usage=samples.usage([0.0], [1.0]))
    guessed = samples.context(rates=rates, usage=samples.usage([0.0], [1.0], guessed=True))
    assert questions(left, known) == {}
    assert questions(left, guessed) == {"which machine": 10.0}


def test_spot_needs_no_commitment_price() -> None:
    left = samples.ledger(samples.pool([1.0], names=("x",), on_spot=True, may_wait=True))
    assert questions(left, samples.context()) == {}


def test_tokens_that_could_have_waited() -> None:
    """Untagged real-time tokens of 6, deferrable ones without a batch price of 8; over two months."""
    left = samples.ledger(
        months=2.0,
        tokens=[token_purchase(6.0), token_purchase(8.0, may_wait=True), token_purchase(9.0, tier="batch")],
    )
    assert questions(left, samples.context(), BILL.filter(kind="tokens")) == {"what the": 4.0, "which of": 3.0}


def test_daily_bill_hides_hours() -> None:
    left = samples.ledger(samples.pool([1.0], names=("x",)), step_h=24.0, months=2.0)
    rates = PaidRates(reserved={samples.MACHINE: 6.0})
    assert questions(left, samples.context(rates=rates)) == {"in which": 5.0}


def test_machines_without_hours() -> None:
    assert questions(samples.ledger(months=2.0), samples.context()) == {"which machines": 40.0}
    assert questions(samples.ledger(), samples.context(), BILL.filter(kind="tokens")) == {}


def test_three_names_are_asked_for() -> None:
    """Of four machines and four models three are named; machines without hours are not."""
    named = [replace(samples.MACHINE, instance=name, region="") for name in "zabcd"]
    pools = [samples.pool([hours], machine=machine) for hours, machine in zip([0.0, 1, 1, 1, 1], named, strict=True)]
    bought = [token_purchase(1.0, model=model, may_wait=True) for model in ("", "m1", "m2", "m3")]
    left = samples.ledger(*pools, tokens=bought)
    bill = SimpleNamespace(groups=BILL, report=SimpleNamespace(files=()))
    asked = {missing.question for missing in missing_inputs(bill, left, left, samples.context())}  # type: ignore[arg-type]
    assert "what a commitment to a, b, c costs" in asked
    assert "what the batch tier of aws, m1, m2 costs" in asked
