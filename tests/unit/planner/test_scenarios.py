"""Forecasts, and seasons drawn from them."""

import dataclasses

import numpy as np
import pytest
from tests.samples.planning import with_commitment

from meritorder.errors import TraceError
from meritorder.planner.model.problem import CarbonPrice
from meritorder.planner.scenarios import draw_scenarios, fit_forecast, longest_season


def pinball_loss(actual: np.ndarray, predicted: np.ndarray, q: float) -> float:
    """Mean pinball loss of a quantile forecast: mean(max(q (actual - predicted), (q - 1) (actual - predicted))).

    Source: Koenker and Bassett, "Regression quantiles", Econometrica 46, 1978.
    """
    short = actual - predicted
    return float(np.mean(np.maximum(q * short, (q - 1) * short)))


def test_forecast_beats_last_season() -> None:
    rng = np.random.default_rng(1)
    hour = np.arange(24 * 7 * 6)
    season = 10 + 8 * np.sin(hour / 24 * 2 * np.pi) + 3 * (hour // 24 % 7 < 5)
    demand = season * rng.lognormal(0, 0.3, len(hour))
    forecast = fit_forecast(demand, 24 * 7)
    assert np.corrcoef(forecast.season, season[: 24 * 7])[0, 1] > 0.9
    actual, seen = demand[-24 * 7 :], demand[: -24 * 7]
    fitted = fit_forecast(seen, 24 * 7)
    predicted = fitted.season * np.median(fitted.errors, axis=0)
    assert pinball_loss(actual, predicted, 0.5) < pinball_loss(actual, seen[-24 * 7 :], 0.5)
    assert 0.3 < np.mean(actual <= predicted) < 0.7
    drawn = forecast.draw(20, np.random.default_rng(0))
    assert drawn.shape == (20, 24 * 7)
    assert (drawn == forecast.draw(20, np.random.default_rng(0))).all()


def test_forecast_needs_two_seasons() -> None:
    with pytest.raises(TraceError, match="two whole seasons, there are 1"):
        fit_forecast(np.ones(200), 168)


def test_scenarios_vary_around_typical_season() -> None:
    rng = np.random.default_rng(0)
    shape = 1 + np.sin(np.arange(24) / 24 * 2 * np.pi)
    days = np.concatenate([shape * level for level in rng.uniform(0.8, 1.2, 10)])
    whole = with_commitment(days)
    assert longest_season(whole) == 24
    drawn = draw_scenarios(whole, 24, rng, count=50)
    assert drawn.horizon.length == 50 * 24
    work = next(iter(drawn.workloads[0].work_s.values())).reshape(50, 24) / 3600
    assert work.mean(axis=0) == pytest.approx(shape, rel=0.25, abs=0.05)
    assert work.sum(axis=1).std() > 0


def test_short_trace_has_no_season() -> None:
    assert longest_season(with_commitment(np.ones(30))) is None


def test_scenarios_keep_daily_carbon() -> None:
    """Two days at 100 and 300 grams by night and at 250 by day: a typical day has 200 and 250."""
    grams = np.repeat([100.0, 250.0, 300.0, 250.0], 12)
    carbon = CarbonPrice(usd_per_tonne=80.0, grams_per_kwh={"here": grams, "there": np.array(50.0)})
    problem = dataclasses.replace(with_commitment(np.ones(48)), carbon=carbon)
    drawn = draw_scenarios(problem, 24, np.random.default_rng(0), count=3)
    assert drawn.carbon is not None
    assert drawn.carbon.grams_per_kwh["here"].tolist() == pytest.approx(([200.0] * 12 + [250.0] * 12) * 3)
    assert drawn.carbon.grams_per_kwh["there"].tolist() == 50.0
