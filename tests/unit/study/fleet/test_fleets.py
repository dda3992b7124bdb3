"""Fleets: the smallest is the smallest, what is priced is what was paid for, and gaps are filled within the pace."""

from dataclasses import replace

import numpy as np
import pytest
from tests.samples.fleets import LIMITS, backfill, load, machine, offer, profile

from meritorder.domain import Slo
from meritorder.study.fleet.fleets import (
    autoscaled_fleet,
    autoscaler_minimums,
    autoscaler_targets,
    batch_fleet,
    fixed_fleet,
    max_deadline_machines,
    max_utilization_within_slo,
    mixed_fleet,
    rejudge,
    search_fixed_fleet,
    simulate_fleet,
)
from meritorder.study.fleet.machines import max_backfill

RANDOM = np.random.default_rng(5)
BUSY = load(np.sort(RANDOM.uniform(0, 200, 6000)), 300, 80)
MIXED = load(np.sort(RANDOM.uniform(0, 600, 3000)), 300, 80, waits=np.arange(3000) % 3 == 0)


def test_fleet_costs_paid_machine_time() -> None:
    two = machine(BUSY, box=offer(2, usd_per_hour=6.0))
    assert two.replicas == 2
    assert two.usd_per_replica_hour == 3.0
    trial = fixed_fleet(two, BUSY, 3)
    assert trial.paid_s == pytest.approx(3 * 2 * trial.result.end_s)
    assert trial.usd == pytest.approx(3 * 6.0 * trial.result.end_s / 3600)


def test_smallest_fleet_is_minimal() -> None:
    one = machine(BUSY)
    trials = list(search_fixed_fleet(one, BUSY))
    kept = [trial for trial in trials if trial.feasible][-1]
    instances = kept.pools[0][1].max_instances
    assert instances > 1
    assert not fixed_fleet(one, BUSY, instances - 1).feasible
    assert min(trial.usd for trial in trials if trial.feasible) == kept.usd


def test_search_ends_when_nothing_holds() -> None:
    hopeless = load([0.0, 1.0], slo=Slo(ttft_s=1e-4, tpot_s=1e-4))
    assert not any(trial.feasible for trial in search_fixed_fleet(machine(hopeless), hopeless))


def test_one_request_needs_one_machine() -> None:
    alone = load([0.0])
    assert [trial.pools[0][1].max_instances for trial in search_fixed_fleet(machine(alone), alone)] == [1]


def test_autoscaler_stays_below_its_maximum() -> None:
    one = machine(BUSY, startup_s=30.0)
    trials = [
        autoscaled_fleet(one, BUSY, target, 4, minimum)
        for minimum in autoscaler_minimums(4)
        for target in autoscaler_targets(one)
    ]
    assert any(trial.feasible for trial in trials)
    assert max(account.peak_instances for trial in trials for account in trial.result.pools) <= 6


def test_autoscaler_that_never_adds_is_simulated_once() -> None:
    quiet = load(np.sort(RANDOM.uniform(0, 600, 600)), 300, 80)
    one = machine(quiet, startup_s=30.0)
    always = fixed_fleet(one, quiet, 1)
    peak = always.result.pools[0].peak_in_flight
    assert peak > 2
    alike = autoscaled_fleet(one, quiet, float(peak), 1, 1, known=[always])
    assert alike.result is always.result
    simulated = autoscaled_fleet(one, quiet, float(peak), 1, 1)
    assert simulated.usd == alike.usd
    assert simulated.pools == alike.pools
    np.testing.assert_array_equal(simulated.result.finished_s, alike.result.finished_s)
    assert autoscaled_fleet(one, quiet, 1.0, 1, 1, known=[always]).result is not always.result
    assert autoscaled_fleet(one, quiet, float(peak), 2, 1, known=[always]).result is not always.result


def test_mix_beside_one_machine_is_simulated_once() -> None:
    lane = MIXED.select(~MIXED.deferrable)
    one = machine(MIXED, startup_s=30.0)
    bases = fixed_fleet(one, lane, 1), autoscaled_fleet(one, lane, 1e9, 1, 1)
    known = mixed_fleet(bases[0], one, MIXED, backfill(16, prefill_tokens=256, kv_share=0.9))
    alike = mixed_fleet(bases[1], one, MIXED, backfill(16, prefill_tokens=256, kv_share=0.9), known=[known])
    simulated = mixed_fleet(bases[1], one, MIXED, backfill(16, prefill_tokens=256, kv_share=0.9))
    assert alike.result is known.result
    assert simulated.usd == alike.usd
    np.testing.assert_array_equal(simulated.result.finished_s, alike.result.finished_s)
    apart = mixed_fleet(bases[1], one, MIXED, None, known=[known])
    assert apart.result is not known.result, "other limits on backfill"


