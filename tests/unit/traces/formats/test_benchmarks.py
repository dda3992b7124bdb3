"""Records of benchmark tools."""

import json
from pathlib import Path

import pytest
from tests.samples.trace_files import LENGTHS, cells, lines, written

from meritorder.traces.read import read_trace
from meritorder.traces.trace import Aside, Kind


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


def vllm_run(**more: object) -> dict[str, object]:
    run = {
        "backend": "vllm",
        "model_id": "org/m",
        "duration": 9.0,
        "input_lens": [64, 65, 66],
        "output_lens": [8, 0, 8],
        "ttfts": [0.1, 0, 0.2],
        "itls": [[0.01] * 7, [], [0.01] * 7],
        "errors": ["", "refused", ""],
    }
    return run | more


def test_old_results_spread_over_their_duration(tmp_path: Path) -> None:
    trace = read_trace([written(tmp_path, lines(vllm_run()), "old.json")])
    assert cells(trace, "arrived_s", "input_tokens", "model") == [(0.0, 64, "org/m"), (6.0, 66, "org/m")]
    assert any("has no start_times" in text and "9 s" in text for text in trace.report.assumptions)


def test_failures_of_a_result_are_apart(tmp_path: Path) -> None:
    run = vllm_run(start_times=[70.5, 71.0, 72.0])
    trace = read_trace([written(tmp_path, json.dumps(run, indent=2), "pretty.json")])
    assert cells(trace, "arrived_s", "input_tokens") == [(0.0, 64), (1.5, 66)]
    assert trace.report.aside == {Kind.ERROR: Aside(rows=1, input_tokens=65)}


@pytest.mark.parametrize("new", [True, False])
def test_guidellm_requests_are_nested(tmp_path: Path, new: bool) -> None:  # noqa: FBT001
    def request(start: float) -> dict[str, object]:
        if new:
            timings = {"request_start": start, "request_end": start + 2}
            return {
                "info": {"timings": timings},
                "input_metrics": {"text_tokens": 99},
                "output_metrics": {"text_tokens": 11},
            }
        return {"request_start_time": start, "request_end_time": start + 2, "prompt_tokens": 99, "output_tokens": 11}

    groups = [
        {"requests": {"successful": [request(10.0), request(12.0)], "errored": [request(13.0)], "incomplete": []}},
        {"requests": {"successful": [request(20.0)], "errored": [], "incomplete": [request(21.0)]}},
    ]
    trace = read_trace([written(tmp_path, lines({"metadata": {}, "benchmarks": groups}), "g.json")])
    assert trace.report.format == "guidellm"
    assert cells(trace, *LENGTHS) == [(0.0, 99, 0, 11), (2.0, 99, 0, 11), (10.0, 99, 0, 11)]
    assert trace.report.set_aside == {Kind.ERROR: 2}


@pytest.mark.parametrize("new", [True, False])
def test_inference_perf_requests_are_read(tmp_path: Path, new: bool) -> None:  # noqa: FBT001
    old_info = {"input_tokens": 80, "output_tokens": 8, "output_token_times": [5.1, 5.2]}
    new_info = {
        "request_metrics": {"text": {"input_tokens": 80}},
        "response_metrics": {"output_tokens": 8, "output_token_times": [5.1, 5.2]},
    }
    records = [
        {"start_time": 5.0 + place, "end_time": 6.0 + place, "info": new_info if new else old_info, "error": error}
        for place, error in enumerate([None, None, {"error_type": "Timeout"}])
    ]
    trace = read_trace([written(tmp_path, json.dumps(records), "per_request_lifecycle_metrics.json")])
    assert trace.report.format == "inference_perf"
    assert cells(trace, *LENGTHS) == [(0.0, 80, 0, 8), (1.0, 80, 0, 8)]
    assert trace.report.set_aside == {Kind.ERROR: 1}


def test_simulators_count_in_ns_and_us(tmp_path: Path) -> None:
    header = "instance id,request id,model,input,output,arrival,end_time,latency,queuing_delay,TTFT,TPOT,ITL\n"
    rows = "".join(f'0,{place},m,40,4,{place}500000000,9,9,0,1,1,"[1, 2]"\n' for place in (1, 2, 3))
    trace = read_trace([written(tmp_path, header + rows)])
    assert trace.report.format == "llmservingsim"
    assert cells(trace, *LENGTHS) == [(0.0, 40, 0, 4), (1.0, 40, 0, 4), (2.0, 40, 0, 4)]
    text = "request_id,tenant_id,arrival_time_us,send_time_us,input_tokens,output_tokens,deadline_us,status\n"
    text += "".join(f"{place},t,{place * 250_000},9,50,5,900000,{'ok' if place else 'error'}\n" for place in range(5))
    trace = read_trace([written(tmp_path, text, "blis.csv")])
    assert trace.report.format == "blis"
    assert trace.requests["arrived_s"].to_list() == [0, 0.25, 0.5, 0.75]
    assert trace.requests["deadline_s"].null_count() == 4
