import dataclasses

import numpy as np
import pytest
from tests.samples.planning import deferrable, hours, on_demand, pool, realtime, reserved

from meritorder.domain import Offer, PricingModel
from meritorder.errors import ConfigError
from meritorder.plan import commitments
from meritorder.plan.demand import Horizon
from meritorder.plan.offers import block_of, interruptions_per_hour, payment_of, savings_plans_of
from meritorder.plan.problem import Problem
from meritorder.plan.solution import find_plan
from meritorder.plan.solve import Effort
from meritorder.plan.venues import Reserved, Spot
from meritorder.plan.worth import worth

EXACT = Effort(gap=1e-9, time_limit_s=20)


def test_levels_are_bought_while_they_are_used_enough() -> None:
    """Use 1, 2, 3, 4 in four hours; at 6 / 10 a level must be used in more than 60 %: levels 1 and 2 are."""
    assert commitments.worth_buying(np.array([1.0, 2.0, 3.0, 4.0]), 6.0, 10.0) == 2
    assert commitments.worth_buying(np.array([]), 6.0, 10.0) == 0


def test_rules_on_time_not_seen() -> None:
    seen, unseen = np.array([1.0, 2.0, 3.0, 4.0, 9.0]), np.array([0.0, 4.0])
    results = {one.rule: one for one in commitments.backtest(seen, unseen, 6.0, 10.0)}
    assert {name: one.machines for name, one in results.items()} == {
        "plan": 2,
        "minimum": 1,
        "median": 3,
        "break-even quantile": 2,
    }
    # Two machines for two hours cost 24, two more in the second 20; without, the second hour costs 40.
    assert results["plan"].usd == pytest.approx(44)
    assert results["plan"].saving_usd == pytest.approx(-4)


def test_a_ladder_adds_up_and_stops_when_use_falls() -> None:
    rungs = commitments.ladder(10, 4)
    assert sum(rung.machines for rung in rungs) == 10
    assert [rung.after_share for rung in rungs] == [0, 0.25, 0.5, 0.75]
    steady, falling = np.full(40, 10.0), np.r_[np.full(10, 10.0), np.full(30, 2.0)]
    assert commitments.pay_ladder(rungs, steady, 6.0, 10.0) > commitments.pay(steady, 10, 6.0, 10.0)
    assert commitments.pay_ladder(rungs, falling, 6.0, 10.0) < commitments.pay(falling, 10, 6.0, 10.0)


def test_money_upfront_costs_what_money_costs() -> None:
    assert commitments.with_cost_of_capital(10.0, "no_upfront", 1.0, 0.1) == pytest.approx(10)
    upfront = commitments.with_cost_of_capital(10.0, "all_upfront", 1.0, 0.1)
    half = commitments.with_cost_of_capital(10.0, "partial_upfront", 1.0, 0.1)
    # Paid evenly over the year at 10 %, a dollar an hour is worth (1 - exp(-0.1)) / 0.1 of one paid at once.
    assert upfront == pytest.approx(10 * 0.1 / (1 - np.exp(-0.1)))
    assert half == pytest.approx((10 + upfront) / 2)


def steady_problem() -> Problem:
    return Problem(
        horizon=hours(4),
        workloads=(realtime([2.0, 2.0, 2.0, 2.0]),),
        pools=(pool(safe=list(range(10))),),
        payments=(on_demand(10.0), reserved(6.0)),
    )


def test_regret_if_demand_halves() -> None:
    """Two are reserved for $48; at half the demand one would do, for $24."""
    regret = commitments.regret(find_plan(steady_problem(), EXACT), 0.5)
    assert (regret.usd, regret.best_usd, regret.usd_lost) == (
        pytest.approx(48),
        pytest.approx(24),
        pytest.approx(24),
    )


def test_advice_names_break_even_and_ladder() -> None:
    (advice,) = commitments.advise(find_plan(steady_problem(), EXACT), steps=2)
    assert advice.break_even_use == pytest.approx(0.6)
    assert [step.machines for step in advice.ladder] == [1, 1]


def test_what_freedom_is_worth() -> None:
    """Work of 2 in the first hour of four; machines on demand at $10, half a machine of spot at $2."""
    spot = Spot(name="spot", machine="aws-h100", usd_per_hour=2.0, available=np.array(0.5))
    problem = Problem(
        horizon=hours(4),
        workloads=(deferrable([2.0, 0, 0, 0], 2),),
        pools=(pool(),),
        payments=(on_demand(10.0), spot),
    )
    found = worth(find_plan(problem, EXACT))
    # In fractions: half a machine of spot in two hours, half a machine on demand in each; an hour more saves 0.5 x $8.
    assert found.patience_usd_per_hour["batch"] == pytest.approx(4)
    # All in its own slot: 1.5 on demand and 0.5 on spot, 16, against 12.
    assert found.deferral_usd["batch"] == pytest.approx(4)
    assert found.spot_usd_per_machine["spot"] == pytest.approx(16)
    assert found.spot_usd_per_gpu["spot"] == pytest.approx(2)
    held = worth(find_plan(steady_problem(), EXACT)).commitments
    assert [(one.name, one.alone_usd, one.together_usd) for one in held] == [
        ("aws-h100 reserved", pytest.approx(32), pytest.approx(32))
    ]


def offer(model: PricingModel, **options: object) -> Offer:
    values: dict[str, object] = {
        "provider": "aws",
        "region": "us-east-1",
        "instance": "p5",
        "hardware": "h100",
        "gpus": 8,
        "pricing_model": model,
        "usd_per_hour": 50.0,
        "as_of": "2026-01-01",
        "source": "test",
        **options,
    }
    return Offer(**values)  # type: ignore[arg-type]


def test_offers_become_payments() -> None:
    held = payment_of(offer(PricingModel.RESERVED, term="1y", payment="no_upfront"), have=2)
    assert isinstance(held, Reserved)
    assert (held.machine, held.have, held.kind) == ("aws us-east-1 p5", 2, "reserved")
    with pytest.raises(ConfigError, match="how often they are taken back"):
        payment_of(offer(PricingModel.SPOT))
    spot = payment_of(offer(PricingModel.SPOT, interruptions_per_month=0.2), available=3)
    assert isinstance(spot, Spot)
    assert np.exp(-spot.interruptions_per_hour * 730) == pytest.approx(0.8)
    assert interruptions_per_hour(0.0) == 0
    (plan,) = savings_plans_of([offer(PricingModel.SAVINGS_PLAN, term="1y"), offer(PricingModel.ON_DEMAND)])
    assert plan.usd_per_hour == {"aws us-east-1 p5": 50.0}
    block = block_of(offer(PricingModel.CAPACITY_BLOCK), 2, Horizon(slot_s=900.0, slots=288))
    assert (block.slots, block.starts) == (192, (0, 96, 192))


def test_held_purchases_are_sunk() -> None:
    plan = find_plan(steady_problem(), EXACT)
    again = find_plan(commitments.holding(plan.problem, plan.purchases), EXACT)
    assert again.usd == 0
    doubled = dataclasses.replace(again.problem, workloads=(realtime([3.0, 3.0, 3.0, 3.0]),))
    assert find_plan(doubled, EXACT).usd == pytest.approx(40)
