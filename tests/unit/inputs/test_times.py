"""How a column writes times; expected instants are those that `datetime` makes of the same date."""

import datetime as dt

import polars as pl
import pytest

from meritorder.errors import InputError
from meritorder.inputs.times import TimeStyle, decide_times, widen

WHERE = "file, column at"
NOON = dt.datetime(2026, 3, 2, 12, 30, 45, tzinfo=dt.UTC)


def decided(cells: list[object], unit_s: float | None = None) -> tuple[TimeStyle, list[dt.datetime | None]]:
    table = pl.DataFrame({"at": cells})
    style = decide_times(table.lazy(), "at", where=WHERE, unit_s=unit_s)
    return style, table.select(style.instants(pl.col("at"), table.schema["at"]).alias("at"))["at"].to_list()


@pytest.mark.parametrize(
    "text",
    [
        "2026-03-02T12:30:45Z",
        "2026-03-02 12:30:45",
        "2026-03-02T14:30:45+02:00",
        "2026-03-02 07:00:45 -0530",
        "2026-03-02 12:30:45.000 UTC",
        "2026-03-02 12:30:45,000",
        "2026-03-02 12:30:45 +0000 UTC",
        "20260302T123045Z",
        "02.03.2026 12:30:45",
        "2.3.26 12:30:45",
        "02/Mar/2026:13:30:45 +0100",
        "[02/Mar/2026:12:30:45 +0000]",
        "Mon, 02 Mar 2026 12:30:45 GMT",
        "2026-03-02 04:30:45 PST",
        "03/02/2026 04:30:45 AM PST",
        "02.03.2026 13:30:45 MEZ",
        "[2026-03-02 21:30:45 JST]",
        "Mar 2, 2026, 12:30:45 PM",
        "Mar 2, 2026 @ 12:30:45.000",
        "March 2, 2026 12:30:45PM",
        "2026/03/02 12:30:45",
        "1772454645",
        "1772454645000",
        "1772454645000000",
        "1772454645000000000",
        "1,772,454,645",
    ],
)
def test_every_way_gives_one_instant(text: str) -> None:
    assert decided([text])[1] == [NOON]


@pytest.mark.parametrize(
    ("cells", "days", "stated"),
    [
        (["3/14/2026 8:00", "4/2/2026 8:00"], [(3, 14), (4, 2)], "month/day"),
        (["14/3/2026 8:00", "2/4/2026 8:00"], [(3, 14), (4, 2)], "day/month"),
        (["4/2/2026 8:00 AM", "5/2/2026 8:00 AM"], [(4, 2), (5, 2)], "month/day"),
        (["4/2/26 8:00", "4/3/26 8:00"], [(4, 2), (4, 3)], "month/day"),
        (["4/2/2026 8:00", "5/2/2026 8:00"], [(2, 4), (2, 5)], "day/month"),
    ],
)
def test_column_decides_month_and_day(cells: list[object], days: list[tuple[int, int]], stated: str) -> None:
    """A number above 12, AM or PM, or else the reading in which the rows lie closer together."""
    style, instants = decided(cells)
    assert [(instant.month, instant.day) for instant in instants if instant] == days
    assert any(stated in assumption and str(cells[0]) in assumption for assumption in style.assumptions)


def test_months_and_days_both_first_is_refused() -> None:
    with pytest.raises(InputError, match="file, column at: some dates have the day first and others the month"):
        decided(["14/3/2026", "3/14/2026"])


def test_zone_is_assumed_only_where_missing() -> None:
    assert decided(["2026-03-02T12:30:45Z"])[0].assumptions == ()
    assert decided(["2026-03-02 12:30:45"])[0].assumptions == ("times without a zone are taken as UTC",)
    with pytest.raises(InputError, match="no time in"):
        decided(["2026-03-02 12:30:45 XYZ"])


@pytest.mark.parametrize("text", ["1.772E+12", "1.77E+09", "1,772E+12"])
def test_rounded_epochs_are_refused(text: str) -> None:
    """1.772E+12 ms stands for any time within 10^9 ms, which is 11.6 days."""
    with pytest.raises(InputError, match="a spreadsheet rounded the times, such as"):
        decided([text] * 3)


def test_exact_scientific_epochs_are_read() -> None:
    assert decided(["1.772454645E+12", "1.772454645001E+12"])[1][0] == NOON


def test_mixed_units_are_refused() -> None:
    style, _ = decided(["1772454645"] * 3)
    unread = pl.LazyFrame({"at": ["1772454645000"]})
    with pytest.raises(InputError, match="most times are in seconds, but 1772454645000 is in milliseconds"):
        widen(style, unread, "at", where=WHERE)
    assert widen(style, pl.LazyFrame({"at": ["99"]}), "at", where=WHERE) == style


