"""A plan read against a configuration: what fits, and what no venue serves."""

import tomllib
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.samples import nightly
from tests.samples.plan import week

from meritorder.domain import Slo, Tier
from meritorder.errors import ConfigError
from meritorder.gateway import config_file
from meritorder.gateway.venues.plans import matching as planned
from meritorder.gateway.venues.plans.in_force import NO_PLAN, PlanInForce
from meritorder.offers import TokenPrice
from meritorder.policy.schedule import Calendar
from meritorder.records.planfile import DeclaredWorkload, Plan, Promises, WorkloadPlan, write_plan
from meritorder.records.tokenapi import TokenApi

HOUR_S = 3600.0
LIVE = {"name": "own", "pool": nightly.LIVE, "url": "http://x", "kind": "vllm", "models": ["stub"]}
NIGHT = {"name": nightly.NIGHT, "url": "http://y", "kind": "vllm", "models": ["stub"], "lanes": ["deferrable"]}


def read(folder: Path, plan: Plan, venues: list[dict[str, Any]] | None = None, **more: object) -> PlanInForce:
    write_plan(plan, folder / "plan.json")
    document = {"plan": str(folder / "plan.json"), "venue": [LIVE, NIGHT] if venues is None else venues, **more}
    return planned.read_plan(config_file.parse_settings(document, where="gateway.toml"))


def test_pools_match_venues_by_name(tmp_path: Path) -> None:
    plan_in_force = read(tmp_path, nightly.plan())
    assert [(pool.spec.name, pool.venues) for pool in plan_in_force.pools] == [
        ("live", ("own",)),
        ("night", ("night",)),
    ]
    (route,) = plan_in_force.realtime["stub"][""]
    assert (route.venues, route.shares) == (("own",), (1.0,) * 5)
    (workload,) = plan_in_force.deferrable["stub"]
    assert [(route.venues, route.shares) for route in workload.routes] == [(("night",), (0, 0, 1, 0, 0))]
    assert plan_in_force.calendar == Calendar(slot_s=HOUR_S, slots=5, period_s=5 * HOUR_S, start_s=0.0)


def test_no_plan_in_settings() -> None:
    assert planned.read_plan(config_file.parse_settings({"venue": [LIVE]}, where="x")) is NO_PLAN


def test_configured_start_overrides_plan(tmp_path: Path) -> None:
    plan_in_force = read(tmp_path, nightly.plan(), plan_start="1970-01-01T02:00:00+01:00")
    assert plan_in_force.calendar.start_s == HOUR_S


def test_declared_workloads_match_in_order(tmp_path: Path) -> None:
    rules = [
        DeclaredWorkload(name="chat", lane="realtime", match=[("tenant", "bulk-chat")]),
        DeclaredWorkload(
            name="nightly", lane="deferrable", deadline="06:00", match=[("tenant", "bulk-*"), ("model", "st*")]
        ),
        DeclaredWorkload(name="rest", lane="realtime"),
    ]
    first, second = read(tmp_path, nightly.plan(rules=rules)).rules
    assert (first.deferrable, first.matches("stub", "bulk-chat")) == (False, True)
    assert second.matches("stub", "bulk-1")
    assert not second.matches("stub", "web")
    assert not second.matches("other", "bulk-1")
    assert second.due_s(5 * HOUR_S) == 6 * HOUR_S
    assert second.due_s(6 * HOUR_S) == 30 * HOUR_S


def test_deadlines_as_in_the_planner() -> None:
    def due_s(deadline: str) -> float | None:
        return planned.PlannedRule(name="x", deadline=deadline, deferrable=True, match=()).due_s(100.0)

    assert due_s("4h") == 100.0 + 4 * HOUR_S
    assert due_s("1970-01-01T01:00:00") == HOUR_S
    assert due_s("1970-01-01T00:00:00Z") is None


def test_patience_from_workload_name(tmp_path: Path) -> None:
    names = ("nightly, 30 min or more, stub", "nightly, 4 h or more, stub", "own deadline, 2 d or more")
    waits = [WorkloadPlan(name=name, lane="deferrable", model="stub", patience_s=60.0) for name in names]
    workloads = read(tmp_path, nightly.plan(waits=waits)).deferrable["stub"]
    assert [(workload.declared, workload.patience_s) for workload in workloads] == [
        ("nightly", 1800.0),
        ("nightly", 4 * HOUR_S),
        ("own deadline", 48 * HOUR_S),
    ]


