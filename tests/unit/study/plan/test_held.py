"""Machines that are held already: as free in real time as in the plan, and listed."""

import itertools
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tests.unit.study.conftest import OPTIONS, requests

from meritorder.planner.model.supply import Holdings, Reserved, SavingsPlan
from meritorder.records import planfile
from meritorder.study.plan.answer import plan
from meritorder.study.plan.held import MachineUse, free_shares, split_savings
from meritorder.study.plan.replay import replay
from meritorder.traces import Trace
from meritorder.traces.read import read_trace

OWN = replace(OPTIONS, terms=(), hindsight=True)


@pytest.fixture(scope="module")
def hours(tmp_path_factory: pytest.TempPathFactory) -> Trace:
    path = tmp_path_factory.mktemp("held") / "hours.parquet"
    requests(2.0, hours=2).write_parquet(path)
    return read_trace([path])


def holding(machines: int, folder: Path) -> Path:
    path = folder / "have.toml"
    path.write_text(
        f'[[machines]]\nprovider = "runpod"\ninstance = "L40S Secure"\nmachines = {machines}\nkind = "owned"\n'
    )
    return path


def usd(answer: planfile.Plan) -> tuple[float, float]:
    assert answer.baseline_usd is not None
    return answer.baseline_usd, answer.total_usd


def test_enough_held_machines_cost_nothing(hours: Trace, tmp_path: Path) -> None:
    answer = plan(hours, replace(OWN, have=holding(12, tmp_path)))
    assert usd(answer) == (0.0, 0.0)
    assert (answer.saving_usd, answer.saving_share) == (0.0, 0.0)
    assert "saves" not in answer.sentence
    assert [(row.have, row.amount, row.usd) for row in answer.commitments] == [(12, 0.0, 0.0)]
    assert any("what is held already costs nothing" in row.text for row in answer.assumptions)


def test_held_machines_in_the_plan_file(hours: Trace, tmp_path: Path) -> None:
    answer = plan(hours, replace(OWN, have=holding(1, tmp_path)))
    path = tmp_path / "plan.json"
    planfile.write_plan(answer, path)
    assert replay(planfile.read_plan(path), hours) == answer.policy_outcome


def test_more_held_never_costs_more(hours: Trace, tmp_path: Path) -> None:
    """Each further machine is a free choice: neither real time nor the plan gets more expensive."""
    outcomes = [usd(plan(hours, OWN))]
    outcomes += [usd(plan(hours, replace(OWN, have=holding(count, tmp_path)))) for count in (1, 2, 4)]
    for (before_baseline, before_total), (baseline, total) in itertools.pairwise(outcomes):
        assert baseline <= before_baseline
        assert total <= before_total * (1 + 1e-9)
        assert total <= baseline * (1 + 1e-9)
    # One machine of a fleet that is always on is paid by someone else for the two hours.
    assert outcomes[1][0] < outcomes[0][0]


def test_savings_plan_is_free_to_both(hours: Trace, tmp_path: Path) -> None:
    """A plan of $0.50 an hour pays for one L40S at its rate in every hour, and one L40S serves these requests."""
    path = tmp_path / "have.toml"
    path.write_text('[[savings_plan]]\nprovider = "runpod"\nusd_per_hour = 0.5\nrates = { "L40S Secure" = 0.5 }\n')
    answer = plan(hours, replace(OWN, have=path))
    assert usd(answer) == (pytest.approx(0.0, abs=1e-9), pytest.approx(0.0, abs=1e-9))
    assert answer.bound_usd == 0.0
    path.write_text(path.read_text().replace("usd_per_hour = 0.5", "usd_per_hour = 0.25"))
    half = plan(hours, replace(OWN, have=path))
    # Half a machine in every hour is covered, or the cheaper machines of another seller serve all of it.
    assert half.bound_usd <= usd(half)[1] <= usd(half)[0] <= usd(plan(hours, OWN))[0]


def test_savings_cover_the_largest_discount() -> None:
    """$12 an hour cover one machine at $10 a rate of 6 and one at $7: the first saves most for a dollar of the plan."""
    uses = [
        MachineUse(kind="small", usd_per_hour=7.0, hours=np.array([2.0, 0.5])),
        MachineUse(kind="large", usd_per_hour=10.0, hours=np.array([1.0, 1.0])),
        MachineUse(kind="other", usd_per_hour=50.0, hours=np.array([9.0, 9.0])),
    ]
    held = SavingsPlan(name="plan", usd_per_hour={"small": 6.0, "large": 6.0}, held_usd_per_hour=12.0)
    # Hour 1: one large and one small. Hour 2: the large one, and all that there is of the small one.
    assert split_savings(uses, [held]) == pytest.approx([7.0 + 3.5, 20.0, 0.0])


def test_use_on_the_bill_is_not_free() -> None:
    holdings = Holdings(
        reserved=(Reserved(name="r", machine="m", usd_per_hour=5.0, held=4, max_machines=0),),
        savings_plans=(SavingsPlan(name="s", usd_per_hour={"m": 4.0}, held_usd_per_hour=60.0),),
    )
    free = free_shares(holdings, {"r": 0.5, "s": 0.93})
    assert [reserved.held for reserved in free.reserved] == [2]
    assert [plan.held_usd_per_hour for plan in free.savings_plans] == [pytest.approx(4.2)]
    assert free.notes == (
        "r: 50 % of it is used on the bill, so 2 of 4 are free here",
        "s: 93 % of it is used on the bill, so $4.20 an hour of it are free here",
    )
    assert free_shares(holdings, {}) == holdings
    assert free_shares(holdings, {"r": 0.9, "s": 1.0}).reserved == ()
