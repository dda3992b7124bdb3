"""Columns of a file as text, exact dollars, numbers, times and tags."""

import datetime as dt
from decimal import Decimal

import polars as pl
import pytest

from meritorder.bills.columns import SourceColumns, mapped
from meritorder.errors import BillError


def read(frame: pl.DataFrame, name: str, *columns: str, **options: object) -> list[object]:
    source = SourceColumns(frame.schema)
    return frame.select(getattr(source, name)(*columns, **options)).to_series().to_list()


def test_text_takes_the_first_value() -> None:
    frame = pl.DataFrame({"a": ["", "NULL", "x", None], "b": ["1", "2", "3", "4"]})
    assert read(frame, "text", "a", "b") == ["1", "2", "x", "4"]
    assert read(frame, "text", "nowhere") == [None]


def test_only_needed_columns_are_missing() -> None:
    source = SourceColumns(pl.Schema({"a": pl.String}))
    source.text("a", "other")
    source.text("b", "c")
    source.text("b", "c")
    source.money("m")
    source.text("d", needed=False)
    assert source.missing == ["b", "m"], "each once, under its first name"
    assert source.used == {"a"}
    assert (source.has("x", "a"), source.has("x")) == (True, False)


@pytest.mark.parametrize(
    ("text", "usd"),
    [
        (" 0.1 ", "0.1"),
        ("123456789012.123456789012", "123456789012.123456789012"),
        ("1.5e-3", "0.0015"),
        ("-7", "-7"),
        ("two", None),
        ("", None),
        ("1e30", None),
    ],
)
def test_money_is_exact(text: str, usd: str | None) -> None:
    assert read(pl.DataFrame({"a": [text]}), "money", "a") == [None if usd is None else Decimal(usd)]


def test_money_from_floats_and_integers() -> None:
    assert read(pl.DataFrame({"a": [0.1, 1e21, None]}), "money", "a") == [Decimal("0.1"), None, None]
    assert read(pl.DataFrame({"a": [3]}), "money", "a") == [3]
    assert [usd is None for usd in read(pl.DataFrame({"a": [1e20, -1e20, 9.9e19]}), "money", "a")] == [
        True,
        True,
        False,
    ]


def test_money_takes_the_first_column_only() -> None:
    frame = pl.DataFrame({"a": [None, "1"], "b": ["2", "3"]}, schema={"a": pl.String, "b": pl.String})
    assert read(frame, "money", "a", "b") == [None, 1]
    assert read(frame, "money", "nowhere", "b") == [2, 3]


def test_number_takes_the_first_number() -> None:
    frame = pl.DataFrame({"a": ["x", " 1.5 "], "b": ["2", "3"]})
    assert read(frame, "number", "a", "b") == [2.0, 1.5]
    assert read(frame, "number", "nowhere") == [None]


NOON = dt.datetime(2026, 10, 5, 12, tzinfo=dt.UTC)


@pytest.mark.parametrize(
    "text",
    ["2026-10-05T12:00:00Z", "2026-10-05 12:00", "2026-10-05T14:00:00+02:00", "2026-10-05T06:30:00-0530", "1791201600"],
)
def test_times_are_in_utc(text: str) -> None:
    assert read(pl.DataFrame({"a": [text]}), "time", "a") == [NOON]


@pytest.mark.parametrize(
    ("text", "minute", "second"),
    [
        ("2026-10-05T12:34:07Z", 34, 7),
        ("2026-10-05T12:34:07.250Z", 34, 7),
        ("2026-10-05 12:34:07", 34, 7),
        ("2026-10-05T12:34Z", 34, 0),
        ("2026-10-05T14:34+02:00", 34, 0),
        ("2026-10-05T12:34", 34, 0),
    ],
)
def test_times_keep_minutes_and_seconds(text: str, minute: int, second: int) -> None:
    assert read(pl.DataFrame({"a": [text]}), "time", "a") == [NOON.replace(minute=minute, second=second)]


def test_times_of_other_types() -> None:
    berlin = pl.Series([NOON]).dt.convert_time_zone("Europe/Berlin")
    for values in (berlin, pl.Series([NOON.replace(tzinfo=None)]), pl.Series([1791201600])):
        assert read(pl.DataFrame({"a": values}), "time", "a") == [NOON]
    assert read(pl.DataFrame({"a": [NOON.date()]}), "time", "a") == [NOON.replace(hour=0)]
    assert read(pl.DataFrame({"a": ["soon"]}), "time", "a") == [None]