def test_routes_share_each_slot(tmp_path: Path) -> None:
    routes = [
        nightly.route("realtime", nightly.LIVE, [0.75, 1, 1, 1, 1]),
        nightly.route("realtime", nightly.TOKENS, [0.25, 0, 0, 0, 0], kind="tier"),
        nightly.route("nightly", nightly.NIGHT, [0, 0, 900, 0, 0]),
    ]
    api = {"name": "api", "pool": [nightly.TOKENS, "x"], "url": "http://z", "models": {"stub": "m"}}
    with pytest.raises(ConfigError, match="there is no pool 'x', which the venue api names; the plan has 'live', "):
        read(tmp_path, nightly.plan(routes=routes), [LIVE, NIGHT, api])
    plan_in_force = read(tmp_path, nightly.plan(routes=routes), [LIVE, NIGHT, api | {"pool": nightly.TOKENS}])
    ours, bought = plan_in_force.realtime["stub"][""]
    assert (ours.shares[:2], bought.shares[:2], bought.pool) == ((0.75, 1), (0.25, 0), None)


def test_unmatched_parts_are_errors(tmp_path: Path) -> None:
    def says(plan: Plan, match: str, venues: list[dict[str, Any]] | None = None, **more: object) -> None:
        with pytest.raises(ConfigError, match=match) as caught:
            read(tmp_path, plan, venues, **more)
        assert str(caught.value).startswith(f"{tmp_path}/plan.json: ")
        assert "\n" not in str(caught.value)

    plan = nightly.plan()
    says(plan, r"no venue serves the pool 'night'; write pool = 'night' in the \[\[venue\]\]", [LIVE])
    says(plan, "there is no pool 'old', which the venue night names", [LIVE, NIGHT | {"pool": "old"}])
    says(plan, "the plan sends realtime work to 'live', and the venue own", [LIVE | {"lanes": ["deferrable"]}, NIGHT])
    says(nightly.plan(start_epoch_s=None), "has no start time, .*; write plan_start = ")
    unmatched = [DeclaredWorkload(name="nightly", lane="deferrable", deadline="8h", match=[("session", "x*")])]
    says(nightly.plan(rules=unmatched), r"'nightly' is declared by its session, .*; write a \[\[rule\]\] with workload")
    lost = [
        DeclaredWorkload(
            name="nightly", lane="deferrable", deadline="8h", match=[("session", "x*")], deny={"region": ["us-*"]}
        )
    ]
    says(
        nightly.plan(rules=lost),
        "'nightly' is declared by its session, .*; declare a workload with allow or deny by tenant",
    )
    vague = [DeclaredWorkload(name="nightly", lane="deferrable", deadline="tomorrow")]
    says(nightly.plan(rules=vague), "the workload 'nightly': 'tomorrow' is not a deadline; write the plan again")
    deferred = [WorkloadPlan(name="deferred 4h, stub", lane="deferrable", model="stub", patience_s=60.0)]
    says(nightly.plan(waits=deferred), r"no rule says .* 'deferred 4h, stub'; write .* workload = \"deferred 4h\"")
    two = [
        *(msgspec.structs.replace(workload, model="a") for workload in plan.workloads),
        WorkloadPlan(name="realtime, b", lane="realtime", model="b"),
    ]
    routes = [*plan.routes, nightly.route("realtime, b", nightly.LIVE, [1.0] * 5)]
    says(msgspec.structs.replace(plan, workloads=two, routes=routes), "'stub' is what clients call two models")


def test_rule_by_client_covers_workload(tmp_path: Path) -> None:
    waits = [WorkloadPlan(name="deferred 4h", lane="deferrable", model="stub", patience_s=4 * HOUR_S)]
    rule = {"workload": "deferred 4h", "deadline": "4h", "by_client": True}
    plan_in_force = read(tmp_path, nightly.plan(waits=waits), rule=[rule])
    assert [workload.declared for workload in plan_in_force.deferrable["stub"]] == ["deferred 4h"]


def test_configured_rule_replaces_planned(tmp_path: Path) -> None:
    rule = {"workload": "nightly", "deadline": "1h", "endpoint": "/v1/embeddings"}
    assert read(tmp_path, nightly.plan(), rule=[rule]).rules == ()


def test_golden_plan_can_be_executed(tmp_path: Path) -> None:
    plan = msgspec.structs.replace(
        week(),
        promises=Promises(
            slo=Slo(ttft_s=2, tpot_s=0.1, attainment=0.99),
            workloads=[DeclaredWorkload(name="nightly", lane="deferrable", deadline="4h")],
        ),
    )
    names = [pool.name for pool in plan.pools] + [route.venue for route in plan.routes if route.kind == "tier"]
    venues = [{"name": name, "url": "http://x", "models": ["deepseek-r1"]} for name in names]
    plan_in_force = read(tmp_path, plan, venues)
    assert plan_in_force.calendar.period_s == 7 * 24 * HOUR_S
    h200 = plan_in_force.pools[0]
    assert h200.machines[11] == sum(pool_schedule.machines[11] for pool_schedule in plan.schedule[:2])


