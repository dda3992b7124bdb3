"""Commitments: rules, ladders, regret, and a backtest on time not seen."""

import dataclasses

import numpy as np
import pytest
from tests.samples.planning import deferrable, hours, on_demand, pool, realtime, reserved, steady, with_commitment

from meritorder.domain import Access
from meritorder.planner import commitments
from meritorder.planner.commitments import backtest_commitments
from meritorder.planner.model.demand import OpenEnd
from meritorder.planner.model.problem import Problem
from meritorder.planner.model.supply import CapacityBlock, Reserved, SavingsPlan
from meritorder.planner.solve.highs import Effort
from meritorder.planner.solve.search import find_plan
from meritorder.planner.solve.solution import CommitmentPurchase

EXACT = Effort(gap=1e-9, time_limit_s=20)


def test_rules_choose_by_past_use() -> None:
    use = np.array([1.0, 2.0, 3.0, 4.0, 9.0])
    assert {name: rule(use, 0.6) for name, rule in commitments.COMMITMENT_RULES.items()} == {
        "minimum": 1,
        "median": 3,
        "break-even quantile": 2,
    }


def test_rules_round_past_use() -> None:
    """The least use counts in whole machines, the median to the nearest; without any use nothing is committed to."""
    use = np.array([1.9, 2.4, 2.9, 3.9])
    assert [rule(use, 0.25) for rule in commitments.COMMITMENT_RULES.values()] == [1, 3, 2]
    assert [rule(np.array([]), 0.6) for rule in commitments.COMMITMENT_RULES.values()] == [0, 0, 0]
    assert commitments.COMMITMENT_RULES["minimum"](np.array([0.0, 2.0]), 0.6) == 0


def test_ladder_adds_up() -> None:
    """A quarter of ten is 2.5; halves are rounded up, to 3, 5, 8 and 10 in all."""
    rungs = commitments.build_ladder(10, 4)
    assert [rung.machines for rung in rungs] == [3, 2, 3, 2]
    assert [rung.after_share for rung in rungs] == [0, 0.25, 0.5, 0.75]
    assert commitments.build_ladder(0, 4) == ()


def test_regret_if_demand_halves() -> None:
    """Two are reserved for $48; at half the demand one would do, for $24."""
    commitment_regret = commitments.commitment_regret(find_plan(steady(), EXACT), 0.5)
    assert (commitment_regret.usd, commitment_regret.best_usd, commitment_regret.usd_lost) == (
        pytest.approx(48),
        pytest.approx(24),
        pytest.approx(24),
    )


def test_recommendation_has_break_even_and_ladder() -> None:
    (advice,) = commitments.recommend_commitments(find_plan(steady(), EXACT), rungs=2)
    assert advice.break_even_use == pytest.approx(0.6)
    assert [step.machines for step in advice.ladder] == [1, 1]
    (quarterly,) = commitments.recommend_commitments(find_plan(steady(), EXACT))
    assert [step.after_share for step in quarterly.ladder] == [0.0, 0.5], "two machines in quarters of the term"


def test_no_break_even_without_on_demand() -> None:
    problem = dataclasses.replace(steady(), payments=(reserved(6.0),))
    (recommendation,) = commitments.recommend_commitments(find_plan(problem, EXACT))
    assert (recommendation.break_even_use, sum(rung.machines for rung in recommendation.ladder)) == (None, 2)


def test_regret_is_of_half_by_default() -> None:
    assert commitments.commitment_regret(find_plan(steady(), EXACT)).demand_share == 0.5


def test_steady_use_is_committed_to() -> None:
    backtests = {result.rule: result for result in backtest_commitments(with_commitment(np.full(48, 1.94)), 0.5)}
    assert backtests["plan"].machines == 2
    # 24 hours of two machines at 6 instead of 10 dollars.
    assert backtests["plan"].saving_usd == pytest.approx(24 * 2 * 4.0)


def test_falling_use_makes_a_loss() -> None:
    backtests = {
        result.rule: result for result in backtest_commitments(with_commitment(np.repeat([1.94, 0.0], 24)), 0.5)
    }
    assert backtests["plan"].machines == 2
    assert backtests["plan"].saving_usd == pytest.approx(-24 * 2 * 6.0)


