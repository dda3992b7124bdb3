"""A plan file on its own trace and on others."""

import dataclasses
from pathlib import Path

import msgspec
import pytest
from tests.unit.study.conftest import HOURS, OPTIONS, requests

from meritorder.errors import ConfigError
from meritorder.records import planfile
from meritorder.study.plan.answer import plan
from meritorder.study.plan.replay import replay
from meritorder.traces import Trace
from meritorder.traces.read import read_trace


def test_own_trace_reproduces_the_outcome(day_plan: planfile.Plan, day: Trace, tmp_path: Path) -> None:
    path = tmp_path / "plan.json"
    planfile.write_plan(day_plan, path)
    assert replay(planfile.read_plan(path), day) == day_plan.policy_outcome


def test_twice_the_traffic_breaks_a_schedule(day_plan: planfile.Plan, tmp_path: Path) -> None:
    path = tmp_path / "busy.parquet"
    requests(24.0, seed=1).write_parquet(path)
    judged = replay(msgspec.structs.replace(day_plan, policy=None), read_trace([path]))
    assert not judged.kept
    assert judged.slo_attainment is not None
    assert judged.slo_attainment < 0.95


def test_policy_follows_a_longer_trace(day_plan: planfile.Plan, tmp_path: Path) -> None:
    path = tmp_path / "long.parquet"
    requests(2.0, hours=2 * HOURS).write_parquet(path)
    judged = replay(day_plan, read_trace([path]))
    assert day_plan.policy_outcome is not None
    # Twice as long, at a sixth of the rate: the policy follows the traffic.
    assert 0 < judged.total_usd < 2 * day_plan.policy_outcome.total_usd
    assert judged.kept


def test_unservable_request_is_left_out(tmp_path: Path) -> None:
    """20,000 tokens in 2 min would need steps of 6 ms, which no L40S has; the others are planned."""
    rows = [f"{second},300,{20_000 if second == 120 else 40}\n" for second in range(300)]
    path = tmp_path / "trace.csv"
    path.write_text("time,input_tokens,output_tokens\n" + "".join(rows))
    long = read_trace([path])
    answer = plan(long, dataclasses.replace(OPTIONS, defer=("100%@2m",), hindsight=True))
    assert answer.unservable is not None
    assert (answer.unservable.requests, answer.unservable.of, answer.unservable.first[0].row) == (1, 300, 121)
    assert answer.sentence.startswith("1 of 300 requests is left out")
    assert answer.simulated is not None
    assert (answer.simulated.requests, answer.simulated.deadlines_missed) == (299, 0)
    judged = replay(answer, long)
    assert judged.unservable == 1
    assert judged == answer.policy_outcome


def test_plan_without_promises_is_refused(day_plan: planfile.Plan, day: Trace) -> None:
    with pytest.raises(ConfigError, match="does not state the promises of its requests"):
        replay(msgspec.structs.replace(day_plan, promises=None), day)
