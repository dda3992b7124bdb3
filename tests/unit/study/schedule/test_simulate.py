"""Simulation of executable plans, by hand."""

from dataclasses import replace

import numpy as np
import pytest
from msgspec import structs
from tests.samples import fleets
from tests.samples.plan import week

from meritorder.domain import Tier
from meritorder.offers import TokenPrice
from meritorder.records.planfile import PlanOutcome, PlanPool, PlanRoute, PoolSchedule
from meritorder.records.planpolicy import BacklogRule, Policy, PolicyFloor, ReactiveRule
from meritorder.study.fleet.load import TraceLoad
from meritorder.study.schedule.executed import ExecutablePlan
from meritorder.study.schedule.simulate import ModelOutcome, simulate_plan

MODEL = "llama-3.1-8b"
SLOT_S = 300.0


def pool(**changes: object) -> PlanPool:
    values: dict[str, object] = {
        "name": "box",
        "model": MODEL,
        "replica": "replica",
        "provider": "some-cloud",
        "region": "",
        "machine": "box",
        "hardware": "h100",
        "gpus": 1,
        "replicas": 1,
        "startup_s": 0.0,
        "startup_paid_s": 0.0,
        "max_num_seqs": fleets.LIMITS.max_num_seqs,
        "max_num_batched_tokens": fleets.LIMITS.max_num_batched_tokens,
        "backfill_tokens": 64,
        **changes,
    }
    return PlanPool(**values)  # type: ignore[arg-type]


def schedule(machines: list[int], pricing_model: str = "on_demand") -> PoolSchedule:
    return PoolSchedule(
        pool="box",
        payment=pricing_model,
        pricing_model=pricing_model,
        usd_per_hour=3600.0,
        minimum_billing_s=0.0,
        machines=machines,
        realtime=True,
        deferrable=False,
        usd=0.0,
    )


def plan(*schedules: PoolSchedule, routes: list[PlanRoute] | None = None) -> ExecutablePlan:
    return ExecutablePlan(
        slot_s=SLOT_S,
        slots=2,
        pools=[pool(carbon_usd_per_hour=[3600.0, 0.0])],
        schedule=list(schedules),
        routes=routes or [],
        commitments=[],
        several_models=False,
    )


def test_paid_time_and_carbon_are_priced() -> None:
    load = fleets.load([1.0, 2.0, 3.0], span_s=2 * SLOT_S)
    outcome, _ = simulate_plan(plan(schedule([1, 1])), {MODEL: load}, {"box": fleets.machine(load)}, {})
    assert outcome.total_usd == pytest.approx(2 * SLOT_S)  # a dollar a second
    assert outcome.carbon_usd == pytest.approx(SLOT_S)  # in the first slot only
    assert outcome.kept
    assert outcome.slo_attainment == 1.0


def test_prepaid_machines_cost_nothing_hourly() -> None:
    load = fleets.load([1.0, 2.0, 3.0])
    outcome, _ = simulate_plan(plan(schedule([1, 1], "owned")), {MODEL: load}, {"box": fleets.machine(load)}, {})
    assert outcome.total_usd == 0
    assert outcome.kept


def test_requests_without_machines_break_promises() -> None:
    load = fleets.load([1.0, 2.0, 3.0], waits=[False, True, True])
    outcome, by_model = simulate_plan(plan(), {MODEL: load}, {}, {})
    assert not outcome.kept
    assert outcome.deadlines_missed == 2
    assert by_model[MODEL].violations.tolist() == [True, False, False]


def test_tokens_are_bought_by_share() -> None:
    price = TokenPrice(
        provider="api",
        model=MODEL,
        provider_model="llama",
        tier=Tier.STANDARD,
        input_usd_per_mtok=1e6,
        cached_usd_per_mtok=1e6,
        output_usd_per_mtok=0.0,
        as_of="",
        source="",
    )
    routes = [
        PlanRoute(workload="realtime", lane="realtime", venue=venue, kind=kind, flow=[0.5, 0.5], usd=0.0)
        for venue, kind in (("box", "pool"), ("api", "tier"))
    ]
    load = fleets.load(np.arange(1.0, 101.0), input_tokens=3)
    outcome, by_model = simulate_plan(
        plan(schedule([1, 1]), routes=routes), {MODEL: load}, {"box": fleets.machine(load)}, {"api": price}
    )
    bought = len(load) - len(by_model[MODEL].load)
    assert bought == pytest.approx(50, abs=1)
    assert outcome.tokens_usd == pytest.approx(3.0 * bought)
    assert outcome.requests == 100


