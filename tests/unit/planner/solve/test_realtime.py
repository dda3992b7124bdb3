"""Whole machines for real-time work, by hand."""

import dataclasses

import numpy as np
import pytest
from tests.samples.planning import on_demand, pool, realtime, reserved, small

from meritorder.domain import Access
from meritorder.planner.model.constraints import formulate
from meritorder.planner.solve.realtime import _cheapest_path, _Option, min_realtime_machines


def option(pair: int, usd: list[float], start_usd: float) -> _Option:
    return _Option(pair, np.ones(len(usd), np.int64), np.array(usd), start_usd)


@pytest.mark.parametrize(("start_usd", "path"), [(0.0, [0, 1, 0]), (10.0, [0, 0, 0])])
def test_starts_discourage_changes(start_usd: float, path: list[int]) -> None:
    """The second option is $4 cheaper in one slot, which does not pay for two starts."""
    options = [option(0, [1.0, 5.0, 1.0], start_usd), option(1, [5.0, 1.0, 5.0], start_usd)]
    assert _cheapest_path(options, 3).tolist() == path


def test_no_starts_between_scenarios() -> None:
    options = [option(0, [1.0, 5.0], 10.0), option(1, [5.0, 1.0], 10.0)]
    assert _cheapest_path(options, 1).tolist() == [0, 1]


def test_machines_fill_up_committed_ones() -> None:
    """One machine is committed to; a load of 1.4 takes two, one of 0.5 takes one."""
    formulation = formulate(small([1.4, 0.5], [0.0, 0.0], 1, payments=(on_demand(), reserved(held=1))))
    values = np.zeros(len(formulation.model.cost))
    values[formulation.variables.machines[1]] = 1.0
    assert min_realtime_machines(formulation, values, {}).tolist() == [[1, 0], [1, 1]]


def test_restricted_workloads_placed_first() -> None:
    """What may run in one place only takes a machine there, whose rest serves what may run anywhere."""
    names = ("aws-h100", "gcp-h100")
    free = small(
        [0.2],
        [0.0],
        1,
        pools=tuple(pool(name) for name in names),
        payments=(on_demand(10.0), on_demand(9.0, "gcp-h100")),
    )
    restricted = realtime([0.3], name="records", access=Access(allow_provider=frozenset({"aws"})))
    formulation = formulate(dataclasses.replace(free, workloads=(free.workloads[0], restricted)))
    values = np.zeros(len(formulation.model.cost))
    assert min_realtime_machines(formulation, values, {}).tolist() == [[1], [0]]
