"""The bound on cases whose least cost is plain, and against all schedules of small ones."""

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from tests.samples.fleets import load, machine, offer, profile

from meritorder.domain import Access, Slo
from meritorder.sim.pools import Scheduled
from meritorder.study.bound.bound import lower_bound_usd
from meritorder.study.bound.supplies import WORK_MARGIN, Supply, hard_bound_usd
from meritorder.study.fleet.fleets import simulate_fleet
from meritorder.study.fleet.load import TraceLoad
from meritorder.study.fleet.machines import CandidateMachine

USD_PER_S = 2.0 / 3600
STRICT = Slo(ttft_s=2.0, tpot_s=0.1, attainment=1.0)


def bound_usd(asked: TraceLoad, *candidates: CandidateMachine, tokens_usd: np.ndarray | None = None) -> float:
    machines = candidates or (machine(asked),)
    return lower_bound_usd(asked, [Supply(machine=candidate) for candidate in machines], tokens_usd=tokens_usd)


def test_far_requests_need_a_start_each() -> None:
    # 240 s of each start are paid, and a tick of 15 s; a machine of time 0 serves the first request, and pays the 60 s
    # that are billed at least.
    asked = load([5.0, 2000.0, 4000.0], slo=STRICT, span_s=6000.0)
    assert bound_usd(asked) == pytest.approx((60 + 2 * 255) * USD_PER_S)


def test_near_requests_keep_machine_on() -> None:
    asked = load(np.arange(1.0, 3600.0, 30.0), slo=STRICT, span_s=3600.0)
    assert bound_usd(asked) == pytest.approx(3600 * USD_PER_S, rel=0.01)


def test_attainment_lets_requests_go() -> None:
    # Half of them may be late, but a request that finds no machine rents one: late ones save no start unless they
    # are served together, as the last two are.
    arrived_s = [5.0, 2000.0, 4000.0, 4200.0]
    half = replace(STRICT, attainment=0.5)
    workloads = tuple(replace(w, slo=half if w.slo else None) for w in load(arrived_s).workloads)
    asked = replace(load(arrived_s, slo=half, span_s=8000.0), workloads=workloads)
    assert bound_usd(asked) == pytest.approx((60 + 2 * 255) * USD_PER_S, rel=0.05)
    assert bound_usd(replace(asked, attainment=0.8)) > bound_usd(asked) + 100 * USD_PER_S


def test_strict_workload_may_not_use_the_slack_of_others() -> None:
    # Half of the first may be late, none of the second, which all come where only violations save a start.
    arrived_s = [5.0, 2000.0, 4000.0, 4200.0, 6000.0, 6200.0]
    half = replace(STRICT, attainment=0.5)
    loose = replace(load(arrived_s).workloads[0], slo=half)
    strict = replace(loose, name="strict", slo=STRICT)
    asked = replace(load(arrived_s, slo=half, span_s=8000.0), workloads=(loose, strict))
    mixed = replace(asked, workload=np.array([0, 0, 1, 1, 1, 1], np.int32))
    assert bound_usd(mixed) == pytest.approx((60 + 255 + 2 * (240 + 200)) * USD_PER_S, rel=0.05)
    assert bound_usd(asked) < bound_usd(mixed) - 100 * USD_PER_S


def test_slow_machines_leave_requests_to_others() -> None:
    # A request that waits a minute takes longer than that on the slow replica, which serves the others at a quarter.
    asked = load(
        [5.0, 20_000.0], 200, np.array([50, 5600]), waits=[False, True], patience_s=60.0, slo=STRICT, span_s=30_000.0
    )
    slow = machine(asked, box=offer(usd_per_hour=0.5, instance="slow"), replica=profile(faster=0.8))
    fast = machine(asked, box=offer(hardware="h200", instance="fast"), replica=profile(hardware="h200", faster=1.2))
    assert bound_usd(asked, slow, fast) == pytest.approx((60 / 4 + 240 + 48) * USD_PER_S, rel=0.1)


