"""Errors that name the promise which cannot be kept."""

import pytest
from tests.samples.planning import on_demand, small

from meritorder.errors import InfeasibleError
from meritorder.planner.solve.diagnosis import explain_infeasibility
from meritorder.planner.solve.search import find_plan


def test_missing_capacity_is_explained() -> None:
    with pytest.raises(InfeasibleError, match=r"workload chat: in 1 slots .* at hour 1 .*safe load.*loosen the SLO"):
        find_plan(small([0.5, 6.0], [0, 0], 1))


def test_late_work_names_patience() -> None:
    problem = small([0.0, 0.0], [2.0, 0.0], 1, payments=(on_demand(max_machines=1),))
    text = str(explain_infeasibility(problem))
    assert text.startswith("workload batch: with a patience of 60 min some of its work is late; at hour 0 60 min")


def test_whole_machines_may_be_the_cause() -> None:
    text = str(explain_infeasibility(small([0.5], [0.0], 1)))
    assert "fits on fractions of machines" in text
