"""The search for a schedule: which attempt wins, and when work is left over."""

from dataclasses import replace
from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest
from msgspec import structs

from meritorder.planner.solve.solution import Solution
from meritorder.records import planfile
from meritorder.study.schedule.derating import Attempt, Derating
from meritorder.study.schedule.executed import ExecutablePlan
from meritorder.study.schedule.search import _leaves_work, cheaper
from meritorder.study.schedule.simulate import ModelOutcome


@pytest.mark.parametrize(("end_s", "after_s", "leaves"), [(3700, 300, False), (5700, 30, False), (5700, 300, True)])
def test_long_tail_is_work_left_over(day_plan: planfile.Plan, end_s: int, after_s: int, *, leaves: bool) -> None:
    """Two slots of half an hour: the last requests end within a slot after them, deferrable work may take longer."""
    bins = np.array([[900.0, 900.0, 900.0, 900.0, after_s]])
    result = SimpleNamespace(end_s=end_s, bin_starts_s=900.0 * np.arange(5), capacity_bins_s=bins)
    outcome = cast("ModelOutcome", SimpleNamespace(result=result))
    tried = attempt(day_plan, usd=1.0, bound_usd=1.0, derating=Derating())
    short = replace(tried.plan, slots=2, slot_s=1800.0)
    assert _leaves_work(replace(tried, plan=short, models={"m": outcome})) is leaves


def test_bounds_of_one_derating_are_shared(day_plan: planfile.Plan) -> None:
    """The second costs more, or breaks a promise: its bound holds for the first, unless it was derated further."""
    derating = Derating()
    first = attempt(day_plan, usd=100.0, bound_usd=90.0, derating=derating)
    for second in (
        attempt(day_plan, usd=110.0, bound_usd=95.0, derating=derating),
        attempt(day_plan, usd=96.0, bound_usd=95.0, derating=derating, kept=False),
    ):
        best = cheaper(first, second)
        assert (best.usd, best.bound_usd) == (100.0, 95.0)
    assert cheaper(first, attempt(day_plan, usd=110.0, bound_usd=95.0, derating=Derating(utilization=0.9))) is first
    assert cheaper(first, attempt(day_plan, usd=98.0, bound_usd=85.0, derating=derating)).bound_usd == 90.0


def attempt(of: planfile.Plan, *, usd: float, bound_usd: float, derating: Derating, kept: bool = True) -> Attempt:
    assert of.simulated is not None
    return Attempt(
        solution=cast("Solution", SimpleNamespace()),
        plan=ExecutablePlan.from_file(of),
        outcome=structs.replace(of.simulated, total_usd=usd, carbon_usd=0.0, kept=kept),
        models={},
        derating=derating,
        bound_usd=bound_usd,
    )