def test_policy_routes_to_every_permitted_pool(tmp_path: Path) -> None:
    plan = nightly.policy_plan()
    in_force = read(tmp_path, plan)
    (live,) = in_force.realtime["stub"][""]
    assert (live.venues, live.shares) == (("own",), (1.0,) * 5)
    (waits,) = in_force.deferrable["stub"]
    assert [route.venues for route in waits.routes] == [("own",), ("night",)]
    assert in_force.policy_calendar == Calendar(slot_s=HOUR_S, slots=2, period_s=2 * HOUR_S, start_s=0.0)
    pools = [msgspec.structs.replace(pool, region={"night": "eu-1"}.get(pool.name, "us-1")) for pool in plan.pools]
    work = [msgspec.structs.replace(work, deny={"region": ["us-*"]}) for work in plan.workloads]
    (waits,) = read(tmp_path, msgspec.structs.replace(plan, pools=pools, workloads=work)).deferrable["stub"]
    assert [route.venues for route in waits.routes] == [("night",)]


def test_policy_keeps_share_of_tokens(tmp_path: Path) -> None:
    """A quarter of the work is bought in hindsight, and of the pools only the live one serves real time."""
    routes = [
        nightly.route("realtime", nightly.LIVE, [0.5] * 5),
        nightly.route("realtime", nightly.NIGHT, [0.25] * 5),
        nightly.route("realtime", nightly.TOKENS, [0.25] * 5, kind="tier"),
        *nightly.plan().routes[1:],
    ]
    api = {"name": "api", "pool": nightly.TOKENS, "url": "http://z", "models": ["stub"]}
    found = read(tmp_path, nightly.policy_plan(routes=routes), [LIVE, NIGHT, api]).realtime["stub"][""]
    assert [(route.venues, route.shares[0], route.pool is None) for route in found] == [
        (("api",), 0.25, True),
        (("own",), 1.0, False),
    ]


def test_pool_without_rule_needs_no_venue(tmp_path: Path) -> None:
    plan = nightly.policy_plan(msgspec.structs.replace(nightly.policy(), backlog=[]))
    assert [pool.spec.name for pool in read(tmp_path, plan, [LIVE]).pools] == ["live"]


def buying(tier: Tier = Tier.STANDARD) -> Plan:
    """Return a plan that buys all that can wait from a provider whose address is known."""
    venue = f"some-cloud m, {tier}"
    price = TokenPrice(
        provider="some-cloud",
        model="stub",
        provider_model="m",
        tier=tier,
        input_usd_per_mtok=0.1,
        cached_usd_per_mtok=0.1,
        output_usd_per_mtok=0.4,
        as_of="2026-11-30",
        source="test",
    )
    api = TokenApi(
        venue=venue, price=price, model="m", url="https://some.cloud/v1", api_key_env="KEY", lanes=["deferrable"]
    )
    plan = nightly.plan(
        routes=[nightly.plan().routes[0], nightly.route("nightly", venue, [0, 0, 900, 0, 0], kind="tier")]
    )
    return msgspec.structs.replace(plan, apis=[api])


def test_missing_api_is_refused_with_its_venue(tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError, match="no venue serves some-cloud m, whose tokens the plan buys; add its"
    ) as caught:
        read(tmp_path, buying())
    assert "--config FILE" in str(caught.value)
    assert "--tokens none" in str(caught.value)
    added = tomllib.loads(caught.value.lines)["venue"]
    (waits,) = read(tmp_path, buying(), [LIVE, NIGHT, *added]).deferrable["stub"]
    assert [route.venues for route in waits.routes] == [("some-cloud m",)]
    assert added[0]["models"] == {"stub": "m"}


def test_batch_tier_needs_a_batch_api(tmp_path: Path) -> None:
    api = {"name": "some-cloud", "url": "https://proxy/v1", "models": {"stub": "m"}}
    with pytest.raises(ConfigError, match="the plan buys 'some-cloud m, batch', and the venue some-cloud has no batch"):
        read(tmp_path, buying(Tier.BATCH), [LIVE, NIGHT, api])
    in_force = read(tmp_path, buying(Tier.BATCH), [LIVE, NIGHT, api | {"batch": True}])
    (waits,) = in_force.deferrable["stub"]
    assert [route.venues for route in waits.routes] == [("some-cloud",)]
    assert in_force.places["some-cloud"] == ()  # the sample's route states no provider
