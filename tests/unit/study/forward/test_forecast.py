"""Forecasts of tomorrow's slots on series whose next day is known by construction."""

import numpy as np
import pytest

from meritorder.study.forward.forecast import (
    day_type,
    forecast_day,
    pinball_loss,
    score_forecast,
    surge_factor,
)

SLOTS = 96
SHAPE = 2 + np.sin(np.linspace(0, 2 * np.pi, SLOTS, endpoint=False))
WEEK = [day % 7 for day in range(28)]


def test_same_days_repeat() -> None:
    forecast = forecast_day(np.array([SHAPE] * 4), WEEK[:4], 4)
    np.testing.assert_allclose(forecast.expected, SHAPE)
    np.testing.assert_allclose(forecast.quantile(0.9), SHAPE)
    np.testing.assert_allclose(forecast.scenarios, np.array([SHAPE] * 3))


def test_weekends_have_their_own_level() -> None:
    levels = np.array([0.4 if kind >= 5 else 1.0 for kind in WEEK])
    past = levels[:26, None] * SHAPE
    forecast = forecast_day(past, WEEK[:26], WEEK[26])
    assert WEEK[26] == 5
    assert forecast.expected.mean() == pytest.approx(0.4 * SHAPE.mean(), rel=0.1)
    weekday = forecast_day(past, WEEK[:26], 2)
    assert weekday.expected.mean() == pytest.approx(SHAPE.mean(), rel=0.1)


def test_growth_continues() -> None:
    levels = 1.02 ** np.arange(20)
    forecast = forecast_day(levels[:, None] * SHAPE, WEEK[:20], WEEK[20])
    assert forecast.expected.mean() == pytest.approx(1.02**20 * SHAPE.mean(), rel=0.03)


def test_shifted_level_is_followed_at_once() -> None:
    levels = np.array([1.0, 1.03, 0.97, 1.02, 1.0, 3.0])
    forecast = forecast_day(levels[:, None] * SHAPE, WEEK[:6], 6)
    assert forecast.expected.mean() == pytest.approx(3.0 * SHAPE.mean(), rel=0.05)


def test_band_covers_what_it_claims() -> None:
    random = np.random.default_rng(0)
    days = SHAPE * random.lognormal(0, 0.2, (29, SLOTS))
    scores = [score_forecast(forecast_day(days[:day], WEEK[:day], day % 7), days[day]).coverage for day in range(8, 28)]
    assert 0.7 < np.mean(scores) < 0.9


def test_first_day_gives_a_wide_band() -> None:
    forecast = forecast_day(SHAPE[None, :], [0], 1)
    lower, upper = forecast.quantile(0.1), forecast.quantile(0.9)
    assert (lower < SHAPE).all()
    assert (upper > SHAPE).all()


def test_idle_days_are_forecast_idle() -> None:
    forecast = forecast_day(np.zeros((2, SLOTS)), [0, 1], 2)
    assert not forecast.quantile(0.9).any()


def test_shortfall_costs_more_at_high_quantiles() -> None:
    # 0.9 x 1 for what was missing, 0.1 x 1 for what was too much.
    assert pinball_loss(np.array([1.0]), np.array([2.0]), 0.9) == pytest.approx(0.9)
    assert pinball_loss(np.array([2.0]), np.array([1.0]), 0.9) == pytest.approx(0.1)


def test_surge_follows_errors_of_forecasts() -> None:
    unknown = surge_factor(np.zeros(0))
    assert unknown == pytest.approx(np.exp(1.28 * 0.25))
    assert surge_factor(np.zeros(30)) < 1.1 < unknown < surge_factor(np.log([2.0, 0.5]))


def test_holidays_are_sundays() -> None:
    thursday_s = 0.0  # 1970-01-01
    assert day_type(0, thursday_s) == 3
    assert day_type(0, thursday_s, frozenset({"1970-01-01"})) == 6
    assert day_type(4, thursday_s) == 0
    assert day_type(9, None) == 2
