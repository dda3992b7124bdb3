"""The summary of a bill: months, commitments, breakdowns, spend over time."""

import datetime as dt
from collections.abc import Iterable
from decimal import Decimal
from itertools import chain
from pathlib import Path
from types import SimpleNamespace

import polars as pl
import pytest
from tests.samples.charges import START, Row, line, machine, reservation, savings_plan, write
from tests.unit.study.audit.conftest import DAY

from meritorder import bills
from meritorder.study.audit import bill_summary


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "bill.csv"


def read(path: Path, rows: Iterable[Row]) -> bills.Bill:
    return bills.read(write(path, rows))


def test_months_are_billing_months(path: Path) -> None:
    november = {"bill_billing_period_start_date": "2026-11-01T00:00:00Z"}
    assert bill_summary.months(read(path, machine([0]))) == 1
    assert bill_summary.months(read(path, [*machine([0]), *(row | november for row in machine([1]))])) == 2


@pytest.mark.parametrize(("hours", "months"), [(24, 1.0), (24 * 61, 2.0), (24 * 38, 1.2)])
def test_months_without_billing_periods(path: Path, hours: int, months: float) -> None:
    """A month has 30.4 days; a shorter bill counts as one."""
    rows = [row | {"bill_billing_period_start_date": None} for row in machine([0, hours - 1])]
    assert bill_summary.months(read(path, rows)) == months


def test_commitments_are_exact(path: Path) -> None:
    """A plan of 3 x 0.1 + 0.2, of which 0.1 x 3 is used; a reservation of 24 x 3.5, 10 hours of it used."""
    rows = chain(
        savings_plan(range(3), 4, commitment=0.125, rate=0.1, listed=0.25),
        reservation(range(10), DAY, instance="g5.12xlarge", rate=3.5, listed=5.672),
    )
    reserved, plan = bill_summary.commitments(bills.select_inference(read(path, rows).groups))
    assert (reserved.usd, reserved.used_usd, reserved.unused_usd) == (84, 35, 49)
    assert reserved.utilization == pytest.approx(Decimal(35) / 84)
    assert (reserved.list_usd, reserved.instances) == (Decimal("56.72"), ["g5.12xlarge"])
    assert (plan.usd, plan.used_usd, plan.unused_usd) == (Decimal("0.5"), Decimal("0.3"), Decimal("0.2"))
    assert plan.utilization == Decimal("0.6")


def test_breakdown_sums_small_values_as_others(path: Path) -> None:
    """Of 25 accounts with 1 to 25 dollars the six smallest, 21 dollars, are summed."""
    rows = [
        row | {"line_item_usage_account_id": f"account-{usd}"}
        for usd in range(1, 26)
        for row in machine([0], usd=float(usd), name=f"i-{usd}")
    ]
    groups = bills.select_inference(read(path, rows).groups)
    by = {breakdown.by: breakdown for breakdown in bill_summary.breakdowns(groups, ("account", "kind"))}
    assert list(by) == ["kind", "purchase", "account"]
    spends = by["account"].spends
    assert len(spends) == 20
    assert (spends[0].name, spends[0].usd) == ("account-25", 25)
    assert (spends[-1].name, spends[-1].usd) == ("(others), 6", 21)
    assert sum(spend.usd for spend in spends) == 325
    assert sum(spend.share for spend in spends) == pytest.approx(1)
    assert spends[0].share == pytest.approx(25 / 325)


def test_breakdown_names_missing_values(path: Path) -> None:
    groups = bills.select_inference(read(path, machine([0])).groups)
    (*_, account) = bill_summary.breakdowns(groups, ("account",))
    assert [(spend.name, spend.share) for spend in account.spends] == [("(not named)", 1.0)]


def by_hour(bill: bills.Bill) -> pl.DataFrame:
    return bills.hourly_groups(bill.spans, bills.select_inference(bill.groups))


def test_spend_over_time_by_purchase(path: Path) -> None:
    rows = chain(
        machine([0, 1], usd=5.0),
        savings_plan([0], 3, commitment=4.0, rate=3.0, listed=6.0),
        machine([2], usd=2.0, spot=True, name="i-2"),
    )
    shape = bill_summary.spend_over_time(by_hour(read(path, rows)))
    assert shape is not None
    assert (shape.bin_s, shape.start_epoch_s) == (3600, START.timestamp())
    assert shape.usd == {
        "on_demand": [5.0, 5.0, 0.0],
        "savings_plan": [3.0, 0.0, 0.0],
        "spot": [0.0, 0.0, 2.0],
        "unused": [1.0, 4.0, 4.0],
    }
    assert list(shape.usd) == sorted(shape.usd)


