"""Plans as manifests, services and tables, read back by parsers of others."""

import csv
import io
from collections import Counter
from dataclasses import replace
from functools import lru_cache
from typing import Any

import pytest
import yaml
from msgspec import structs
from tests.samples import plan as sample

from meritorder.errors import ConfigError
from meritorder.records.planfile import Plan
from meritorder.records.planpolicy import Policy, PolicyFloor, ReactiveRule
from meritorder.report import exports
from meritorder.report.exports import engines
from meritorder.report.exports.fleets import Fleet, fleets, windows

MONDAY_S = 1_764_547_200.0  # 1 December 2025, 00:00 UTC
MINUTES = 7 * 1440


@lru_cache(maxsize=1)
def week() -> Plan:
    """Return the sample week, of vLLM, with machines that are ready at once."""
    plan = sample.week()
    pools = [structs.replace(pool, engine="vllm", max_num_seqs=64, startup_s=0.0) for pool in plan.pools]
    return structs.replace(plan, pools=pools, start_epoch_s=MONDAY_S)


def manifests(plan: Plan, target: str) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all(exports.export(plan, target, None)[f"{target}.yaml"]))


def of_kind(parts: list[dict[str, Any]], kind: str) -> dict[str, dict[str, Any]]:
    return {part["metadata"]["name"]: part["spec"] for part in parts if part["kind"] == kind}


