"""A carbon price: read by region and hour, part of the optimum, and apart from payments."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tests.unit.study.conftest import OPTIONS

from meritorder.errors import ConfigError
from meritorder.planner.model.demand import Horizon
from meritorder.planner.model.problem import CarbonPrice, Problem
from meritorder.planner.model.supply import MachinePool
from meritorder.records import planfile
from meritorder.study.plan.answer import plan
from meritorder.study.plan.carbon import price_carbon, read_carbon
from meritorder.study.plan.replay import replay
from meritorder.traces import Trace

DAY = Horizon(slot_s=3600.0, slots=24)


def problem(region: str) -> Problem:
    pool = MachinePool(
        name="p",
        model="m",
        replica="r",
        machine="p",
        provider="aws",
        region=region,
        hardware="h100",
        gpus=8,
        power_w=5000.0,
    )
    return Problem(horizon=DAY, workloads=(), pools=(pool,), payments=())


def carbon_of(path: Path, planned: Problem, epoch_s: float | None) -> CarbonPrice:
    return price_carbon(read_carbon(path), 80.0, planned, epoch_s, str(path))


def written(folder: Path, text: str) -> Path:
    path = folder / "carbon.csv"
    path.write_text(text, encoding="utf-8")
    return path


def test_hours_wrap_around_midnight(tmp_path: Path) -> None:
    path = written(tmp_path, "region,hour,grams_per_kwh\nus,6,100\nus,18,300\n*,,50\n")
    grams = carbon_of(path, problem("us"), 0.0).grams_per_kwh["us"]
    assert grams.tolist() == [300.0] * 6 + [100.0] * 12 + [300.0] * 6


def test_hours_follow_the_trace(tmp_path: Path) -> None:
    path = written(tmp_path, "region,hour,grams_per_kwh\nus,0,100\nus,12,300\n")
    grams = carbon_of(path, problem("us"), 6 * 3600.0).grams_per_kwh["us"]
    assert grams.tolist() == [100.0] * 6 + [300.0] * 12 + [100.0] * 6


def test_dated_rows_last_until_the_next(tmp_path: Path) -> None:
    rows = "us,1970-01-02T00:00Z,100\nus,1970-01-02T02:00+02:00,100\nus,1970-01-02T12:00,300\n"
    with pytest.raises(ConfigError, match="row 3: this region has this time twice"):
        read_carbon(written(tmp_path, f"region,hour,grams_per_kwh\n{rows}"))
    path = written(tmp_path, "region,hour,grams_per_kwh\nus,1970-01-02T00:00Z,100\nus,1970-01-02T12:00,300\n")
    grams = carbon_of(path, problem("us"), 86_400.0).grams_per_kwh["us"]
    assert grams.tolist() == [100.0] * 12 + [300.0] * 12
    for outside_s in (86_400.0 - 3600.0, 86_400.0 + 3600.0):  # it begins an hour before the file, or ends after it
        with pytest.raises(ConfigError, match="covers 1970-01-02T00:00Z to 1970-01-03T00:00Z, but the trace spans"):
            carbon_of(path, problem("us"), outside_s)


def test_machine_hour_costs_power_times_price(tmp_path: Path) -> None:
    path = written(tmp_path, "region,grams_per_kwh\n*,400\n")
    planned = problem("")
    usd = carbon_of(path, planned, None).usd_per_hour(planned.pools[0])
    # 5 kW for an hour at 400 g a kWh are 2 kg.
    np.testing.assert_allclose(usd, 0.16)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("region,grams_per_kwh\neu,20\n", "no carbon intensity for us"),
        ("region,grams_per_kwh\nus,-1\n", "row 2: needs an hour from 0 to 23"),
        ("region,hour,grams_per_kwh\nus,24,1\n", "row 2: needs an hour from 0 to 23"),
        ("region,hour,grams_per_kwh\nus,1,1\nus,1,2\n", "row 3: this region has this time twice"),
        (
            "region,hour,grams_per_kwh\nus,1,1\nus,2026-01-05T00:00Z,2\n",
            "row 3: this region has both hours of the",
        ),
        ("region,hour,grams_per_kwh\nus,soon,1\n", "row 2: needs an hour from 0 to 23 or an ISO 8601 time"),
        ("region,hour,grams_per_kwh\nus,1970-01-01,1\n", "has dates, but the trace has none"),
        ("place,grams\nus,1\n", "has no rows of region and grams_per_kwh"),
    ],
)
def test_invalid_files_are_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        carbon_of(written(tmp_path, text), problem("us"), None)


def test_carbon_is_not_a_payment(day: Trace, day_plan: planfile.Plan, tmp_path: Path) -> None:
    path = written(tmp_path, "region,grams_per_kwh\n*,400\n")
    priced = plan(day, replace(OPTIONS, carbon=path, carbon_usd_per_tonne=80.0))
    simulated = priced.simulated
    assert simulated is not None
    # One price at all times changes no decision here, as it is a small share of the machines' price.
    assert day_plan.simulated is not None
    assert simulated.total_usd == pytest.approx(day_plan.simulated.total_usd, rel=0.05)
    used = {pool.name: pool for pool in priced.pools}
    planned = sum(
        float(np.dot(row.machines, used[row.pool].carbon_usd_per_hour)) * priced.slot_s / 3600
        for row in priced.schedule
        if any(row.machines)
    )
    assert planned > 0
    # Start-ups and tails are paid beside what is planned by the slot.
    assert planned <= simulated.carbon_usd <= 1.3 * planned
    assert priced.gap == pytest.approx((simulated.total_usd + simulated.carbon_usd) / priced.bound_usd - 1)
    file = tmp_path / "plan.json"
    planfile.write_plan(priced, file)
    assert replay(planfile.read_plan(file), day) == priced.policy_outcome
