"""A policy: its floor follows the forecast, and its pools serve both lanes."""

import numpy as np
import pytest
from tests.samples.fleets import load, machine

from meritorder.sim.pools import Autoscaled
from meritorder.study.fleet.machines import max_backfill
from meritorder.study.forward.forecast import forecast_day
from meritorder.study.forward.policy import SLOT_S, FleetPolicy, backlog_machines, slot_loads

DAY_S = 86_400.0
ARRIVED_S = np.sort(np.random.default_rng(0).uniform(0, DAY_S, 4000))
ASKED = load(ARRIVED_S, waits=np.arange(4000) % 2 == 0, patience_s=3600.0, span_s=DAY_S)


def policy(floor_quantile: float | None = 0.5) -> FleetPolicy:
    served = machine(ASKED)
    return FleetPolicy(
        machine=served,
        batch_machine=served,
        target_in_flight=8.0,
        minimum=1,
        maximum=5,
        stabilization_s=300.0,
        floor_quantile=floor_quantile,
        load_per_machine=0.5,
        backfill=max_backfill(served, ASKED),
        batch_maximum=2,
    )


def test_floor_serves_the_forecast() -> None:
    busy = np.where(np.arange(96) < 48, 1.2, 0.1)
    forecast = forecast_day(np.array([busy, busy, busy]), [0, 1, 2], 3)
    assert policy().floor(forecast) == (3,) * 48 + (1,) * 48  # 1.2 / 0.5 needs 3
    assert policy(None).floor(forecast) == ()
    assert policy().floor(None) == ()


def test_bounds_limit_the_machines() -> None:
    assert policy().machines_for(0.0) == 1
    assert policy().machines_for(100.0) == 5


def test_machines_are_on_for_the_load_before() -> None:
    (_, realtime), (_, backlog) = policy().pools((), policy().machines_for(1.4))
    assert isinstance(realtime.scaling, Autoscaled)
    assert realtime.scaling.initial == 3
    assert not backlog.realtime


def test_day_is_served_within_its_promises() -> None:
    trial = policy().run(ASKED, None, 0.1)
    assert trial.feasible
    assert trial.usd == pytest.approx(48.0, rel=0.02)  # one machine all day at $2 an hour


def test_slots_hold_all_real_time_work() -> None:
    served = machine(ASKED)
    loads = slot_loads(served, ASKED)
    assert len(loads) == 96
    assert loads.sum() * SLOT_S == pytest.approx(served.work_s(ASKED)[~ASKED.deferrable].sum())


def test_burst_needs_more_backlog_machines() -> None:
    served = machine(ASKED)
    burst = load(np.linspace(0, 60, 4000), waits=np.ones(4000, bool), patience_s=120.0, span_s=DAY_S)
    assert backlog_machines(served, burst) > backlog_machines(served, ASKED)
    assert backlog_machines(served, load(ARRIVED_S, span_s=DAY_S)) == 1
