"""Costs of variables, and quantities read from their values."""

import dataclasses

import numpy as np
import pytest
from tests.samples.planning import HOUR, hours, on_demand, pool, realtime, reserved, small

from meritorder.planner.model.constraints import formulate
from meritorder.planner.model.problem import CarbonPrice, Problem
from meritorder.planner.model.supply import CapacityBlock, SavingsPlan
from meritorder.planner.model.variables import (
    committed_machines,
    machine_usd_by_slot,
    min_run_slots,
    min_usd_per_replica_s,
    pool_load,
    start_usd,
)


def test_only_rented_machines_pay_starts() -> None:
    """A quarter of an hour at $10 an hour is $2.50."""
    problem = small([0.5], [0.0], 1, pools=(pool(startup_paid_s=900.0),), payments=(on_demand(), reserved()))
    assert [start_usd(problem, i) for i in (0, 1)] == [2.5, 0.0]


def test_minimum_billing_in_whole_slots() -> None:
    payments = (on_demand(minimum_billing_s=1.5 * HOUR), reserved())
    problem = small([0.5], [0.0], 1, payments=payments)
    assert [min_run_slots(problem, i) for i in (0, 1)] == [2, 1]


def test_carbon_is_part_of_machine_cost() -> None:
    carbon = CarbonPrice(usd_per_tonne=1000.0, grams_per_kwh={"here": np.array([100.0, 500.0])})
    problem = small([0.5, 0.5], [0.0, 0.0], 1, pools=(pool(power_w=10_000.0),), carbon=carbon)
    assert machine_usd_by_slot(problem, 0).tolist() == pytest.approx([11.0, 15.0])


def test_committed_machines_of_running_blocks() -> None:
    """One machine is held; two blocks of two hours start in the second hour."""
    block = CapacityBlock(
        name="block", machine="aws-h100", usd_per_hour=4.0, slots=2, starts=(0, 1), held=np.array(1.0)
    )
    problem = Problem(
        horizon=hours(4), workloads=(realtime([0.5] * 4),), pools=(pool(),), payments=(on_demand(), block)
    )
    formulation = formulate(problem)
    values = np.zeros(len(formulation.model.cost))
    values[formulation.variables.blocks[1]] = [0, 2]
    assert committed_machines(problem, formulation.variables, values, 1).tolist() == [1, 3, 3, 1]


def test_realtime_load_of_a_pool() -> None:
    formulation = formulate(small([1.4, 0.5], [0.0, 0.0], 1))
    values = np.zeros(len(formulation.model.cost))
    values[formulation.variables.flow[0]] = [0.5, 1.0]
    assert pool_load(formulation.problem, formulation.variables, values, 0).tolist() == pytest.approx([0.7, 0.5])


def test_cheapest_price_of_a_replica() -> None:
    problem = small(
        [1.0],
        [0.0],
        1,
        pools=(pool(replicas=2),),
        payments=(on_demand(10.0), reserved(6.0)),
        savings_plans=(SavingsPlan(name="sp", usd_per_hour={"aws-h100": 5.0}),),
    )
    assert min_usd_per_replica_s(problem, 0) * 3600 == pytest.approx(2.5)
    held_only = dataclasses.replace(problem, payments=(reserved(held=1, max_machines=0),), savings_plans=())
    assert min_usd_per_replica_s(held_only, 0) == np.inf
