"""Rows that are not requests get one clear reason; never a silent default."""

from pathlib import Path

import polars as pl
import pytest
from tests.samples.trace_files import HEADER, LENGTHS, cells, refused, written

from meritorder.errors import TraceError
from meritorder.traces.read import read_trace
from meritorder.traces.trace import Kind

_LATE = "deadlines unreadable or before the arrival, whose requests are taken as real time: "
BAD_ROWS = {
    ",1,1": "no arrival time",
    "soon,1,1": "unreadable arrival time",
    "inf,1,1": "unreadable arrival time",
    "-1,1,1": "negative arrival time",
    "1,,1": "no input tokens",
    "1,many,1": "unreadable input tokens",
    "1,1.5,1": "unreadable input tokens",
    "1,nan,1": "no input tokens",
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
    assert trace.requests["deadline_s"].to_list() == [4, None]
    assert trace.report.bad == {"not a JSON object": 2}
    assert [bad_row.line for bad_row in trace.report.first_bad] == [3, 4]
    assert _LATE + "1" in trace.report.assumptions


@pytest.mark.parametrize("dtype", [pl.Null, pl.String, pl.Float64, pl.Date, pl.Datetime])
def test_empty_deadlines_are_none(dtype: type[pl.DataType]) -> None:
    deadlines = pl.Series("deadline", [None, None], dtype=dtype)
    requests = pl.DataFrame({"time": [0.0, 1.0], "input_tokens": [1, 1], "output_tokens": [1, 1]})
    assert read_trace([requests.with_columns(deadlines)]).requests["deadline_s"].to_list() == [None, None]


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


def test_numbers_are_read_by_the_column(tmp_path: Path) -> None:
    """German thousands beside US ones: each column decides for itself."""
    text = "arrived_s;input_tokens;output_tokens;cached_tokens\n0,5;1.250;1,100;7\n2;980;90;none\n"
    trace = read_trace([written(tmp_path, text)], strict=True)
    assert cells(trace, "arrived_s", "input_tokens", "output_tokens", "cached_tokens") == [
        (0.0, 1250, 1100, 7),
        (1.5, 980, 90, 0),
    ]
    with pytest.raises(TraceError, match="column input: numbers are written in two ways"):
        read_trace([written(tmp_path, f'{HEADER}0,"1,250",1\n1,1.250,1\n')])


def test_optional_values_never_cost_a_row(tmp_path: Path) -> None:
    text = "arrived_s,input_tokens,output_tokens,cached_tokens,deadline_s\n"
    text += "0,50,1,nan,\n1,50,1,-3,soon\n2,50,1,2.5,9\n3,50,1,7,nan\n4,50,1,many,4\n"
    trace = read_trace([written(tmp_path, text)], strict=True)
    assert trace.requests["cached_tokens"].to_list() == [0, 0, 0, 7, 0]
    assert trace.requests["deadline_s"].to_list() == [None, None, 9, None, None]
    assert "3 rows have unreadable cached tokens, which are taken as 0" in trace.report.assumptions
    assert _LATE + "2" in trace.report.assumptions


def test_far_times_are_bad_rows(tmp_path: Path) -> None:
    """The year 9999 stands for "never"; a time far outside is a mistake, and must not cost memory."""
    text = HEADER.replace("arrived_s", "timestamp")
    dated = read_trace([written(tmp_path, text + "2026-03-02T00:00:00Z,1,1\n9999-12-31T00:00:00Z,1,1\n")])
    assert dated.report.bad == {"unreadable arrival time": 1}
    assert "arrivals before 2000 or after 2099, taken as unreadable: 1" in dated.report.assumptions
    counted = read_trace([written(tmp_path, text + "5,1,1\n6,1,1\n9999999999999999,1,1\n")])
    assert counted.report.bad == {"unreadable arrival time": 1}


def test_mixed_units_of_time_are_refused(tmp_path: Path) -> None:
    rows = "".join(f"{1772454645 + second},1,1\n" for second in range(1500)) + "1772454645000,1,1\n"
    assert "most times are in seconds, but 1772454645000 is in milliseconds" in refused(
        written(tmp_path, HEADER.replace("arrived_s", "timestamp") + rows)
    )


def test_late_formats_of_time_are_read(tmp_path: Path) -> None:
    """The first rows decide, and rows that they do not explain are looked at once more."""
    first = "2026-03-02T00:00:00Z,1,1\n" * 1200
    text = HEADER.replace("arrived_s", "timestamp") + first + "2026-03-02 00:00:05,1,1\n"
    trace = read_trace([written(tmp_path, text)], strict=True)
    assert trace.requests["arrived_s"][-1] == 5


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
def test_sums_of_columns(tmp_path: Path, kind: str) -> None:
    """A part that is missing counts as 0; one that cannot be read makes the row bad, never a smaller sum."""
    rows = {"at": [0, 1, 2], "in": ["9"] * 3, "said": ["1", "2", "3"], "thought": ["1,900", None, "much"]}
    frame = pl.DataFrame(rows, strict=False)
    path = tmp_path / f"trace.{kind}"
    {"csv": frame.write_csv, "jsonl": frame.write_ndjson, "parquet": frame.write_parquet}[kind](path)
    trace = read_trace(path, columns={"arrival": "at", "input": "in", "output": "said+thought"})
    assert trace.requests["output_tokens"].to_list() == [1901, 2]
    assert trace.report.bad == {"unreadable output tokens": 1}


def test_paths_into_nested_columns(tmp_path: Path) -> None:
    path = tmp_path / "trace.parquet"
    pl.DataFrame({"at": [0], "usage": [{"in": 9, "out": 2}], "meta": ['{"cache": {"read": 4}}']}).write_parquet(path)
    columns = {"arrival": "at", "input": "usage.in", "output": "usage.out", "cached": "meta.cache.read"}
    assert cells(read_trace(path, columns=columns), *LENGTHS) == [(0.0, 9, 4, 2)]
    with pytest.raises(TraceError, match=r"no column usage\.none among at, usage, meta"):
        read_trace(path, columns=columns | {"input": "usage.none"})


def test_repeated_header_is_no_call(tmp_path: Path) -> None:
    trace = read_trace([written(tmp_path, f"{HEADER}0,1,1\n1,1,1\n{HEADER}2,1,1\n")])
    assert trace.requests.height == 3
    assert (trace.report.bad, trace.report.set_aside) == ({}, {Kind.HEADER: 1})
    assert not trace.report.unpriced