def test_later_formats_are_added() -> None:
    style, _ = decided(["2026-03-02T12:30:45Z"])
    wider = widen(style, pl.LazyFrame({"at": ["2026-03-02 12:30"]}), "at", where=WHERE)
    assert wider.formats == (*style.formats, "%Y-%m-%d %H:%M")


def test_small_numbers_count_from_a_start() -> None:
    table = pl.DataFrame({"at": ["0,5", "12,25"]})
    style = decide_times(table.lazy(), "at", where=WHERE)
    assert not style.absolute
    assert table.select(style.seconds(pl.col("at"), pl.String()).alias("at"))["at"].to_list() == [0.5, 12.25]


def test_columns_without_times_are_refused() -> None:
    with pytest.raises(InputError, match="no time in 'soon'"):
        decided(["soon"])
    with pytest.raises(InputError, match="a column of Boolean has no times"):
        decided([True])
    assert not decide_times(pl.LazyFrame({"at": pl.Series([], dtype=pl.String)}), "at", where=WHERE).present


def test_spreadsheet_dates_are_days() -> None:
    # 2026-11-02T09:00:00 is day 46,328.375 of a spreadsheet whose day 25,569 is 1970-01-01.
    start = dt.datetime(2026, 11, 2, 9, tzinfo=dt.UTC)
    style, instants = decided([f"{46_328 + (540 + minute) / 1440:.8f}" for minute in range(30)])
    assert style.absolute
    assert any("a spreadsheet's dates" in text for text in style.assumptions)
    late = [abs((instant or NOON) - start - dt.timedelta(minutes=minute)) for minute, instant in enumerate(instants)]
    assert max(late) < dt.timedelta(milliseconds=2)


@pytest.mark.parametrize(
    "cells",
    [
        [46_328.123 + 0.017 * number for number in range(50)],  # a clock that counts from the start of a machine
        list(range(46_328, 46_378)),  # whole numbers tell nothing
        [46_328.5, 90_000.5],
    ],
)
def test_other_numbers_are_seconds(cells: list[object]) -> None:
    style, _ = decided(cells)
    assert (style.absolute, style.unit_s) == (False, 1.0)


def test_two_units_are_refused() -> None:
    mixed: list[object] = [1_793_610_000 + 60 * number for number in range(10)]
    mixed += [1000 * cell for cell in mixed if isinstance(cell, int)]
    with pytest.raises(InputError, match=r"some times are in milliseconds, such as .* and some in seconds"):
        decided(mixed)


@pytest.mark.parametrize("digits", [5, 6])
def test_rounded_serial_dates_are_read(digits: int) -> None:
    """A spreadsheet shows 46328.37569 for 2026-11-02 09:01: rounded to a second or less."""
    _, instants = decided([f"{46_328 + (540 + minute) / 1440:.{digits}f}" for minute in range(30)])
    start = dt.datetime(2026, 11, 2, 9, tzinfo=dt.UTC)
    late = [abs((instant or NOON) - start - dt.timedelta(minutes=minute)) for minute, instant in enumerate(instants)]
    assert max(late) < dt.timedelta(seconds=1)


@pytest.mark.parametrize("form", ["%Y-%m", "%B %Y", "%b-%y", "%b %Y"])
def test_month_is_its_first_day(form: str) -> None:
    months = [dt.datetime(2026, month, 1, tzinfo=dt.UTC) for month in (9, 10, 11)]
    _, instants = decided([month.strftime(form) for month in months])
    assert instants == months


def test_date_without_comma_is_read() -> None:
    _, instants = decided(["Oct 1 2026 00:00", "Oct 2 2026 12:30"])
    assert instants[1] == dt.datetime(2026, 10, 2, 12, 30, tzinfo=dt.UTC)


def test_names_of_zones_tell_the_repeated_hour_apart() -> None:
    """On 2026-11-01 the clocks of Los Angeles show 01:30 twice: at 08:30 and at 09:30 UTC."""
    style, instants = decided(["2026-11-01 01:30:00 PDT", "2026-11-01 01:30:00 PST"])
    assert instants == [dt.datetime(2026, 11, 1, hour, 30, tzinfo=dt.UTC) for hour in (8, 9)]
    assert style.assumptions == ("times in PDT are read as UTC-7", "times in PST are read as UTC-8")


@pytest.mark.parametrize("name", ["CST", "IST", "BST"])
def test_zones_with_several_meanings_refused(name: str) -> None:
    with pytest.raises(InputError, match=rf"{name} is .* or .*; write the offset instead of the name"):
        decided([f"2026-03-02 12:30:45 {name}"])
