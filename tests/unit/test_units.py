"""Units: durations are read and written, dollars and shares are rounded with care."""

import pytest

from meritorder.units import (
    format_duration,
    format_share,
    format_usd,
    parse_duration_s,
    parse_exchange_rate,
    usd_per_mtok,
    utc,
)


@pytest.mark.parametrize(
    ("usd", "text"),
    [
        (0.0, "$0"),
        (1_234_567.8, "$1,234,568"),
        (1.236, "$1.24"),
        (0.9, "$0.90"),
        (0.5, "$0.50"),
        (0.0123, "$0.0123"),
        (0.000183, "$0.000183"),
        (0.0000021, "$0.000002"),
        (-12.5, "-$12.50"),
    ],
)
def test_dollars_keep_significant_digits(usd: float, text: str) -> None:
    assert format_usd(usd) == text


def test_decimals_of_dollars_can_be_set() -> None:
    assert format_usd(1234.5, 0) == "$1,234"
    assert format_usd(0.5, 3) == "$0.500"


@pytest.mark.parametrize(
    ("share", "decimals", "text"),
    [
        (0.456, 0, "46 %"),
        (0.0, 0, "0 %"),
        (1.0, 2, "100.00 %"),
        (0.99999, 2, ">99.99 %"),
        (0.997, 0, ">99 %"),
        (0.001, 0, "<1 %"),
    ],
)
def test_partial_shares_never_round_to_whole(share: float, decimals: int, text: str) -> None:
    assert format_share(share, decimals) == text


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90s", 90), ("1h30m", 5400), ("2d", 172_800), ("1w", 604_800), ("250 ms", 0.25), (" 4 Hours ", 14_400)],
)
def test_durations_are_read(text: str, seconds: float) -> None:
    assert parse_duration_s(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "4", "4x", "h", "-1h", "06:00", "1h later"])
def test_other_text_is_no_duration(text: str) -> None:
    assert parse_duration_s(text) is None


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.31, "310 ms"), (12, "12 s"), (119.5, "120 s"), (720, "12 min"), (14_400, "4 h"), (216_000, "2.5 d")],
)
def test_durations_use_a_readable_unit(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


def test_conversions_of_money_and_time() -> None:
    assert usd_per_mtok(3.0, 1_500_000) == 2.0
    assert utc(86_400.0).isoformat() == "1970-01-02T00:00:00+00:00"


def test_exchange_rate_reads_its_text() -> None:
    assert [str(parse_exchange_rate(text)) for text in ("eur=1.08", "JPY=$0.0066")] == ["EUR=1.08", "JPY=0.0066"]


@pytest.mark.parametrize("text", ["", "EUR", "euro=1", "EUR=0", "EUR=-1", "EUR=nan", "EUR=inf", "EUR=1,1", "EUR=1000"])
def test_no_exchange_rate(text: str) -> None:
    assert parse_exchange_rate(text) is None
