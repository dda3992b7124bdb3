"""Sums of several requests, spread over their interval."""

from pathlib import Path

import pytest
from tests.samples.trace_files import lines, refused, written

from meritorder.traces.read import read_trace
from meritorder.traces.trace import Aside, Kind

HEADER = "start_time,end_time,input_tokens,output_tokens,cached_tokens,num_model_requests\n"


def test_sums_are_refused_with_their_totals(tmp_path: Path) -> None:
    message = refused(written(tmp_path, HEADER + "1000000000,1000000060,1000,70,300,7\n" * 2))
    assert "14 calls, 2,000 input and 140 output tokens" in message
    assert "--aggregate" in message


def test_spread_keeps_tokens_and_interval(tmp_path: Path) -> None:
    path = written(tmp_path, HEADER + "1000000000,1000000060,1000,70,300,7\n1000000060,1000000120,11,5,0,1\n")
    trace = read_trace([path], aggregate=True)
    assert trace.requests.height == 8
    tokens = trace.requests.select("input_tokens", "output_tokens", "cached_tokens").sum().row(0)
    assert tokens == (1011, 75, 300)
    assert trace.epoch_s is not None
    arrived = trace.requests["arrived_s"] + trace.epoch_s - 1_000_000_000
    assert (arrived < 60).sum() == 7, "in the first minute; the other row is one request at the start of the next"
    assert arrived[-1] == pytest.approx(60)
    assert any("7 requests" in text and "at random" in text for text in trace.report.assumptions)


def test_interval_is_the_usual_gap(tmp_path: Path) -> None:
    text = "time,input_tokens,output_tokens,calls\n" + "".join(f"{hour * 3600},900,90,3\n" for hour in range(4))
    trace = read_trace([written(tmp_path, text)], aggregate=True, columns={"calls": "calls"})
    hours = (trace.requests["arrived_s"] // 3600).value_counts().sort("arrived_s")["count"].to_list()
    assert sum(hours) == 12
    assert 2 * 3600 < trace.requests["arrived_s"][-1] < 4 * 3600


def test_mixed_rows_set_sums_aside(tmp_path: Path) -> None:
    trace = read_trace([written(tmp_path, HEADER + "1000000000,1000000060,1000,70,0,7\n1000000060,,11,5,0,1\n")])
    assert trace.requests.height == 1
    assert trace.report.aside == {Kind.BUCKET: Aside(rows=1, input_tokens=1000, output_tokens=70, calls=7)}
    assert trace.report.unpriced == "87.5% of the traffic is not priced: 7 of 8 calls (7 sums of several requests)."


def test_aggregate_needs_a_count(tmp_path: Path) -> None:
    path = written(tmp_path, "arrived_s,input_tokens,output_tokens\n1,1,1\n")
    assert "calls=NAME" in refused(path, aggregate=True)


def test_absurd_sums_are_refused(tmp_path: Path) -> None:
    path = written(tmp_path, HEADER + "1000000000,1000000060,1000,70,0,999999999999\n")
    assert "more than" in refused(path, aggregate=True)


def test_means_of_calls_are_not_split(tmp_path: Path) -> None:
    """800 tokens a call, whether a row has 100, 120 or 90; as sums they would be 8 a call."""
    text = "minute,requests,prompt_tokens,completion_tokens\n" + "".join(
        f"2026-11-02T09:0{minute}:00Z,{calls},{800 + minute},200\n" for minute, calls in enumerate((100, 120, 90))
    )
    trace = read_trace([written(tmp_path, text)], aggregate=True)
    assert trace.requests["input_tokens"].sum() == 100 * 800 + 120 * 801 + 90 * 802
    assert trace.requests["output_tokens"].unique().to_list() == [200]
    assert any("they are taken as means" in text for text in trace.report.assumptions)


def test_constant_sums_are_split(tmp_path: Path) -> None:
    """A limit on tokens keeps the sums of minutes alike while the number of calls varies."""
    text = "minute,requests,prompt_tokens,completion_tokens\n" + "".join(
        f"2026-11-02T09:0{minute}:00Z,{calls},90000,20000\n" for minute, calls in enumerate((100, 120, 90))
    )
    trace = read_trace([written(tmp_path, text)], aggregate=True)
    assert trace.requests["input_tokens"].sum() == 270_000


@pytest.mark.parametrize(("form", "count"), [("2026-11-{:02}", 5), ("2026-11-02 {:02}:00", 24)])
def test_one_row_a_day_or_hour_is_a_sum(tmp_path: Path, form: str, count: int) -> None:
    """A log has times to the second: rows at every midnight or whole hour, one for each model, are sums."""
    rows = [
        f"{form.format(place + 1 if count < 24 else place)},{model},45000,3000"
        for place in range(count)
        for model in "ab"
    ]
    path = written(tmp_path, "\n".join(["date,model,input_tokens,output_tokens", *rows]))
    assert "the rows look like sums of several requests: one every" in refused(path)


def test_days_without_a_clock_are_stated(tmp_path: Path) -> None:
    rows = [f"2026-11-0{1 + place % 3},{1000 + place},300" for place in range(12)]
    trace = read_trace([written(tmp_path, "\n".join(["date,input_tokens,output_tokens", *rows]))])
    assert trace.requests.height == 12
    assert any("arrivals are days without a clock" in text for text in trace.report.assumptions)


def test_result_of_an_agent_sums_its_turns(tmp_path: Path) -> None:
    usage = {"input_tokens": 50, "cache_creation_input_tokens": 50, "cache_read_input_tokens": 900, "output_tokens": 90}
    record = {"type": "result", "timestamp": "2026-11-02T09:00:00Z", "num_turns": 5, "usage": usage}
    path = written(tmp_path, lines(record), "runs.jsonl")
    assert "1 row, 5 calls, 1,000 input and 90 output tokens" in refused(path)
    assert read_trace([path], aggregate=True).requests["input_tokens"].to_list() == [200] * 5


def test_a_day_of_requests_without_a_clock(tmp_path: Path) -> None:
    path = written(tmp_path, "date,input_tokens,output_tokens\n" + "2026-11-02,1000,300\n" * 3)
    assert any("arrivals are days without a clock" in text for text in read_trace([path]).report.assumptions)


def test_sums_of_a_single_day_are_spread_over_it(tmp_path: Path) -> None:
    """A day's requests within one minute would need a thousand times the machines."""
    text = "time,input_tokens,output_tokens,calls\n2026-11-02,90000,9000,300\n"
    trace = read_trace([written(tmp_path, text)], aggregate=True, columns={"calls": "calls"})
    assert trace.requests.height == 300
    assert trace.requests["arrived_s"][-1] > 20 * 3600
