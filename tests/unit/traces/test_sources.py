"""Sources of a trace: compressed files, globs, several files, standard input, data frames."""

import datetime as dt
import gzip
import io
from pathlib import Path

import polars as pl
import pytest
from backports import zstd
from tests.samples.trace_files import HEADER, refused, written

from meritorder.errors import TraceError
from meritorder.traces.read import read_trace

TEXT = "arrived_s,input_tokens,output_tokens,session\n5,10,1,a\n3,20,2,b\n65,30,3,a\n"


@pytest.mark.parametrize(
    "pack",
    [
        bytes,
        gzip.compress,
        zstd.compress,
        lambda b: zstd.compress(b[:50]) + zstd.compress(b[50:]),
    ],
)
def test_compressed_files_are_decompressed(tmp_path: Path, pack: object) -> None:
    path = tmp_path / "trace.anything"
    path.write_bytes(pack(TEXT.encode()))
    trace = read_trace([path])
    assert trace.requests["arrived_s"].to_list() == [0, 2, 62]
    assert trace.requests["input_tokens"].to_list() == [20, 10, 30]


def test_standard_input_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(gzip.compress(TEXT.encode()))))
    trace = read_trace(["-"])
    assert trace.requests.height == 3
    assert trace.report.files == ("stdin",)


def test_glob_is_one_trace(tmp_path: Path) -> None:
    for name in "ba":
        (tmp_path / f"{name}.csv").write_text(TEXT)
    trace = read_trace([str(tmp_path / "*.csv")])
    assert trace.requests["arrived_s"].to_list() == [0, 0, 2, 2, 62, 62]
    assert trace.report.files == (str(tmp_path / "a.csv"), str(tmp_path / "b.csv"))
    assert "the 2 files share one clock" in trace.report.assumptions


def test_byte_order_mark_is_ignored(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(b"\xef\xbb\xbf" + TEXT.encode())
    assert read_trace([path]).requests.height == 3


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
@pytest.mark.parametrize("before", ["", "\n\n", "sep={0}\r\n"])
def test_separators_and_lines_before_the_header(tmp_path: Path, separator: str, before: str) -> None:
    text = before.format(separator) + TEXT.replace(",", separator) + separator.join(("x", "1", "1", "a"))
    trace = read_trace([written(tmp_path, text)])
    assert trace.requests["input_tokens"].to_list() == [20, 10, 30]
    assert trace.report.first_bad[0].line == text.count("\n") + 1


def test_columns_named_like_ours(tmp_path: Path) -> None:
    text = TEXT.replace("session", "line").replace("1,a", "1,x")
    assert read_trace([written(tmp_path, text)], columns={"tenant": "line"}).requests["tenant"].to_list() == [
        *("b", "x", "a"),
    ]


def test_parquet_that_claims_too_much(tmp_path: Path) -> None:
    """A column of one value takes almost no bytes, whatever its number of rows."""
    path = tmp_path / "t.parquet"
    zeros = pl.lit(0, pl.Int8).repeat_by(11_000_000).explode()
    pl.select(arrived_s=zeros, input_tokens=zeros, output_tokens=zeros).write_parquet(path)
    assert "claims 11,000,000 rows, too many for its size" in refused(path)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "empty"),
        (b"\n\n", "empty"),
        (b"\x00\x01\x02binary", "neither text nor Parquet"),
        (b"\xff\xfea\0b", "not UTF-16"),
        (b"PAR1 but nothing more", "damaged"),
        (gzip.compress(HEADER.encode() * 999, mtime=0)[:60], "damaged or truncated"),
        (zstd.compress(HEADER.encode() * 999)[:20], "damaged or truncated"),
        (b"\x1f\x8bnot gzip", "damaged or truncated"),
        (b"[{}]", "no known format"),
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
def test_unreadable_files_get_one_line(tmp_path: Path, content: bytes, said: str) -> None:
    path = written(tmp_path, content)
    message = refused(path)
    assert said in message
    assert str(path) in message


def test_missing_files_and_folders(tmp_path: Path) -> None:
    assert "no such file" in refused(tmp_path / "none.csv")
    assert "no such file" in refused(str(tmp_path / "*.csv"))
    assert "is a folder" in refused(tmp_path)
    with pytest.raises(TraceError, match="no trace was named"):
        read_trace([])


def test_empty_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"")))
    assert "stdin: the file is empty" in refused("-")


@pytest.fixture
def rows() -> pl.DataFrame:
    return pl.DataFrame(
        {
            "arrived_at": [dt.datetime(2026, 1, 5, hour, tzinfo=dt.UTC) for hour in (6, 7)],
            "input_tokens": [10, 20],
            "output_tokens": [1, 0],
            "model": ["a", None],
        }
    )


def test_polars_frames_are_traces(rows: pl.DataFrame) -> None:
    for frame in (rows, rows.lazy(), rows.with_columns(pl.col("model").cast(pl.Categorical))):
        trace = read_trace(frame)
        assert trace.requests.select("arrived_s", "input_tokens", "model").rows() == [(0.0, 10, "a")]
        assert (trace.epoch_s, trace.report.files) == (1767592800.0, ("data frame",))
        assert trace.report.failed_rows == 1


def test_pandas_frames_are_traces(rows: pl.DataFrame) -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(rows.to_dict(as_series=False))
    assert read_trace(frame).requests.equals(read_trace(rows).requests)
    missing = pandas.DataFrame({"arrival": [0.0, None, 2.0], "input": [1, 2, 3], "output": [1, 2, None]})
    trace = read_trace(missing)
    assert trace.requests["input_tokens"].to_list() == [1]
    assert trace.report.bad == {"no arrival time": 1, "no output tokens": 1}


def test_named_index_of_pandas_is_a_column(rows: pl.DataFrame) -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(rows.to_dict(as_series=False)).set_index(["arrived_at", "model"])
    assert read_trace(frame).requests.equals(read_trace(rows).requests)


def test_arrow_tables_are_traces(rows: pl.DataFrame) -> None:
    class Table:
        """A table whose `columns` are no names, as pyarrow's."""

        columns = (1, 2)

        def __arrow_c_stream__(self, requested_schema: object = None) -> object:
            return rows.__arrow_c_stream__(requested_schema)

    assert read_trace(Table()).requests.equals(read_trace(rows).requests)


def test_frames_and_files_share_a_clock(tmp_path: Path, rows: pl.DataFrame) -> None:
    path = tmp_path / "t.csv"
    path.write_text("arrived_at,input_tokens,output_tokens\n2026-01-05T05:00:00Z,5,5\n")
    trace = read_trace([rows, path])
    assert trace.requests["arrived_s"].to_list() == [0.0, 3600.0]
    assert trace.report.files == ("data frame", str(path))


def test_columns_of_a_frame_are_mapped(rows: pl.DataFrame) -> None:
    named = rows.rename({"input_tokens": "in"})
    assert read_trace(named, columns={"input": "in"}).requests["input_tokens"].to_list() == [10]
    with pytest.raises(TraceError, match="data frame: the columns arrived_at, in, output_tokens, model match no"):
        read_trace(named)


def test_other_objects_are_refused() -> None:
    with pytest.raises(
        TraceError, match="dict is not a trace; give a path, a glob, or a Polars, pandas or Arrow data frame"
    ):
        read_trace({"arrival": [1]})  # type: ignore[arg-type]
