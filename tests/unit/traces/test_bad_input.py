"""A user's mistake gets one clear line; never another library's traceback, never a silent default."""

import gzip
import io
from pathlib import Path

import polars as pl
import pytest
import zstandard

from meritorder import traces
from meritorder.errors import TraceError

HEADER = "arrived_s,input_tokens,output_tokens\n"


def refused(path: Path | str, **options: object) -> str:
    with pytest.raises(TraceError) as caught:
        traces.read([path], **options)
    message = str(caught.value)
    assert "\n" not in message
    return message


def written(tmp_path: Path, content: str | bytes, name: str = "trace.csv") -> Path:
    path = tmp_path / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "empty"),
        (b"\n\n", "empty"),
        (b"\x00\x01\x02binary", "not text"),
        (b"\xff\xfe\xfa\xfb\n1", "not UTF-8"),
        (b"PAR1 but nothing more", "damaged"),
        (gzip.compress(HEADER.encode() * 999, mtime=0)[:60], "damaged or cut short"),
        (zstandard.compress(HEADER.encode() * 999)[:20], "damaged or cut short"),
        (b"\x1f\x8bnot gzip", "damaged or cut short"),
        (b"[{}]", "one JSON array"),
        (b"{broken\n{too\n", "JSON"),
        (HEADER.encode(), "has no requests"),
        (b"a,b,c\n1,2,3\n", "no known format"),
        (b'{"a": 1}\n', "no known format"),
        (b"just a sentence\n", "no known format"),
        (HEADER.replace("\n", "\r").encode() + b"1,2,3\r", "CR alone"),
        (b'{"start_times": [1], "input_lens": ["x"], "output_lens": [2]}', "unreadable input tokens"),
        (b'{"start_times": [], "input_lens": [], "output_lens": []}', "has no requests"),
        (b'{"timestamp": 1, "input_length": 1e400, "output_length": 1}', "JSON"),
        (HEADER.encode() + b"x,1,1\ny,1,1\n", "no time in"),
        (HEADER.encode() + b"1,-5,1\n2,1,none\n", "none of 2 rows is a request"),
    ],
)
def test_what_cannot_be_read_is_told_in_one_line(tmp_path: Path, content: bytes, said: str) -> None:
    path = written(tmp_path, content)
    message = refused(path)
    assert said in message
    assert str(path) in message


def test_an_unknown_format_names_the_known_ones(tmp_path: Path) -> None:
    message = refused(written(tmp_path, "a,b\n1,2\n"))
    for name in (
        "azure",
        "mooncake",
        "burstgpt",
        "openai_batch",
        "litellm",
        "bench",
        "columns",
        "--columns arrival=",
    ):
        assert name in message


def test_missing_files_and_folders(tmp_path: Path) -> None:
    assert "no such file" in refused(tmp_path / "none.csv")
    assert "no such file" in refused(str(tmp_path / "*.csv"))
    assert "is a folder" in refused(tmp_path)
    with pytest.raises(TraceError, match="no trace was named"):
        traces.read([])


def test_options_that_do_not_fit(tmp_path: Path) -> None:
    path = written(tmp_path, HEADER + "1,2,3\n")
    assert "no format csv" in refused(path, format="csv")
    assert "no column TIMESTAMP" in refused(path, format="azure")
    assert "no column nope" in refused(path, columns={"arrival": "nope"})
    assert "no field tokens" in refused(path, columns={"tokens": "input_tokens"})
    assert "--columns goes with" in refused(path, format="azure", columns={"arrival": "arrived_s"})
    assert "cannot be multiplied" in refused(path, scale=0)
    assert "is not a time" in refused(path, start="noon")
    assert "only tells times since its start" in refused(path, start="2026-01-05")
    assert "ends (1h) before it starts (2h)" in refused(path, start="2h", end="1h")
    assert "no request arrives in it" in refused(path, start="2h")


def test_a_column_that_is_missing_is_named(tmp_path: Path) -> None:
    message = refused(written(tmp_path, "arrived_s,prompt_tokens\n1,2\n"), format="columns")
    assert "hold output" in message
    assert "--columns output=NAME" in message


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
def test_a_bad_row_is_counted_with_its_line(tmp_path: Path, row: str, reason: str) -> None:
    path = written(tmp_path, f"{HEADER}0,1,1\n1,1,1\n{row}\n2,1,1\n")
    trace = traces.read([path])
    assert trace.requests.height == 3
    assert trace.report.bad == {reason: 1}
    assert [str(each) for each in trace.report.first_bad] == [f"{path}:4: {reason}"]
    assert reason in refused(path, strict=True)


def test_bad_lines_of_json_and_late_deadlines(tmp_path: Path) -> None:
    text = '{"arrived_s": 5, "input_tokens": 1, "output_tokens": 1, "deadline_s": 9}\n\n{oops\n[]\n'
    text += '{"arrived_s": 5, "input_tokens": 1, "output_tokens": 1, "deadline_s": 4}\n'
    trace = traces.read([written(tmp_path, text, "t.jsonl")])
    assert trace.requests["deadline_s"].to_list() == [4]
    assert trace.report.bad == {"not a JSON object": 2, "deadline before arrival": 1}
    assert [each.line for each in trace.report.first_bad] == [3, 4, 5]


def test_blocks_that_are_no_hashes_and_text_that_is_not_utf8(tmp_path: Path) -> None:
    line = b'{"timestamp": 1, "input_length": 9, "output_length": 1, "hash_ids": [[1]]}\n'
    trace = traces.read([written(tmp_path, line + line.replace(b"hash", b"h\xffsh"), "t.jsonl")])
    assert trace.requests["cached_tokens"].to_list() == [0]
    assert trace.report.bad == {"not a JSON object": 1}


def test_only_the_first_few_bad_rows_are_shown(tmp_path: Path) -> None:
    trace = traces.read([written(tmp_path, HEADER + "1,-1,1\n" * 50 + "1,1,1\n")])
    assert trace.report.bad_rows == 50
    assert len(trace.report.first_bad) == 5


def test_blanks_and_white_space(tmp_path: Path) -> None:
    text = "arrived_s, input_tokens ,output_tokens,deadline,tenant\n 1 , 2,3 ,, \n5,6,7,,  x\n"
    trace = traces.read([written(tmp_path, text)], strict=True)
    assert trace.requests["input_tokens"].to_list() == [2, 6]
    assert trace.requests["tenant"].to_list() == [None, "x"]
    assert trace.requests["deadline_s"].null_count() == 2


def test_parquet_of_the_wrong_type(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    pl.DataFrame({"arrived_s": [[1.0]], "input_tokens": [1], "output_tokens": [1]}).write_parquet(path)
    assert "arrival" in refused(path)


def test_dates_and_offsets_do_not_mix(tmp_path: Path) -> None:
    dated = written(tmp_path, HEADER + "2026-01-05T00:00:00Z,1,1\n", "dated.csv")
    offset = written(tmp_path, HEADER + "1,1,1\n", "offset.csv")
    with pytest.raises(TraceError, match="read them apart"):
        traces.read([dated, offset])


def test_stdin_that_is_empty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"")))
    assert "stdin: the file is empty" in refused("-")