def test_early_end_keeps_the_verdict() -> None:
    one, quick = machine(BUSY), replace(BUSY, verdict_suffices=True)
    verdicts = [(fixed_fleet(one, BUSY, count), fixed_fleet(one, quick, count)) for count in range(1, 7)]
    assert [whole.feasible for whole, _ in verdicts] == [early.feasible for _, early in verdicts]
    assert [early.result.ended_early for _, early in verdicts] == [not whole.feasible for whole, _ in verdicts]
    assert {whole.feasible for whole, _ in verdicts} == {True, False}
    assert not batch_fleet(one, quick.all_deferrable(100.0)).result.ended_early, "late requests show nothing"


def test_max_utilization_lies_below_one() -> None:
    one = machine(BUSY)
    _, pool = fixed_fleet(one, BUSY, 2).pools[0]
    share = max_utilization_within_slo(one, pool, BUSY)
    assert 0.3 < share < 1
    strict = load(BUSY.arrived_s, 300, 80, slo=Slo(ttft_s=0.2, tpot_s=0.02, attainment=0.99))
    assert max_utilization_within_slo(one, pool, strict) < share


def test_backfill_leaves_tpot_intact() -> None:
    limits = max_backfill(machine(MIXED), MIXED)
    assert limits.sequences == LIMITS.max_num_seqs, "32 sequences take 16 ms, far below 70 ms"
    tight = load([0.0], 300, 80, slo=Slo(ttft_s=2.0, tpot_s=0.020))
    limits = max_backfill(machine(tight), tight)
    context = 340.0
    assert float(profile().step_time_s(0, limits.sequences, limits.sequences * context)) <= 0.7 * 0.020
    assert float(profile().step_time_s(0, limits.sequences + 1, (limits.sequences + 1) * context)) > 0.7 * 0.020
    step_s = profile().step_time_s(
        limits.prefill_tokens, limits.sequences, limits.sequences * context, limits.prefill_tokens * context / 2
    )
    assert float(step_s) <= 0.9 * 0.020


def test_no_capacity_admits_no_sequence() -> None:
    impossible = load([0.0], 300, 80, slo=Slo(ttft_s=2.0, tpot_s=0.005))
    assert max_backfill(machine(impossible), impossible).sequences == 0


def test_batch_pays_only_while_running() -> None:
    waiting = BUSY.all_deferrable(4 * 3600.0)
    trial = batch_fleet(machine(waiting), waiting)
    assert trial.feasible
    assert trial.deadlines_missed == 0
    assert trial.slo_attainment is None
    work_s = float(machine(waiting).work_s(waiting).sum())
    assert work_s < trial.paid_s < 2.5 * work_s + 600


def test_no_deferrable_needs_no_machines() -> None:
    assert max_deadline_machines(machine(BUSY), BUSY) == 0
    assert max_deadline_machines(machine(MIXED), MIXED) >= 1


def test_impossible_deadline_counts_as_missed() -> None:
    hurried = load(BUSY.arrived_s, 300, 80, waits=np.ones(len(BUSY), bool), patience_s=0.1)
    trial = batch_fleet(machine(hurried), hurried)
    assert trial.deadlines_missed == int((~(trial.result.finished_s <= hurried.deadline_s)).sum()) > 0
    assert not trial.feasible


def test_mix_backfills_before_renting() -> None:
    one = machine(MIXED)
    lane = MIXED.select(~MIXED.deferrable)
    base = next(trial for trial in search_fixed_fleet(one, lane) if trial.feasible)
    filled, apart = (
        mixed_fleet(base, one, MIXED, backfill(16, prefill_tokens=256, kv_share=0.9)),
        mixed_fleet(base, one, MIXED, None),
    )
    assert filled.feasible
    assert apart.feasible
    assert filled.result.pools[0].deferrable_s > apart.result.pools[0].deferrable_s == 0
    assert filled.usd <= apart.usd


def test_fleet_is_rejudged_by_other_slos() -> None:
    served = simulate_fleet("x", "x", BUSY, fixed_fleet(machine(BUSY), BUSY, 9).pools)
    hurried = load(BUSY.arrived_s, 300, 80, waits=np.ones(len(BUSY), bool), patience_s=1e-3)
    again = rejudge(served, hurried, "mix", "mix")
    assert served.feasible
    assert again.deadlines_missed == len(BUSY)
    assert not again.feasible
    assert again.usd == served.usd


def test_fleets_of_other_loads_differ() -> None:
    assert fixed_fleet(machine(BUSY), BUSY, 3) != fixed_fleet(machine(MIXED), MIXED, 3)
