"""Tables by their column names."""

from pathlib import Path

import pytest
from tests.samples.trace_files import LENGTHS, cells, lines, real, refused, written

from meritorder.traces.read import read_trace


@pytest.mark.parametrize(
    ("name", "requests", "tenants"),
    [
        ("traces/servegen/servegen_m_large_week1.parquet", 136_570, 108),
        ("traces/vtc_arena/vtc_arena.parquet", 1_500, 27),
        ("measured/vllm_0.19_requests.csv", 600, 0),
    ],
)
def test_well_known_columns_real(name: str, requests: int, tenants: int) -> None:
    trace = read_trace([real(name)], strict=True)
    assert trace.report.format == "columns"
    assert trace.requests.height == requests
    assert trace.requests["tenant"].drop_nulls().n_unique() == tenants
    assert trace.epoch_s is None


def test_columns_are_mapped_by_the_user(tmp_path: Path) -> None:
    text = "when;ein;aus;wer;bis\n2026-01-05 10:00:00;5;6;a;2026-01-05 11:00:00\n2026-01-05 10:00:30;7;8;b;\n"
    mapping = {"arrival": "when", "input": "ein", "output": "aus", "tenant": "wer", "deadline": "bis"}
    trace = read_trace([written(tmp_path, text)], columns=mapping)
    assert cells(trace, *LENGTHS, "tenant", "deadline_s") == [
        (0.0, 5, 0, 6, "a", 3600.0),
        (30.0, 7, 0, 8, "b", None),
    ]


def test_missing_column_is_named(tmp_path: Path) -> None:
    message = refused(written(tmp_path, "arrived_s,prompt_tokens\n1,2\n"), format="columns")
    assert "column for output" in message
    assert "--columns output=NAME" in message


def test_unread_token_columns_are_stated(tmp_path: Path) -> None:
    header = "timestamp,prompt_tokens,completion_tokens,reasoning_tokens,max_tokens,audio_tokens,total_tokens\n"
    path = written(tmp_path, header + "2026-11-02T09:00:00Z,500,90,1900,4096,0,590\n")
    stated = [text for text in read_trace([path]).report.assumptions if text.startswith("not read")]
    # Limits, totals and columns of zeros are no parts.
    assert len(stated) == 1
    assert "counts: reasoning_tokens; if" in stated[0]
    added = read_trace([path], columns={"output": "completion_tokens+reasoning_tokens"})
    assert added.requests["output_tokens"].to_list() == [1990]
    assert not any(text.startswith("not read") for text in added.report.assumptions)


def test_unsuccessful_calls_are_failures(tmp_path: Path) -> None:
    header = "timestamp,prompt_tokens,completion_tokens,success\n"
    path = written(tmp_path, header + "2026-11-02T09:00:00Z,500,90,true\n2026-11-02T09:00:01Z,500,90,False\n")
    report = read_trace([path]).report
    assert (report.requests, report.failed_rows) == (1, 1)


def test_day_and_clock_are_one_time(tmp_path: Path) -> None:
    path = written(
        tmp_path, "date,time,prompt_tokens,completion_tokens\n2026-11-02,09:00:00,5,3\n2026-11-03,09:01:30,6,3\n"
    )
    trace = read_trace([path])
    assert trace.requests["arrived_s"].to_list() == [0.0, 86_490.0]
    assert trace.epoch_s == 1_793_610_000


def test_parts_of_a_time_are_named(tmp_path: Path) -> None:
    path = written(tmp_path, "d,t,prompt_tokens,completion_tokens\n02.11.2026,09:00,5,3\n02.11.2026,09:01,6,3\n")
    trace = read_trace([path], columns={"arrival": "d+t"})
    assert trace.requests["arrived_s"].to_list() == [0.0, 60.0]


@pytest.mark.parametrize(
    ("usage", "cached"),
    [
        (
            {"usage_metadata": {"input_tokens": 500, "output_tokens": 90, "input_token_details": {"cache_read": 400}}},
            400,
        ),
        (
            {
                "meta": {
                    "billed_units": {"input_tokens": 7, "output_tokens": 9},
                    "tokens": {"input_tokens": 500, "output_tokens": 90},
                }
            },
            0,
        ),
    ],
)
def test_usage_of_libraries_is_known(tmp_path: Path, usage: dict[str, object], cached: int) -> None:
    """LangChain's input includes the cache; Cohere bills less than it reads."""
    path = written(tmp_path, lines({"time": "2026-11-02T09:00:00Z", **usage}), "log.jsonl")
    assert cells(read_trace([path]), *LENGTHS) == [(0.0, 500, cached, 90)]


def test_named_lengths_need_no_times(tmp_path: Path) -> None:
    path = written(tmp_path, "name,prompt_tokens,completion_tokens\na,5,3\nb,6,3\n")
    trace = read_trace([path], columns={"input": "prompt_tokens", "output": "completion_tokens"})
    assert cells(trace, *LENGTHS) == [(0.0, 5, 0, 3), (0.0, 6, 0, 3)]
    assert "the file has no arrival times: all requests arrive at once" in trace.report.assumptions
    assert "arrival=NAME" in refused(path)
