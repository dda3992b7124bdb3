"""How a column writes numbers: expected values are what a person reads in the text."""

import polars as pl
import pytest

from meritorder.errors import InputError
from meritorder.inputs.numbers import COMMA, POINT, decide_style, decide_styles, number


def read(cells: list[str], *, whole: bool) -> list[float | None]:
    table = pl.DataFrame({"n": cells})
    style = decide_styles(table.lazy(), {"n": whole}, where="file")["n"]
    return table.select(number(pl.col("n"), pl.String(), style).alias("n"))["n"].to_list()


@pytest.mark.parametrize(
    ("cells", "whole", "values"),
    [
        (["1,250", "980"], True, [1250, 980]),
        (["1.250", "980"], True, [1250, 980]),
        (["1,250,000", "7"], False, [1_250_000, 7]),
        (["1,20,000", "1,250"], True, [120_000, 1250]),
        (["12,34,56,789.50", "1,250"], False, [123_456_789.5, 1250]),
        (["2,500.25", "17.5"], False, [2500.25, 17.5]),
        (["2.500,25", "17,5"], False, [2500.25, 17.5]),
        (["1 250", "3"], True, [1250, 3]),
        (["1\u202f250,5", "3"], False, [1250.5, 3]),
        (["1'250.5", "3"], False, [1250.5, 3]),
        (["$1,250.00", "(3.50)", "\u22122.5"], False, [1250, -3.5, -2.5]),
        (["$1,250.00", "$(3.50)", "($2.50)"], False, [1250, -3.5, -2.5]),
        (["1.5e3", "2"], True, [1500, 2]),
    ],
)
def test_cells_read_as_written(cells: list[str], *, whole: bool, values: list[float]) -> None:
    assert read(cells, whole=whole) == values


@pytest.mark.parametrize(
    ("other", "value"),
    [("0.5", 1250), ("12,5", 1.25), ("1,250.75", 1250), ("0,384", 1.25)],
)
def test_other_cells_decide_lone_comma(other: str, value: float) -> None:
    """By itself "1,250" is 1250 or 1.25; another cell of the column has only one reading."""
    assert read(["1,250", other], whole=False)[0] == value


def test_open_column_follows_the_others() -> None:
    """All columns of a file were written by one program."""
    table = pl.LazyFrame({"open": ["1,250"], "proven": ["17,5"], "plain": ["1.250"]})
    with pytest.raises(InputError, match="nothing tells whether '1,250'"):
        decide_style(table, "open", whole=False, where="file")
    assert decide_style(table, "open", whole=False, where="file", usual=POINT) == POINT
    assert decide_styles(table, dict.fromkeys(("open", "proven", "plain"), False), where="file") == {
        "open": COMMA,
        "proven": COMMA,
        "plain": COMMA,
    }


def test_decimals_of_zeros_are_no_groups() -> None:
    assert read(["512.000", "7.000"], whole=True) == [512, 7]
    assert read(["512.000", "7.125"], whole=True) == [512_000, 7_125]


def test_malformed_groups_are_no_numbers() -> None:
    assert read(["1,25,0", "12,50,00", "1,250", "many"], whole=True) == [None, None, 1250, None]
    assert read(["1,25,0", "1,250", "1,250.5"], whole=False) == [None, 1250, 1250.5]


@pytest.mark.parametrize(
    ("cells", "whole", "said"),
    [
        (["1.5", "2,5"], False, "written in two ways, as '1.5' and '2,5'"),
        (["1,250", "1.250"], True, "written in two ways"),
        (["1,250", "900"], False, "nothing tells whether '1,250' has a decimal comma"),
    ],
)
def test_open_columns_are_refused(cells: list[str], *, whole: bool, said: str) -> None:
    with pytest.raises(InputError, match=f"file, column n: .*{said}.*; write plain numbers"):
        read(cells, whole=whole)


def test_numbers_stay_numbers() -> None:
    values = pl.DataFrame({"n": [1.5, float("nan"), None]})
    for style in (None, POINT, COMMA):
        assert values.select(number(pl.col("n"), pl.Float64(), style).alias("n"))["n"].to_list() == [1.5, None, None]


@pytest.mark.parametrize("cell", ["1.2k", "3M", "$2,5K"])
def test_shortened_numbers_are_refused(cell: str) -> None:
    """1.2k is any number from 1,150 to 1,250: without these cells, the others would be a sample of small ones."""
    with pytest.raises(InputError, match="is rounded"):
        read(["800", cell], whole=True)
