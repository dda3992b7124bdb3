"""No arrangement that keeps every promise costs less than the bound: fleets that are searched, and schedules."""

import numpy as np
import pytest
from tests.samples.fleets import load, machine, offer, profile

from meritorder.domain import Slo
from meritorder.errors import InfeasibleError
from meritorder.sim.pools import Scheduled
from meritorder.study.bound.bound import lower_bound_usd
from meritorder.study.bound.supplies import Supply
from meritorder.study.fleet.fleets import (
    Trial,
    autoscaled_fleet,
    mixed_fleet,
    rejudge,
    search_fixed_fleet,
    simulate_fleet,
)
from meritorder.study.fleet.load import TraceLoad
from meritorder.study.fleet.machines import CandidateMachine, max_backfill
from meritorder.study.fleet.search import Search
from meritorder.study.hindsight.search import search_schedule

# What rounding may leave between two sums.
ROUNDING = 1e-9
SEEDS = range(20)
MOVES = 40


def draw(seed: int) -> TraceLoad:
    rng = np.random.default_rng(seed)
    requests, span_s = round(10 ** rng.uniform(0, 3.3)), float(rng.choice([300.0, 1800.0, 14_400.0]))
    match rng.integers(3):
        case 0:
            arrived_s = rng.uniform(0, span_s, requests)
        case 1:
            centers_s = rng.uniform(0, span_s, 1 + requests // 50)
            arrived_s = np.clip(rng.choice(centers_s, requests) + rng.exponential(10.0, requests), 0, span_s)
        case _:
            arrived_s = np.linspace(0, span_s, requests, endpoint=False)
    return load(
        np.sort(arrived_s),
        rng.integers(20, 2000, requests),
        rng.integers(1, 400, requests),
        waits=rng.random(requests) < rng.choice([0.0, 0.3, 1.0]),
        patience_s=float(rng.choice([900.0, 7200.0])),
        slo=Slo(ttft_s=float(rng.choice([0.5, 2.0])), tpot_s=float(rng.choice([0.02, 0.1])), attainment=0.95),
        span_s=span_s,
    )


def machines_for(asked: TraceLoad) -> list[CandidateMachine]:
    small = machine(asked)
    large = machine(asked, box=offer(2, usd_per_hour=3.5, instance="pair"))
    fast = machine(
        asked,
        box=offer(hardware="h200", usd_per_hour=3.0, instance="fast"),
        replica=profile(hardware="h200", faster=1.7),
        startup_s=120.0,
    )
    return sorted([small, large, fast], key=lambda candidate: candidate.price_work(asked))


def feasible_trials(asked: TraceLoad, machines: list[CandidateMachine]) -> list[Trial]:
    search = Search(load=asked, machines=machines, batch_machines=machines, patience_s=3600.0, progress=lambda _: None)
    try:
        found = search.run()
    except InfeasibleError:
        pytest.skip("no fleet keeps the SLO")
    trials = [found.batch, found.mix, found.autoscaled, found.fixed]
    realtime = asked.select(~asked.deferrable)
    for candidate in machines if len(realtime) else []:
        trials += search_fixed_fleet(candidate, realtime)
        instances = trials[-1].pools[0][1].max_instances
        trials += [autoscaled_fleet(candidate, realtime, target, instances, 1) for target in (2.0, 8.0, 24.0)]
        largest = max_backfill(candidate, asked)
        if largest.sequences and asked.deferrable.any():
            trials += [mixed_fleet(base, candidate, asked, largest) for base in trials[-3:] if base.feasible]
    return [trial for trial in trials if trial.feasible]


def bound_usd(asked: TraceLoad, machines: list[CandidateMachine]) -> float:
    return lower_bound_usd(asked, [Supply(machine=candidate) for candidate in machines])


@pytest.mark.parametrize("seed", SEEDS)
def test_no_searched_fleet_costs_less(seed: int) -> None:
    asked = draw(seed)
    machines = machines_for(asked)
    bounds: dict[tuple[int, bytes], float] = {}
    for trial in feasible_trials(asked, machines):
        served = trial.load
        key = len(served), served.deadline_s.tobytes()
        if key not in bounds:
            bounds[key] = bound_usd(served, machines)
        assert bounds[key] <= trial.usd * (1 + ROUNDING), trial.label
        if len(served) == len(asked):
            same = rejudge(trial, asked, trial.name, trial.label)
            if same.feasible and np.array_equal(served.arrived_s, asked.arrived_s):
                assert bound_usd(asked, machines) <= trial.usd * (1 + ROUNDING)


@pytest.mark.parametrize("seed", SEEDS)
def test_no_schedule_by_the_tick_costs_less(seed: int) -> None:
    asked = draw(seed)
    machines = machines_for(asked)
    search = Search(load=asked, machines=machines, batch_machines=machines, patience_s=3600.0, progress=lambda _: None)
    try:
        known = search.run().mix
    except InfeasibleError:
        pytest.skip("no fleet keeps the SLO")
    scheduled = search_schedule(search, known)
    assert scheduled.feasible
    assert bound_usd(asked, machines) <= scheduled.usd * (1 + ROUNDING) <= known.usd * (1 + 2 * ROUNDING)


@pytest.mark.parametrize("seed", SEEDS)
def test_no_thinned_schedule_costs_less(seed: int) -> None:
    drawn = draw(seed)
    asked = drawn.all_realtime() if drawn.deferrable.all() else drawn.select(~drawn.deferrable)
    machines = machines_for(asked)
    lowest_usd = bound_usd(asked, machines)
    trial = min(feasible_trials(asked, machines), key=lambda trial: (trial.name != "realtime_fixed", trial.usd))
    machine, rng = trial.machine, np.random.default_rng(seed)
    slot_s = max(15.0, 15.0 * round(asked.span_s / 15 / 40))
    counts = np.full(int(asked.span_s / slot_s) + 1, trial.pools[0][1].max_instances)
    for _ in range(MOVES):
        tried, first = counts.copy(), int(rng.integers(len(counts)))
        tried[first : first + int(rng.integers(1, len(counts) + 1))] -= 1
        if tried.min() < 0 or not tried.any():
            continue
        scaling = Scheduled(instances=tuple(tried.tolist()), slot_s=slot_s, ahead_s=machine.startup_s)
        pool = machine.pool(scaling, realtime=True, backfill=None)
        thinned = simulate_fleet("schedule", "", asked, ((machine, pool),))
        if thinned.feasible:
            assert lowest_usd <= thinned.usd * (1 + ROUNDING)
            counts = tried
