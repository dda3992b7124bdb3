"""A plan file on its own trace and on others."""

from pathlib import Path

import msgspec
import pytest
from tests.unit.study.conftest import requests

from meritorder import planfile
from meritorder.errors import ConfigError
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
    requests(2.0, hours=12).write_parquet(path)
    judged = replay(day_plan, read_trace([path]))
    assert day_plan.policy_outcome is not None
    # Twice as long, at a sixth of the rate: the policy follows the traffic.
    assert 0 < judged.total_usd < 2 * day_plan.policy_outcome.total_usd
    assert judged.kept


def test_plan_without_promises_is_refused(day_plan: planfile.Plan, day: Trace) -> None:
    with pytest.raises(ConfigError, match="does not state the promises of its requests"):
        replay(msgspec.structs.replace(day_plan, promises=None), day)
