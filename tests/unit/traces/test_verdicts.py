"""Rows that are read and are not one request: their kinds, counts and tokens."""

from pathlib import Path

import pytest
from tests.samples.trace_files import LENGTHS, cells, refused, written

from meritorder.traces.read import read_trace
from meritorder.traces.trace import Aside, Kind, Trace

TIMES = [f"2026-03-0{day}T10:{minute:02d}:00.{minute + day:03d}Z" for day in (1, 2) for minute in range(0, 60, 4)]


def table(header: str, rows: list[str]) -> str:
    return "\n".join([header, *rows, ""])


def read(tmp_path: Path, header: str, rows: list[str]) -> Trace:
    return read_trace([written(tmp_path, table(header, rows))])


def test_error_status_is_a_class(tmp_path: Path) -> None:
    statuses = ["200", "429", "503", "ok", "failure", ""]
    rows = [f"{place},100,{10 if status else 0},{status}" for place, status in enumerate(statuses)]
    trace = read(tmp_path, "time,input_tokens,output_tokens,status_code", rows)
    assert trace.requests.height == 2
    assert trace.report.aside == {
        Kind.ERROR: Aside(rows=3, input_tokens=300, output_tokens=30),
        Kind.FAILED: Aside(rows=1, input_tokens=100),
    }
    assert trace.report.failed_rows == 4
    assert trace.report.unpriced == ""


def test_error_text_is_a_failure(tmp_path: Path) -> None:
    trace = read(tmp_path, "time,input_tokens,output_tokens,error", ["1,5,5,", "2,5,5,null", "3,5,5,rate limited"])
    assert trace.report.set_aside == {Kind.ERROR: 1}


def test_missing_counts_are_told_first(tmp_path: Path) -> None:
    rows = [f"{place},{0 if place % 4 == 0 else 50},{0 if place % 4 == 0 else 5}" for place in range(40)]
    trace = read(tmp_path, "time,input_tokens,output_tokens", rows)
    assert trace.report.aside == {Kind.UNCOUNTED: Aside(rows=10)}
    assert trace.report.unpriced == (
        "25.0% of the traffic is not priced: 10 of 40 calls (10 answered without token counts)."
    )


def test_parents_repeat_their_children(tmp_path: Path) -> None:
    rows = ["0,300,30,chain,", "0,100,10,call1,chain", "1,200,20,call2,chain", "2,7,7,alone,"]
    trace = read(tmp_path, "time,input_tokens,output_tokens,id,parent_id", rows)
    assert trace.requests["input_tokens"].to_list() == [100, 200, 7]
    assert trace.report.aside == {Kind.PARENT: Aside(rows=1, input_tokens=300, output_tokens=30)}


def test_same_row_with_id_counts_once(tmp_path: Path) -> None:
    rows = [f"r{place // 2},{time},{100 + place // 2},9" for place, time in enumerate(sorted(TIMES * 2))]
    trace = read(tmp_path, "request_id,timestamp,prompt_tokens,completion_tokens", rows)
    assert trace.requests.height == 30
    assert trace.report.aside == {Kind.SAME_ROW: Aside(rows=30, input_tokens=sum(range(100, 130)), output_tokens=270)}


def test_same_row_without_id_counts_once(tmp_path: Path) -> None:
    trace = read(tmp_path, "timestamp,prompt_tokens,completion_tokens", [f"{time},10,9" for time in sorted(TIMES * 3)])
    assert (trace.requests.height, trace.report.set_aside) == (30, {Kind.SAME_ROW: 60})


def test_equal_rows_in_whole_seconds_noted(tmp_path: Path) -> None:
    rows = [f"{second},10,9" for second in range(20) for _ in range(2)]
    trace = read(tmp_path, "arrived_s,prompt_tokens,completion_tokens", rows)
    assert trace.requests.height == 40
    assert any("every row is there 2 times" in text for text in trace.report.assumptions)


def test_retry_keeps_the_longest_answer(tmp_path: Path) -> None:
    rows = [f"r{place},{place},10,5" for place in range(20)]
    trace = read(tmp_path, "request_id,arrived_s,input_tokens,output_tokens", ["r3,2.5,10,2", *rows])
    assert trace.requests.height == 20
    assert trace.report.aside == {Kind.REPEATED: Aside(rows=1, input_tokens=10, output_tokens=2)}


