"""Reading a trace: options that contradict each other, one clock for several files."""

from pathlib import Path

import pytest
from tests.samples.trace_files import HEADER, real, refused, written

from meritorder.errors import TraceError
from meritorder.traces.read import read_trace
from meritorder.traces.trace import Trace


def test_contradicting_options_are_refused(tmp_path: Path) -> None:
    path = written(tmp_path, HEADER + "1,2,3\n")
    assert "no format csv" in refused(path, format="csv")
    assert "no column TIMESTAMP" in refused(path, format="azure")
    assert "no column nope" in refused(path, columns={"arrival": "nope"})
    assert "no field tokens" in refused(path, columns={"tokens": "input_tokens"})
    assert "--columns goes with" in refused(path, format="azure", columns={"arrival": "arrived_s"})
    assert "cannot be multiplied" in refused(path, scale=0)
    assert "is not a time" in refused(path, start="noon")
    assert "has only times since its start" in refused(path, start="2026-01-05")
    assert "ends (1h) before it starts (2h)" in refused(path, start="2h", end="1h")
    assert "no request arrives in this window" in refused(path, start="2h")


def test_dates_and_offsets_do_not_mix(tmp_path: Path) -> None:
    dated = written(tmp_path, HEADER + "2026-01-05T00:00:00Z,1,1\n", "dated.csv")
    offset = written(tmp_path, HEADER + "1,1,1\n", "offset.csv")
    with pytest.raises(TraceError, match="read them separately"):
        read_trace([dated, offset])


def test_session_clocks_are_noted_real() -> None:
    trace = read_trace([real("traces/weka_claude_code/weka_sessions_0001_0370.parquet")])
    assert trace.requests.height + trace.report.failed_rows == 21_041
    assert trace.report.session_clock
    assert any("relative to each session" in text for text in trace.report.assumptions)


def hourly(tmp_path: Path, hours: list[int]) -> Trace:
    rows = "".join(f"{hour * 3600 + minute * 60},900,90\n" for hour in hours for minute in (0, 20, 40))
    return read_trace([written(tmp_path, HEADER + rows)])


def test_missing_day_is_told_first(tmp_path: Path) -> None:
    trace = hourly(tmp_path, [hour for hour in range(96) if not 24 <= hour < 48])
    assert trace.report.unpriced.startswith("No request arrives for 24.3 h, from 23.7 h after the start")


@pytest.mark.parametrize(
    "hours",
    [
        [hour for hour in range(120) if 8 <= hour % 24 < 18],  # nights are quiet
        list(range(96)),  # always on
        [0, 1, 30, 31],  # too short to tell
    ],
)
def test_quiet_hours_are_no_gap(tmp_path: Path, hours: list[int]) -> None:
    assert hourly(tmp_path, hours).report.gap == ""


def test_trace_of_decades_is_refused(tmp_path: Path) -> None:
    """One mistaken date would make a trace of 73 years; a window leaves it out."""
    header = HEADER.replace("arrived_s", "timestamp")
    path = written(tmp_path, header + "2026-03-02T00:00:00Z,1,1\n2026-03-02T00:00:09Z,1,1\n2099-03-02T00:00:00Z,1,1\n")
    assert "over more than ten years, from 2026-03-02 to 2099-03-02; correct the dates" in refused(path)
    assert read_trace(path, end="2027-01-01").requests.height == 2
    counted = written(tmp_path, HEADER + "0,1,1\n999999999,1,1\n", "counted.csv")
    assert "from 0 to 999,999,999 s" in refused(counted)


def test_late_start_of_a_clock_is_stated(tmp_path: Path) -> None:
    """Minutes since 1970 are too small to be an epoch in seconds."""
    path = written(tmp_path, "timestamp,input_tokens,output_tokens\n29893500,5,3\n29893501,5,3\n")
    assert any(
        "seconds since a start, although the first is 29,893,500" in text
        for text in read_trace([path]).report.assumptions
    )
