"""The whole answer of an audit."""

import datetime as dt
from itertools import chain
from pathlib import Path
from types import SimpleNamespace

import pytest
from tests.samples import audits as samples
from tests.samples.charges import START, line, machine, reservation, tokens, write
from tests.unit.study.audit.conftest import DAY, DEFERRABLE, MONTH, Audited, MakeTrace, only

from meritorder import bills
from meritorder import catalog as facts
from meritorder.errors import BillError
from meritorder.records.findings import Finding, FindingKind
from meritorder.study.audit.answer import _assumptions, _context, _only_model, _sentence, _unpriced, audit
from meritorder.study.audit.context import AuditOptions, build_case
from meritorder.study.audit.usage import MachineUsage


def test_month_is_the_mean_of_months(audited: Audited) -> None:
    two = [row | {"bill_billing_period_start_date": "2026-09-01T00:00:00Z"} for row in machine(range(300))]
    rows = chain(two, machine(range(300, 600), name="i-2"))
    answer = audited(chain(rows, reservation(range(100), 400, instance="g5.12xlarge", rate=3.5, listed=5.672)))
    found = only(answer, "commitment_wrong_family")
    assert answer.bill.months == 2
    assert found.usd_per_month == pytest.approx(found.usd / 2)
    assert any("mean of the 2" in assumption.text for assumption in answer.assumptions)


def test_bill_without_inference(audited: Audited) -> None:
    answer = audited([line("Usage", 0, 5.0, line_item_product_code="AmazonS3", line_item_usage_type="Storage")])
    assert (answer.inference_usd, answer.findings, answer.effective_savings_rate) == (0.0, [], None)
    assert "--select" in answer.sentence


def finding(kind: FindingKind, usd: float) -> Finding:
    return Finding(kind=kind, title="", usd_per_month=usd, usd=usd, confidence="low", evidence="", fix="", where="")


def test_sentence_sums_the_largest_kinds() -> None:
    found = [finding("idle_capacity", 5.0), finding("idle_capacity", 6.0), finding("cheaper_region", 10.0)]
    assert _sentence(210.0, 21.0, found, 1.0) == (
        "Of $210.00 for inference, $21.00 (10 %) is overpaid: $11.00 idle capacity, $10.00 more expensive regions."
    )


def test_sentence_counts_months() -> None:
    more = [finding("old_generation", 2.0), finding("above_list_price", 1.0)]
    found = [finding("idle_capacity", 4.0), finding("cheaper_region", 3.0), *more]
    assert _sentence(200.0, 20.0, found, 2.0) == (
        "Of $100.00 a month for inference, $10.00 (10 %) is overpaid: $4.00 idle capacity, "
        "$3.00 more expensive regions, $2.00 older hardware and others."
    )


def test_sentence_without_findings() -> None:
    assert _sentence(10.0, 0.0, [], 1.0) == "Of $10.00 for inference, nothing is found to be overpaid."


@pytest.mark.parametrize(
    ("kinds", "usage", "texts"),
    [
        (["idle_capacity"], None, 0),
        (["over_provisioned"], None, 1),
        (["over_provisioned"], samples.usage([0.0], [1.0]), 1),
        (["over_provisioned"], samples.usage([0.0], [1.0], of_all_machines=False), 2),
        (["over_provisioned"], samples.usage([0.0], [1.0], guessed=True), 2),
        (["spot_for_deferrable", "commitment_for_on_demand", "old_generation"], None, 3),
    ],
)
def test_assumptions_follow_findings(kinds: list[FindingKind], usage: MachineUsage | None, texts: int) -> None:
    found = [finding(kind, 1.0) for kind in kinds]
    assert len(_assumptions(found, samples.context(usage=usage), 1.0)) == texts
    assert len(_assumptions(found, samples.context(usage=usage), 2.0)) == texts + 1


