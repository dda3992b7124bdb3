"""Commitments chosen on one part of a problem and paid for on the other, and over seasons that may come."""

import dataclasses

import numpy as np
import pytest
from tests.samples.planning import deferrable, hours, on_demand, pool, realtime, reserved

from meritorder.plan.backtest import backtest
from meritorder.plan.demand import Deferrable, OpenEnd
from meritorder.plan.problem import Problem
from meritorder.plan.scenarios import scenarios_of, season_slots
from meritorder.plan.window import stretch_of

LINEAR = [float(n) for n in range(6)]


def problem(work: np.ndarray) -> Problem:
    return Problem(
        horizon=hours(len(work), ends=OpenEnd(warm=True)),
        workloads=(realtime(work),),
        pools=(pool(safe=[0.97 * n for n in LINEAR], fullest=0.97),),
        payments=(on_demand(10.0), reserved(6.0)),
    )


def test_steady_use_is_committed_to_and_pays() -> None:
    found = {each.rule: each for each in backtest(problem(np.full(48, 1.94)), 0.5)}
    assert found["plan"].machines == 2
    # 24 hours of two machines at 6 instead of 10 dollars.
    assert found["plan"].saving_usd == pytest.approx(24 * 2 * 4.0)


def test_use_that_falls_away_makes_the_commitment_a_loss() -> None:
    found = {each.rule: each for each in backtest(problem(np.repeat([1.94, 0.0], 24)), 0.5)}
    assert found["plan"].machines == 2
    assert found["plan"].saving_usd == pytest.approx(-24 * 2 * 6.0)


def test_use_below_break_even_is_not_committed_to() -> None:
    work = np.tile([1.94, 0.0, 0.0], 16)  # a third of the hours; 6 of 10 dollars need 60 %
    assert next(each for each in backtest(problem(work), 0.5) if each.rule == "plan").machines == 0


def test_a_stretch_keeps_its_work_and_is_done_in_it() -> None:
    whole = dataclasses.replace(problem(np.arange(10.0)), workloads=(deferrable(np.arange(10.0), 4),))
    part = stretch_of(whole, 3, 5)
    one = part.workloads[0]
    assert isinstance(one, Deferrable)
    assert one.volume_s.tolist() == [3600.0 * n for n in range(3, 8)]
    assert one.due.tolist() == [3, 4, 4, 4, 4]
    assert part.horizon.slots == 5


def test_seasons_are_drawn_around_the_typical_one() -> None:
    rng = np.random.default_rng(0)
    shape = 1 + np.sin(np.arange(24) / 24 * 2 * np.pi)
    days = np.concatenate([shape * level for level in rng.uniform(0.8, 1.2, 10)])
    whole = problem(days)
    assert season_slots(whole) == 24
    drawn = scenarios_of(whole, 24, rng, count=50)
    assert drawn.horizon.length == 50 * 24
    work = next(iter(drawn.workloads[0].work_s.values())).reshape(50, 24) / 3600
    assert work.mean(axis=0) == pytest.approx(shape, rel=0.25, abs=0.05)
    assert work.sum(axis=1).std() > 0


def test_a_trace_shorter_than_two_seasons_has_none() -> None:
    assert season_slots(problem(np.ones(30))) is None
