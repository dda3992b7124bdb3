"""Prices, assumptions and intervals: what they write to a file."""

import datetime as dt

import msgspec
import pytest

from meritorder.records.evidence import PriceUsed, age_days, age_warnings, is_old, with_ages

LISTED = {"what": "8 x h100", "provider": "aws", "pricing_model": "spot", "usd": 20.0, "unit": "USD an hour"}


def test_unset_fields_are_not_written() -> None:
    written = msgspec.to_builtins(PriceUsed(**LISTED, used_for="batch"))
    assert written["used_for"] == "batch"
    assert "assumed" not in written


def test_price_reads_back_as_written() -> None:
    price = PriceUsed(**LISTED, assumed=False)
    text = msgspec.json.encode(price)
    assert b'"assumed":false' in text
    assert msgspec.json.decode(text, type=PriceUsed) == price


@pytest.mark.parametrize(
    ("as_of", "days"),
    [
        ("2026-11-29", 1),
        ("2026-09-01T06:00:00Z", 90),
        ("2026-10", 60),
        ("2025", 698),
        ("2027-01-01", 0),
        ("2026-02-30", None),
        ("yesterday", None),
        ("20261001", None),
        ("", None),
    ],
)
def test_age_counts_from_source_date(as_of: str, days: int | None) -> None:
    """Days by the calendar: October has 31, so 2026-10-01 is 60 days before 2026-11-30."""
    assert age_days(as_of, dt.date(2026, 11, 30)) == days


def test_ninety_days_are_not_old() -> None:
    assert [is_old(age) for age in (0, 90, 91, None)] == [False, False, True, True]


def test_old_prices_are_named_oldest_first() -> None:
    dates = ("2026-11-01", "2026-08-01", "2026-07-01", "", "2026-06-01")
    prices = with_ages(
        [PriceUsed(**LISTED | {"what": f"machine {place}"}, as_of=as_of) for place, as_of in enumerate(dates)],
        dt.date(2026, 11, 30),
    )
    (warning,) = age_warnings(prices)
    assert warning.startswith("4 of 5 prices used are older than 90 days")
    places = [warning.index(f"machine {place}") for place in (3, 4, 2)]
    assert places == sorted(places)
    assert "and 1 more" in warning
    assert age_warnings(prices[:1]) == []
