"""Plans that can be computed by hand, and problems without a plan."""

import dataclasses

import numpy as np
import pytest
from tests.samples.planning import HOUR, deferrable, hours, on_demand, pool, realtime, reserved, small

from meritorder.domain import Access
from meritorder.errors import InfeasibleError
from meritorder.planner.model.demand import Cyclic, Horizon, OpenEnd
from meritorder.planner.model.problem import CarbonPrice, Problem
from meritorder.planner.model.supply import CapacityBlock, Spot, TokenTier
from meritorder.planner.solve.highs import Effort
from meritorder.planner.solve.search import find_plan

EXACT = Effort(gap=1e-9, time_limit_s=20)


def test_whole_machines_and_pooling() -> None:
    """Load 0.5, 1.4, 1.5: one machine, two, three, at $10 an hour."""
    plan = find_plan(small([0.5, 1.4, 1.5], [0, 0, 0], 1), EXACT)
    assert plan.schedules[0].machines.tolist() == [1, 2, 3]
    assert plan.usd == pytest.approx(60)
    assert plan.bound_usd == pytest.approx(60)


@pytest.mark.parametrize("work", [1e-9, 1e-7, 1e-5])
def test_lone_request_gets_a_machine(work: float) -> None:
    """However small it is: 1e-7 of an hour are three tokens."""
    plan = find_plan(small([0.5, work, 0.5, 0.0], [0, 0, 0, 0], 1), EXACT)
    assert plan.schedules[0].machines.tolist() == [1, 1, 1, 0]


def test_deferrable_work_fills_gaps() -> None:
    """Real time leaves half a machine free in each hour; work of 1 arrives at once and may wait two hours."""
    plan = find_plan(small([0.5, 0.5, 0.5], [1.0, 0, 0], 3), EXACT)
    assert plan.usd == pytest.approx(30)
    impatient = find_plan(small([0.5, 0.5, 0.5], [1.0, 0, 0], 1), EXACT)
    assert impatient.usd == pytest.approx(40)


def test_patience_counts_whole_slots() -> None:
    """Two machines' work arrives; one machine does it in two hours if it may wait for two."""
    problem = Problem(
        horizon=hours(4, ends=OpenEnd()),
        workloads=(deferrable([2.0, 0, 0, 0], 2),),
        pools=(pool(),),
        payments=(on_demand(max_machines=1),),
    )
    assert find_plan(problem, EXACT).usd == pytest.approx(20)
    with pytest.raises(InfeasibleError, match="workload batch: with a patience of 60 min some of its work is late"):
        find_plan(dataclasses.replace(problem, workloads=(deferrable([2.0, 0, 0, 0], 1),)), EXACT)


def test_only_cycles_wrap_backlog() -> None:
    work = [deferrable([0, 0, 0, 2.0], 3)]
    around = Problem(
        horizon=hours(4, ends=Cyclic()), workloads=tuple(work), pools=(pool(),), payments=(on_demand(max_machines=1),)
    )
    assert find_plan(around, EXACT).usd == pytest.approx(20)
    with pytest.raises(InfeasibleError):
        find_plan(dataclasses.replace(around, horizon=hours(4, ends=OpenEnd())), EXACT)


def test_starts_and_minimum_billing_paid() -> None:
    """A start costs a quarter of an hour, $2.50; a machine is billed for two hours at least."""
    problem = small([0.5, 0, 0.5, 0], [0, 0, 0, 0], 1, pools=(pool(startup_paid_s=900.0),))
    assert find_plan(problem, EXACT).usd == pytest.approx(25)
    billed = dataclasses.replace(problem, payments=(on_demand(minimum_billing_s=2 * HOUR),))
    # On for all of the first three hours costs one start; two runs of two hours would cost two.
    assert find_plan(billed, EXACT).usd == pytest.approx(32.5)


def test_spot_never_serves_real_time() -> None:
    spot = Spot(name="spot", machine="aws-h100", usd_per_hour=2.0, available=np.array([1.0, 0.0, 1.0]))
    problem = small([0.5, 0.5, 0.5], [0.5, 0.5, 1.5], 1, payments=(on_demand(), spot))
    plan = find_plan(problem, EXACT)
    machines = {schedule.payment: schedule.machines.tolist() for schedule in plan.schedules}
    assert machines["aws-h100 on demand"] == [1, 1, 1]
    assert machines["spot"] == [0, 0, 1]
    assert plan.usd == pytest.approx(32)


