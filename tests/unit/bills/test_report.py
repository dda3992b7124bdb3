"""What was wrong with a bill is reported, to the cent."""

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
    copied = HOUR | {"identity_line_item_id": "a"}
    report = bills.read(cur(copied, copied, HOUR)).report
    assert (report.rows, report.duplicate_rows) == (3, 1)
    assert (report.billed_usd, report.duplicates_usd, report.stated_usd, report.difference_usd) == (
        4,
        2,
        6,
        2,
    )
    assert report.warnings[0] == "cur.csv: 1 duplicate line item of 2.00 USD, counted once"


def test_file_given_twice_is_counted_once(cur: Write) -> None:
    bill = bills.read([cur(HOUR, HOUR), cur(HOUR, HOUR, name="again.csv")])
    assert (bill.report.billed_usd, bill.report.duplicate_rows) == (4, 2)
    assert bill.charges.collect()["billed_usd"].sum() == 4


def test_equal_lines_without_identity_are_copies(focus: Write) -> None:
    hour = {"BilledCost": "2", "EffectiveCost": "2", "ResourceId": "i-1"}
    report = bills.read(focus(hour, hour, hour | {"ResourceId": "i-2"})).report
    assert (report.duplicate_rows, report.billed_usd) == (1, 4)


def test_other_tags_are_no_copies(cur: Write, tmp_path: Path) -> None:
    pairs = [[{"key": "team", "value": team}] for team in ("a", "b")]
    frame = pl.read_csv(cur(HOUR, HOUR, without=["identity_line_item_id"]), infer_schema=False)
    frame.with_columns(resource_tags=pl.Series(pairs)).write_parquet(tmp_path / "cur.parquet")
    assert bills.read(tmp_path / "cur.parquet").report.duplicate_rows == 0


def test_changed_amount_is_counted_with_warning(cur: Write) -> None:
    identity = {"identity_line_item_id": "a"}
    report = bills.read(cur(HOUR | identity, {"line_item_unblended_cost": "3"} | identity)).report
    assert (report.duplicate_rows, report.billed_usd) == (0, 5)
    assert "1 line item again with another amount" in report.warnings[0]


def test_unreadable_rows_are_refused(cur: Write) -> None:
    report = bills.read(
        cur(
            HOUR,
            {"line_item_unblended_cost": "two"},
            {"line_item_unblended_cost": None},
            HOUR | {"line_item_usage_start_date": "yesterday"},
        ),
        partial=True,
    ).report
    assert (report.refused_rows, report.billed_usd, report.refused_usd, report.stated_usd) == (3, 2, 2, 4)
    assert report.refusals == (
        "cur.csv: 2 rows refused, no readable amount; the first is row 3",
        "cur.csv: 1 row refused, no readable time; the first is row 5",
    )


@pytest.mark.parametrize(("hours", "refused"), [(98, True), (99, False)])
def test_bill_is_read_to_one_percent(cur: Write, hours: int, *, refused: bool) -> None:
    """One unreadable row of 99 is more than 1 % of the bill, one of 100 is not."""
    path = cur(*[HOUR] * hours, {"line_item_unblended_cost": "two"})
    if refused:
        with pytest.raises(
            BillError, match=r"^cur\.csv: 1 % of the bill cannot be read: .*no readable amount.*--partial"
        ):
            bills.read(path)
        assert bills.read(path, partial=True).report.unread_share == pytest.approx(1 / 99)
    else:
        assert bills.read(path).report.unread_share == pytest.approx(0.01)


def test_unread_dollars_weigh_more_than_rows(cur: Write) -> None:
    """One of 200 rows has no time, and half of the dollars."""
    rows = [{"line_item_unblended_cost": "1"}] * 199
    path = cur(*rows, {"line_item_unblended_cost": "199", "line_item_usage_start_date": "yesterday"})
    with pytest.raises(BillError, match="50 % of the bill cannot be read"):
        bills.read(path)


def test_strict_refuses_warnings(cur: Write) -> None:
    path = cur(HOUR, {"line_item_unblended_cost": "two"})
    with pytest.raises(BillError, match="1 row refused"):
        bills.read(path, strict=True)


def test_refunds_are_counted(cur: Write) -> None:
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
    ("currencies", "message"),
    [
        (("USD", "USD", "EUR"), "the bill mixes currencies: USD in 2 rows, EUR in 1 row"),
        (("EUR", "EUR"), "the bill is in EUR, not in USD"),
    ],
)
def test_other_currencies_are_refused(cur: Write, currencies: tuple[str, ...], message: str) -> None:
    path = cur(*({"line_item_currency_code": currency, **HOUR} for currency in currencies))
    with pytest.raises(BillError, match=message):
        bills.read(path)


def test_month_in_two_formats_warns(cur: Write, focus: Write) -> None:
    paid = {"BilledCost": "2", "EffectiveCost": "2", "BillingAccountId": "111122223333"}
    report = bills.read([cur(HOUR), focus(paid)]).report
    assert any("counted twice" in warning for warning in report.warnings)


