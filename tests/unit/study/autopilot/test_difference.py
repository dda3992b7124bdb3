"""The difference of two plans: machines and dollars worked out by hand."""

import pytest
from msgspec import structs

from meritorder.records.planfile import Plan, PlanPool, PoolSchedule
from meritorder.records.planpolicy import BacklogRule, Policy, PolicyFloor, ReactiveRule
from meritorder.study.autopilot.difference import difference, fewest_machines, rotated, step_towards

ROW = ("gpu", "on demand")
OTHER = ("cheap", "on demand")


def row(pool: str, usd_per_hour: float, machines: list[int], pricing_model: str = "on_demand") -> PoolSchedule:
    return PoolSchedule(
        pool=pool,
        payment="on demand",
        pricing_model=pricing_model,
        usd_per_hour=usd_per_hour,
        minimum_billing_s=60.0,
        machines=machines,
        realtime=True,
        deferrable=True,
        usd=0.0,
    )


def plan(policy: Policy | None, *rows: PoolSchedule) -> Plan:
    pools = [
        PlanPool(
            name=known.pool,
            model="m",
            replica="r",
            provider="p",
            region="",
            machine="p box",
            hardware="h100",
            gpus=1,
            replicas=1,
            startup_s=300.0,
            startup_paid_s=240.0,
        )
        for known in rows
    ]
    slots = len(rows[0].machines)
    return Plan(
        total_usd=0.0,
        planned_usd=0.0,
        bound_usd=0.0,
        hard_bound_usd=0.0,
        gap=0.0,
        slot_s=3600.0,
        slots=slots,
        pools=pools,
        schedule=list(rows),
        policy=policy,
        routes=[],
        workloads=[],
        commitments=[],
        by_pricing_model={},
        prices=[],
        assumptions=[],
        solve_s=0.0,
        start_epoch_s=0.0,
    )


def reactive(
    pool: str = "gpu", *, target: float = 8.0, minimum: int = 1, maximum: int = 10, floor: list[int] | None = None
) -> Policy:
    return Policy(
        slot_s=43_200.0,
        floor=[PolicyFloor(pool=pool, payment="on demand", machines=floor)] if floor else [],
        reactive=[
            ReactiveRule(pool=pool, payment="on demand", target_in_flight=target, minimum=minimum, maximum=maximum)
        ],
    )


def on_gpu(policy: Policy, usd: float = 2.0) -> Plan:
    return plan(policy, row("gpu", usd, [0]))


def test_same_plan_changes_nothing() -> None:
    same = on_gpu(reactive(floor=[2, 4]))
    known = difference(same, same, {ROW: 3.0}, {ROW: 3.0})
    assert (known.machines, known.at_risk_usd_per_day, known.changes) == (0, 0.0, [])


def test_higher_floor_costs_its_machines() -> None:
    before, after = on_gpu(reactive(floor=[2, 4])), on_gpu(reactive(floor=[5, 4]))
    known = difference(before, after, {ROW: 3.0}, {ROW: 4.0})
    assert known.machines == 3
    assert known.at_risk_usd_per_day == pytest.approx(3 * 2.0 * 12)  # half of the day
    assert [change.after for change in known.changes] == ["4 to 5"]


def test_lower_floor_changes_machines_at_no_risk() -> None:
    before, after = on_gpu(reactive(floor=[5, 4])), on_gpu(reactive(floor=[2, 4]))
    known = difference(before, after, {ROW: 3.0}, {ROW: 3.0})
    assert (known.machines, known.at_risk_usd_per_day) == (3, 0.0)


def test_half_the_target_doubles_what_ran() -> None:
    known = difference(on_gpu(reactive(target=8.0)), on_gpu(reactive(target=4.0)), {ROW: 3.0}, {ROW: 6.0})
    assert known.machines == 3
    assert known.at_risk_usd_per_day == pytest.approx(3 * 2.0 * 24)


def test_prepaid_machines_cost_nothing_more() -> None:
    rows = [row("gpu", 2.0, [4], "reserved")]
    fewer = [row("gpu", 2.0, [1], "reserved")]
    known = difference(plan(None, *fewer), plan(None, *rows), {}, {})
    assert (known.machines, known.at_risk_usd_per_day) == (3, 0.0)


def test_cheaper_cloud_is_a_risk_by_what_always_runs() -> None:
    before = on_gpu(reactive())
    after = plan(reactive("cheap", minimum=6), row("cheap", 1.2, [0]))
    known = difference(before, after, {ROW: 6.0}, {OTHER: 6.0})
    assert known.machines == 6
    assert known.at_risk_usd_per_day == pytest.approx((6 * 1.2 - 1 * 2.0) * 24)


def test_floor_repeats_over_the_week() -> None:
    machines = fewest_machines(on_gpu(reactive(floor=[2, 4])), ROW)
    assert len(machines) == 7 * 96
    assert set(machines[:48]) == {2}
    assert set(machines[48:96]) == {4}


def test_step_moves_no_more_than_asked() -> None:
    before = on_gpu(reactive(target=8.0, floor=[2, 4], maximum=10))
    after = on_gpu(reactive(target=2.0, floor=[9, 1], maximum=20))
    step = step_towards(before, after, 2)
    assert step is not None
    assert step.policy is not None
    rules = step.policy.rules_of(*ROW)
    assert rules.floor == [4, 2]
    assert rules.reactive is not None
    assert rules.reactive.maximum == 12
    assert rules.reactive.target_in_flight == pytest.approx(8 / 1.2)


def test_other_machines_are_replaced_as_a_whole() -> None:
    before, after = on_gpu(reactive()), plan(reactive("cheap"), row("cheap", 1.2, [0]))
    assert step_towards(before, after, 5) is None


def test_rotated_plan_begins_at_an_instant() -> None:
    turned = rotated(plan(None, row("gpu", 2.0, [1, 2, 3, 4])), 2 * 3600.0)
    assert turned.schedule[0].machines == [3, 4, 1, 2]
    policy = rotated(on_gpu(reactive(floor=[2, 4])), 43_200.0).policy
    assert policy is not None
    assert policy.floor[0].machines == [4, 2]
    undated = structs.replace(turned, start_epoch_s=None)
    assert rotated(undated, 3600.0) is undated


def test_backlog_rule_counts_as_a_row() -> None:
    rule = BacklogRule(pool="gpu", payment="on demand", maximum=3, margin_s=600.0)
    policy = Policy(slot_s=900.0, backlog=[rule])
    more = structs.replace(policy, backlog=[structs.replace(rule, maximum=5)])
    assert [change.what for change in difference(on_gpu(policy), on_gpu(more), {}, {}).changes] == [
        "gpu, on demand: most machines for the backlog"
    ]