def test_interruptions_reduce_spot_capacity() -> None:
    """At one interruption in two hours that costs half an hour, a machine does three quarters of its work."""
    spot = Spot(
        name="spot",
        machine="aws-h100",
        usd_per_hour=2.0,
        available=np.array(1.0),
        interruptions_per_hour=0.5,
        lost_s=HOUR / 2,
    )
    problem = Problem(
        horizon=hours(4, ends=OpenEnd()),
        workloads=(deferrable([3.0, 0, 0, 0], 4),),
        pools=(pool(),),
        payments=(spot,),
    )
    assert find_plan(problem, EXACT).usd == pytest.approx(8)


def test_held_machines_used_first() -> None:
    problem = small([0.5, 1.4], [0, 0], 1, payments=(on_demand(), reserved(6.0, held=1)))
    plan = find_plan(problem, EXACT)
    assert plan.usd == pytest.approx(10)
    assert {schedule.payment: schedule.machines.tolist() for schedule in plan.schedules} == {
        "aws-h100 on demand": [0, 1],
        "aws-h100 reserved": [1, 1],
    }
    assert [(purchase.amount, purchase.held) for purchase in plan.purchases] == [(0, 1)]
    assert plan.hard_bound_usd == 0


def test_blocks_bought_whole() -> None:
    """Two hours of work in a block of two at $4 beat $10 on demand; the block beyond the horizon is paid too."""
    block = CapacityBlock(name="block", machine="aws-h100", usd_per_hour=4.0, slots=2, starts=(0, 2))
    problem = small([0.5, 0.5, 0.5], [0, 0, 0], 1, payments=(on_demand(), block))
    plan = find_plan(problem, EXACT)
    assert plan.usd == pytest.approx(16)
    assert plan.purchases[0].starts == (0, 2)


def test_token_tiers_limit_and_turnaround() -> None:
    work = [1.0, 1.0, 1.0, 1.0]
    usd = {"batch": np.array(work) * 2.0}
    tokens = np.array(work) * 3600.0
    demand = dataclasses.replace(deferrable(work, 3), tokens=tokens)
    problem = Problem(horizon=hours(4), workloads=(demand,), pools=(pool(),), payments=(on_demand(),))

    def cost(**options: object) -> float:
        tier = TokenTier(name="api", provider="x", model="m", usd=usd, **options)  # type: ignore[arg-type]
        return find_plan(dataclasses.replace(problem, tiers=(tier,)), EXACT).usd

    assert cost() == pytest.approx(8)
    assert cost(turnaround_s=3 * HOUR) == pytest.approx(8)
    # A turnaround of four hours does not suit work that must be done in three.
    assert cost(turnaround_s=4 * HOUR) == pytest.approx(40)
    # Half of the tokens fit under the limit; the rest takes two machine-hours.
    assert cost(tokens_per_s=0.5) == pytest.approx(4 + 20)


def test_dispatched_work_extends_no_deadline() -> None:
    """The tier takes half of what arrives in an hour; the other half is due as it was, and needs its machine."""
    demand = dataclasses.replace(deferrable([2.0, 0, 0, 0], 2), tokens=np.array([3600.0, 0, 0, 0]))
    tier = TokenTier(
        name="api",
        provider="x",
        model="m",
        usd={"batch": np.array([2.0, 0, 0, 0])},
        turnaround_s=2 * HOUR,
        tokens_per_s=0.5,
    )
    problem = Problem(
        horizon=hours(4, ends=OpenEnd()),
        workloads=(demand,),
        pools=(pool(),),
        payments=(on_demand(max_machines=1),),
        tiers=(tier,),
    )
    assert find_plan(problem, EXACT).usd == pytest.approx(1 + 10)


def test_allow_and_deny() -> None:
    pools = (pool(), pool("gcp-h100"))
    payments = (on_demand(5.0), on_demand(9.0, "gcp-h100"))
    free = small([0.5], [0.0], 1, pools=pools, payments=payments)
    assert find_plan(free, EXACT).usd == pytest.approx(5)
    denied = dataclasses.replace(
        free, workloads=(realtime([0.5], access=Access(deny_provider=frozenset({"aws"}))), free.workloads[1])
    )
    assert find_plan(denied, EXACT).usd == pytest.approx(9)
    nowhere = dataclasses.replace(
        free, workloads=(realtime([0.5], access=Access(allow_region=frozenset({"moon"}))), free.workloads[1])
    )
    with pytest.raises(InfeasibleError, match="workload chat: no pool and no token API may serve it"):
        find_plan(nowhere, EXACT)


