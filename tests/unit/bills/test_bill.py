"""A bill as its charges, groups and spans."""

from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import polars as pl
import pytest

from meritorder import bills
from meritorder.errors import BillError
from meritorder.tables import CHARGES, check

Write = Callable[..., Path]
HOUR = {"line_item_unblended_cost": "0.1", "pricing_public_on_demand_cost": "0.2"}
LATER = {"line_item_usage_start_date": "2026-10-01T05:00:00Z", "line_item_usage_end_date": "2026-10-01T06:00:00Z"}


def test_groups_sum_exactly(cur: Write) -> None:
    """Ten times 0.1 is 1 in dollars, and is not in floats."""
    bill = bills.read(cur(*[HOUR | {"line_item_resource_id": f"i-{i}"} for i in range(10)]))
    (group,) = bill.groups.to_dicts()
    assert (group["rows"], group["billed_usd"], group["list_usd"]) == (10, Decimal(1), Decimal(2))


def test_groups_differ_by_named_columns(cur: Write) -> None:
    rows = [HOUR, HOUR | {"line_item_resource_id": "i-2"}]
    assert bills.read(cur(*rows)).groups.height == 1
    assert bills.read(cur(*rows), group_by=["resource"]).groups["resource"].to_list() == ["i-1", "i-2"]
    assert bills.read(cur(*rows), group_by=["tag:team"]).groups.height == 1


def test_groups_know_their_period(cur: Write) -> None:
    (group,) = bills.read(cur(HOUR | LATER, HOUR)).groups.to_dicts()
    assert (f"{group['first']:%H}", f"{group['last']:%H}") == ("00", "06")


def test_cost_without_list_price_is_unlisted(cur: Write) -> None:
    unlisted = {"line_item_unblended_cost": "3", "pricing_public_on_demand_cost": None}
    (group,) = bills.read(cur(HOUR, unlisted)).groups.to_dicts()
    assert (group["amortised_usd"], group["unlisted_usd"], group["list_usd"]) == (
        Decimal("3.1"),
        Decimal(3),
        Decimal("0.2"),
    )


def test_spans_sum_by_group_and_hour(cur: Write) -> None:
    spans = bills.read(cur(HOUR, HOUR, HOUR | LATER)).spans.sort("start")
    assert spans["amortised_usd"].to_list() == pytest.approx([0.2, 0.1])
    assert spans["quantity"].to_list() == [2.0, 1.0]
    assert spans["group"].n_unique() == 1


def test_deferrable_by_tag_or_selector(cur: Write) -> None:
    path = cur(
        HOUR | {"resource_tags": '{"latency_class": "deferrable"}'},
        HOUR | {"line_item_usage_account_id": "etl", "resource_tags": None},
        HOUR | {"resource_tags": None},
    )
    assert dict(bills.read(path).groups.select("account", "may_wait").rows())["etl"] is False
    selected = bills.read(path, may_wait=[("account", "ET?")]).groups
    assert sorted(selected["may_wait"].to_list()) == [False, True, True]
    with pytest.raises(BillError, match="--may-wait: no column color"):
        bills.read(path, may_wait=[("color", "red")])


def test_charges_are_as_declared(cur: Write) -> None:
    charges = bills.read(cur(HOUR, {"line_item_unblended_cost": "x"}), partial=True).charges.collect()
    assert isinstance(check(charges, CHARGES, what="charges"), pl.DataFrame)
    assert charges.height == 1, "the unreadable row is refused"
    assert charges["kind"].to_list() == ["accelerator"]


def test_bill_without_usable_rows(cur: Write) -> None:
    with pytest.raises(BillError, match=r"none of its rows can be used; cur\.csv: 1 row refused"):
        bills.read(cur({"line_item_unblended_cost": "x"}))


def test_unreadable_rows_name_their_files(tmp_path: Path) -> None:
    """A row with more fields than its header fails while reading; the first three files are named."""
    header, row = "BilledCost,ChargePeriodStart,BillingCurrency", "1,2026-10-01T00:00:00Z,USD"
    paths = [tmp_path / f"{name}.csv" for name in "abcd"]
    for path in paths:
        path.write_text(f"{header}\n{row}\n{row},more\n")
    with pytest.raises(BillError, match=r"^a\.csv, b\.csv, c\.csv: the bill cannot be read: found more fields"):
        bills.read(paths)


def test_first_file_is_named(cur: Write) -> None:
    """Of two files with the same fault the first is named."""
    unreadable = {"line_item_unblended_cost": "x"}
    with pytest.raises(BillError, match=r"^a\.csv: none of its rows can be used"):
        bills.read([cur(unreadable, name="a.csv"), cur(unreadable, name="b.csv")])
    with pytest.raises(BillError, match=r"^a\.csv: a\.csv: 1 row refused"):
        bills.read([cur(HOUR, unreadable, name="a.csv"), cur(HOUR | LATER, name="b.csv")], strict=True)
    euro = HOUR | {"line_item_currency_code": "EUR"}
    with pytest.raises(BillError, match=r"^a\.csv: the bill mixes currencies: EUR in 2 rows, USD in 1 row"):
        bills.read([cur(euro, euro | LATER, name="a.csv"), cur(HOUR | {"identity_line_item_id": "b"}, name="b.csv")])


def test_only_charges_below_zero_are_negative(cur: Write) -> None:
    """Neither a charge of zero or half a dollar nor the negation of a savings plan is a refund."""
    negation = {"line_item_line_item_type": "SavingsPlanNegation", "line_item_unblended_cost": "-7"}
    amounts = [{"line_item_unblended_cost": usd} for usd in ("0", "0.5", "-0.25")]
    report = bills.read(cur(*amounts, negation)).report
    assert (report.negative_rows, report.negative_usd) == (1, Decimal("-0.25"))


def test_late_cells_decide_for_the_column(cur: Write) -> None:
    """The first of 1,200 amounts with a separator of thousands is beyond the rows that are looked at first."""
    plain = [{"line_item_unblended_cost": "10.50"}] * 1200
    bill = bills.read(cur(*plain, {"line_item_unblended_cost": "1,000.25"}))
    assert (bill.report.billed_usd, bill.report.refused_rows) == (Decimal("13600.25"), 0)
