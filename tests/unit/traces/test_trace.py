"""Figures, windows and rates of a trace."""

from pathlib import Path

import pytest
from tests.samples.trace_files import HEADER, written

from meritorder.traces.read import read_trace


def test_mean_rate_is_requests_over_span(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("arrived_s,input_tokens,output_tokens\n" + "".join(f"{10 * n},1,1\n" for n in range(7)))
    trace = read_trace([path])
    assert trace.span_s == 70
    assert trace.requests.height / trace.span_s == pytest.approx(0.1)


def test_models_are_sorted_and_distinct(tmp_path: Path) -> None:
    path = written(tmp_path, HEADER.replace("\n", ",model\n") + "0,1,1,b\n1,1,1,a\n2,1,1,b\n3,1,1,\n")
    assert read_trace(path).models == ("a", "b")
    assert read_trace(written(tmp_path, HEADER + "0,1,1\n")).models == ()


TEXT = "arrived_s,input_tokens,output_tokens,session\n5,10,1,a\n3,20,2,b\n65,30,3,a\n"


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
def test_window_is_half_open(tmp_path: Path, start: str | float | None, end: str | None, hours: range) -> None:
    path = tmp_path / "t.csv"
    path.write_text(DATED)
    trace = read_trace([path], start=start, end=end)
    assert trace.requests["input_tokens"].to_list() == [hour + 1 for hour in hours]
    assert trace.requests["arrived_s"][0] == 0
    assert trace.epoch_s == 1767571200 + 3600 * hours[0]


def test_copies_get_shifts_and_sessions(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text(TEXT)
    trace = read_trace([path], scale=3, seed=1)
    assert trace.requests["session"].n_unique() == 6
    assert trace.requests["arrived_s"].n_unique() == 9
    assert trace.requests["arrived_s"].is_sorted()
    assert any("multiplied by 3, seed 1" in text for text in trace.report.assumptions)
    again = read_trace([path], scale=3, seed=1)
    assert trace.requests.equals(again.requests)
    assert not trace.requests.equals(read_trace([path], scale=3, seed=2).requests)


def test_fraction_is_a_sample(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text(DATED)
    assert read_trace([path], scale=0.25).requests.height == 6
    more = read_trace([path], scale=2.5)
    assert more.requests.height == 60
    assert more.requests["arrived_s"].max() <= read_trace([path]).span_s
