"""Routes and limits of a planning problem, and what it refuses."""

import dataclasses

import numpy as np
import pytest
from tests.samples.planning import HOUR, deferrable, hours, on_demand, pool, realtime, small

from meritorder.domain import Access
from meritorder.errors import ConfigError, InfeasibleError
from meritorder.planner.model.demand import Cyclic, OpenEnd
from meritorder.planner.model.problem import CarbonPrice, Problem, RouteKind
from meritorder.planner.model.supply import TokenTier


def waiting(ends: Cyclic | OpenEnd) -> Problem:
    """Work of 1, 2 and 3 machine-hours, each of which may wait until the end of the next hour."""
    return Problem(
        horizon=hours(3, ends=ends),
        workloads=(deferrable([1.0, 2.0, 3.0], 2),),
        pools=(pool(),),
        payments=(on_demand(),),
    )


def test_backlog_is_work_not_yet_due() -> None:
    assert (waiting(Cyclic()).max_backlog_s(0) / HOUR).tolist() == [1, 2, 3]
    assert (waiting(OpenEnd()).max_backlog_s(0) / HOUR).tolist() == [1, 2, 0]


def test_long_patience_spans_the_cycle() -> None:
    patient = dataclasses.replace(waiting(Cyclic()), workloads=(deferrable([1.0, 2.0, 3.0], 9),))
    # At the end of each slot, all arrivals of the last two slots and of this one but none older may wait.
    assert (patient.max_backlog_s(0) / HOUR).tolist() == [6, 6, 6]


def test_routes_follow_access_and_turnaround() -> None:
    slow = TokenTier(name="api", provider="x", model="m", usd={"batch": np.ones(2)}, turnaround_s=2 * HOUR)
    problem = small([1.0, 1.0], [1.0, 1.0], 2, tiers=(slow,))
    assert [(route.workload, route.kind) for route in problem.routes] == [
        (0, RouteKind.POOL),
        (1, RouteKind.POOL),
        (1, RouteKind.TIER),
    ]
    assert problem.routes[2].asynchronous
    denied = (problem.workloads[0], deferrable([1.0, 1.0], 1, access=Access(deny_provider=frozenset({"aws"}))))
    assert [route.workload for route in dataclasses.replace(problem, workloads=denied).routes] == [0]


def test_bursts_count_against_safe_load() -> None:
    online = dataclasses.replace(realtime([1.0, 0.0]), burst=np.array([1.5, 1.0]))
    problem = dataclasses.replace(small([1.0, 0.0], [0.0, 0.0], 1), workloads=(online,))
    assert problem.max_realtime_load(0).tolist() == [1.5, 0.0]


def test_carbon_price_of_a_machine_hour() -> None:
    """10 kW at 500 g/kWh are 5 kg an hour; at $80 a tonne, 40 cents."""
    carbon = CarbonPrice(usd_per_tonne=80.0, grams_per_kwh={"here": np.array(500.0)})
    assert carbon.usd_per_hour(pool(power_w=10_000.0)) == pytest.approx(0.4)
    with pytest.raises(ConfigError, match="no carbon intensity for region 'moon'"):
        carbon.usd_per_hour(pool(region="moon"))


def test_duplicate_names_refused() -> None:
    with pytest.raises(ConfigError, match="each pool needs a name of its own"):
        small([1.0], [1.0], 1, pools=(pool(), pool()))
    second = dataclasses.replace(on_demand(), name="other")
    with pytest.raises(ConfigError, match="two on-demand prices"):
        small([1.0], [1.0], 1, payments=(on_demand(), second))


def test_negative_prices_refused() -> None:
    tier = TokenTier(name="api", provider="x", model="m", usd={"chat": np.array([-1.0])})
    with pytest.raises(ConfigError, match="never negative"):
        small([0.5], [0.5], 1, cyclic=True, tiers=(tier,))
    with pytest.raises(ConfigError, match="a price must be a number of dollars"):
        small([0.5], [0.5], 1, payments=(on_demand(-1.0),))


def test_work_due_before_arrival_refused() -> None:
    with pytest.raises(InfeasibleError, match="due before it arrives"):
        small([0.0, 0.0], [1.0, 1.0], 0)
