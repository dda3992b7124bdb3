"""The same records, whatever JSON holds them."""

import json
from pathlib import Path

import pytest

from meritorder.errors import InputError
from meritorder.inputs.json_records import as_lines, is_json, records
from meritorder.inputs.places import LocalFile, ScratchFolder
from meritorder.inputs.unpacking import unpack

RECORDS = [{"a": 1, "text": "two\nlines"}, {"a": 2, "deep": {"data": [{"x": 1}]}}, {"a": 3}]
LINES = "".join(json.dumps(record) + "\n" for record in RECORDS)


def read(tmp_path: Path, text: str | bytes) -> list[object]:
    path = tmp_path / "file"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    scratch = ScratchFolder()
    file = unpack(LocalFile(name="file", path=path), scratch)
    return [record for _, record in records(as_lines(file, scratch))]


@pytest.mark.parametrize(
    "text",
    [
        LINES,
        json.dumps(RECORDS),
        json.dumps(RECORDS, indent=2),
        "\n".join(json.dumps(record, indent=2) for record in RECORDS),
        json.dumps({"object": "list", "data": RECORDS, "has_more": False}),
        json.dumps({"meta": {"page": 1}, "observations": RECORDS}, indent=1),
        json.dumps({"data": {"actor": {"nrql": {"results": RECORDS}}}}),
        json.dumps({"took": 3, "hits": {"total": 3, "hits": RECORDS}}, indent=1),
        json.dumps({"data": RECORDS[:1]}) + "\n" + json.dumps({"data": RECORDS[1:]}) + "\n",
        "\r\n".join(LINES.splitlines()),
        b"\xef\xbb\xbf" + LINES.encode(),
        b"\xef\xbb\xbf" + json.dumps(RECORDS).encode(),
        LINES.encode("utf-16"),
        "".join(json.dumps(record) for record in RECORDS),
    ],
)
def test_any_container_gives_the_records(tmp_path: Path, text: str | bytes) -> None:
    assert read(tmp_path, text) == RECORDS


def test_lists_of_numbers_stay_inside(tmp_path: Path) -> None:
    run = {"data": [1, 2], "results": []}
    assert read(tmp_path, json.dumps(run, indent=2)) == [run]


def test_not_a_number_is_null(tmp_path: Path) -> None:
    assert read(tmp_path, '{"a": 1}\n{"a": NaN, "b": 2}\n{"a": broken}\n') == [{"a": 1}, {"a": None, "b": 2}, None]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"a":' * 100_000, "nested too deeply"),
        ("[" * 100_000, "nested too deeply"),
        ('[{"a": 1}, {"a"', "damaged or truncated"),
        ('{\n "a": 1', "damaged or truncated"),
    ],
)
def test_deep_and_cut_documents_are_refused(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(InputError, match=f"file: .*{said}"):
        read(tmp_path, text)


def test_deep_line_is_one_bad_record(tmp_path: Path) -> None:
    assert read(tmp_path, '{"a": 1}\n' + '{"a":' * 100_000 + "\n") == [{"a": 1}, None]


def test_document_size_is_limited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("meritorder.inputs.json_records.MAX_DOCUMENT_BYTES", 10)
    with pytest.raises(InputError, match="write one JSON object a line"):
        read(tmp_path, json.dumps(RECORDS))
    assert read(tmp_path, LINES) == RECORDS


def test_tables_of_pandas_are_read(tmp_path: Path) -> None:
    """DataFrame.to_json with orient="columns", which is its default, and orient="split"."""
    rows = [{"time": "09:00", "a": 1, "b": None}, {"time": "09:01", "a": 2, "b": 5}]
    by_column = {name: {str(place): row[name] for place, row in enumerate(rows)} for name in rows[0]}
    split = {"columns": list(rows[0]), "index": [0, 1], "data": [list(row.values()) for row in rows]}
    assert read(tmp_path, json.dumps(by_column)) == rows
    assert read(tmp_path, json.dumps(split)) == rows
    assert read(tmp_path, json.dumps(split, indent=2)) == rows


def test_objects_without_row_numbers_are_one_record(tmp_path: Path) -> None:
    record = {name: {"tokens": 1} for name in ("input", "output", "cached")}
    assert read(tmp_path, json.dumps(record)) == [record]


@pytest.mark.parametrize(
    ("head", "json_begins"),
    [
        (b' \n{"a"', True),
        (b"[\n  {", True),
        (b"[", True),
        (b"[[1, 2]", True),
        (b'["a", 1]', True),
        (b"[1.5, 2]", True),
        (b"[]", True),
        (b"[GIN] 2026/11/02 - 10:00:00", False),
        (b"[2026-11-02 10:00:00]", False),
        (b"[4711] INFO", False),
        (b"a,b\n1,2\n", False),
    ],
)
def test_json_is_told_from_logs(head: bytes, *, json_begins: bool) -> None:
    assert is_json(head) == json_begins