def test_each_stay_pays_its_minimum_bill() -> None:
    # Machines that are billed by the hour, for three requests that are days apart: three hours at the least.
    asked = load([5.0, 400_000.0, 800_000.0], slo=STRICT, span_s=900_000.0)
    hourly = machine(asked, box=replace(offer(), minimum_billing_s=3600.0))
    assert bound_usd(asked, hourly) == pytest.approx(3 * 3600 * USD_PER_S, rel=0.03)


def test_low_minimum_of_large_machine_is_no_help_to_small_one() -> None:
    # A quarter of an hour: an hour of the small machine at $2, or a quarter of an hour of the large one at $8.4.
    asked = load(np.arange(1.0, 900.0, 15.0), slo=STRICT, span_s=900.0)
    small = machine(asked, box=replace(offer(), minimum_billing_s=3600.0))
    large = machine(asked, box=offer(4, usd_per_hour=8.4, instance="large"))
    assert bound_usd(asked, small, large) == pytest.approx(2.0, rel=0.02)
    assert bound_usd(asked, replace(small, offer=offer()), large) == pytest.approx(0.5, rel=0.02)


def test_impossible_slo_has_no_bound() -> None:
    assert bound_usd(load([5.0], slo=replace(STRICT, tpot_s=1e-3), span_s=60.0)) == np.inf


def test_cheapest_kind_counts() -> None:
    asked = load([5.0, 2000.0], slo=STRICT, span_s=3000.0)
    cheap = machine(asked, box=offer(usd_per_hour=1.0, instance="small"))
    dear = machine(asked, box=offer(usd_per_hour=4.0, instance="big"), replica=profile(hardware="h200", faster=2.0))
    alone = bound_usd(asked, cheap)
    assert bound_usd(asked, dear) > alone
    assert bound_usd(asked, dear, cheap) == alone == bound_usd(asked, cheap, dear)


def test_held_machines_cost_nothing() -> None:
    asked = load(np.arange(1.0, 3600.0, 30.0), slo=STRICT, span_s=3600.0)
    assert lower_bound_usd(asked, [Supply(machine=machine(asked), held=1)]) == 0


def test_deferrable_work_needs_starts() -> None:
    # Two days between them, an hour of patience each: two starts and two ticks, in which they are done.
    arrived_s = [10_000.0, 180_000.0]
    asked = load(arrived_s, waits=[True, True], patience_s=3600.0, span_s=200_000.0)
    assert bound_usd(asked) == pytest.approx(2 * 255 * USD_PER_S, rel=0.01)
    # After the end of the trace a machine stops between ticks.
    patient = load(arrived_s, waits=[True, True], patience_s=400_000.0, span_s=200_000.0)
    assert bound_usd(patient) == pytest.approx(240 * USD_PER_S, rel=0.01)


def test_deferrable_work_fills_machines() -> None:
    asked = load(np.full(40_000, 4000.0), 300, 80, waits=np.ones(40_000, bool), patience_s=36_000.0, span_s=5000.0)
    work_s = float(machine(asked).work_s(asked).sum()) / (1 + WORK_MARGIN)
    assert bound_usd(asked) == pytest.approx((work_s + 240) * USD_PER_S, rel=0.001)


def test_gaps_are_filled_before_machines_are_added() -> None:
    realtime = np.arange(1.0, 7200.0, 20.0)
    waits = np.arange(2 * len(realtime)) % 2 == 0
    both = load(np.repeat(realtime, 2), waits=waits, patience_s=3600.0, slo=STRICT, span_s=7200.0)
    alone = bound_usd(both.select(~waits))
    assert bound_usd(both) == pytest.approx(alone, rel=0.001)
    # As much work as fits into nine such gaps.
    many = np.repeat(realtime, 200)
    waits = np.arange(len(many)) % 200 > 0
    full = load(many, 300, 400, waits=waits, patience_s=36_000.0, slo=STRICT, span_s=7200.0)
    work_s = float(machine(full).work_s(full).sum()) / (1 + WORK_MARGIN)
    assert bound_usd(full) >= max(0.99 * work_s * USD_PER_S, 1.5 * alone)


