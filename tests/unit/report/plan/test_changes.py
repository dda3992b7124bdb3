import msgspec
import pytest
from tests.samples.plan import week

from meritorder.report.plan import changes
from meritorder.report.wording import MISSING


def test_same_plan_changes_nothing() -> None:
    plan = week()
    assert changes.sentence(plan, plan).startswith("The other plan costs as much")
    assert {row[-1] for row in changes.machines(plan, plan)} == {MISSING}


@pytest.mark.parametrize(("factor", "word"), [(0.5, "less"), (2.0, "more")])
def test_costs_are_compared_by_the_week(factor: float, word: str) -> None:
    """A plan of half the length that costs half of it costs as much a week; times a factor, it does not."""
    plan = week()
    other = msgspec.structs.replace(plan, total_usd=plan.total_usd / 2 * factor, slots=plan.slots // 2)
    assert word in changes.sentence(plan, other)
    assert changes.costs(plan, other)[-1][0] == "in all"


def test_new_pool_has_a_row() -> None:
    plan = week()
    schedule = msgspec.structs.replace(plan.schedule[0], pool="<new>", machines=[2] * plan.slots)
    other = msgspec.structs.replace(plan, schedule=[*plan.schedule, schedule])
    (row,) = [row for row in changes.machines(plan, other) if row[0].startswith("<new>")]
    assert row[1:] == ("0.0", "2.0", "+2.0")