def test_longer_span_repeats_slots_and_commitments() -> None:
    whole = ExecutablePlan.from_file(week())
    longer = whole.over(2 * whole.span_s)
    assert longer.slots == 2 * whole.slots
    assert longer.schedule[1].machines == 2 * whole.schedule[1].machines
    assert longer.commitments[0].usd == pytest.approx(2 * whole.commitments[0].usd)
    shared = replace(whole, pools=[structs.replace(whole.pools[0], backfill_shares=[0.5] * whole.slots)])
    assert len(shared.over(2 * whole.span_s).pools[0].backfill_shares) == longer.slots
    assert whole.over(whole.span_s) is whole
    assert not replace(whole, routes=[]).buys_tokens


def policy_of(**rules: object) -> Policy:
    return Policy(slot_s=SLOT_S, **rules)  # type: ignore[arg-type]


FLOOR = PolicyFloor(pool="box", payment="on_demand", machines=[1, 2])
REACTIVE = ReactiveRule(pool="box", payment="on_demand", target_in_flight=4.0, minimum=0, maximum=4, initial=1)
BACKLOG = BacklogRule(pool="box", payment="spot", maximum=2, margin_s=60.0)


def simulated(policy: Policy | None, load: TraceLoad, *schedules: PoolSchedule) -> PlanOutcome:
    followed = replace(plan(*schedules), policy=policy)
    return simulate_plan(followed, {MODEL: load}, {"box": fleets.machine(load)}, {})[0]


def test_floor_alone_equals_its_schedule() -> None:
    load = fleets.load(np.arange(1.0, 400.0, 7.0), span_s=2 * SLOT_S)
    as_policy = simulated(policy_of(floor=[FLOOR]), load, schedule([9, 9]))
    assert as_policy.above_floor_usd == pytest.approx(0.0)
    assert structs.replace(as_policy, above_floor_usd=None) == simulated(None, load, schedule([1, 2]))
    assert as_policy.total_usd == pytest.approx(3 * SLOT_S)


def test_schedule_without_rule_never_runs() -> None:
    load = fleets.load([1.0, 2.0])
    outcome = simulated(policy_of(), load, schedule([1, 1]))
    assert (outcome.kept, outcome.total_usd) == (False, 0.0)


def test_reactive_rule_holds_promise_beyond_floor() -> None:
    """Forty requests a second arrive in the first slot, for which the floor foresees nothing, and none after it."""
    load = fleets.load(np.arange(1.0, SLOT_S, 0.025), 400, 60, span_s=2 * SLOT_S)
    floor = structs.replace(FLOOR, machines=[0, 1])
    foreseen = simulated(policy_of(floor=[floor]), load, schedule([0, 0]))
    reacted = simulated(policy_of(floor=[floor], reactive=[REACTIVE]), load, schedule([0, 0]))
    assert not foreseen.kept
    assert reacted.kept
    assert foreseen.total_usd < reacted.total_usd < 2 * SLOT_S * REACTIVE.maximum
    assert reacted.above_floor_usd == pytest.approx(reacted.total_usd - SLOT_S), "the floor is one machine for one slot"


def test_reactive_rule_counts_load_of_reserved() -> None:
    """Reserved machines are there first, and take every request; the load on them starts the others."""
    load = fleets.load(np.arange(1.0, SLOT_S, 0.025), 400, 60, span_s=2 * SLOT_S)
    reserved = structs.replace(FLOOR, payment="reserved", machines=[1])
    none_yet = structs.replace(REACTIVE, initial=0)
    rows = schedule([0, 0], "reserved"), schedule([0, 0])
    alone = simulated(policy_of(floor=[reserved]), load, *rows)
    outcome = simulated(policy_of(floor=[reserved], reactive=[none_yet]), load, *rows)
    assert (alone.kept, outcome.kept) == (False, True)
    assert outcome.usd_by_pool["box, reserved"] == 0.0
    assert outcome.usd_by_pool["box, on_demand"] == pytest.approx(outcome.above_floor_usd)


def test_backlog_starts_machines_for_deadlines() -> None:
    """What may wait an hour runs in the fifth minute before its end, on a machine that is then returned."""
    load = fleets.load([1.0] * 40, waits=[True] * 40, patience_s=3600.0, span_s=2 * SLOT_S)
    live, spot = schedule([0, 0]), structs.replace(schedule([0, 0]), payment="spot")
    outcome = simulated(policy_of(backlog=[BACKLOG]), load, live, spot)
    assert (outcome.kept, outcome.deadlines_missed) == (True, 0)
    assert list(outcome.usd_by_pool) == ["box, spot"]
    assert 0 < outcome.total_usd < 120


def test_single_model_needs_no_name() -> None:
    promises = week().promises
    assert promises is not None
    unnamed = structs.replace(week(), promises=structs.replace(promises, model=""))
    assert not ExecutablePlan.from_file(unnamed).several_models


def test_unserved_model_has_no_latencies() -> None:
    load = fleets.load([0.0, 1.0])
    outcome = ModelOutcome(requests=2, load=load, result=None, schedules=(), accounts=(), tokens_usd={})
    assert np.isnan(outcome.latencies[0]).all()
    assert not outcome.attained