def test_rare_use_is_not_committed_to() -> None:
    work = np.tile([1.94, 0.0, 0.0], 16)  # a third of the hours; 6 of 10 dollars need 60 %
    assert (
        next(result for result in backtest_commitments(with_commitment(work), 0.5) if result.rule == "plan").machines
        == 0
    )


@pytest.mark.parametrize(("share", "seen"), [(0.0, 1), (0.5, 2), (1.0, 3)])
def test_backtest_leaves_both_parts_a_slot(share: float, seen: int) -> None:
    """Use ends after the slots seen: two machines are committed to and lost for the rest of four hours."""
    work = np.where(np.arange(4) < seen, 1.94, 0.0)
    plan = next(result for result in backtest_commitments(with_commitment(work), share) if result.rule == "plan")
    assert (plan.machines, plan.usd) == (2, pytest.approx((4 - seen) * 2 * 6.0))


def test_few_machines_make_a_short_ladder() -> None:
    rungs = commitments.build_ladder(2, 4)
    assert [(rung.after_share, rung.machines) for rung in rungs] == [(0.0, 1), (0.5, 1)]


def test_only_machines_have_ladders() -> None:
    """At $6 against $10 a savings plan is bought for steady use; it has no break-even by machine."""
    plan = SavingsPlan(name="sp", usd_per_hour={"aws-h100": 6.0})
    problem = dataclasses.replace(steady(), payments=(on_demand(10.0),), savings_plans=(plan,))
    (recommendation,) = commitments.recommend_commitments(find_plan(problem, EXACT))
    assert (recommendation.name, recommendation.break_even_use, recommendation.ladder) == ("sp", None, ())


def test_held_blocks_and_savings_plans() -> None:
    """A block of two hours from the second on, and $7 an hour, are held on top of what was held before."""
    block = CapacityBlock(
        name="block", machine="aws-h100", usd_per_hour=4.0, slots=2, starts=(0, 1), held=np.array([1.0, 0, 0, 0])
    )
    plan = SavingsPlan(name="sp", usd_per_hour={"aws-h100": 6.0}, held_usd_per_hour=1.0)
    problem = dataclasses.replace(steady(), payments=(on_demand(10.0), block), savings_plans=(plan,))
    bought = [
        CommitmentPurchase(
            name=name, pricing_model="", term="", payment="", amount=amount, held=0, usd_per_hour=0, usd=0,
            used_share=1, starts=starts,
        )
        for name, amount, starts in (("block", 1, (1,)), ("sp", 7.0, ()))
    ]  # fmt: skip
    held = commitments.hold_purchases(problem, bought)
    _, held_block = held.payments
    assert isinstance(held_block, CapacityBlock)
    assert (held_block.held.tolist(), held_block.max_machines) == ([1, 1, 1, 0], 0)
    (held_plan,) = held.savings_plans
    assert (held_plan.held_usd_per_hour, held_plan.max_usd_per_hour) == (8.0, 0.0)


def test_held_machines_add_up() -> None:
    """Two bought on top of one held; the reservation of the other machine stays as it is, and no more can be bought."""
    payments = (on_demand(10.0), reserved(6.0, held=1), reserved(6.0, "gcp-h100", held=4))
    purchase = CommitmentPurchase(
        name="aws-h100 reserved", pricing_model="reserved", term="", payment="", amount=2, held=1, usd_per_hour=6,
        usd=0, used_share=1, starts=(),
    )  # fmt: skip
    held = commitments.hold_purchases(dataclasses.replace(steady(), payments=payments), [purchase])
    assert held.payments[0] == payments[0]
    reserved_payments = [payment for payment in held.payments if isinstance(payment, Reserved)]
    assert [(payment.held, payment.max_machines) for payment in reserved_payments] == [(3, 0), (4, 0)]


