"""Line items as every reader makes them, and exact amounts."""

import datetime as dt
from decimal import Decimal

import polars as pl
import pytest

from meritorder.bills.charges import exact, fingerprint, line_items, whole_hours

START = dt.datetime(2026, 10, 5, 8, 30, tzinfo=dt.UTC)


@pytest.mark.parametrize(
    ("amount", "text"),
    [
        (Decimal("161525.482924000000"), "161525.482924"),
        (Decimal("80.000000000000"), "80.0"),
        (Decimal("0E-12"), "0.0"),
        (Decimal("-0.050000000000"), "-0.05"),
        (Decimal("100000000000.000000000001"), "100000000000.000000000001"),
        (None, "0.0"),
        (0, "0.0"),
    ],
)
def test_exact_amount_has_no_trailing_zeros(amount: Decimal | int | None, text: str) -> None:
    assert str(exact(amount)) == text


def hours_of(start: dt.datetime, end: dt.datetime) -> tuple[int, int]:
    """Return the start and end of a charge in whole hours after midnight."""
    frame = pl.DataFrame({"period_start": [start], "period_end": [end]}).cast(pl.Datetime("us", "UTC"))
    first, last = frame.select(*(hour.alias(name) for name, hour in zip("ab", whole_hours(), strict=True))).row(0)
    midnight = START.replace(hour=0, minute=0)
    return (first - midnight) // dt.timedelta(hours=1), (last - midnight) // dt.timedelta(hours=1)


@pytest.mark.parametrize(
    ("minutes", "hours"),
    [(0, (8, 9)), (10, (8, 9)), (30, (8, 9)), (31, (8, 10)), (90, (8, 10)), (91, (8, 11)), (-60, (8, 9))],
)
def test_charges_cover_whole_hours(minutes: int, hours: tuple[int, int]) -> None:
    assert hours_of(START, START + dt.timedelta(minutes=minutes)) == hours


def test_fingerprint_depends_on_the_column() -> None:
    frame = pl.DataFrame({"a": ["x", "y", "x"], "b": ["y", "x", "y"]})
    first, swapped, copy = frame.select(fingerprint([pl.col("a"), pl.col("b")])).to_series()
    assert first == copy != swapped
    same = frame.with_columns(b="a").select(fingerprint([pl.col("a"), pl.col("b")])).to_series()
    assert same[0] != same[1], "equal texts in two columns do not cancel out"


def columns(**more: pl.Expr) -> dict[str, pl.Expr]:
    start = pl.lit(START).cast(pl.Datetime("us", "UTC"))
    return {
        "period_start": start,
        "purchase": pl.lit("on_demand"),
        "billed_usd": pl.lit("1.5"),
        "amortised_usd": pl.lit("1.25"),
        "source": pl.lit("f"),
        "row": pl.lit(1),
    } | more


def item(**more: pl.Expr) -> dict[str, object]:
    (row,) = line_items(pl.LazyFrame({"x": [1]}), columns(**more)).collect().to_dicts()
    return row


def test_absent_columns_have_defaults() -> None:
    row = item()
    assert (row["unused"], row["priced"], row["region"], row["refused"]) == (False, True, None, None)
    assert (row["stated_usd"], row["amortised_usd"]) == (Decimal("1.5"), Decimal("1.25"))
    assert row["period_end"] == row["period_start"]


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("period_start", "no readable time"),
        ("billed_usd", "no readable amount"),
        ("amortised_usd", "no readable amortized amount"),
    ],
)
def test_unreadable_rows_are_refused(name: str, reason: str) -> None:
    assert item(**{name: pl.lit(None)})["refused"] == reason


def test_readers_reason_comes_first() -> None:
    assert item(refused=pl.lit("no line item type"), billed_usd=pl.lit(None))["refused"] == "no line item type"


def test_unknown_column_is_a_bug() -> None:
    with pytest.raises(AssertionError, match="color"):
        item(color=pl.lit("red"))
