"""Repair of solutions that break the safe load, and errors that name the promise which cannot be kept."""

import numpy as np
import pytest
from tests.samples.planning import on_demand, small

from meritorder.errors import InfeasibleError
from meritorder.planner.model.constraints import Formulation, formulate
from meritorder.planner.solve.feasibility import (
    exact_safe_load,
    explain_infeasibility,
    firm_machines,
    repair,
    safe_load_violations,
)
from meritorder.planner.solve.search import find_plan


def solution(machines: float) -> tuple[Formulation, np.ndarray]:
    """A load of 1.4 in one slot, all of it served; c(1) = 0.5 and c(2) = 1.4."""
    formulation = formulate(small([1.4], [0.0], 1))
    values = np.zeros(len(formulation.model.cost))
    values[formulation.variables.machines[0]] = machines
    values[formulation.variables.flow[0]] = 1.0
    return formulation, values


def test_violations_where_machines_are_missing() -> None:
    assert safe_load_violations(*solution(1.0))[0].tolist() == [0]
    assert safe_load_violations(*solution(2.0)) == {}


def test_fractions_are_no_firm_machines() -> None:
    assert firm_machines(*solution(1.999))[0].tolist() == [1]


def test_exact_bound_is_safe_load() -> None:
    """Row: load - slope u <= intercept; with u = 1 fixed, the new bound leaves a load of c(1) = 0.5."""
    formulation, values = solution(1.0)
    machines, rows, upper = exact_safe_load(formulation, values)[0]
    assert machines.tolist() == [1]
    matrix = formulation.model.matrix
    for row, limit in zip(rows, upper, strict=True):
        entries = slice(matrix.start[row], matrix.start[row + 1])
        slope = matrix.value[entries][matrix.column[entries] == formulation.variables.firm[0][0]]
        assert limit - slope.sum() * 1 == pytest.approx(0.5)


def test_repair_adds_missing_machines() -> None:
    formulation, values = solution(0.0)
    elastic = formulate(formulation.problem, elastic=True)
    repaired = repair(formulation, elastic, values, time_limit_s=20)
    assert repaired is not None
    assert repaired[formulation.variables.machines[0]].tolist() == [2]


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
