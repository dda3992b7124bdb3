"""Schedules by the tick: the least cost of cases that are plain by hand, and of all schedules of small ones."""

from itertools import product

import numpy as np
import pytest
from tests.samples.fleets import load, machine, offer, profile

from meritorder.domain import Slo
from meritorder.sim.pools import Scheduled
from meritorder.study.fleet.fleets import Trial, simulate_fleet
from meritorder.study.fleet.load import TraceLoad
from meritorder.study.fleet.machines import CandidateMachine
from meritorder.study.fleet.search import Search
from meritorder.study.hindsight.search import search_schedule

USD_PER_S = 2.0 / 3600
STRICT = Slo(ttft_s=2.0, tpot_s=0.1, attainment=1.0)


def searched(asked: TraceLoad, *candidates: CandidateMachine) -> tuple[Trial, Trial]:
    """The cheapest arrangement without hindsight, and with it."""
    machines = candidates or (machine(asked),)
    search = Search(load=asked, machines=machines, batch_machines=machines, patience_s=3600.0, progress=lambda _: None)
    known = search.run().mix
    return known, search_schedule(search, known)


def test_machines_are_on_for_arrivals_alone() -> None:
    known, found = searched(load([5.0, 2001.0, 4001.0], slo=STRICT, span_s=6000.0))
    assert found.feasible
    # A machine of time 0 pays 60 s at the least, the others a start-up and a tick.
    assert found.usd == pytest.approx((60 + 2 * 255) * USD_PER_S)
    assert known.usd > 2 * found.usd


def test_waiting_work_shares_one_stay() -> None:
    asked = load([1000.0, 2000.0, 3000.0], waits=[True] * 3, patience_s=7200.0, span_s=6000.0)
    assert searched(asked)[1].usd == pytest.approx(255 * USD_PER_S)


def test_waiting_work_joins_real_time() -> None:
    asked = load([1000.0, 3001.0], waits=[True, False], slo=STRICT, span_s=6000.0)
    assert searched(asked)[1].usd == pytest.approx(255 * USD_PER_S)


def test_waiting_work_runs_on_cheaper_machines() -> None:
    # Real time needs the large machine, for what waits alone the small one is enough.
    asked = load([1000.0, 20_001.0], waits=[True, False], patience_s=600.0, slo=STRICT, span_s=21_000.0)
    small = machine(asked, box=offer(usd_per_hour=0.5, instance="small"), startup_s=600.0)
    found = searched(asked, machine(asked), small)[1]
    assert found.usd <= (255 + 255 / 4) * USD_PER_S + 1e-9


def test_long_work_runs_on_faster_machines() -> None:
    # It takes longer than the minute that it may wait on the slow replica, which is the cheaper one for real time.
    asked = load(
        [5.0, 20_000.0], 200, np.array([50, 5600]), waits=[False, True], patience_s=60.0, slo=STRICT, span_s=30_000.0
    )
    slow = machine(asked, box=offer(usd_per_hour=0.5, instance="slow"), replica=profile(faster=0.8))
    fast = machine(asked, box=offer(hardware="h200", instance="fast"), replica=profile(hardware="h200", faster=1.2))
    found = searched(asked, slow, fast)[1]
    assert found.feasible
    assert found.usd <= (60 / 4 + 240 + 60) * USD_PER_S


def test_crowds_find_their_fleet_on() -> None:
    """Crowds at two moments need as many machines as if these were always on, but only for the crowds."""
    asked = load([5.0] * 400 + [6005.0] * 400, input_tokens=1000, slo=STRICT, span_s=9000.0)
    known, found = searched(asked)
    machines = known.pools[0][1].max_instances
    assert machines > 5
    assert found.feasible
    assert found.usd < 0.15 * machines * 9000.0 * USD_PER_S


def test_known_fleet_is_kept_if_none_is_cheaper() -> None:
    asked = load(np.arange(1.0, 600.0, 2.0), slo=STRICT, span_s=600.0)
    known, found = searched(asked)
    assert found.usd <= known.usd


@pytest.mark.parametrize("seed", range(8))
def test_no_schedule_of_small_cases_costs_less(seed: int) -> None:
    rng = np.random.default_rng(seed)
    slots, most = 6, 2
    count = int(rng.integers(1, 60))
    arrived_s = np.sort(rng.uniform(0, slots * 15.0, count))
    slo = Slo(ttft_s=1.0, tpot_s=0.02, attainment=0.95)
    asked = load(arrived_s, rng.integers(50, 2000, count), rng.integers(1, 300, count), slo=slo, span_s=slots * 15.0)
    candidate = machine(asked, startup_s=45.0)
    found = searched(asked, candidate)[1]
    costs = [np.inf]
    for counts in product(range(most + 1), repeat=slots):
        if max(counts) == 0:
            continue
        scaling = Scheduled(instances=(*counts, 0), slot_s=15.0, ahead_s=candidate.startup_s)
        pool = candidate.pool(scaling, realtime=True, backfill=None)
        trial = simulate_fleet("schedule", "", asked, ((candidate, pool),))
        costs.append(trial.usd if trial.feasible else np.inf)
    assert found.usd <= 1.05 * min(costs)
