"""A plan of a trace: it keeps its promises when simulated, and its figures add up."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from tests.unit.study.conftest import OPTIONS, requests

from meritorder.domain import Slo
from meritorder.errors import InfeasibleError
from meritorder.records import planfile
from meritorder.study.plan.answer import plan
from meritorder.traces import Trace
from meritorder.traces.read import read_trace


def test_plan_keeps_every_promise(day_plan: planfile.Plan, day: Trace) -> None:
    simulated = day_plan.simulated
    assert simulated is not None
    assert simulated.kept
    assert simulated.deadlines_missed == 0
    assert simulated.slo_attainment is not None
    assert simulated.slo_attainment >= 0.99
    assert simulated.requests == day.requests.height
    assert "Every promise is kept" in day_plan.sentence


def test_bounds_are_below_the_cost(day_plan: planfile.Plan) -> None:
    assert 0 < day_plan.hard_bound_usd <= day_plan.bound_usd <= day_plan.total_usd
    assert day_plan.gap == pytest.approx(day_plan.total_usd / day_plan.bound_usd - 1)
    assert day_plan.gap < 0.25  # a fleet of a few machines


def test_dollars_add_up(day_plan: planfile.Plan) -> None:
    simulated = day_plan.simulated
    assert simulated is not None
    assert day_plan.baseline_usd is not None
    assert day_plan.total_usd == simulated.total_usd
    assert sum(day_plan.by_pricing_model.values()) == pytest.approx(day_plan.total_usd)
    assert sum(simulated.usd_by_pool.values()) == pytest.approx(day_plan.total_usd)
    assert day_plan.baseline_usd + sum(part.usd for part in day_plan.waterfall) == pytest.approx(day_plan.total_usd)
    assert day_plan.saving_usd == pytest.approx(day_plan.baseline_usd - day_plan.total_usd)
    assert day_plan.saving_usd is not None
    assert day_plan.saving_usd > 0
    assert day_plan.saving_share == pytest.approx(day_plan.saving_usd / day_plan.baseline_usd)


def test_paid_machines_cover_the_work(day_plan: planfile.Plan) -> None:
    dispatch = day_plan.dispatch
    assert dispatch is not None
    paid = [sum(values) for values in zip(*dispatch.paid_gpus.values(), strict=True)]
    work = [sum(values) for values in zip(dispatch.realtime_gpus, dispatch.deferrable_gpus, strict=True)]
    assert all(there >= busy - 1e-6 for there, busy in zip(paid, work, strict=True))
    assert sum(dispatch.deferrable_gpus) == pytest.approx(sum(dispatch.arrived_gpus), rel=1e-6)
    assert all(0 < step.used_share <= 1 for step in day_plan.merit_order)
    prices = [step.usd_per_mtok for step in day_plan.merit_order]
    assert prices == sorted(prices)


def test_patience_is_stated_as_promised(day_plan: planfile.Plan) -> None:
    waits = next(workload for workload in day_plan.workloads if workload.lane == "deferrable")
    assert waits.patience_s == pytest.approx(3600)
    assert waits.deferral_saves_usd is not None
    assert waits.deferral_saves_usd >= -1e-6


def test_nothing_deferrable_is_a_warning(day: Trace) -> None:
    strict = plan(day, replace(OPTIONS, defer=()))
    assert any("no request is marked as deferrable" in text for text in strict.warnings)
    assert all(workload.lane == "realtime" for workload in strict.workloads)


def test_burst_needs_more_than_mean_machines(tmp_path: Path) -> None:
    spike = pl.DataFrame({"time": np.linspace(1800, 1820, 4000), "input_tokens": 500, "output_tokens": 150})
    columns = [pl.col("input_tokens").cast(pl.Int64), pl.col("output_tokens").cast(pl.Int64)]
    both = [frame.with_columns(columns) for frame in (requests(2.0, hours=1), spike)]
    pl.concat(both).sort("time").write_parquet(tmp_path / "spike.parquet")
    answer = plan(read_trace([tmp_path / "spike.parquet"]), OPTIONS)
    assert answer.simulated is not None
    assert answer.simulated.kept
    # Of 7,000 requests one in a hundred may be late; the spike alone is 200 a second.
    assert max(max(schedule.machines) for schedule in answer.schedule) > 4


def test_held_machines_are_used_first(day: Trace, day_plan: planfile.Plan, tmp_path: Path) -> None:
    machine = next(pool for pool in day_plan.pools if pool.hardware == "l40s")
    provider, instance = machine.machine.split(" ", 1)
    path = tmp_path / "have.toml"
    path.write_text(f'[[machines]]\nprovider = "{provider}"\ninstance = "{instance}"\nmachines = 2\n')
    held = plan(day, replace(OPTIONS, have=path))
    assert held.total_usd < day_plan.total_usd
    owned = next(commitment for commitment in held.commitments if commitment.pricing_model == "owned")
    assert (owned.have, owned.amount, owned.usd) == (2, 0, 0)
    assert any(schedule.pricing_model == "owned" and max(schedule.machines) == 2 for schedule in held.schedule)


def test_infeasible_slo_is_refused(day: Trace) -> None:
    with pytest.raises(InfeasibleError, match="no replica can meet the SLO"):
        plan(day, replace(OPTIONS, slo=Slo(ttft_s=0.001, tpot_s=0.0001)))


def test_too_few_machines_are_refused(day: Trace) -> None:
    with pytest.raises(InfeasibleError, match="not enough capacity for its real-time work"):
        plan(day, replace(OPTIONS, machines=1, defer=()))


def test_cheaper_tokens_are_bought(day: Trace, day_plan: planfile.Plan) -> None:
    bought = plan(day, replace(OPTIONS, tiers=("standard",)))
    assert bought.simulated is not None
    if not day_plan.tokens_usd or day_plan.tokens_usd["standard"] >= day_plan.total_usd:
        pytest.skip("today's prices make tokens more expensive")
    assert bought.simulated.tokens_usd > 0
    assert bought.by_pricing_model["tokens"] == pytest.approx(bought.simulated.tokens_usd)
    assert bought.simulated.requests == day_plan.simulated.requests  # type: ignore[union-attr]