def test_held_blocks_recur_in_scenarios() -> None:
    """A block of one hour from the second on, in each of two scenarios of three hours."""
    block = CapacityBlock(name="block", machine="aws-h100", usd_per_hour=4.0, slots=1, starts=(0, 1))
    problem = Problem(
        horizon=hours(3, scenarios=2),
        workloads=(realtime([1.0] * 6),),
        pools=(pool(),),
        payments=(on_demand(10.0), block),
    )
    purchase = CommitmentPurchase(
        name="block", pricing_model="", term="", payment="", amount=1, held=0, usd_per_hour=0, usd=0, used_share=1,
        starts=(1,),
    )  # fmt: skip
    for bought, expected in (([purchase], [0, 1, 0, 0, 1, 0]), ([], 0)):
        _, held = commitments.hold_purchases(problem, bought).payments
        assert isinstance(held, CapacityBlock)
        assert held.held.tolist() == expected


def test_backtest_pays_for_fractions() -> None:
    """Of 1.25 machines one is committed to: 24 hours of $6 and of a quarter of $10, not of 1.25 times $10."""
    steady_use = Problem(
        horizon=hours(48, ends=OpenEnd(warm=True)),
        workloads=(deferrable(np.full(48, 1.25), 1),),
        pools=(pool(),),
        payments=(on_demand(10.0), reserved(6.0)),
    )
    payments = (on_demand(10.0, max_machines=1), reserved(6.0, held=3))
    for problem in (steady_use, dataclasses.replace(steady_use, payments=payments)):
        backtests = backtest_commitments(problem, 0.5)
        assert {result.rule for result in backtests} == {"plan", *commitments.COMMITMENT_RULES}
        for result in backtests:
            assert (result.machines, result.usd) == (1, pytest.approx(24 * (6 + 2.5)))
            assert result.saving_usd == pytest.approx(24 * 12.5 - 24 * 8.5)


def test_backtest_leaves_out_other_workloads() -> None:
    """A workload that may not run on the machines of a commitment does not change what that commitment saves."""
    alone = Problem(
        horizon=hours(48, ends=OpenEnd(warm=True)),
        workloads=(deferrable(np.full(48, 1.25), 1),),
        pools=(pool(),),
        payments=(on_demand(10.0), reserved(6.0)),
    )
    denied = dataclasses.replace(
        realtime(np.full(48, 3.0)), name="elsewhere", access=Access(allow_provider=frozenset({"other"}))
    )
    both = dataclasses.replace(
        alone,
        workloads=(*alone.workloads, denied),
        pools=(pool(), dataclasses.replace(pool("other", machine="other-h100"), provider="other")),
        payments=(*alone.payments, on_demand(12.0, "other-h100")),
    )
    assert backtest_commitments(both, 0.5) == backtest_commitments(alone, 0.5)
    assert backtest_commitments(dataclasses.replace(both, workloads=(denied,)), 0.5) == []


def test_regret_over_a_longer_time() -> None:
    solution = find_plan(with_commitment(np.ones(24)), EXACT)
    day, week = commitments.commitment_regret(solution), commitments.commitment_regret(solution, hours=7 * 24)
    assert week.usd == pytest.approx(7 * day.usd)
    assert week.best_usd == pytest.approx(7 * day.best_usd)
    assert week.usd_lost == pytest.approx(7 * day.usd_lost)


def test_backtest_of_the_only_machine() -> None:
    problem = dataclasses.replace(
        with_commitment(np.full(4, 0.97)), payments=(on_demand(10.0), reserved(6.0, max_machines=1))
    )
    plan = next(result for result in backtest_commitments(problem, 0.5) if result.rule == "plan")
    assert (plan.machines, plan.saving_usd) == (1, pytest.approx(2 * 4.0))


def test_backtest_needs_on_demand_price() -> None:
    problem = dataclasses.replace(with_commitment(np.ones(4)), payments=(on_demand(10.0), reserved(6.0, "gcp-h100")))
    assert backtest_commitments(problem, 0.5) == []


def test_backtest_only_of_purchases() -> None:
    problem = dataclasses.replace(with_commitment(np.ones(4)), payments=(on_demand(10.0), reserved(max_machines=0)))
    assert backtest_commitments(problem, 0.5) == []
