"""For any purchases and payments, amortized cost equals billed cost once all terms are over."""

import datetime as dt
from decimal import Decimal
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from meritorder import bills

START = dt.datetime(2026, 10, 31, 20, tzinfo=dt.UTC)
MIDNIGHT = dt.datetime(2026, 11, 1, tzinfo=dt.UTC)
LIST = Decimal("10.00")
RATE = Decimal("6.00")
MONEY = st.decimals(min_value=0, max_value=100, places=10)
PAYMENTS = st.sampled_from([Decimal(0), Decimal("0.5"), Decimal(1)])
"""Share that is paid upfront: no, partial, all."""


def line(kind: str, hour: dt.datetime, billed: Decimal, **more: Decimal | str) -> dict[str, Any]:
    month = MIDNIGHT.replace(month=hour.month)
    return {
        "line_item_line_item_type": kind,
        "line_item_usage_start_date": hour.isoformat(),
        "line_item_usage_end_date": (hour + dt.timedelta(hours=1)).isoformat(),
        "bill_billing_period_start_date": month.isoformat(),
        "line_item_unblended_cost": str(billed),
        "line_item_currency_code": "USD",
        "line_item_product_code": "AmazonEC2",
        **{name: str(value) for name, value in more.items()},
    }


def plan(hours: list[dt.datetime], used: list[Decimal], upfront: Decimal, commitment: Decimal, arn: str) -> list[Any]:
    """Write a savings plan whose term is these hours, each of which uses a share of the commitment."""
    lines = [
        line(
            "SavingsPlanUpfrontFee",
            hours[0],
            commitment * upfront * len(hours),
            savings_plan_savings_plan_a_r_n=arn,
        )
    ]
    for hour, share in zip(hours, used, strict=True):
        cost = (commitment * share).quantize(Decimal("1e-10"))
        listed = (cost * LIST / RATE).quantize(Decimal("1e-12"))
        own = {"savings_plan_savings_plan_a_r_n": arn}
        lines += [
            line(
                "SavingsPlanCoveredUsage",
                hour,
                listed,
                pricing_public_on_demand_cost=listed,
                savings_plan_savings_plan_effective_cost=cost,
                **own,
            ),
            line("SavingsPlanNegation", hour, -listed, **own),
            line(
                "SavingsPlanRecurringFee",
                hour,
                commitment * (1 - upfront),
                savings_plan_total_commitment_to_date=commitment,
                savings_plan_used_commitment=cost,
                **own,
            ),
        ]
    return lines


def reservation(hours: list[dt.datetime], used: list[bool], upfront: Decimal, rate: Decimal, arn: str) -> list[Any]:
    """Write a reservation whose term is these hours: one fee a month, and usage in some of the hours."""
    own = {"reservation_reservation_a_r_n": arn}
    lines = [line("Fee", hours[0], rate * upfront * len(hours), **own)]
    lines += [
        line(
            "DiscountedUsage",
            hour,
            Decimal(0),
            pricing_public_on_demand_cost=LIST,
            reservation_effective_cost=rate,
            **own,
        )
        for hour, in_use in zip(hours, used, strict=True)
        if in_use
    ]
    for month in sorted({hour.month for hour in hours}):
        inside = [in_use for hour, in_use in zip(hours, used, strict=True) if hour.month == month]
        unused = inside.count(False)
        lines.append(
            line(
                "RIFee",
                min(hour for hour in hours if hour.month == month),
                rate * (1 - upfront) * len(inside),
                reservation_unused_recurring_fee=rate * (1 - upfront) * unused,
                reservation_unused_amortized_upfront_fee_for_billing_period=rate * upfront * unused,
                **own,
            )
        )
    return lines


@st.composite
def months(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Draw a bill over the end of a month, with any mixture of purchases whose terms lie within it."""
    hours = [START + dt.timedelta(hours=i) for i in range(draw(st.integers(5, 9)))]
    shares = st.sampled_from([Decimal(0), Decimal("0.33"), Decimal(1), Decimal("1.0000001")])
    each = {"min_size": len(hours), "max_size": len(hours)}
    lines: list[dict[str, Any]] = []
    for i in range(draw(st.integers(0, 2))):
        lines += plan(hours, draw(st.lists(shares, **each)), draw(PAYMENTS), draw(MONEY), f"plan-{i}")
    for i in range(draw(st.integers(0, 2))):
        lines += reservation(hours, draw(st.lists(st.booleans(), **each)), draw(PAYMENTS), draw(MONEY), f"ri-{i}")
    kinds = st.sampled_from(["Usage", "Tax", "Credit", "Refund", "Fee", "EdpDiscount"])
    for kind, amount in draw(st.lists(st.tuples(kinds, MONEY), min_size=1, max_size=5)):
        lines.append(
            line(
                kind,
                draw(st.sampled_from(hours)),
                -amount if kind in {"Credit", "Refund", "EdpDiscount"} else amount,
            )
        )
    return [row | {"identity_line_item_id": str(i), "identity_time_interval": "t"} for i, row in enumerate(lines)]


def read(lines: list[dict[str, Any]], folder: str, *, files: int = 1) -> bills.Bill:
    names = dict.fromkeys(name for row in lines for name in row)
    always = ("line_item_usage_type", *bills_columns())
    frame = pl.DataFrame(lines, schema=dict.fromkeys([*names, *(n for n in always if n not in names)], pl.String))
    for part in range(files):
        frame[part::files].write_csv(Path(folder) / f"part-{part}.csv")
    return bills.read(folder)


def bills_columns() -> tuple[str, ...]:
    from meritorder.bills.formats.aws import RESERVATION_COLUMNS, SAVINGS_PLAN_COLUMNS

    return (*SAVINGS_PLAN_COLUMNS, *RESERVATION_COLUMNS, "pricing_public_on_demand_cost")


@settings(max_examples=60, deadline=None)
@given(months())
def test_amortized_total_equals_billed_total(lines: list[dict[str, Any]]) -> None:
    with TemporaryDirectory() as folder:
        bill = read(lines, folder)
        made = bills.compute_figures(bill.groups)
        assert made.billed_usd == sum(Decimal(row["line_item_unblended_cost"]) for row in lines)
        # Each line is exact to 1e-12; an amount spread over hours may be rounded in each of them.
        assert abs(made.amortised_usd - made.billed_usd) <= Decimal("1e-12") * len(lines)
        assert made.commitment_usd == made.used_commitment_usd + made.unused_commitment_usd


@settings(max_examples=20, deadline=None)
@given(months(), st.integers(2, 3))
def test_split_into_files_does_not_matter(lines: list[dict[str, Any]], files: int) -> None:
    with TemporaryDirectory() as whole, TemporaryDirectory() as split:
        first = read(lines, whole)
        assert bills.compute_figures(first.groups) == bills.compute_figures(read(lines, split, files=files).groups)
        assert first.charges.collect()["billed_usd"].sum() == first.report.billed_usd


@settings(max_examples=20, deadline=None)
@given(months())
def test_reading_twice_changes_nothing(lines: list[dict[str, Any]]) -> None:
    with TemporaryDirectory() as folder:
        once = read(lines, folder)
        (Path(folder) / "copy.csv").write_bytes((Path(folder) / "part-0.csv").read_bytes())
        twice = bills.read(folder)
        assert bills.compute_figures(once.groups) == bills.compute_figures(twice.groups)
        assert twice.report.duplicate_rows == once.report.rows
        assert twice.report.difference_usd == once.report.billed_usd