def test_long_bills_have_wider_bins(path: Path) -> None:
    """Of 500 hours, bins of one hour would be more than 400; three hours make 167."""
    shape = bill_summary.spend_over_time(by_hour(read(path, machine(range(500), usd=2.0))))
    assert shape is not None
    assert shape.bin_s == 3 * 3600
    assert len(shape.usd["on_demand"]) == 167
    assert sum(shape.usd["on_demand"]) == pytest.approx(1000)
    assert shape.usd["on_demand"][-1] == pytest.approx(4)


def test_one_hour_has_no_shape(path: Path) -> None:
    assert bill_summary.spend_over_time(by_hour(read(path, machine([0])))) is None


def test_what_was_read_is_exact(path: Path) -> None:
    rows = [*machine([0], usd=0.1), *machine([1], usd=0.2), line("Refund", 0, -0.05)]
    read_ = bill_summary.bill_read(read(path, rows), 1.0)
    assert (read_.rows, read_.negative_rows, read_.negative_usd) == (3, 1, Decimal("-0.05"))
    assert (read_.stated_usd, read_.difference_usd) == (Decimal("0.25"), 0)
    assert [invoice.billed_usd for invoice in read_.invoices] == [Decimal("0.25")]
    assert read_.period_start == START.isoformat()


def test_taxes_are_stated_apart(path: Path) -> None:
    rows = [*machine([0], usd=2.0), line("Tax", 0, 0.5), line("Tax", 1, 0.25)]
    assert bill_summary.bill_read(read(path, rows), 1.0).tax_usd == Decimal("0.75")


def spend(*rows: tuple[int, float]) -> pl.DataFrame:
    """Return on-demand cost by hours after `START`."""
    return pl.DataFrame(
        {
            "hour": [START + dt.timedelta(hours=hour) for hour, _ in rows],
            "amortised_usd": [usd for _, usd in rows],
            "purchase": ["on_demand"] * len(rows),
            "unused": [False] * len(rows),
        },
        schema={
            "hour": pl.Datetime("us", "UTC"),
            "amortised_usd": pl.Float64,
            "purchase": pl.String,
            "unused": pl.Boolean,
        },
    )


@pytest.mark.parametrize(
    ("hours", "width_h", "bins"),
    [
        (400, 1, 400),
        (401, 3, 134),
        (1200, 3, 400),
        (1201, 6, 201),
        (2400, 6, 400),
        (2401, 24, 101),
        (9600, 24, 400),
        (9601, 168, 58),
        (67200, 168, 400),
        (67201, 67201, 1),
    ],
)
def test_bins_are_at_most_four_hundred(hours: int, width_h: int, bins: int) -> None:
    shape = bill_summary.spend_over_time(spend((0, 1.0), (hours - 1, 2.0), (hours + 9, 0.0)))
    assert shape is not None
    assert shape.bin_s == width_h * 3600
    values = shape.usd["on_demand"]
    assert (len(values), sum(values)) == (bins, 3.0)


def test_spend_is_rounded_to_six_digits() -> None:
    """A correction may cancel an hour; nothing paid has no shape."""
    shape = bill_summary.spend_over_time(spend((0, 1.2345678), (1, 5.0), (1, -5.0), (2, 1.0)))
    assert shape is not None
    assert shape.usd == {"on_demand": [1.234568, 0.0, 1.0]}
    assert bill_summary.spend_over_time(spend()) is None


def test_bill_without_period_is_a_month() -> None:
    groups = pl.DataFrame(
        {"kind": ["tokens"], "billing_start": [None]}, schema_overrides={"billing_start": pl.Datetime}
    )
    for start, end in ((None, None), (START, None), (None, START)):
        bill = SimpleNamespace(groups=groups, report=SimpleNamespace(period_start=start, period_end=end))
        assert bill_summary.months(bill) == 1.0  # type: ignore[arg-type]


def test_twenty_values_need_no_others(path: Path) -> None:
    rows = [
        row | {"line_item_usage_account_id": f"account-{number}"}
        for number in range(20)
        for row in machine([0], usd=5.0, name=f"i-{number}")
    ]
    (*_, account) = bill_summary.breakdowns(bills.select_inference(read(path, rows).groups), ("account",))
    assert {spend.name for spend in account.spends} == {f"account-{number}" for number in range(20)}


def test_commitments_are_named(path: Path) -> None:
    unnamed = [
        row | {"savings_plan_savings_plan_a_r_n": None}
        for row in savings_plan([0], 0, commitment=0, rate=3.0, listed=6.0)
    ]
    rows = chain(unnamed, reservation([0], 2, instance="g5.12xlarge", rate=3.5, listed=5.672))
    uses = bill_summary.commitments(bills.select_inference(read(path, rows).groups))
    assert [(use.provider, use.commitment.rsplit("/")[-1]) for use in uses] == [("aws", "ri-1"), ("aws", "(not named)")]
