"""The cheapest way for a job: each way costs what compare and the price list say."""

import json
from pathlib import Path

import pytest

from meritorder.errors import TraceError
from meritorder.records.estimation import Estimate
from meritorder.study.compare.compare import compare
from meritorder.study.estimate.job import estimate_job, job_options, with_answers
from meritorder.study.fleet.options import CompareOptions
from meritorder.traces import Trace
from meritorder.traces.read import read_trace

OPTIONS = CompareOptions(model="llama-3.1-8b", hardware=("l40s",), tp=1)
DAY_S = 86_400.0


@pytest.fixture
def prompts(tmp_path: Path) -> Trace:
    path = tmp_path / "prompts.jsonl"
    lines = (json.dumps({"id": number, "prompt": "one two three four " * 40}) for number in range(300))
    path.write_text("\n".join(lines))
    return with_answers(read_trace([path]), 100)


def costs(answer: Estimate) -> dict[str, float]:
    return {way.name: way.usd for way in reversed(answer.ways)}


def test_job_agrees_with_compare(prompts: Trace) -> None:
    answer = estimate_job(prompts, DAY_S, OPTIONS)
    mix = next(row for row in compare(prompts, job_options(OPTIONS, DAY_S)).arrangements if row.name == "mix")
    machines = [usd for name, usd in costs(answer).items() if name.startswith("machines")]
    assert min(machines) == pytest.approx(mix.total_usd)


def test_ways_are_ranked_in_time_first(prompts: Trace) -> None:
    answer = estimate_job(prompts, DAY_S, OPTIONS)
    in_time = [way for way in answer.ways if way.in_time is not False]
    assert answer.ways[: len(in_time)] == in_time
    assert [way.usd for way in in_time] == sorted(way.usd for way in in_time)
    assert answer.best == answer.ways[0].name
    machine = next(way for way in answer.ways if way.name == "machines_on_demand_l40s")
    # It takes at least its start-up of five minutes.
    assert machine.in_time
    assert machine.finished_s is not None
    assert 300 < machine.finished_s < DAY_S


def test_batch_tier_needs_its_turnaround(prompts: Trace) -> None:
    tight = estimate_job(prompts, 3600.0, CompareOptions(model="gpt-4.1-mini"))
    batch = next(way for way in tight.ways if way.name == "tokens_batch")
    assert batch.in_time is False
    day = estimate_job(prompts, DAY_S, CompareOptions(model="gpt-4.1-mini"))
    assert day.best == "tokens_batch"
    assert costs(day)["tokens_batch"] == pytest.approx(costs(day)["tokens_standard"] / 2)


def test_commands_run_the_cheapest_way(prompts: Trace) -> None:
    tokens = estimate_job(prompts, DAY_S, CompareOptions(model="gpt-4.1-mini"))
    (file,) = prompts.report.files
    assert tokens.commands == [
        "meritorder serve --config gateway.toml",
        f"meritorder batch submit {file} --model gpt-4.1-mini --window 24h --wait",
    ]


def test_counts_alone_are_not_submitted(small: Trace) -> None:
    answer = estimate_job(small, DAY_S, CompareOptions(model="gpt-4.1-mini"))
    assert answer.commands == ["meritorder serve --config gateway.toml"]


def test_stated_answers_are_kept(prompts: Trace, small: Trace) -> None:
    assert prompts.requests["output_tokens"].unique().to_list() == [100]
    assert any("every answer has 100 tokens" in text for text in prompts.report.assumptions)
    with pytest.raises(TraceError, match="--output: the file states how long"):
        with_answers(small, 100)
    with pytest.raises(TraceError, match="at least one token"):
        with_answers(prompts, 0)


def test_machines_state_their_range(prompts: Trace) -> None:
    """The range is in the time of work alone: starting takes as long on fast and on slow machines."""
    answer = estimate_job(prompts, DAY_S, OPTIONS)
    machine = next(way for way in answer.ways if way.name == "machines_on_demand_l40s")
    assert machine.usd_range is not None
    assert machine.finished_range_s is not None
    assert machine.finished_s is not None
    fast_s, slow_s = machine.finished_range_s
    assert 300 < fast_s < machine.finished_s < slow_s
    assert machine.usd_range[0] < machine.usd < machine.usd_range[1]
    ratio = (slow_s - 300) / (machine.finished_s - 300)
    assert (fast_s - 300) / (machine.finished_s - 300) < 1 < ratio
    assert f"{ratio - 1:.0%}".replace("%", " %") in machine.certainty
    assert all(way.usd_range is None for way in answer.ways if way.name.startswith("tokens"))