def test_incomplete_month_warns(cur: Write) -> None:
    assert any("charges stop on 2026-10-01 01:00" in warning for warning in bills.read(cur(HOUR)).report.warnings)


def test_contradicting_effective_cost_warns(focus: Write) -> None:
    report = bills.read(focus({"BilledCost": "1.92", "EffectiveCost": "2"})).report
    assert any("billed 1.92 USD, their effective cost is 2.00" in warning for warning in report.warnings)


def test_invoices_and_their_difference(cur: Write) -> None:
    report = bills.read(cur(HOUR, HOUR | {"bill_invoice_id": "INV-2"})).report
    assert [(invoice.id, invoice.billed_usd) for invoice in report.invoices] == [("INV-1", 2), ("INV-2", 2)]
    assert report.against_invoice(Decimal("4.01")) == Decimal("-0.01")


def test_missing_and_ignored_columns_are_named(cur: Write) -> None:
    (file,) = bills.read(cur(HOUR, without=["product_region_code", "pricing_public_on_demand_cost"])).report.files
    assert file.missing == ("product_region_code", "pricing_public_on_demand_cost")


def test_copies_and_changed_amounts_together(cur: Write) -> None:
    """Of three lines with one identity, one is a copy and one has another amount."""
    identity = {"identity_line_item_id": "a"}
    report = bills.read(cur(HOUR | identity, HOUR | identity, {"line_item_unblended_cost": "3"} | identity)).report
    assert (report.duplicate_rows, report.billed_usd, report.stated_usd) == (1, 5, 7)
    assert "1 line item again with another amount" in report.warnings[1]


@pytest.mark.parametrize(("end", "warned"), [("2026-10-31T00:00:00Z", False), ("2026-10-30T23:00:00Z", True)])
def test_month_may_lack_one_day(cur: Write, end: str, *, warned: bool) -> None:
    hour = HOUR | {"line_item_usage_start_date": "2026-10-30T00:00:00Z", "line_item_usage_end_date": end}
    assert any("charges stop on" in warning for warning in bills.read(cur(hour)).report.warnings) is warned


@pytest.mark.parametrize(("effective", "warned"), [("1.93", False), ("1.931", True)])
def test_difference_of_a_cent_is_rounding(focus: Write, effective: str, *, warned: bool) -> None:
    report = bills.read(focus({"BilledCost": "1.92", "EffectiveCost": effective})).report
    assert any("their effective cost" in warning for warning in report.warnings) is warned


def test_unpriced_rows_are_in_no_invoice(tmp_path: Path) -> None:
    path = tmp_path / "usage.json"
    path.write_text('{"data": [{"input_tokens": 5, "num_model_requests": 1, "model": "m", "start_time": 1790812800}]}')
    report = bills.read(path).report
    assert (report.rows, report.unpriced_rows, report.invoices) == (1, 1, ())


def test_problems_are_refusals_and_warnings(cur: Write) -> None:
    report = bills.read(cur(HOUR, {"line_item_unblended_cost": "two"}), partial=True).report
    assert report.problems == (*report.refusals, *report.warnings)
    assert report.difference_usd == 0


WHOLE = HOUR | {"line_item_usage_end_date": "2026-11-01T00:00:00Z"}
PLAN = {"line_item_line_item_type": "SavingsPlanCoveredUsage", "savings_plan_savings_plan_effective_cost": "2"}


def test_whole_month_has_no_warnings(cur: Write) -> None:
    """A month in one format, to its end, with a savings plan whose columns are there."""
    assert bills.read(cur(WHOLE, WHOLE | PLAN)).report.warnings == ()
    lacking = ["reservation_effective_cost", "savings_plan_used_commitment"]
    assert bills.read(cur(WHOLE, without=lacking)).report.warnings == (), "nothing is to be amortized"


def test_proxy_log_repeats_the_bill(tmp_path: Path) -> None:
    """OpenAI's costs and LiteLLM's log of the same requests; neither names a billing month."""
    log = tmp_path / "log.json"
    log.write_text('[{"spend": 1, "startTime": "2026-10-01T00:00:00Z", "model": "m", "custom_llm_provider": "openai"}]')
    costs = tmp_path / "costs.csv"
    costs.write_text("start_time,amount_value,amount_currency\n1790812800,1,usd\n")
    assert bills.read(log).report.warnings == ()
    assert bills.read(costs).report.warnings == ()
    (warning,) = bills.read([log, costs]).report.warnings
    assert warning == "requests in LiteLLM's logs are also charged in the bill: they are counted twice"


def test_last_incomplete_page_is_named(tmp_path: Path) -> None:
    paths = [tmp_path / f"{number}.json" for number in (1, 2, 3)]
    for path in paths:
        result = f'{{"start_time": 1790812800, "amount_value": {path.stem}, "amount_currency": "usd"}}'
        path.write_text(f'{{"data": [{result}], "has_more": true}}')
    assert any(warning.startswith("3.json: further pages") for warning in bills.read(paths).report.warnings)
