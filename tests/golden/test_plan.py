"""A plan file of half an hour of chats, made by `plan`: its bytes, and its outcome when simulated again."""

from pathlib import Path

from msgspec import structs
from tests.unit.study.conftest import requests

from meritorder.records import planfile
from meritorder.study.plan.replay import replay
from meritorder.traces.read import read_trace

GOLDEN = Path(__file__).with_name("plan.json")
FIRST_SCHEMA = Path(__file__).with_name("plan_1.json")


def test_plan_file_is_reproduced_exactly(tmp_path: Path) -> None:
    again = tmp_path / "plan.json"
    planfile.write_plan(planfile.read_plan(GOLDEN), again)
    assert again.read_bytes() == GOLDEN.read_bytes()


def test_golden_outcome_is_reproduced(tmp_path: Path) -> None:
    plan = planfile.read_plan(GOLDEN)
    assert plan.policy_outcome is not None
    assert replayed(plan, tmp_path) == plan.policy_outcome


def test_first_schema_is_executed_by_its_schedule(tmp_path: Path) -> None:
    plan = planfile.read_plan(FIRST_SCHEMA)
    assert plan.policy is None
    assert plan.simulated is not None
    assert replayed(plan, tmp_path) == plan.simulated


def replayed(plan: planfile.Plan, tmp_path: Path) -> planfile.PlanOutcome:
    trace = tmp_path / "chats.parquet"
    requests(12.0, hours=0.5, seed=3).write_parquet(trace)
    return structs.replace(replay(plan, read_trace([trace])), trace="chats.parquet")
