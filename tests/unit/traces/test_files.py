"""Where a trace comes from: compressed files, globs, many files, standard input; and when: windows, scale."""

import gzip
import io
from pathlib import Path

import pytest
import zstandard

from meritorder import traces

TEXT = "arrived_s,input_tokens,output_tokens,session\n5,10,1,a\n3,20,2,b\n65,30,3,a\n"


@pytest.mark.parametrize(
    "pack",
    [
        bytes,
        gzip.compress,
        zstandard.compress,
        lambda b: zstandard.compress(b[:50]) + zstandard.compress(b[50:]),
    ],
)
def test_compressed_or_not(tmp_path: Path, pack: object) -> None:
    path = tmp_path / "trace.anything"
    path.write_bytes(pack(TEXT.encode()))
    trace = traces.read([path])
    assert trace.requests["arrived_s"].to_list() == [0, 2, 62]
    assert trace.requests["input_tokens"].to_list() == [20, 10, 30]


def test_stdin(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(gzip.compress(TEXT.encode()))))
    trace = traces.read(["-"])
    assert trace.requests.height == 3
    assert trace.report.files == ("stdin",)


def test_a_glob_of_files_is_one_trace(tmp_path: Path) -> None:
    for name in "ba":
        (tmp_path / f"{name}.csv").write_text(TEXT)
    trace = traces.read([str(tmp_path / "*.csv")])
    assert trace.requests["arrived_s"].to_list() == [0, 0, 2, 2, 62, 62]
    assert trace.report.files == (str(tmp_path / "a.csv"), str(tmp_path / "b.csv"))
    assert "the 2 files share one clock" in trace.report.assumptions


def test_a_byte_order_mark_is_no_part_of_a_name(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(b"\xef\xbb\xbf" + TEXT.encode())
    assert traces.read([path]).requests.height == 3


def test_the_span_makes_requests_over_span_the_mean_rate(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("arrived_s,input_tokens,output_tokens\n" + "".join(f"{10 * n},1,1\n" for n in range(7)))
    trace = traces.read([path])
    assert trace.span_s == 70
    assert trace.requests.height / trace.span_s == pytest.approx(0.1)


DATED = "arrived_at,input_tokens,output_tokens\n" + "".join(
    f"2026-01-05T{hour:02d}:00:00Z,{hour + 1},1\n" for hour in range(24)
)


@pytest.mark.parametrize(
    ("start", "end", "hours"),
    [
        ("2h", None, range(2, 24)),
        (None, "1d", range(24)),
        ("2026-01-05T06:00", "2026-01-05T08:00+00:00", range(6, 8)),
        (3600.0, "2026-01-05T03:00:00Z", range(1, 3)),
    ],
)
def test_a_window_is_half_open_and_has_its_own_zero(
    tmp_path: Path, start: str | float | None, end: str | None, hours: range
) -> None:
    path = tmp_path / "t.csv"
    path.write_text(DATED)
    trace = traces.read([path], start=start, end=end)
    assert trace.requests["input_tokens"].to_list() == [hour + 1 for hour in hours]
    assert trace.requests["arrived_s"][0] == 0
    assert trace.epoch_s == 1767571200 + 3600 * hours[0]


def test_copies_are_shifted_and_have_their_own_sessions(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text(TEXT)
    trace = traces.read([path], scale=3, seed=1)
    assert trace.requests["session"].n_unique() == 6
    assert trace.requests["arrived_s"].n_unique() == 9
    assert trace.requests["arrived_s"].is_sorted()
    assert any("multiplied by 3, seed 1" in text for text in trace.report.assumptions)
    again = traces.read([path], scale=3, seed=1)
    assert trace.requests.equals(again.requests)
    assert not trace.requests.equals(traces.read([path], scale=3, seed=2).requests)


def test_a_fraction_is_a_sample(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text(DATED)
    assert traces.read([path], scale=0.25).requests.height == 6
    more = traces.read([path], scale=2.5)
    assert more.requests.height == 60
    assert more.requests["arrived_s"].max() <= traces.read([path]).span_s
