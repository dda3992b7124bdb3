"""Violations of isolated windows: every window as if it were simulated by itself."""

import numpy as np
from tests.samples.fleets import SLO, load, machine

from meritorder.domain import Slo
from meritorder.sim.pools import Fixed
from meritorder.study.bound.violations import WindowCurves
from meritorder.study.fleet.fleets import fixed_fleet
from meritorder.study.fleet.load import TraceLoad

WINDOW_S = 60.0


def curves_of(asked: TraceLoad, window_s: float = WINDOW_S, *, before: int = 0) -> WindowCurves:
    candidate = machine(asked)
    pool = candidate.pool(Fixed(instances=1), realtime=True, backfill=None)
    return WindowCurves.of(asked, pool, candidate.work_s(asked), window_s=window_s, tick_s=15.0, before=before)


def crowded(count: int = 3000, span_s: float = 600.0, slo: Slo = SLO) -> TraceLoad:
    rng = np.random.default_rng(3)
    arrived_s = np.sort(np.concatenate((rng.uniform(0, span_s, count), rng.normal(250, 5, count // 3))))
    return load(arrived_s, 300, 80, slo=slo, span_s=span_s)


def test_windows_agree_with_own_simulation() -> None:
    asked = crowded()
    curves = curves_of(asked)
    curves.simulate(np.full(len(curves.busy), 2))
    for place, window in enumerate(curves.busy):
        members = curves.place == place
        alone = asked.select(members)
        alone.arrived_s[:] -= window * WINDOW_S - 15
        trial = fixed_fleet(machine(asked), alone, 2)
        broken = (trial.ttft_s > SLO.ttft_s) | (trial.tpot_s > SLO.tpot_s)
        assert curves.violations[place, 0] == np.count_nonzero(broken & curves.judged[members])
    assert curves.violations.max() > 0


def test_window_before_is_simulated_too() -> None:
    asked = crowded()
    curves = curves_of(asked, before=1)
    curves.simulate(np.full(len(curves.busy), 2))
    arrives = np.ceil(asked.arrived_s / WINDOW_S).astype(int) - 1
    for place, window in enumerate(curves.busy):
        both = (arrives == window) | (arrives == window - 1)
        alone = asked.select(both)
        alone.arrived_s[:] -= (window - 1) * WINDOW_S - 15
        trial = fixed_fleet(machine(asked), alone, 2)
        broken = (trial.ttft_s > SLO.ttft_s + curves.batch_s[both]) | (trial.tpot_s > SLO.tpot_s)
        broken &= curves.judged[both] & (curves.place[both] == place)
        assert curves.violations[place, 0] == np.count_nonzero(broken)
    # Each request is judged, in the window in which it must have its first token.
    assert curves.judged.all()
    alone = curves_of(asked)
    alone.simulate(np.full(len(alone.busy), 2))
    assert curves.violations.sum() > alone.violations.sum()


def test_arrival_on_tick_belongs_before_it() -> None:
    curves = curves_of(load([0.0, 60.0, 60.1], span_s=120))
    assert curves.busy.tolist() == [0, 1]
    assert curves.place.tolist() == [0, 0, 1]


def test_late_requests_wait_for_next_window() -> None:
    asked = load([10.0, 59.0, 119.5], span_s=180)
    curves = curves_of(asked)
    assert curves.unserved.tolist() == [1, 0]
    assert curves.late is not None
    assert curves.late.busy.tolist() == [1, 2]
    # A machine that serves for a whole tick serves all of its arrivals.
    assert curves_of(load([10.0, 14.0], span_s=60), window_s=15.0).judged.all()
    assert not curves.judged[1]
    # Windows that know of the one before judge them where they must be served.
    assert curves_of(asked, before=1).unserved.tolist() == [1, 1, 1]


def test_late_crowd_needs_machines_of_next_window() -> None:
    asked = load(np.full(400, 59.9), 300, 80, span_s=180)
    curves = curves_of(asked)
    assert curves.late is not None
    assert curves.late.judged.all()
    for machines in (1, 4):
        curves.late.simulate(np.array([machines]))
    few, more = curves.late.violations[0]
    assert few > more
    # As if they came at the next tick: the tenth of a second in between is lost.
    assert few >= np.count_nonzero(fixed_fleet(machine(asked), asked, 1).ttft_s > SLO.ttft_s)
    assert curves.late.at_least(6)[0, 0] == 400


def test_next_larger_number_bounds_violations() -> None:
    curves = curves_of(crowded())
    count = len(curves.busy)
    for machines, violations in ((2, 7), (5, 1), (8, 2)):
        curves.machines = np.column_stack((curves.machines, np.full(count, machines)))
        curves.violations = np.column_stack((curves.violations, np.full(count, violations)))
    # 8 machines may have 1 by chance what 5 have; more than 8 have at least those that are slow even alone.
    assert curves.at_least(10)[0, 1:].tolist() == [7, 7, 1, 1, 1, 1, 1, 1, 0]
    assert curves.at_least(10)[0, 0] == curves.unserved[0]


def test_number_of_zero_is_left_out() -> None:
    curves = curves_of(crowded())
    machines = np.zeros(len(curves.busy), np.int64)
    machines[4] = 1  # the window of the burst
    curves.simulate(machines)
    table = curves.at_least(3)
    assert (np.delete(table[:, 1], 4) == 0).all()
    assert table[4, 1] == curves.violations[4, 0] > 0
