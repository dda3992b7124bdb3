"""Commitments: rules, ladders, regret, and a backtest on time not seen."""

import numpy as np
import pytest
from tests.samples.planning import steady, with_commitment

from meritorder.planner import commitments
from meritorder.planner.commitments import backtest_commitments
from meritorder.planner.solve.search import Effort, find_plan

EXACT = Effort(gap=1e-9, time_limit_s=20)


def test_rules_choose_by_past_use() -> None:
    use = np.array([1.0, 2.0, 3.0, 4.0, 9.0])
    assert {name: rule(use, 0.6) for name, rule in commitments.COMMITMENT_RULES.items()} == {
        "minimum": 1,
        "median": 3,
        "break-even quantile": 2,
    }


def test_ladder_adds_up() -> None:
    rungs = commitments.build_ladder(10, 4)
    assert sum(rung.machines for rung in rungs) == 10
    assert [rung.after_share for rung in rungs] == [0, 0.25, 0.5, 0.75]


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


def test_steady_use_is_committed_to() -> None:
    found = {result.rule: result for result in backtest_commitments(with_commitment(np.full(48, 1.94)), 0.5)}
    assert found["plan"].machines == 2
    # 24 hours of two machines at 6 instead of 10 dollars.
    assert found["plan"].saving_usd == pytest.approx(24 * 2 * 4.0)


def test_falling_use_makes_a_loss() -> None:
    found = {result.rule: result for result in backtest_commitments(with_commitment(np.repeat([1.94, 0.0], 24)), 0.5)}
    assert found["plan"].machines == 2
    assert found["plan"].saving_usd == pytest.approx(-24 * 2 * 6.0)


def test_rare_use_is_not_committed_to() -> None:
    work = np.tile([1.94, 0.0, 0.0], 16)  # a third of the hours; 6 of 10 dollars need 60 %
    assert (
        next(result for result in backtest_commitments(with_commitment(work), 0.5) if result.rule == "plan").machines
        == 0
    )
