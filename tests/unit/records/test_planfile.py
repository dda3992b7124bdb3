"""Plan files: read as written, and refused if they do not fit together."""

import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
from msgspec import structs
from tests.samples import nightly
from tests.samples.plan import week

from meritorder.domain import Access, Lane, Slo, Workload
from meritorder.errors import ConfigError
from meritorder.records import planfile
from meritorder.records.planpolicy import PolicyFloor
from meritorder.sim.run import Scheduled


@pytest.fixture
def plan() -> planfile.Plan:
    return week()


def test_plan_is_read_as_written(plan: planfile.Plan, tmp_path: Path) -> None:
    path = tmp_path / "plan.json"
    planfile.write_plan(plan, path)
    assert planfile.read_plan(path) == plan
    assert plan.total_usd == pytest.approx(sum(plan.by_pricing_model.values()))
    assert plan.commitments[0].saves_together_usd is not None


def test_schema_first_and_arrays_inline(plan: planfile.Plan, tmp_path: Path) -> None:
    path = tmp_path / "plan.json"
    planfile.write_plan(plan, path)
    lines = path.read_text().splitlines()
    assert lines[1] == f'  "schema": "{planfile.SCHEMA}",'
    assert any('"machines": [' in line and line.rstrip(",").endswith("]") for line in lines)


def test_schedule_fits_the_simulator(plan: planfile.Plan) -> None:
    for schedule in plan.schedule:
        scaling = Scheduled(instances=tuple(schedule.machines), slot_s=plan.slot_s)
        assert max(scaling.instances) >= 1
        assert len(scaling.instances) == plan.slots


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"", "not a plan"),
        (b"{}", "it names no schema"),
        (b'{"schema": "meritorder.compare/1"}', "its schema is 'meritorder.compare/1'"),
        (b'{"schema": "meritorder.plan/9"}', "upgrade meritorder"),
        (b'{"schema": "meritorder.plan/1"}', "missing required field `total_usd`"),
        (b'{"schema": "meritorder.plan/2"}', "missing required field `total_usd`"),
    ],
)
def test_other_files_are_refused(text: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "plan.json"
    path.write_bytes(text)
    with pytest.raises(ConfigError, match=message) as caught:
        planfile.read_plan(path)
    assert "plan.json" in str(caught.value)
    with pytest.raises(ConfigError, match="No such file"):
        planfile.read_plan(tmp_path / "none.json")


def test_inconsistent_schedule_is_refused(plan: planfile.Plan, tmp_path: Path) -> None:
    path = tmp_path / "plan.json"
    short = msgspec.structs.replace(plan.schedule[0], machines=[1])
    planfile.write_plan(msgspec.structs.replace(plan, schedule=[short]), path)
    with pytest.raises(ConfigError, match="for each of 168 slots"):
        planfile.read_plan(path)
    lost = msgspec.structs.replace(plan.schedule[0], pool="gone")
    planfile.write_plan(msgspec.structs.replace(plan, schedule=[lost]), path)
    with pytest.raises(ConfigError, match="no such pool"):
        planfile.read_plan(path)


def test_first_schema_is_still_read(plan: planfile.Plan, tmp_path: Path) -> None:
    """It named the regret of commitments otherwise, and had no policy: what it says of one is not ours."""
    path = tmp_path / "plan.json"
    planfile.write_plan(plan, path)
    document = msgspec.json.decode(path.read_bytes())
    document |= {"schema": "meritorder.plan/1", "regret": document.pop("commitment_regret")}
    del document["policy"]
    path.write_bytes(msgspec.json.encode(document))
    assert plan.commitment_regret is not None
    assert planfile.read_plan(path) == plan


def test_policy_is_read_as_written(tmp_path: Path) -> None:
    path = tmp_path / "plan.json"
    planfile.write_plan(nightly.policy_plan(), path)
    policy = planfile.read_plan(path).policy
    assert policy == nightly.policy_plan().policy
    assert policy is not None
    live, night = policy.rules_of(nightly.LIVE, "owned"), policy.rules_of(nightly.NIGHT, "spot")
    assert (live.floor, live.reactive, live.backlog) == ([1, 2], policy.reactive[0], None)
    assert (night.floor, night.reactive, night.backlog) == ([], None, policy.backlog[0])
    assert policy.rules_of(nightly.NIGHT, "reserved").is_empty


LIVE_RULE, NIGHT_RULE = nightly.policy().reactive[0], nightly.policy().backlog[0]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"slot_s": 0.0}, "slot_s must be positive"),
        ({"backlog": [structs.replace(NIGHT_RULE, payment="owned")]}, "no pool 'night' with the payment 'owned'"),
        ({"reactive": [LIVE_RULE, LIVE_RULE]}, "two rules of one kind"),
        (
            {"reactive": [LIVE_RULE, structs.replace(LIVE_RULE, payment="on_demand")]},
            "reactive rules under two payments",
        ),
        ({"reactive": [structs.replace(LIVE_RULE, target_in_flight=0.0)]}, "a positive target"),
        ({"reactive": [structs.replace(LIVE_RULE, minimum=9)]}, "minimum <= maximum"),
        ({"backlog": [structs.replace(NIGHT_RULE, margin_s=-1.0)]}, "a margin of 0 or more"),
        ({"floor": [PolicyFloor(pool=nightly.NIGHT, payment="spot", machines=[1])]}, "a backlog rule beside a floor"),
        (
            {"floor": [PolicyFloor(pool=nightly.LIVE, payment="owned", machines=[1, -1])]},
            "a machine count for each of 2 slots",
        ),
    ],
)
def test_inconsistent_policy_is_refused(changes: dict[str, object], message: str, tmp_path: Path) -> None:
    path = tmp_path / "plan.json"
    plan = nightly.policy_plan()
    paid_otherwise = structs.replace(plan.schedule[0], payment="on_demand")
    policy = structs.replace(nightly.policy(), **changes)
    planfile.write_plan(structs.replace(plan, schedule=[*plan.schedule, paid_otherwise], policy=policy), path)
    with pytest.raises(ConfigError, match=message) as caught:
        planfile.read_plan(path)
    assert "plan.json" in str(caught.value)


