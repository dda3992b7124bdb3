"""Reading a trace: options that contradict each other, one clock for several files."""

from pathlib import Path

import pytest
from tests.samples.trace_files import HEADER, real, refused, written

from meritorder.errors import TraceError
from meritorder.traces.read import read_trace


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