def test_tokens_replace_machines() -> None:
    asked = load([4000.0, 9000.0], waits=[True, True], patience_s=600.0, span_s=10_000.0)
    assert bound_usd(asked, tokens_usd=np.full(2, 0.001)) == pytest.approx(0.002)
    assert bound_usd(asked, tokens_usd=np.full(2, 10.0)) == pytest.approx(240 * USD_PER_S, rel=0.01)


def test_separate_accesses_add_up() -> None:
    arrived_s = [5.0, 2000.0, 2000.0]
    asked = load(arrived_s, slo=STRICT, span_s=3000.0)
    h100, h200 = asked.workloads[0], replace(asked.workloads[0], name="near")
    h100 = replace(h100, access=Access(allow_hardware=frozenset({"h100"})))
    h200 = replace(h200, access=Access(allow_hardware=frozenset({"h200"})))
    asked = replace(asked, workloads=(h100, h200), workload=np.array([0, 0, 1], np.int32))
    machines = (
        machine(asked),
        machine(asked, box=offer(hardware="h200", instance="other"), replica=profile(hardware="h200")),
    )
    parts = [bound_usd(asked.select(asked.workload == number), *machines) for number in (0, 1)]
    assert bound_usd(asked, *machines) == pytest.approx(sum(parts))
    # Where both may use all machines, they may share them.
    free = replace(asked, workloads=tuple(replace(w, access=Access()) for w in asked.workloads))
    assert bound_usd(free, *machines) < sum(parts)


def test_rules_that_do_not_bind_cost_nothing() -> None:
    """Two tenants each deny a provider that nobody would use: the bound is that of one that denies none."""
    asked = load([5.0, 400.0, 800.0, 1200.0], slo=STRICT, span_s=3000.0)
    first, second = asked.workloads[0], replace(asked.workloads[0], name="other")
    denied = tuple(
        replace(workload, access=Access(deny_provider=frozenset({name})))
        for workload, name in ((first, "nobody"), (second, "no one"))
    )
    alternate = replace(asked, workloads=denied, workload=np.array([0, 1, 0, 1], np.int32))
    together = bound_usd(asked)
    assert bound_usd(alternate) == pytest.approx(together)
    assert together > 1.2 * max(bound_usd(alternate.select(alternate.workload == number)) for number in (0, 1))


def test_parts_of_accesses_run_on_their_own_kinds() -> None:
    """One may use all machines, the other a dear kind only: the least of both on that, and each on its own."""
    asked = load([5.0, 2000.0, 2000.0], slo=STRICT, span_s=3000.0)
    anywhere, near = asked.workloads[0], replace(asked.workloads[0], name="near")
    near = replace(near, access=Access(allow_hardware=frozenset({"h200"})))
    asked = replace(asked, workloads=(anywhere, near), workload=np.array([0, 0, 1], np.int32))
    cheap = machine(asked)
    for usd_per_hour in (2.1, 50.0):
        box = offer(hardware="h200", instance="other", usd_per_hour=usd_per_hour)
        dear = machine(asked, box=box, replica=profile(hardware="h200"))
        free = replace(asked, workloads=tuple(replace(w, access=Access()) for w in asked.workloads))
        apart = bound_usd(asked.select(asked.workload == 0), cheap) + bound_usd(asked.select(asked.workload == 1), dear)
        assert bound_usd(asked, cheap, dear) <= min(bound_usd(free, dear), apart) * (1 + 1e-9)
        assert bound_usd(asked, cheap, dear) >= bound_usd(free, cheap, dear) * (1 - 1e-9)


def test_hard_bound_prices_work_alone() -> None:
    asked = load(np.arange(1.0, 100.0), 300, 80)
    candidate = machine(asked)
    expected = candidate.price_work(asked) / (1 + WORK_MARGIN)
    nothing = np.full(len(asked), np.inf)
    assert hard_bound_usd(asked, [Supply(machine=candidate)], nothing) == pytest.approx(expected)
    assert hard_bound_usd(asked, [Supply(machine=candidate, usd_per_hour=1.0)], nothing) == pytest.approx(expected / 2)


