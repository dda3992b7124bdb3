"""Columns as a user names them: dotted paths, quotes and sums."""

import json

import polars as pl
import pytest

from meritorder.inputs.paths import column_at, parse_sum, value_at


@pytest.mark.parametrize(
    ("text", "columns", "paths"),
    [
        ("prompt", [], (("prompt",),)),
        ("a + b.c", [], (("a",), ("b", "c"))),
        ('x."y.z"', [], (("x", "y.z"),)),
        ('"a+b"', [], (("a+b",),)),
        ("a+b", ["a+b"], (("a+b",),)),
        ("y.z+w", ["y.z"], (("y.z",), ("w",))),
    ],
)
def test_names_become_paths(text: str, columns: list[str], paths: tuple[tuple[str, ...], ...]) -> None:
    assert parse_sum(text, columns) == paths


NESTED = {"usage": {"in": 5, "x.y": {"z": 6}}}


@pytest.mark.parametrize(
    ("path", "value"), [("usage.in", 5), ("usage.x.y.z", 6), ("usage.none", None), ("usage.in.deep", None)]
)
def test_paths_reach_into_json_and_structs(path: str, value: object) -> None:
    (keys,) = parse_sum(path, [])
    assert value_at(NESTED, keys) == value
    table = pl.DataFrame([NESTED])
    expression = column_at(table.schema, keys)
    assert (None if expression is None else table.select(expression).item()) == value


def test_paths_reach_into_maps_and_json_text() -> None:
    table = pl.DataFrame(
        {
            "attributes": [[{"key": "other", "value": 1}, {"key": "usage.in", "value": 5}], []],
            "text": [json.dumps(NESTED), "no JSON"],
        }
    )
    for path in (("attributes", "usage", "in"), ("text", "usage", "in")):
        expression = column_at(table.schema, path)
        assert expression is not None
        assert table.select(expression.cast(pl.Int64).alias("v"))["v"].to_list() == [5, None]
    assert column_at(table.schema, ("nowhere",)) is None
