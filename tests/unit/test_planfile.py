import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
from tests.samples.planning import on_demand, reserved, small

from meritorder import planfile
from meritorder.errors import ConfigError
from meritorder.planner.commitments import recommend_commitments
from meritorder.planner.export import to_file
from meritorder.planner.sensitivity import analyze_sensitivity
from meritorder.planner.solve.search import Effort, find_plan
from meritorder.sim.run import Scheduled


@pytest.fixture
def plan() -> planfile.Plan:
    solution = find_plan(small([0.5, 1.4], [0.5, 0], 2, payments=(on_demand(), reserved())), Effort(gap=1e-9))
    return to_file(solution, sensitivity=analyze_sensitivity(solution), recommendations=recommend_commitments(solution))


def test_a_plan_comes_back_as_it_went(plan: planfile.Plan, tmp_path: Path) -> None:
    path = tmp_path / "plan.json"
    planfile.write_plan(plan, path)
    assert planfile.read_plan(path) == plan
    assert plan.total_usd == pytest.approx(sum(plan.by_pricing_model.values()))
    assert plan.commitments[0].saves_together_usd is not None


def test_the_schema_comes_first_and_a_column_of_numbers_stays_on_one_line(plan: planfile.Plan, tmp_path: Path) -> None:
    path = tmp_path / "plan.json"
    planfile.write_plan(plan, path)
    lines = path.read_text().splitlines()
    assert lines[1] == f'  "schema": "{planfile.SCHEMA}",'
    assert any('"machines": [' in line and line.rstrip(",").endswith("]") for line in lines)


def test_its_schedule_is_a_pool_of_the_simulator(plan: planfile.Plan) -> None:
    for one in plan.schedule:
        scaling = Scheduled(instances=tuple(one.machines), slot_s=plan.slot_s)
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
    ],
)
def test_what_is_not_a_plan_is_refused(text: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "plan.json"
    path.write_bytes(text)
    with pytest.raises(ConfigError, match=message) as caught:
        planfile.read_plan(path)
    assert "plan.json" in str(caught.value)
    with pytest.raises(ConfigError, match="No such file"):
        planfile.read_plan(tmp_path / "none.json")


def test_a_schedule_that_does_not_fit_is_refused(plan: planfile.Plan, tmp_path: Path) -> None:
    path = tmp_path / "plan.json"
    short = msgspec.structs.replace(plan.schedule[0], machines=[1])
    planfile.write_plan(msgspec.structs.replace(plan, schedule=[short]), path)
    with pytest.raises(ConfigError, match="for each of 2 slots"):
        planfile.read_plan(path)
    lost = msgspec.structs.replace(plan.schedule[0], pool="gone")
    planfile.write_plan(msgspec.structs.replace(plan, schedule=[lost]), path)
    with pytest.raises(ConfigError, match="no such pool"):
        planfile.read_plan(path)


@pytest.mark.parametrize("shares", [[0.5], [0.5, 0.0], [0.5, 1.5]])
def test_shares_of_backfill_that_do_not_fit_are_refused(
    plan: planfile.Plan, shares: list[float], tmp_path: Path
) -> None:
    path = tmp_path / "plan.json"
    pools = [msgspec.structs.replace(plan.pools[0], backfill_shares=shares)]
    planfile.write_plan(msgspec.structs.replace(plan, pools=pools), path)
    with pytest.raises(ConfigError, match=r"a backfill share above 0 and at most 1 for each of 2 slots"):
        planfile.read_plan(path)


def test_reading_needs_neither_arrays_nor_a_solver() -> None:
    code = "import sys, meritorder.planfile; print(sorted({'numpy', 'polars', 'highspy'} & sys.modules.keys()))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
