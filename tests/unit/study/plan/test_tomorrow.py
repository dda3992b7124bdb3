"""The policy of tomorrow: days are judged only if there are two, and the plan file says how."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from tests.unit.study.conftest import OPTIONS

from meritorder.errors import InfeasibleError
from meritorder.records import planfile
from meritorder.study.forward.seasonal import Method, MethodScores
from meritorder.study.forward.walk import UnseenDays, WalkDay
from meritorder.study.plan.answer import plan
from meritorder.study.plan.replay import replay
from meritorder.study.plan.tomorrow import _record
from meritorder.traces import Trace
from meritorder.traces.read import read_trace

DAY_S = 86_400.0
SCORES = MethodScores(days=8, pinball={Method.FITTED: 0.2, Method.SEASONAL: 0.1})


def judged(index: int, policy_usd: float, *, best_usd: float | None = 8.0, missed: int = 0) -> WalkDay:
    return WalkDay(
        index=index,
        requests=100 * (index + 1),
        policy="autoscaled",
        policy_usd=policy_usd,
        baseline="always on",
        baseline_usd=20.0,
        best_usd=best_usd,
        slo_attainment=0.99,
        slo_kept=missed == 0,
        baseline_slo_kept=True,
        deadlines_missed=missed,
        baseline_deadlines_missed=0,
        forecast=None,
    )


def walked(*days: WalkDay) -> UnseenDays:
    return UnseenDays(days=days, left_out={5: 7200.0}, policy=None, floor=(), scores=SCORES)  # type: ignore[arg-type]


def test_better_forecast_is_named_with_its_score() -> None:
    record = _record([walked(judged(1, 10.0))], None)
    assert record.forecast == "naive seasonal"
    assert record.pinball_by_method == {"fitted": 0.2, "naive seasonal": 0.1}


def test_days_are_summed_over_groups() -> None:
    record = _record([walked(judged(1, 10.0), judged(2, 12.0)), walked(judged(1, 5.0), judged(3, 1.0))], None)
    assert [day.day for day in record.days] == ["day 2"], "a day counts if every group was judged on it"
    assert record.total_usd == pytest.approx(15.0)
    assert record.baseline_usd == pytest.approx(40.0)
    assert record.saving_share == pytest.approx(0.625)
    assert record.regret == pytest.approx(15.0 / 16.0 - 1)


def test_dates_and_holes_are_named() -> None:
    record = _record([walked(judged(1, 10.0, missed=2), judged(2, 30.0))], epoch_s=1_767_571_200.0)  # 2026-01-05
    assert [day.day for day in record.days] == ["2026-01-06", "2026-01-07"]
    assert record.left_out == ["2026-01-10: no request for 2 h"]
    assert record.deadlines_missed == 2
    assert [day.slo_kept for day in record.days] == [False, True]
    assert record.saving_interval is not None
    assert record.saving_interval.low < 0 < record.saving_interval.high


def test_unknown_hindsight_leaves_no_regret() -> None:
    assert _record([walked(judged(1, 10.0, best_usd=None))], None).regret is None


@pytest.fixture(scope="module")
def two_days(tmp_path_factory: pytest.TempPathFactory) -> Trace:
    rng = np.random.default_rng(0)
    arrived_s = np.sort(np.concatenate([rng.uniform(0, DAY_S, 3_000) + day * DAY_S for day in range(2)]))
    count = len(arrived_s)
    path = tmp_path_factory.mktemp("days") / "days.parquet"
    pl.DataFrame(
        {
            "time": arrived_s,
            "input_tokens": rng.integers(100, 900, count),
            "output_tokens": rng.integers(20, 300, count),
        }
    ).write_parquet(path)
    return read_trace([path])


def test_second_day_is_judged_and_replayed(two_days: Trace) -> None:
    judged_plan = plan(two_days, OPTIONS)
    forward = judged_plan.walk_forward
    assert forward is not None
    assert len(forward.days) == 1
    assert forward.days[0].slo_kept
    assert forward.deadlines_missed == 0
    assert "On a day that it had not seen" in judged_plan.sentence
    assert judged_plan.policy_outcome is not None
    again = replay(judged_plan, two_days)
    assert again.total_usd == pytest.approx(judged_plan.policy_outcome.total_usd)


def test_one_day_is_hindsight_alone(day_plan: planfile.Plan) -> None:
    assert day_plan.walk_forward is None
    assert "With hindsight" in day_plan.sentence


def test_coming_days_are_planned(two_days: Trace, tmp_path: Path) -> None:
    """Two days of 3,000 requests are followed by more of them; one machine serves them, as it did."""
    answer = plan(two_days, replace(OPTIONS, coming_days=3))
    coming = answer.coming
    assert coming is not None
    assert [day.day for day in coming.days] == ["day 3", "day 4", "day 5"]
    assert all(day.requests == pytest.approx(3_000, rel=0.1) and day.kept for day in coming.days)
    assert coming.total_usd == pytest.approx(sum(day.total_usd for day in coming.days))
    assert coming.low_usd <= coming.total_usd <= coming.high_usd
    assert coming.growth_per_day == 1.0
    assert "From day 3 to day 5 the policy is expected to cost" in answer.sentence
    path = tmp_path / "plan.json"
    planfile.write_plan(answer, path)
    assert planfile.read_plan(path).coming == coming


def test_coming_days_need_a_history(small: Trace) -> None:
    with pytest.raises(InfeasibleError, match="fewer than two whole days to forecast from"):
        plan(small, replace(OPTIONS, coming_days=7))
