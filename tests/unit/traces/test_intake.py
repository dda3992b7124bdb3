"""Rows that are not requests get one clear reason; never a silent default."""

from pathlib import Path

import polars as pl
import pytest
from tests.samples.trace_files import HEADER, refused, written

from meritorder.traces.read import read_trace

BAD_ROWS = {
    ",1,1": "no arrival time",
    "soon,1,1": "unreadable arrival time",
    "inf,1,1": "unreadable arrival time",
    "-1,1,1": "negative arrival time",
    "1,,1": "no input tokens",
    "1,many,1": "unreadable input tokens",
    "1,1.5,1": "unreadable input tokens",
    "1,nan,1": "unreadable input tokens",
    "1,-1,1": "negative input tokens",
    "1,0,1": "zero input tokens",
    "1,10000001,1": "more than 10,000,000 input tokens",
    "1,1,-2": "negative output tokens",
    "1,1": "no output tokens",
    ",,": "empty row",
}


@pytest.mark.parametrize(("row", "reason"), BAD_ROWS.items())
def test_bad_rows_are_counted_by_line(tmp_path: Path, row: str, reason: str) -> None:
    path = written(tmp_path, f"{HEADER}0,1,1\n1,1,1\n{row}\n2,1,1\n")
    trace = read_trace([path])
    assert trace.requests.height == 3
    assert trace.report.bad == {reason: 1}
    assert [str(bad_row) for bad_row in trace.report.first_bad] == [f"{path}:4: {reason}"]
    assert reason in refused(path, strict=True)


def test_bad_json_and_late_deadlines(tmp_path: Path) -> None:
    text = '{"arrived_s": 5, "input_tokens": 1, "output_tokens": 1, "deadline_s": 9}\n\n{oops\n[]\n'
    text += '{"arrived_s": 5, "input_tokens": 1, "output_tokens": 1, "deadline_s": 4}\n'
    trace = read_trace([written(tmp_path, text, "t.jsonl")])
    assert trace.requests["deadline_s"].to_list() == [4]
    assert trace.report.bad == {"not a JSON object": 2, "deadline before arrival": 1}
    assert [bad_row.line for bad_row in trace.report.first_bad] == [3, 4, 5]


def test_only_five_bad_rows_are_shown(tmp_path: Path) -> None:
    trace = read_trace([written(tmp_path, HEADER + "1,-1,1\n" * 50 + "1,1,1\n")])
    assert trace.report.bad_rows == 50
    assert len(trace.report.first_bad) == 5


def test_blank_cells_are_missing_values(tmp_path: Path) -> None:
    text = "arrived_s, input_tokens ,output_tokens,deadline,tenant\n 1 , 2,3 ,, \n5,6,7,,  x\n"
    trace = read_trace([written(tmp_path, text)], strict=True)
    assert trace.requests["input_tokens"].to_list() == [2, 6]
    assert trace.requests["tenant"].to_list() == [None, "x"]
    assert trace.requests["deadline_s"].null_count() == 2


def test_parquet_of_the_wrong_type(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    pl.DataFrame({"arrived_s": [[1.0]], "input_tokens": [1], "output_tokens": [1]}).write_parquet(path)
    assert "arrival" in refused(path)


@pytest.mark.parametrize(
    ("column", "values", "epoch_s"),
    [
        ("timestamp", ("1767571200", "1767571201"), 1767571200),
        ("timestamp", ("1767571200000", "1767571201000"), 1767571200),
        ("arrival_ms", ("5000", "6000"), None),
        ("time", ("2026-01-05T00:00:00Z", "2026-01-05T00:00:01Z"), 1767571200),
        ("created_at", ("2026-01-05T00:00", "2026-01-05T00:00:01"), 1767571200),
    ],
)
def test_times_are_detected_from_values(
    tmp_path: Path, column: str, values: tuple[str, str], epoch_s: float | None
) -> None:
    text = f"{column},input_tokens,output_tokens\n{values[0]},1,1\n{values[1]},1,1\n"
    trace = read_trace([written(tmp_path, text)])
    assert trace.epoch_s == epoch_s
    assert trace.requests["arrived_s"].to_list() == [0, 1]
