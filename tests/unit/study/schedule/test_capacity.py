"""Safe loads and backfill of replicas, measured in the simulator."""

import numpy as np
import pytest
from tests.samples import fleets

from meritorder.study.schedule import capacity
from meritorder.study.schedule.capacity import (
    MAX_UTILIZATION,
    ReducedBackfill,
    Serving,
    backfill_utilization,
    safe_backfill,
    safe_load,
    steady_utilization,
)

RNG = np.random.default_rng(3)


@pytest.fixture
def steady() -> fleets.TraceLoad:
    return fleets.load(np.sort(RNG.uniform(0, 600, 400)), RNG.integers(50, 400, 400), RNG.integers(20, 120, 400))


def test_larger_pools_reach_higher_utilization(steady: fleets.TraceLoad) -> None:
    machine = fleets.machine(steady)
    safe = safe_load(machine, steady, 6)
    assert safe[0] == 0
    assert (np.diff(safe) > 0).all()
    assert (np.diff(safe[1:] / np.arange(1, 7)) >= -1e-12).all()
    assert (safe <= MAX_UTILIZATION * np.arange(7) + 1e-9).all()


def test_stricter_slo_lowers_utilization(steady: fleets.TraceLoad) -> None:
    machine = fleets.machine(steady)
    tight = fleets.load(
        steady.arrived_s, steady.input_tokens, steady.output_tokens, slo=fleets.Slo(ttft_s=0.2, tpot_s=0.02)
    )
    assert steady_utilization(machine, tight, 1) < steady_utilization(machine, steady, 1)


def test_more_backfill_raises_utilization(steady: fleets.TraceLoad) -> None:
    waits = np.arange(len(steady)) % 2 == 0
    both = fleets.load(steady.arrived_s, steady.input_tokens, steady.output_tokens, waits=waits)
    machine = fleets.machine(both)
    largest = safe_backfill(machine, both)
    quarter = fleets.backfill(max(1, largest.limits.sequences // 4), prefill_tokens=512, kv_share=0.9)
    assert largest.limits.sequences > 0
    assert 0.5 < backfill_utilization(machine, both, quarter) <= largest.utilization <= MAX_UTILIZATION


def test_reduced_backfill_is_measured_once(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(3)
    load = fleets.load(np.sort(rng.uniform(0, 600, 400)), rng.integers(50, 400, 400), 60, waits=np.arange(400) % 2 == 0)
    machine = fleets.machine(load)
    largest = safe_backfill(machine, load)
    serving = Serving(
        machine=machine,
        safe=safe_load(machine, load.select(~load.deferrable), 2),
        backfill=largest.limits,
        max_utilization=largest.utilization,
    )
    measured: list[int] = []
    real = capacity.backfill_utilization
    monkeypatch.setattr(
        capacity, "backfill_utilization", lambda *arguments: measured.append(arguments[2].sequences) or real(*arguments)
    )
    reduced = ReducedBackfill({machine.profile.model: load})
    utilizations = reduced.utilization(serving, np.array([1.0, 0.9, 0.5, 0.5, 0.1]))
    assert utilizations[0] == largest.utilization
    assert (np.diff(utilizations) <= 1e-9).all()
    assert utilizations[2] == utilizations[3] > utilizations[4] > 0.4
    before = len(measured)
    reduced.utilization(serving, np.array([0.55, 0.12]))
    assert len(measured) == before
    assert len(set(measured)) == len(measured)
