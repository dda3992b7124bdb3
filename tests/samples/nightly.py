"""A small plan for the gateway: real time on a pool that is always on, what can wait on one of its own at night."""

from msgspec import structs

from meritorder.domain import Slo
from meritorder.records.planfile import (
    DeclaredWorkload,
    Plan,
    PlanPool,
    PlanRoute,
    PoolSchedule,
    Promises,
    WorkloadPlan,
)
from meritorder.records.planpolicy import BacklogRule, Policy, PolicyFloor, ReactiveRule

LIVE, NIGHT, TOKENS = "live", "night", "some-cloud m, standard"
SLOTS = 5
AT_NIGHT = [0, 0, 1, 0, 0]
KV_SHARE = 0.8


def pool(
    name: str, *, startup_s: float, backfill_seats: int = 0, backfill_shares: list[float] | None = None
) -> PlanPool:
    return PlanPool(
        name=name,
        model="stub",
        replica=f"stub on {name}",
        provider="ours",
        region="",
        machine=name,
        hardware="h100",
        gpus=8,
        replicas=2,
        startup_s=startup_s,
        startup_paid_s=startup_s,
        max_num_seqs=8,
        backfill_seats=backfill_seats,
        backfill_tokens=64 if backfill_seats else 0,
        backfill_kv_share=KV_SHARE,
        backfill_shares=backfill_shares or [],
    )


def schedule(name: str, machines: list[int], *, payment: str = "owned", realtime: bool = False) -> PoolSchedule:
    return PoolSchedule(
        pool=name,
        payment=payment,
        pricing_model=payment,
        usd_per_hour=1.0,
        minimum_billing_s=0.0,
        machines=machines,
        realtime=realtime,
        deferrable=True,
        usd=0.0,
    )


def route(workload: str, venue: str, flow: list[float], kind: str = "pool") -> PlanRoute:
    lane = "realtime" if workload == "realtime" else "deferrable"
    return PlanRoute(workload=workload, lane=lane, venue=venue, kind=kind, flow=flow, usd=0.0)


def plan(
    *,
    slot_s: float = 3600.0,
    startup_s: float = 600.0,
    live: list[int] | None = None,
    backfill_shares: list[float] | None = None,
    routes: list[PlanRoute] | None = None,
    rules: list[DeclaredWorkload] | None = None,
    waits: list[WorkloadPlan] | None = None,
    start_epoch_s: float | None = 0.0,
    model: str = "stub",
) -> Plan:
    nightly = DeclaredWorkload(name="nightly", lane="deferrable", deadline="8h", match=[("tenant", "bulk-*")])
    return Plan(
        total_usd=1.0,
        planned_usd=1.0,
        bound_usd=1.0,
        hard_bound_usd=1.0,
        gap=0.0,
        slot_s=slot_s,
        slots=SLOTS,
        pools=[
            pool(LIVE, startup_s=startup_s, backfill_seats=3, backfill_shares=backfill_shares),
            pool(NIGHT, startup_s=startup_s),
        ],
        schedule=[schedule(LIVE, live or [1] * SLOTS, realtime=True), schedule(NIGHT, AT_NIGHT, payment="spot")],
        routes=routes
        or [
            route("realtime", LIVE, [1.0] * SLOTS),
            route("nightly", NIGHT, [900.0 * machines for machines in AT_NIGHT]),
        ],
        workloads=[
            WorkloadPlan(name="realtime", lane="realtime", model=model),
            *(waits or [WorkloadPlan(name="nightly", lane="deferrable", model=model, patience_s=8 * 3600.0)]),
        ],
        commitments=[],
        by_pricing_model={},
        prices=[],
        assumptions=[],
        solve_s=0.0,
        promises=Promises(
            slo=Slo(ttft_s=2.0, tpot_s=0.1, attainment=0.99), workloads=[nightly] if rules is None else rules
        ),
        start_epoch_s=start_epoch_s,
    )


def policy(*, slot_s: float = 3600.0, stabilization_s: float = 300.0) -> Policy:
    """Return a floor of one and two machines by turns, up to three by load, and up to two at night for the backlog."""
    return Policy(
        slot_s=slot_s,
        floor=[PolicyFloor(pool=LIVE, payment="owned", machines=[1, 2])],
        reactive=[
            ReactiveRule(
                pool=LIVE, payment="owned", target_in_flight=4.0, minimum=0, maximum=3, stabilization_s=stabilization_s
            )
        ],
        backlog=[BacklogRule(pool=NIGHT, payment="spot", maximum=2, margin_s=60.0, tokens_per_s=10.0)],
    )


def policy_plan(rules: Policy | None = None, **options: object) -> Plan:
    """Return the plan with a policy, whose schedule then has the prices alone."""
    return structs.replace(plan(**options), policy=rules or policy())  # type: ignore[arg-type]
