"""Records of benchmark tools."""

from pathlib import Path

import pytest
from tests.samples.trace_files import LENGTHS, cells, lines, written

from meritorder.traces.read import read_trace


@pytest.mark.parametrize(
    ("records", "arrivals"),
    [
        (
            [{"timestamp": t, "input_length": 9, "output_length": 3, "session_id": "s"} for t in (0, 1500)],
            [0, 1.5],
        ),
        ([{"start_time": t, "prompt_len": 9, "output_len": 3} for t in (7.0, 8.5)], [0, 1.5]),
        ([{"arrival": t, "isl": 9, "osl": 3} for t in (1.7e12, 1.7e12 + 1500)], [0, 1.5]),
        (
            [{"start_times": [3.0, 4.5], "input_lens": [9, 9], "output_lens": [3, 3], "errors": ["", ""]}],
            [0, 1.5],
        ),
        (
            [
                {
                    "metadata": {"request_start_ns": 1_700_000_000_000_000_000 + t, "conversation_id": "s"},
                    "metrics": {
                        "input_sequence_length": {"value": 9, "unit": "tokens"},
                        "output_sequence_length": {"value": 3, "unit": "tokens"},
                    },
                    "error": None,
                }
                for t in (0, 1_500_000_000)
            ],
            [0, 1.5],
        ),
    ],
)
def test_benchmark_records_are_read(tmp_path: Path, records: list[dict[str, object]], arrivals: list[float]) -> None:
    trace = read_trace([written(tmp_path, lines(*records), "bench.jsonl")])
    assert trace.report.format == "bench"
    assert trace.requests["arrived_s"].to_list() == pytest.approx(arrivals, abs=1e-5)
    assert cells(trace, *LENGTHS[1:]) == [(9, 0, 3), (9, 0, 3)]


def test_uneven_lists_make_bad_rows(tmp_path: Path) -> None:
    run = {"start_times": [3.0, 4.5], "input_lens": [9], "output_lens": [3, 3]}
    trace = read_trace([written(tmp_path, lines(run), "run.json")])
    assert (trace.requests.height, trace.report.bad) == (1, {"no input tokens": 1})


def test_export_counts_errors_as_failures(tmp_path: Path) -> None:
    metrics = {"input_sequence_length": {"value": 9}, "output_sequence_length": {"value": 3}}
    good = {"metadata": {"request_start_ns": 1_000_000_000}, "metrics": metrics, "error": None}
    failed = {"metadata": {"request_start_ns": 2_000_000_000}, "metrics": {}, "error": {"code": 500}}
    trace = read_trace([written(tmp_path, lines(good, failed), "profile_export.jsonl")])
    assert (trace.requests.height, trace.report.failed_rows, trace.report.bad_rows) == (1, 1, 0)