def test_log_written_twice_at_other_times(tmp_path: Path) -> None:
    rows = [f"r{place},{place + shift},{100 + place},5" for place in range(20) for shift in (0, 0.25)]
    trace = read(tmp_path, "request_id,arrived_s,input_tokens,output_tokens", rows)
    assert (trace.requests.height, trace.report.set_aside) == (20, {Kind.REPEATED: 20})


def test_start_and_end_rows_are_one(tmp_path: Path) -> None:
    rows = [row for place in range(20) for row in (f"r{place},{place},0,0", f"r{place},{place + 0.5},{100 + place},5")]
    trace = read(tmp_path, "request_id,arrived_s,input_tokens,output_tokens", rows)
    assert (trace.requests.height, trace.report.set_aside) == (20, {Kind.REPEATED: 20})
    assert trace.report.unpriced == ""


def test_prompts_beyond_any_context_are_sums(tmp_path: Path) -> None:
    trace = read(tmp_path, "time,input_tokens,output_tokens", ["0,1000,9", "1,4800000,600000"])
    assert trace.report.aside == {Kind.BUCKET: Aside(rows=1, input_tokens=4_800_000, output_tokens=600_000)}


def test_ids_that_often_return_are_ignored(tmp_path: Path) -> None:
    rows = [f"{place % 4},{place},10,5" for place in range(20)]
    trace = read(tmp_path, "request_id,arrived_s,input_tokens,output_tokens", rows)
    assert trace.requests.height == 20
    assert any("not taken as ids" in text for text in trace.report.assumptions)


def test_same_ids_in_two_files(tmp_path: Path) -> None:
    header = "request_id,arrived_s,input_tokens,output_tokens"
    first = written(tmp_path, table(header, [f"r{place},{place},10,5" for place in range(10)]), "a.csv")
    second = written(tmp_path, table(header, [f"r{place},{place},10,5" for place in range(8, 20)]), "b.csv")
    trace = read_trace([first, second])
    assert (trace.requests.height, trace.report.set_aside) == (20, {Kind.SAME_ROW: 2})


def test_cache_beyond_the_input_is_added(tmp_path: Path) -> None:
    trace = read(tmp_path, "time,input_tokens,output_tokens,cached_tokens", ["0,5,9,700", "1,6,9,700", "2,8,9,0"])
    assert cells(trace, *LENGTHS) == [(0.0, 705, 700, 9), (1.0, 706, 700, 9), (2.0, 8, 0, 9)]
    assert any("taken to leave them out" in text for text in trace.report.assumptions)


def test_single_row_beyond_is_bad(tmp_path: Path) -> None:
    rows = ["0,5,9,700", *(f"{place},900,9,700" for place in range(1, 5))]
    trace = read(tmp_path, "time,input_tokens,output_tokens,cached_tokens", rows)
    assert trace.report.bad == {"more cached than input tokens": 1}


@pytest.mark.parametrize("value", ["", "nan", "NaN", "none", "-3", "0.5"])
def test_optional_columns_cost_no_row(tmp_path: Path, value: str) -> None:
    trace = read(tmp_path, "time,input_tokens,output_tokens,cached_tokens", [f"0,5,9,{value}", "1,8,9,2"])
    assert trace.requests["cached_tokens"].to_list() == [0, 2]


def test_long_rows_at_one_interval_refused(tmp_path: Path) -> None:
    rows = [f"{minute * 300},{400_000 + minute},90000" for minute in range(24)]
    message = refused(written(tmp_path, table("time,input_tokens,output_tokens", rows)))
    assert "look like sums" in message
    assert "one every 300 s" in message
    assert "--aggregate" in message


def test_steady_trace_is_no_sum(tmp_path: Path) -> None:
    rows = [f"{minute * 60},1000,200" for minute in range(60)]
    assert read(tmp_path, "time,input_tokens,output_tokens", rows).requests.height == 60


def test_caller_with_own_tokens_is_kept(tmp_path: Path) -> None:
    rows = ["0,900,30,outer,", "1,100,10,inner,outer", "2,0,0,root,", "3,50,5,leaf,root"]
    trace = read(tmp_path, "time,input_tokens,output_tokens,id,parent_id", rows)
    assert trace.requests["input_tokens"].to_list() == [900, 100, 50]
    assert trace.report.set_aside == {Kind.PARENT: 1}


def test_sums_pass_steps_without_tokens(tmp_path: Path) -> None:
    rows = ["0,150,15,root,", "1,0,0,step,root", "2,100,10,a,step", "3,50,5,b,step"]
    trace = read(tmp_path, "time,input_tokens,output_tokens,id,parent_id", rows)
    assert trace.requests["input_tokens"].to_list() == [100, 50]
    assert trace.report.aside == {Kind.PARENT: Aside(rows=2, input_tokens=150, output_tokens=15)}


