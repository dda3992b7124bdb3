"""A plan file on its own trace and on others."""

from pathlib import Path

import msgspec
import pytest
from tests.unit.study.plan.conftest import requests

from meritorder import planfile
from meritorder.errors import ConfigError
from meritorder.study.plan.replay import replay
from meritorder.traces import Trace
from meritorder.traces.read import read_trace


def test_own_trace_reproduces_the_outcome(made: planfile.Plan, day: Trace, tmp_path: Path) -> None:
    path = tmp_path / "plan.json"
    planfile.write_plan(made, path)
    assert replay(planfile.read_plan(path), day) == made.simulated


def test_twice_the_traffic_breaks_promises(made: planfile.Plan, tmp_path: Path) -> None:
    path = tmp_path / "busy.parquet"
    requests(24.0, seed=1).write_parquet(path)
    judged = replay(made, read_trace([path]))
    assert not judged.kept
    assert judged.slo_attainment is not None
    assert judged.slo_attainment < 0.95


def test_longer_trace_repeats_the_slots(made: planfile.Plan, tmp_path: Path) -> None:
    path = tmp_path / "long.parquet"
    requests(2.0, hours=12).write_parquet(path)
    judged = replay(made, read_trace([path]))
    assert made.simulated is not None
    assert judged.total_usd == pytest.approx(2 * made.simulated.total_usd, rel=0.15)
    assert judged.kept


def test_plan_without_promises_is_refused(made: planfile.Plan, day: Trace) -> None:
    with pytest.raises(ConfigError, match="does not state the promises of its requests"):
        replay(msgspec.structs.replace(made, promises=None), day)
