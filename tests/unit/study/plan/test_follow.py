"""A plan file carried out again: the same on its own trace, judged on another."""

from pathlib import Path

import msgspec
import pytest
from tests.unit.study.plan.conftest import requests

from meritorder import planfile, traces
from meritorder.errors import ConfigError
from meritorder.study.plan.follow import follow
from meritorder.traces import Trace


def test_on_its_own_trace_it_comes_to_the_same(made: planfile.Plan, day: Trace, tmp_path: Path) -> None:
    path = tmp_path / "plan.json"
    planfile.write_plan(made, path)
    assert follow(planfile.read_plan(path), day) == made.simulated


def test_twice_the_traffic_breaks_it(made: planfile.Plan, tmp_path: Path) -> None:
    path = tmp_path / "busy.parquet"
    requests(24.0, seed=1).write_parquet(path)
    judged = follow(made, traces.read([path]))
    assert not judged.kept
    assert judged.slo_attainment is not None
    assert judged.slo_attainment < 0.95


def test_a_longer_trace_repeats_its_slots(made: planfile.Plan, tmp_path: Path) -> None:
    path = tmp_path / "long.parquet"
    requests(2.0, hours=12).write_parquet(path)
    judged = follow(made, traces.read([path]))
    assert made.simulated is not None
    assert judged.total_usd == pytest.approx(2 * made.simulated.total_usd, rel=0.15)
    assert judged.kept


def test_a_plan_without_promises_is_refused(made: planfile.Plan, day: Trace) -> None:
    with pytest.raises(ConfigError, match="does not say what its requests were promised"):
        follow(msgspec.structs.replace(made, promises=None), day)
