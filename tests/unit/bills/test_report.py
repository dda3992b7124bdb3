"""What was wrong with a bill is said, to the cent."""

from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import polars as pl
import pytest

from meritorder import bills
from meritorder.errors import BillError

Write = Callable[..., Path]
HOUR = {"line_item_unblended_cost": "2"}


def test_copies_are_counted_once(cur: Write) -> None:
    one = HOUR | {"identity_line_item_id": "a"}
    report = bills.read(cur(one, one, HOUR)).report
    assert (report.rows, report.duplicate_rows) == (3, 1)
    assert (report.billed_usd, report.duplicates_usd, report.stated_usd, report.difference_usd) == (
        4,
        2,
        6,
        2,
    )
    assert report.warnings[0] == "cur.csv: 1 duplicate line item of 2.00 USD, counted once"


def test_a_file_given_twice_under_two_names_is_counted_once(cur: Write) -> None:
    bill = bills.read([cur(HOUR, HOUR), cur(HOUR, HOUR, name="again.csv")])
    assert (bill.report.billed_usd, bill.report.duplicate_rows) == (4, 2)
    assert bill.charges.collect()["billed_usd"].sum() == 4


def test_equal_lines_are_copies_where_nothing_identifies_them(focus: Write) -> None:
    hour = {"BilledCost": "2", "EffectiveCost": "2", "ResourceId": "i-1"}
    report = bills.read(focus(hour, hour, hour | {"ResourceId": "i-2"})).report
    assert (report.duplicate_rows, report.billed_usd) == (1, 4)


def test_lines_that_differ_in_their_tags_alone_are_no_copies(cur: Write, tmp_path: Path) -> None:
    pairs = [[{"key": "team", "value": team}] for team in ("a", "b")]
    frame = pl.read_csv(cur(HOUR, HOUR, without=["identity_line_item_id"]), infer_schema=False)
    frame.with_columns(resource_tags=pl.Series(pairs)).write_parquet(tmp_path / "cur.parquet")
    assert bills.read(tmp_path / "cur.parquet").report.duplicate_rows == 0


def test_another_amount_of_the_same_line_is_counted_and_said(cur: Write) -> None:
    one = {"identity_line_item_id": "a"}
    report = bills.read(cur(HOUR | one, {"line_item_unblended_cost": "3"} | one)).report
    assert (report.duplicate_rows, report.billed_usd) == (0, 5)
    assert "1 line item again with another amount" in report.warnings[0]


def test_unreadable_rows_are_refused_and_said(cur: Write) -> None:
    report = bills.read(
        cur(
            HOUR,
            {"line_item_unblended_cost": "two"},
            {"line_item_unblended_cost": None},
            HOUR | {"line_item_usage_start_date": "yesterday"},
        )
    ).report
    assert (report.refused_rows, report.billed_usd, report.refused_usd, report.stated_usd) == (3, 2, 2, 4)
    assert report.refusals == (
        "cur.csv: 2 rows refused, no readable amount; the first is row 3",
        "cur.csv: 1 row refused, no readable time; the first is row 5",
    )


def test_strict_refuses_what_is_otherwise_said(cur: Write) -> None:
    path = cur(HOUR, {"line_item_unblended_cost": "two"})
    with pytest.raises(BillError, match="1 row refused"):
        bills.read(path, strict=True)


def test_refunds_are_kept_and_counted(cur: Write) -> None:
    report = bills.read(
        cur(
            HOUR,
            HOUR | {"line_item_unblended_cost": "-0.5"},
            {"line_item_line_item_type": "Credit", "line_item_unblended_cost": "-1"},
        )
    ).report
    assert (report.billed_usd, report.negative_rows, report.negative_usd) == (
        Decimal("0.5"),
        2,
        Decimal("-1.5"),
    )


@pytest.mark.parametrize(
    ("currencies", "said"),
    [
        (("USD", "USD", "EUR"), "the bill mixes currencies: USD in 2 rows, EUR in 1 row"),
        (("EUR", "EUR"), "the bill is in EUR, not in USD"),
    ],
)
def test_only_dollars_can_be_added_to_dollars(cur: Write, currencies: tuple[str, ...], said: str) -> None:
    path = cur(*({"line_item_currency_code": currency, **HOUR} for currency in currencies))
    with pytest.raises(BillError, match=said):
        bills.read(path)


def test_one_month_in_two_formats_is_said_to_be_counted_twice(cur: Write, focus: Write) -> None:
    paid = {"BilledCost": "2", "EffectiveCost": "2", "BillingAccountId": "111122223333"}
    report = bills.read([cur(HOUR), focus(paid)]).report
    assert any("counted twice" in warning for warning in report.warnings)


def test_a_month_that_stops_early_is_said(cur: Write) -> None:
    assert any("charges stop on 2026-10-01 01:00" in warning for warning in bills.read(cur(HOUR)).report.warnings)


def test_an_effective_cost_that_contradicts_the_bill_is_said(focus: Write) -> None:
    report = bills.read(focus({"BilledCost": "1.92", "EffectiveCost": "2"})).report
    assert any("billed 1.92 USD, their effective cost is 2.00" in warning for warning in report.warnings)


def test_invoices_and_the_difference_to_the_paper(cur: Write) -> None:
    report = bills.read(cur(HOUR, HOUR | {"bill_invoice_id": "INV-2"})).report
    assert [(invoice.id, invoice.billed_usd) for invoice in report.invoices] == [("INV-1", 2), ("INV-2", 2)]
    assert report.against_invoice(Decimal("4.01")) == Decimal("-0.01")


def test_missing_and_ignored_columns_are_named(cur: Write) -> None:
    (file,) = bills.read(cur(HOUR, without=["product_region_code", "pricing_public_on_demand_cost"])).report.files
    assert file.missing == ("product_region_code", "pricing_public_on_demand_cost")
