"""Rows inside of documents."""

from pathlib import Path

import pytest
from tests.samples.trace_files import lines, written

from meritorder.errors import TraceError
from meritorder.traces.formats.documents import unnested
from meritorder.traces.sources import opened


def test_rows_have_what_is_around_them(tmp_path: Path) -> None:
    document = {"page": 1, "cases": [{"name": "a", "by": {"x": [{"n": 5}, {"n": 6}], "y": [{"m": {"k": 7}}]}}]}
    with opened([written(tmp_path, lines(document), "d.json")]) as sources:
        table = unnested(sources[0], "cases[].by.*[]")
    assert table.frame is not None
    rows = table.frame.select("page", "name", "group", "n", "m.k").collect().rows()
    assert rows == [(1, "a", "x", 5, None), (1, "a", "x", 6, None), (1, "a", "y", None, 7)]


def test_attributes_are_pairs(tmp_path: Path) -> None:
    pairs = [{"key": "a.b", "value": {"intValue": "5"}}, {"key": "c", "value": {"stringValue": "x"}}]
    with opened([written(tmp_path, lines({"steps": [{"attributes": pairs}]}), "d.json")]) as sources:
        table = unnested(sources[0], "steps[]")
    assert table.columns == ("attributes.a.b", "attributes.c")


def test_no_rows_are_an_error(tmp_path: Path) -> None:
    with (
        opened([written(tmp_path, lines({"cases": []}), "d.json")]) as sources,
        pytest.raises(TraceError, match="cases"),
    ):
        unnested(sources[0], "cases[]")
