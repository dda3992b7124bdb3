"""The check of a frame against its schema."""

import polars as pl
import pytest

from meritorder.errors import MeritorderError
from meritorder.tables import Column, check

SCHEMA = (
    Column(name="count", dtype=pl.Int64, unit="", meaning="a count"),
    Column(name="note", dtype=pl.String, unit="", meaning="a note", nullable=True),
)


def test_columns_come_in_schema_order() -> None:
    frame = pl.DataFrame({"extra": [1.0], "note": [None], "count": [3]}, schema_overrides={"note": pl.String})
    assert check(frame, SCHEMA, what="counts").columns == ["count", "note"]


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"note": ["x"]}, "counts: column count is missing"),
        ({"count": [1.5], "note": ["x"]}, "counts: column count is Float64, not Int64"),
        ({"count": [1, None], "note": ["x", "y"]}, "counts: column count has nulls"),
    ],
)
def test_wrong_column_is_named(columns: dict[str, list[object]], message: str) -> None:
    with pytest.raises(MeritorderError, match=message):
        check(pl.DataFrame(columns), SCHEMA, what="counts")