def planned(plan: Plan, fleet: Fleet) -> list[int]:
    """Return the replicas in each minute of the week, counted from the plan's rows."""
    rows = [
        row for row in plan.schedule if row.pool == fleet.pool.name and (row.pricing_model == "spot") == fleet.is_spot
    ]
    return [sum(row.machines[minute // 60] for row in rows) * fleet.pool.replicas for minute in range(MINUTES)]


def fires(cron: str) -> set[int]:
    """Return the minutes of the week, from Monday, at which a cron expression fires."""
    minute, hour, _, _, days = cron.split()
    chosen = range(7) if days == "*" else [(int(day) - 1) % 7 for day in days.split(",")]
    return {day * 1440 + int(hour) * 60 + int(minute) for day in chosen}


def keda_replicas(spec: dict[str, Any]) -> list[int]:
    """Return what KEDA's cron scaler makes of a ScaledObject: active where the next end comes before the next start."""
    counts = [spec["minReplicaCount"]] * MINUTES
    for trigger in (trigger["metadata"] for trigger in spec["triggers"] if trigger["type"] == "cron"):
        starts, ends = fires(trigger["start"]), fires(trigger["end"])
        is_active = False
        for minute in reversed(range(2 * MINUTES)):  # the first week finds what comes next at the end of the second
            following = (minute + 1) % MINUTES
            if following in starts | ends:
                is_active = following in ends
            if is_active and minute < MINUTES:
                counts[minute] = max(counts[minute], int(trigger["desiredReplicas"]))
    return counts


def test_scaled_objects_follow_the_schedule() -> None:
    plan = week()
    scaled = of_kind(manifests(plan, "keda"), "ScaledObject")
    for fleet in fleets(plan, None):
        expected = planned(plan, fleet)
        if len(set(expected)) > 1:
            assert keda_replicas(scaled[fleet.name]) == expected
        else:
            assert fleet.name not in scaled


def test_cron_jobs_follow_the_schedule() -> None:
    plan = week()
    jobs = of_kind(manifests(plan, "kubernetes"), "CronJob").values()
    for fleet in fleets(plan, None):
        expected = planned(plan, fleet)
        changes = {
            minute: int(arguments[3].partition("=")[2])
            for job in jobs
            for arguments in [job["jobTemplate"]["spec"]["template"]["spec"]["containers"][0]["args"]]
            if arguments[2] == fleet.name
            for minute in fires(job["schedule"])
        }
        assert changes == {at: expected[at] for at in range(MINUTES) if expected[at] != expected[at - 1]}


def test_machines_start_ahead_of_their_slot() -> None:
    plan = week()
    early = structs.replace(plan, pools=[structs.replace(pool, startup_s=600.0) for pool in plan.pools])
    for before, fleet in zip(fleets(plan, None), fleets(early, None), strict=True):
        if len(fleet.replicas) > 1:
            ahead = [before.replicas[(at + 10) % MINUTES] for at in range(MINUTES)]
            assert list(fleet.replicas) == list(map(max, before.replicas, ahead))


def test_start_shifts_the_week() -> None:
    fleet = next(fleet for fleet in fleets(week(), None) if len(fleet.replicas) > 1)
    later = next(item for item in fleets(week(), MONDAY_S + 3600) if item.name == fleet.name)
    assert later.replicas == fleet.replicas[-60:] + fleet.replicas[:-60]


def test_windows_cover_each_minute_once() -> None:
    for fleet in fleets(week(), None):
        covered: Counter[int] = Counter()
        for window in windows(fleet):
            length = window.later_days * 1440 + window.end - window.start
            for start in fires(window.start_cron):
                covered.update((start + passed) % MINUTES for passed in range(length))
        assert set(covered.values()) <= {1}
        assert len(covered) in {0, MINUTES}


def test_plan_without_dates_needs_a_start() -> None:
    with pytest.raises(ConfigError, match="give --start"):
        exports.export(structs.replace(week(), start_epoch_s=None), "keda", None)


def test_unknown_engine_is_refused() -> None:
    plan = structs.replace(week(), pools=[structs.replace(pool, engine="own") for pool in week().pools])
    with pytest.raises(ConfigError, match="'own' is not known"):
        exports.export(plan, "keda", None)


def test_policy_becomes_floor_and_trigger() -> None:
    plan = week()
    row = plan.schedule[0]
    rule = ReactiveRule(pool=row.pool, payment=row.payment, target_in_flight=48.0, minimum=1, maximum=6)
    floor = PolicyFloor(pool=row.pool, payment=row.payment, machines=[2] * 9 + [4] * 9 + [2] * 6)
    policy = Policy(slot_s=3600.0, floor=[floor], reactive=[rule])
    parts = manifests(structs.replace(plan, policy=policy, schedule=[row]), "keda")
    (spec,) = of_kind(parts, "ScaledObject").values()
    each = next(pool.replicas for pool in plan.pools if pool.name == row.pool)
    assert (spec["minReplicaCount"], spec["maxReplicaCount"]) == (2 * each, 6 * each)
    cron, prometheus = (trigger["metadata"] for trigger in spec["triggers"])
    assert (cron["start"], cron["end"], cron["desiredReplicas"]) == ("0 9 * * *", "0 18 * * *", str(4 * each))
    assert prometheus["threshold"] == "48"
    (scaler,) = of_kind(
        manifests(structs.replace(plan, policy=policy, schedule=[row]), "kubernetes"), "HorizontalPodAutoscaler"
    ).values()
    assert scaler["maxReplicas"] == 6 * each


@pytest.mark.parametrize("target", ["keda", "kubernetes"])
def test_manifests_pass_strict_validation(target: str) -> None:
    validate = pytest.importorskip("kubernetes_validate").validate
    for part in manifests(week(), target):
        if part["kind"] != "ScaledObject":
            validate(part, "1.33", strict=True)


def test_services_state_places_and_replicas() -> None:
    plan = week()
    pools = [structs.replace(pool, provider="aws", region="us-east-1", hardware="h200") for pool in plan.pools[:1]]
    row = next(row for row in plan.schedule if row.pool == pools[0].name)
    spot = structs.replace(row, pricing_model="spot", payment="spot", machines=[3] * plan.slots)
    plan = structs.replace(plan, pools=pools, schedule=[row, spot])
    ((name, text),) = ((name, text) for name, text in exports.export(plan, "skypilot", None).items() if "sky" in name)
    service = yaml.safe_load(text)
    assert name.endswith(".sky.yaml")
    assert service["resources"]["any_of"] == [
        {"infra": "aws/us-east-1", "use_spot": True},
        {"infra": "aws/us-east-1", "use_spot": False},
    ]
    assert service["resources"]["accelerators"] == f"H200:{pools[0].replica_gpus}"
    policy = service["service"]["replica_policy"]
    machines = [own + 3 for own in row.machines]
    assert policy["min_replicas"] == min(machines) * pools[0].replicas
    assert policy["max_replicas"] == max(machines) * pools[0].replicas
    assert policy["base_ondemand_fallback_replicas"] == min(row.machines) * pools[0].replicas


@pytest.mark.parametrize(
    ("engine", "options", "sequences"),
    [
        ("vllm", "--data-parallel-size 8 --enable-expert-parallel", "--max-num-seqs 32"),
        # SGLang's limits are those of all ranks together.
        ("sglang", "--tp-size 8 --dp-size 8 --ep-size 8 --enable-dp-attention", "--max-running-requests 256"),
    ],
)
def test_servers_start_with_data_parallel_attention(engine: str, options: str, sequences: str) -> None:
    pool = structs.replace(week().pools[0], engine=engine, replica_gpus=8, replicas=16, attention_ranks=8)
    command = " ".join(engines.command(structs.replace(pool, max_num_seqs=32)))
    assert options in command
    assert sequences in command
    assert "--tensor-parallel-size" not in command
    assert pool.servers == 2


def test_plan_without_machines_is_refused() -> None:
    with pytest.raises(ConfigError, match="rents no machines"):
        exports.export(structs.replace(week(), schedule=[]), "csv", None)


def test_hostile_names_stay_text() -> None:
    name = 'x"\n---\nkind: Evil # \u2028 \x00: {}'
    pool = structs.replace(week().pools[0], name=name, model="a; rm -rf /\n$(x)", provider="aws", machine="=1+1")
    plan = structs.replace(week(), pools=[pool], schedule=[structs.replace(week().schedule[0], pool=name)])
    assert {part["kind"] for part in manifests(plan, "keda")} <= {"Deployment", "Service", "ScaledObject"}
    rows = csv.DictReader(io.StringIO(exports.export(plan, "csv", None)["schedule.csv"]))
    assert {row["machine"] for row in rows} == {"'=1+1"}


def test_unsupported_provider_is_named() -> None:
    pools = [structs.replace(pool, provider="crusoe") for pool in week().pools]
    with pytest.raises(ConfigError, match="does not rent from crusoe"):
        exports.export(structs.replace(week(), pools=pools), "skypilot", None)


def test_tables_have_each_slot_and_purchase() -> None:
    files = exports.export(week(), "csv", None)
    rows = list(csv.DictReader(io.StringIO(files["schedule.csv"])))
    assert sum(int(row["machines"]) for row in rows) == sum(sum(row.machines) for row in week().schedule)
    assert rows[1]["starts_at"] == "2025-12-01T01:00:00+00:00"
    bought = list(csv.DictReader(io.StringIO(files["commitments.csv"])))
    assert [row["commitment"] for row in bought] == [item.name for item in week().commitments]
    assert all(row["page"].startswith("https://console.aws.amazon.com/") for row in bought)


def test_payments_of_a_pool_add_up() -> None:
    plan, row = week(), week().schedule[0]
    more = structs.replace(row, payment="on demand", pricing_model="on_demand")
    rule = ReactiveRule(pool=row.pool, payment="on demand", target_in_flight=48.0, minimum=1, maximum=6)
    floor = PolicyFloor(pool=row.pool, payment=row.payment, machines=[2] * 24)
    policy = Policy(slot_s=3600.0, floor=[floor], reactive=[rule])
    (fleet,) = fleets(structs.replace(plan, policy=policy, schedule=[row, more]), None)
    assert (fleet.minimum, fleet.maximum) == ((2 + 1) * fleet.pool.replicas, (2 + 6) * fleet.pool.replicas)


def test_names_are_valid_and_unique() -> None:
    pool, row = week().pools[0], week().schedule[0]
    names = ["8x H100!! " + "very " * 20 + end for end in "ab"]
    plan = structs.replace(
        week(),
        pools=[structs.replace(pool, name=name) for name in names],
        schedule=[structs.replace(row, pool=name) for name in names],
    )
    made = [fleet.name for fleet in fleets(plan, None)]
    assert len(set(made)) == 2
    assert all(len(name) <= 50 and name[0].isalpha() and not name.endswith("-") for name in made)
    assert replace(fleets(plan, None)[0], maximum=9).maximum == 9


def test_text_is_quoted_where_yaml_needs_it() -> None:
    from meritorder.report.exports.yaml import documents

    value = {
        "a": ["no", "1", "2026-01-01", "x: y", "#", "", "~", "null", "e\u00e9\n\ttab", {"b": []}],
        "true": {"c": {}},
        "n": 1.5,
    }
    text = documents([value, value], "one\n--- two\x00")
    assert list(yaml.safe_load_all(text)) == [value, value]
