"""How many seats deferrable work has in each slot, and how full that leaves machines."""

from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest
from tests.samples import fleets

from meritorder.study.plan import seats
from meritorder.study.plan.capacity import filled_within_slo, safe_load
from meritorder.study.plan.check import ModelRun
from meritorder.study.plan.seats import Filling, fewer_seats
from meritorder.study.plan.supply import Serving

SLOT_S = 100.0
IN_A_SLOT = 1000


def run(*broken: int, waiting: int = 0) -> ModelRun:
    """Return what became of a thousand real-time requests in each slot, so many of which broke the SLO of 99 %."""
    slots = len(broken)
    count = IN_A_SLOT + waiting
    load = fleets.load(
        np.arange(slots * count) * SLOT_S / count,
        100,
        10,
        waits=np.tile(np.arange(count) >= IN_A_SLOT, slots),
        slo=fleets.Slo(ttft_s=1.0, tpot_s=0.1, attainment=0.99),
    )
    those = np.concatenate([np.arange(count) < bad for bad in broken])
    return cast("ModelRun", SimpleNamespace(load=load, broken=those))


def test_seats_are_taken_where_real_time_breaks_beside_deferrable_work_the_more_the_more_it_is() -> None:
    before = np.ones(4)
    shares = fewer_seats(before, run(100, 0, 40, 2, waiting=50), run(0, 0, 0, 0), SLOT_S)
    assert shares[1] == shares[3] == 1.0
    assert shares[0] == pytest.approx((0.01 / 0.1) ** 0.25)
    assert shares[2] == pytest.approx((0.01 / 0.04) ** 0.25)


def test_no_seats_are_taken_for_what_real_time_breaks_alone() -> None:
    shares = fewer_seats(np.ones(3), run(30, 60, 0), run(30, 0, 0), SLOT_S)
    assert shares[0] == shares[2] == 1.0
    assert shares[1] < 0.9


def test_a_slot_that_is_a_little_over_is_enough_where_it_brings_the_rest_below_what_may_break() -> None:
    shares = fewer_seats(np.ones(3), run(25, 20, 4), run(0, 0, 0), SLOT_S)
    assert (shares < 1).tolist() == [True, False, False], "24 of 3,000 may be left"


def test_what_was_taken_in_vain_makes_steps_longer() -> None:
    shares, rounds = np.ones(2), 0
    while shares[0] > 0.03:
        shares = fewer_seats(shares, run(45, 0), run(0, 0), SLOT_S)
        rounds += 1
    assert rounds < 10
    for _ in range(10):
        shares = fewer_seats(shares, run(45, 0), run(0, 0), SLOT_S)
    assert shares[0] > 0


def test_fewer_seats_leave_replicas_emptier_and_each_number_is_tried_once(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(3)
    load = fleets.load(np.sort(rng.uniform(0, 600, 400)), rng.integers(50, 400, 400), 60, waits=np.arange(400) % 2 == 0)
    machine = fleets.machine(load)
    filled = filled_within_slo(machine, load)
    serving = Serving(
        machine=machine,
        safe=safe_load(machine, load.select(~load.deferrable), 2),
        backfill=filled.backfill,
        fullest=filled.utilization,
    )
    tried: list[int] = []
    real = seats.filled_with
    monkeypatch.setattr(seats, "filled_with", lambda *given: tried.append(given[2].seats) or real(*given))
    filling = Filling({machine.profile.model: load})
    found = filling.utilization(serving, np.array([1.0, 0.9, 0.5, 0.5, 0.1]))
    assert found[0] == filled.utilization
    assert (np.diff(found) <= 1e-9).all()
    assert found[2] == found[3] > found[4] > 0.4
    before = len(tried)
    filling.utilization(serving, np.array([0.55, 0.12]))
    assert len(tried) == before
    assert len(set(tried)) == len(tried)
