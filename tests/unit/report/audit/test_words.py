"""Words and figures that the reports of an audit share."""

from decimal import Decimal

import msgspec
from tests.golden.bill_files import ANSWER

from meritorder.records.findings import AllocatedCost, Audit, RequestCosts
from meritorder.report.audit.record import decode
from meritorder.report.audit.words import a_month, figures, reconciled, requests_sentence, what_was_read


def golden(**changes: object) -> Audit:
    return msgspec.structs.replace(decode(ANSWER.read_bytes()), **changes)


def with_bill(**changes: object) -> Audit:
    answer = golden()
    return msgspec.structs.replace(answer, bill=msgspec.structs.replace(answer.bill, **changes))


def test_figures_have_scopes() -> None:
    rows = {name: value for name, value, _ in figures(golden())}
    assert rows["Whole bill"] == "$2,499.76"
    assert rows["Inference"] == "$2,484.76"
    assert rows["Commitment utilization"] == "61.6 %"
    assert "Whole bill, amortized" not in rows


def test_differing_amortized_bill_is_shown() -> None:
    answer = golden(amortised_usd=Decimal("2499.77"))
    assert {name: value for name, value, _ in figures(answer)}["Whole bill, amortized"] == "$2,499.77"
    assert len(figures(golden(amortised_usd=Decimal("2499.769")))) == len(figures(golden()))


def test_missing_rates_are_dashes() -> None:
    rows = {name: value for name, value, _ in figures(golden(effective_savings_rate=None))}
    assert rows["Effective savings rate"] == "\N{EN DASH}"


def test_reconciled_to_the_cent() -> None:
    assert (
        reconciled(with_bill(negative_rows=0, tax_usd=Decimal(0)))
        == "Every dollar in the files is accounted for: $2,499.76."
    )
    assert reconciled(golden()).endswith("This includes -$25.00 of refunds, credits and corrections.")


def test_difference_is_named() -> None:
    text = reconciled(
        with_bill(stated_usd=Decimal("2502.76"), difference_usd=Decimal(3), negative_rows=0, tax_usd=Decimal(0))
    )
    assert text == "The files state $2,502.76; $2,499.76 is counted, $3.00 of copies and unusable rows is not."
    assert "accounted for" in reconciled(with_bill(difference_usd=Decimal("0.004")))


def test_unread_rows_come_first() -> None:
    """Rows without a readable amount state no dollars, and yet not every dollar is accounted for."""
    text = reconciled(with_bill(refused_rows=3, unread_share=0.25))
    assert text.startswith("3 of 206 rows are not read, 25 % of the bill. The files state $2,499.76;")
    assert "accounted for" not in text


def test_files_without_dollars_say_so() -> None:
    read = {"unpriced_rows": 206, "negative_rows": 0, "tax_usd": Decimal(0)}
    assert reconciled(with_bill(**read)) == "The files count usage and state no dollars; list prices are used."


def test_taxes_are_named() -> None:
    assert "$10.00 of it is taxes, which are no cost of inference." in reconciled(golden())


def test_no_internal_names_on_a_page() -> None:
    assert not [scope for _, _, scope in figures(golden()) if "_" in scope]


def test_period_of_findings() -> None:
    assert a_month(with_bill(months=1.0)) == "over the period of the bill"
    assert a_month(with_bill(months=2.0)) == "a month, the mean of 2"


def test_files_are_named_or_counted() -> None:
    assert what_was_read(golden()).startswith("bill_cur.csv (AWS CUR 2.0) · 206 line items · 2026-10-05 to 2026-10-06")
    assert what_was_read(with_bill(files=["a", "b"])).startswith("2 files")


def test_cost_per_request_in_words() -> None:
    total = AllocatedCost(
        name="all", requests=1000, tokens=1, usd=50.0, idle_usd=20.0, usd_per_request=0.05, usd_per_mtok=4.0
    )
    costs = RequestCosts(
        total=total,
        by_model=[],
        by_tenant=[],
        machine_hours_paid=24.0,
        machine_hours_used=14.0,
        hours=24,
        hours_without_requests=0,
        basis=[],
    )
    assert requests_sentence(costs) == (
        "$50.00 is allocated to 1,000 requests: $0.05 each, $4.00 per million tokens; 40 % of it for idle capacity. "
        "14 of 24 machine hours were used."
    )