def test_findings_are_largest_first(audited: Audited) -> None:
    answer = audited(
        chain(
            tokens(MONTH, usd=3.0, thousands=1000, tags=DEFERRABLE),
            machine(range(DAY), instance="g6e.12xlarge", usd=60.0),
            reservation(range(DAY), 2 * DAY, instance="g5.12xlarge", rate=3.5, listed=5.672),
        )
    )
    amounts = [finding.usd_per_month for finding in answer.findings]
    assert len(amounts) >= 3
    assert amounts == sorted(amounts, reverse=True)
    assert answer.overpaid_usd == pytest.approx(sum(amounts))
    assert answer.optimised_usd == pytest.approx(float(answer.inference_usd) - sum(amounts))


def test_overpaid_is_the_mean_month(audited: Audited) -> None:
    """A month and a day of two billing months: half of what is overpaid in all."""
    november = {"bill_billing_period_start_date": "2026-11-01T00:00:00Z"}
    rows = tokens(range(DAY), usd=3.0, thousands=1000, tags=DEFERRABLE)
    answer = audited([row | (november if place % 2 else {}) for place, row in enumerate(rows)])
    assert answer.overpaid_usd == pytest.approx(DAY * 1.5)
    assert answer.overpaid_usd_per_month == pytest.approx(DAY * 0.75)


def test_share_needs_something_paid() -> None:
    found = [finding("idle_capacity", 0.25)]
    assert "$0.25 (50 %) is overpaid" in _sentence(0.5, 0.25, found, 1.0)
    assert _sentence(0.0, 0.25, found, 1.0) == "Of $0 for inference, $0.25 is overpaid: $0.25 idle capacity."


def test_prices_end_with_the_bill(tmp_path: Path) -> None:
    """Three machine hours end at 03:00; without machines the last charge ends the bill."""
    storage = line("Usage", 5, 5.0, line_item_product_code="AmazonS3", line_item_usage_type="Storage")
    for rows, hours in ((machine(range(3)), 3), ([storage], 6)):
        bill = bills.read(write(tmp_path / "bill.csv", rows))
        context = _context(build_case(bill, AuditOptions()), None)
        assert context.market.until == START + dt.timedelta(hours=hours)
        assert context.model == ""


def test_only_one_model_is_served() -> None:
    """A model that the catalog does not have cannot be simulated, and is none."""
    known = facts.load(())

    def of(*models: str) -> str:
        return _only_model(known, SimpleNamespace(models=models))  # type: ignore[arg-type]

    assert (of("Llama-3.1-8B"), of("llama-3.1-8b", "qwen3-8b"), of("claude-sonnet-4-5")) == ("llama-3.1-8b", "", "")
    assert (of(), _only_model(known, None)) == ("", "")


def test_audit_without_options(tmp_path: Path) -> None:
    answer = audit(bills.read(write(tmp_path / "bill.csv", machine(range(3)))))
    assert (answer.bill.rows, float(answer.inference_usd)) == (3, pytest.approx(3 * 55.04))


def test_first_bill_without_machines_is_named(tmp_path: Path, trace: MakeTrace) -> None:
    paths = [write(tmp_path / f"{name}.csv", tokens([hour], usd=1.0, thousands=1)) for hour, name in enumerate("ab")]
    with pytest.raises(BillError, match=r"^a\.csv: it has no machine hours"):
        audit(bills.read(paths), AuditOptions(), trace([1]))


@pytest.mark.parametrize(
    ("assumptions", "prices", "text"),
    [
        ([], [], ""),
        (["usage without prices"], ["a price"], ""),
        (
            ["usage without prices"],
            [],
            "The bill counts usage without prices, and the price list does not have its models. ",
        ),
    ],
)
def test_usage_that_nothing_prices(assumptions: list[str], prices: list[str], text: str) -> None:
    case = SimpleNamespace(listed=SimpleNamespace(assumptions=assumptions, prices=prices))
    assert _unpriced(case) == text  # type: ignore[arg-type]
