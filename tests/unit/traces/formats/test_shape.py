"""Columns and paths in the first records of a source."""

from pathlib import Path

import polars as pl
from tests.samples.trace_files import lines, written

from meritorder.traces.formats.shape import Shape, shape_of
from meritorder.traces.sources import opened


def shape(path: Path) -> Shape:
    with opened([path]) as sources:
        return shape_of(sources[0])


def test_paths_of_json_lines(tmp_path: Path) -> None:
    record = {"a": {"b.c": 1, "list": [{"d": 2}]}, "text": '{"e": 3}', "none": None}
    found = shape(written(tmp_path, lines({"first": 1}, record), "a.jsonl"))
    assert {"first", "a", "a.b.c", "a.list", "a.list.d", "text.e"} <= found.paths
    assert found.texts == {"text"}
    assert found.has('a."b.c"')
    assert not found.has("a.b.d")


def test_paths_of_json_cells_in_csv(tmp_path: Path) -> None:
    found = shape(written(tmp_path, 'plain,usage\n1,"{""prompt_tokens"": 5}"\n'))
    assert {"plain", "usage", "usage.prompt_tokens"} <= found.paths
    assert not found.texts


def test_paths_of_a_parquet_struct(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pl.DataFrame({"usage": [{"input": 1}]}).write_parquet(path)
    assert "usage.input" in shape(path).paths