def test_success_without_output_is_uncounted(tmp_path: Path) -> None:
    rows = ["0,100,10,200", "1,100,0,200", "2,100,0,503"]
    trace = read(tmp_path, "time,input_tokens,output_tokens,status_code", rows)
    assert trace.report.set_aside == {Kind.UNCOUNTED: 1, Kind.ERROR: 1}


@pytest.mark.parametrize(
    ("column", "value"),
    [("endpoint", "/v1/embeddings"), ("path", "/v1/rerank"), ("model", "text-embedding-3-small"), ("model", "bge-m3")],
)
def test_calls_without_text_have_a_kind(tmp_path: Path, column: str, value: str) -> None:
    rows = ["0,100,10,/v1/chat/completions", f"1,70,0,{value}"]
    trace = read(tmp_path, f"time,input_tokens,output_tokens,{column}", rows)
    assert trace.report.aside == {Kind.NO_GENERATION: Aside(rows=1, input_tokens=70)}


def test_total_beyond_both_columns_is_said(tmp_path: Path) -> None:
    rows = [f"{place},100,10,{710 if place else 110}" for place in range(5)]
    trace = read(tmp_path, "time,input_tokens,output_tokens,total_tokens", rows)
    assert any(
        "in 4 of 5 rows the total is more than input and output, by 2,400" in text for text in trace.report.assumptions
    )


@pytest.mark.parametrize("names", ["createdAt,promptTokens,completionTokens", "Created At,Prompt Tokens,Output-Tokens"])
def test_names_are_known_in_any_spelling(tmp_path: Path, names: str) -> None:
    trace = read(tmp_path, names, ["5,100,10", "6,100,10"])
    assert trace.requests["output_tokens"].to_list() == [10, 10]


def test_counters_start_again_in_each_file(tmp_path: Path) -> None:
    header = "request_id,arrived_s,input_tokens,output_tokens"
    long = written(tmp_path, table(header, [f"{place},{place},10,5" for place in range(50)]), "a.csv")
    short = written(tmp_path, table(header, [f"{place},{place + 60},10,5" for place in range(5)]), "b.csv")
    trace = read_trace([long, short])
    assert (trace.requests.height, trace.report.set_aside) == (55, {})


@pytest.mark.parametrize(
    "total", ["Total,435,145", "Grand total,435,145", ",435,145", "Summe,435,145", "Average,43,14"]
)
def test_sums_of_the_rows_are_set_aside(tmp_path: Path, total: str) -> None:
    """Ten rows of 39 to 48 input tokens, 435 in all, and of 10 to 19 output tokens, 145 in all."""
    rows = [f"2026-11-02T09:{minute:02d}:00Z,{39 + minute},{10 + minute}" for minute in range(10)]
    trace = read(tmp_path, "timestamp,prompt_tokens,completion_tokens", [*rows, total])
    assert (trace.requests.height, trace.report.bad, trace.report.unpriced) == (10, {}, "")
    assert trace.report.set_aside == {Kind.SUMMARY: 1}


def test_other_row_without_time_is_bad(tmp_path: Path) -> None:
    rows = ["2026-11-02T09:00:00Z,5,3", "2026-11-02T09:01:00Z,6,3", ",12,6"]
    trace = read(tmp_path, "timestamp,prompt_tokens,completion_tokens", rows)
    assert trace.report.bad == {"no arrival time": 1}


def test_running_totals_are_refused(tmp_path: Path) -> None:
    """A counter is exported as it stands: both counts rise in every row, to thirty times the first."""
    rows = [f"2026-11-02T09:{minute:02d}:00Z,{1000 * (minute + 1)},{200 * (minute + 1)}" for minute in range(30)]
    assert "running totals of a counter" in refused(
        written(tmp_path, table("timestamp,prompt_tokens,completion_tokens", rows))
    )
    later = [row.replace("30000,6000", "30000,40") for row in rows]
    assert read(tmp_path, "timestamp,prompt_tokens,completion_tokens", later).requests.height == 30


def test_status_lines_have_their_code(tmp_path: Path) -> None:
    trace = read(
        tmp_path,
        "time,status,input_tokens,output_tokens",
        ["0,200 OK,5,9", "1,429 Too Many Requests,0,0", "2,500 x,5,9"],
    )
    assert trace.requests["arrived_s"].to_list() == [0.0]
    assert trace.report.set_aside == {Kind.ERROR: 2}