@pytest.mark.parametrize("shares", [[0.5], [0.5] * 167 + [0.0], [0.5] * 167 + [1.5]])
def test_inconsistent_backfill_shares_are_refused(plan: planfile.Plan, shares: list[float], tmp_path: Path) -> None:
    path = tmp_path / "plan.json"
    pools = [msgspec.structs.replace(plan.pools[0], backfill_shares=shares), *plan.pools[1:]]
    planfile.write_plan(msgspec.structs.replace(plan, pools=pools), path)
    with pytest.raises(ConfigError, match=r"a backfill share above 0 and at most 1 for each of 168 slots"):
        planfile.read_plan(path)


def test_reading_needs_no_arrays_or_solver() -> None:
    code = "import sys, meritorder.records.planfile; print(sorted({'numpy', 'polars', 'highspy'} & sys.modules.keys()))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_declared_workload_round_trips() -> None:
    index = Workload(
        name="index",
        lane=Lane.DEFERRABLE,
        deadline="4h",
        match=(("tenant", "doc-*"),),
        access=Access.from_tables({"region": ["eu-*"]}, {"provider": ["vast"]}),
    )
    chat = Workload(name="chat", lane=Lane.REALTIME, slo=Slo(ttft_s=1.0, tpot_s=0.05))
    for workload in (index, chat):
        text = msgspec.json.encode(planfile.DeclaredWorkload.from_workload(workload))
        assert msgspec.json.decode(text, type=planfile.DeclaredWorkload).to_workload() == workload


def test_plans_without_prefill_limits_are_read(plan: planfile.Plan) -> None:
    """A plan written by hand for a gateway may name sequences alone; zero and one are the defaults of the file."""
    pool = structs.replace(plan.pools[0], backfill_seats=4, backfill_tokens=0, backfill_kv_share=1.0)
    limits = pool.backfill
    assert (limits.sequences, limits.prefill_tokens, limits.kv_share) == (4, 0, 1.0)