def least_usd(asked: TraceLoad, candidate: CandidateMachine, slots: int, slot_s: float, most: int) -> float:
    """The cost of the cheapest schedule that keeps every promise, of all with no more than so many machines."""
    costs = [np.inf]
    for counts in product(range(most + 1), repeat=slots):
        if max(counts) > 0:
            scaling = Scheduled(instances=(*counts, 0), slot_s=slot_s, ahead_s=candidate.startup_s)
            pool = candidate.pool(scaling, realtime=True, backfill=None)
            trial = simulate_fleet("schedule", "", asked, ((candidate, pool),))
            costs += [trial.usd] if trial.feasible else []
    return min(costs)


@pytest.mark.parametrize("seed", range(8))
def test_no_schedule_of_small_cases_costs_less(seed: int) -> None:
    rng = np.random.default_rng(seed)
    slots, slot_s, most = 5, 30.0, 2
    count = int(rng.integers(1, 120))
    slo = replace(STRICT, attainment=0.95, tpot_s=0.02)
    arrived_s = np.sort(rng.uniform(0, slots * slot_s, count))
    asked = load(arrived_s, rng.integers(50, 2000, count), rng.integers(1, 300, count), slo=slo, span_s=slots * slot_s)
    candidate = machine(asked, startup_s=45.0)
    found, least = bound_usd(asked, candidate), least_usd(asked, candidate, slots, slot_s, most)
    assert found <= least
    if np.isfinite(least):
        assert found >= 0.5 * least


@pytest.mark.parametrize("seed", range(6))
def test_no_schedule_of_crowds_costs_less(seed: int) -> None:
    rng = np.random.default_rng(seed)
    slots, slot_s, count = 4, 15.0, int(rng.integers(10, 60))
    slo = Slo(ttft_s=float(rng.choice([2.0, 4.0])), tpot_s=0.1, attainment=float(rng.choice([0.9, 1.0])))
    # Each crowd comes just before a tick, so that machines of the next one serve it in time.
    arrived_s = np.sort(rng.choice(slot_s * rng.integers(1, slots, 2), count) - rng.uniform(0, 2.0))
    asked = load(arrived_s, rng.integers(50, 900, count), rng.integers(1, 300, count), slo=slo, span_s=slots * slot_s)
    candidate = machine(asked, startup_s=300.0)
    least = least_usd(asked, candidate, slots, slot_s, most=3)
    assert np.isfinite(least)
    assert 0.6 * least <= bound_usd(asked, candidate) <= least


@pytest.mark.parametrize("seed", range(6))
def test_no_schedule_of_long_bills_costs_less(seed: int) -> None:
    rng = np.random.default_rng(seed)
    slots, slot_s, count = 7, 30.0, int(rng.integers(1, 5))
    slo = Slo(ttft_s=5.0, tpot_s=0.1, attainment=float(rng.choice([0.7, 1.0])))
    arrived_s = np.sort(rng.uniform(0, slots * slot_s, count))
    asked = load(arrived_s, rng.integers(50, 900, count), rng.integers(1, 300, count), slo=slo, span_s=slots * slot_s)
    billed_s, usd_per_hour = rng.choice([30.0, 90.0, 150.0], 2), rng.uniform(1.5, 5.0)
    one = machine(asked, startup_s=10.0, box=replace(offer(), minimum_billing_s=float(billed_s[0])))
    box = replace(offer(2, usd_per_hour=usd_per_hour, instance="pair"), minimum_billing_s=float(billed_s[1]))
    pair = machine(asked, startup_s=10.0, box=box)
    least = min(least_usd(asked, each, slots, slot_s, most=1) for each in (one, pair))
    assert np.isfinite(least)
    assert 0.3 * least <= bound_usd(asked, one, pair) <= least