def test_tags_from_prefixed_columns() -> None:
    frame = pl.DataFrame(
        {"tags/team": ["llm"], "tags/env": [None], "x": ["y"]}, schema_overrides={"tags/env": pl.String}
    )
    source = SourceColumns(frame.schema)
    assert frame.select(source.tags("tags", prefixes=("tags/",))).item() == '{"team":"llm","env":null}'
    assert source.used == {"tags/team", "tags/env"}


def test_tags_from_structs_and_maps() -> None:
    assert read(pl.DataFrame({"a": [{"team": "llm"}]}), "tags", "a") == ['{"team":"llm"}']
    pairs = pl.DataFrame({"a": [[{"key": "team", "value": "llm"}]]})
    assert read(pairs, "tags", "a") == ['{"pairs":[{"key":"team","value":"llm"}]}']
    assert read(pairs, "tags", "nowhere") == [None]


def test_words_map_or_become_null() -> None:
    frame = pl.DataFrame({"a": ["x", "y", None]})
    assert frame.select(mapped(pl.col("a"), {"x": "1"})).to_series().to_list() == ["1", None, None]
    assert frame.select(mapped(pl.col("a"), {"x": "1"}, pl.col("a"))).to_series().to_list() == ["1", "y", None]


def source_of(**columns: list[str]) -> SourceColumns:
    frame = pl.DataFrame(columns)
    return SourceColumns(frame.schema, table=frame.lazy(), where="bill.csv")


@pytest.mark.parametrize(
    ("cells", "amounts"),
    [
        (["98.50", "1,098.50", "-2,000.00"], ["98.5", "1098.5", "-2000"]),
        (["98,50", "1.098,50", "-2.000,00"], ["98.5", "1098.5", "-2000"]),
        (["$1,234.56", "(12.50)", "$3"], ["1234.56", "-12.5", "3"]),
        (["1 234,5", "7,25", "0"], ["1234.5", "7.25", "0"]),
        (["12.5", "two", "3"], ["12.5", None, "3"]),
    ],
)
def test_amounts_by_the_style_of_the_column(cells: list[str], amounts: list[str | None]) -> None:
    source = source_of(cost=cells)
    found = pl.DataFrame({"cost": cells}).select(source.money("cost")).to_series().to_list()
    assert found == [None if amount is None else Decimal(amount) for amount in amounts]


def test_undecided_amounts_are_refused() -> None:
    """A comma before three digits may be either separator."""
    with pytest.raises(BillError, match=r"bill\.csv, column cost: nothing tells whether '1,098' has a decimal comma"):
        source_of(cost=["12", "1,098"]).money("cost")


@pytest.mark.parametrize(
    ("cells", "iso"),
    [
        (["10/1/2026 0:00", "10/13/2026 6:00"], ["2026-10-01T00:00", "2026-10-13T06:00"]),
        (["01/10/2026", "13/10/2026"], ["2026-10-01T00:00", "2026-10-13T00:00"]),
        (["01.10.2026 06:00", "13.10.2026 07:30"], ["2026-10-01T06:00", "2026-10-13T07:30"]),
    ],
)
def test_dates_as_spreadsheets_write_them(cells: list[str], iso: list[str]) -> None:
    source = source_of(start=cells)
    times = pl.DataFrame({"start": cells}).select(source.time("start")).to_series()
    assert times.dt.strftime("%Y-%m-%dT%H:%M").to_list() == iso
    assert any("without a zone" in note for note in source.assumptions)


def test_one_order_of_day_and_month_a_file() -> None:
    """An end on 01/11 alone could be in January; the starts of the same file have the day first."""
    starts, ends = ["01/10/2026", "25/10/2026"], ["01/11/2026", "01/11/2026"]
    source = source_of(start=starts, end=ends)
    read = pl.DataFrame({"start": starts, "end": ends}).select(source.time("start"), source.time("end"))
    assert read["end"].dt.strftime("%m-%d").to_list() == ["11-01"] * 2


def test_date_without_separators_is_no_epoch() -> None:
    frame = pl.DataFrame({"at": ["20261001", "1790812800"]})
    times = frame.select(SourceColumns(frame.schema).time("at")).to_series().dt.strftime("%Y").to_list()
    assert times == [None, "2026"]