def test_carbon_moves_work_to_clean_hours() -> None:
    """A 10 kW machine at 100 and 500 g/kWh and $1,000 a tonne: $1 and $5 an hour on top."""
    problem = Problem(
        horizon=hours(2),
        workloads=(deferrable([1.0, 0.0], 2),),
        pools=(pool(power_w=10_000.0),),
        payments=(on_demand(10.0),),
        carbon=CarbonPrice(usd_per_tonne=1000.0, grams_per_kwh={"here": np.array([500.0, 100.0])}),
    )
    plan = find_plan(problem, EXACT)
    assert plan.schedules[0].machines.tolist() == [0, 1]
    assert plan.usd == pytest.approx(11)
    # What is paid for the machine is without its carbon.
    assert plan.schedules[0].usd == pytest.approx(10)


def test_two_models_share_a_commitment() -> None:
    """One model by day, the other by night: one reserved machine serves both."""
    other = dataclasses.replace(pool("other"), model="n", machine="aws-h100")
    night = dataclasses.replace(realtime([0.0, 0.5], name="night"), model="n")
    problem = Problem(
        horizon=hours(2),
        workloads=(realtime([0.5, 0.0]), night),
        pools=(pool(), other),
        payments=(on_demand(10.0), reserved(6.0)),
    )
    plan = find_plan(problem, EXACT)
    assert plan.usd == pytest.approx(12)
    assert {schedule.pool: schedule.machines.tolist() for schedule in plan.schedules} == {
        "aws-h100": [1, 0],
        "other": [0, 1],
    }


def test_no_work_costs_nothing() -> None:
    plan = find_plan(small([0, 0], [0, 0], 1), EXACT)
    assert (plan.usd, plan.bound_usd, plan.hard_bound_usd, plan.gap) == (0, 0, 0, 0)
    assert plan.schedules == ()
    empty = Problem(horizon=hours(3), workloads=(), pools=(), payments=())
    assert find_plan(empty).usd == 0


def test_single_slot_is_a_plan() -> None:
    assert find_plan(small([1.4], [0.6], 1, cyclic=True), EXACT).usd == pytest.approx(20)


def test_equal_offers_break_no_search() -> None:
    names = [f"p{i}-h100" for i in range(5)]
    problem = small(
        [1.4] * 4,
        [0.3] * 4,
        2,
        cyclic=True,
        pools=tuple(pool(name) for name in names),
        payments=tuple(on_demand(10.0, name) for name in names),
    )
    assert find_plan(problem, EXACT).usd == pytest.approx(80)


def test_probabilities_weigh_scenarios() -> None:
    horizon = Horizon(slot_s=HOUR, slots=1, scenarios=2, probabilities=(0.75, 0.25))
    problem = Problem(horizon=horizon, workloads=(realtime([0.5, 1.4]),), pools=(pool(),), payments=(on_demand(10.0),))
    assert find_plan(problem, EXACT).usd == pytest.approx(0.75 * 10 + 0.25 * 20)


def test_day_of_quarter_hours_near_bound() -> None:
    hour = np.arange(96) / 4
    shape = 0.4 + 0.6 * np.exp(-(((hour - 14) / 5) ** 2))
    horizon = Horizon(slot_s=900.0, slots=96)
    online = dataclasses.replace(realtime([]), work_s={"h100": 8 * shape * 900})
    deferrable_demand = dataclasses.replace(
        deferrable([], 1), work_s={"h100": 4 * shape * 900}, due=np.arange(96) + 15, name="batch"
    )
    n = np.arange(31.0)
    machines = pool(safe=list(0.9 * np.maximum(n - 0.6 * np.sqrt(n), 0)), startup_paid_s=240.0)
    problem = Problem(
        horizon=horizon,
        workloads=(online, deferrable_demand),
        pools=(machines,),
        payments=(on_demand(10.0), reserved(6.0)),
    )
    plan = find_plan(problem, Effort(gap=0.01, time_limit_s=10))
    assert plan.gap < 0.03
    assert plan.hard_bound_usd < plan.bound_usd
