"""What replicas carry within the SLO: more when pooled, never more than full, and less beside bursts."""

import numpy as np
import pytest
from tests.samples import fleets

from meritorder.study.plan.bursts import bursts_for, raised
from meritorder.study.plan.capacity import FULLEST, filled_with, filled_within_slo, safe_load, steady_utilization
from meritorder.study.plan.supply import Serving

RNG = np.random.default_rng(3)


@pytest.fixture
def steady() -> fleets.TraceLoad:
    return fleets.load(np.sort(RNG.uniform(0, 600, 400)), RNG.integers(50, 400, 400), RNG.integers(20, 120, 400))


def test_larger_pools_run_fuller_and_none_fuller_than_full(steady: fleets.TraceLoad) -> None:
    machine = fleets.machine(steady)
    carried = safe_load(machine, steady, 6)
    assert carried[0] == 0
    assert (np.diff(carried) > 0).all()
    assert (np.diff(carried[1:] / np.arange(1, 7)) >= -1e-12).all()
    assert (carried <= FULLEST * np.arange(7) + 1e-9).all()


def test_a_stricter_promise_leaves_less_room(steady: fleets.TraceLoad) -> None:
    machine = fleets.machine(steady)
    tight = fleets.load(
        steady.arrived_s, steady.input_tokens, steady.output_tokens, slo=fleets.Slo(ttft_s=0.2, tpot_s=0.02)
    )
    assert steady_utilization(machine, tight, 1) < steady_utilization(machine, steady, 1)


def test_deferrable_work_fills_replicas_more_with_more_seats(steady: fleets.TraceLoad) -> None:
    waits = np.arange(len(steady)) % 2 == 0
    both = fleets.load(steady.arrived_s, steady.input_tokens, steady.output_tokens, waits=waits)
    machine = fleets.machine(both)
    filled = filled_within_slo(machine, both)
    fewer = filled_with(
        machine, both, fleets.backfill(max(1, filled.backfill.sequences // 4), prefill_tokens=512, kv_share=0.9)
    )
    assert filled.backfill.sequences > 0
    assert 0.5 < fewer.utilization <= filled.utilization <= FULLEST


def test_a_burst_within_a_slot_asks_for_more_than_its_mean() -> None:
    quiet = RNG.uniform(0, 3600, 600)
    burst = 1800 + RNG.uniform(0, 20, 1200)
    load = fleets.load(np.sort(np.concatenate((quiet, burst))), 300, 60)
    machine = fleets.machine(load)
    serving = Serving(
        machine=machine, safe=safe_load(machine, load, 8), backfill=fleets.backfill(0, kv_share=0.9), fullest=FULLEST
    )
    found = bursts_for(load, serving, 900.0, 4)
    assert found.argmax() == 2
    assert found[2] > 1.5


def raised_where_slot_1_broke(there: float, machines: int) -> np.ndarray:
    """Return the bursts after 60 of 100 requests of slot 1 broke the SLO, and one of slot 2, which may."""
    broken = np.zeros(400, bool)
    broken[100:160] = broken[200] = True
    return raised(
        np.ones(4),
        mean=np.full(4, 2.0),
        there=np.full(4, there),
        machines=np.full(4, machines),
        safe=lambda _: np.array([0.0, 0.8, 1.7, 2.6, 3.5, 4.4]),
        slot=np.repeat(np.arange(4), 100),
        broken=broken,
        attainment=0.99,
    )


def test_only_the_worst_slots_are_raised() -> None:
    raised_to = raised_where_slot_1_broke(there=2.0, machines=3)
    assert raised_to[1] * 2.0 > 2.6  # more than three machines carry
    assert raised_to[[0, 2, 3]].tolist() == [1.0, 1.0, 1.0]


def test_a_pool_that_serves_a_part_of_a_slot_asks_for_one_machine_more_and_not_for_many() -> None:
    """A tenth of the load of 2 is on one machine: beyond 0.8 it needs another, and 0.6 more of all is enough."""
    assert raised_where_slot_1_broke(there=0.2, machines=1)[1] * 2.0 == pytest.approx(2.6, abs=0.01)
