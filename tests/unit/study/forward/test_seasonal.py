"""The naive seasonal forecast, and which of the two is used."""

import numpy as np
import pytest
from tests.samples.fleets import load, machine

from meritorder.study.forward.days import split_days
from meritorder.study.forward.forecast import ForecastScore
from meritorder.study.forward.history import History
from meritorder.study.forward.seasonal import MIN_SCORED_DAYS, Method, compare_scores, forecast_seasonal

DAY_S = 86_400.0


def scores(fitted: float, seasonal: float, days: int) -> list[dict[Method, ForecastScore]]:
    day = {Method.FITTED: fitted, Method.SEASONAL: seasonal}
    return [{method: ForecastScore(pinball=loss, coverage=0.8) for method, loss in day.items()}] * days


def test_last_same_weekday_is_repeated() -> None:
    past = np.arange(8.0)[:, None] * np.ones(4)  # a day's load is its number; days 0 and 7 are of one weekday
    kinds = [0, 1, 2, 3, 4, 5, 6, 0]
    assert forecast_seasonal(past, kinds, 3).expected == pytest.approx(3.0)
    assert forecast_seasonal(past, kinds, 0).expected == pytest.approx(7.0)


def test_unknown_weekday_is_the_last_day() -> None:
    past = np.array([[1.0], [5.0]])
    assert forecast_seasonal(past, [0, 1], 4).expected == pytest.approx(5.0)


def test_errors_are_those_of_past_repetitions() -> None:
    past = np.array([[2.0, 2.0], [4.0, 4.0], [4.0, 4.0]])
    offset = forecast_seasonal(past, [0, 0, 0], 0).offset
    expected = [(4 + offset) / (2 + offset), 1.0]
    assert forecast_seasonal(past, [0, 0, 0], 0).ratios[:, 0] == pytest.approx(expected)


def test_better_score_decides_after_a_week() -> None:
    assert compare_scores(scores(0.2, 0.1, MIN_SCORED_DAYS)).better is Method.SEASONAL
    assert compare_scores(scores(0.1, 0.2, MIN_SCORED_DAYS)).better is Method.FITTED
    assert compare_scores(scores(0.2, 0.1, MIN_SCORED_DAYS - 1)).better is Method.FITTED


def alternating(days: int) -> History:
    """Each weekday has its own hours: the fitted shape averages them, the last same weekday repeats them exactly."""
    arrived_s = [
        day * DAY_S + np.linspace(0, DAY_S / 7, 400, endpoint=False) + (day % 7) * DAY_S / 7 for day in range(days)
    ]
    asked = load(np.concatenate(arrived_s), span_s=days * DAY_S)
    return History(days=split_days(asked), machines=[machine(asked)])


def test_repetition_wins_where_weekdays_differ_in_shape() -> None:
    history = alternating(21)
    known = history.scores(0, 21)
    assert known.days == 20
    assert known.pinball[Method.SEASONAL] < known.pinball[Method.FITTED]
    forecast = history.forecast(0, 21)
    assert forecast is not None
    assert forecast.expected == pytest.approx(history.loads(0, 14))


def test_steady_growth_is_forecast_by_the_fit() -> None:
    arrived_s = [day * DAY_S + np.linspace(0, DAY_S - 1, 200 + 40 * day) for day in range(21)]
    asked = load(np.concatenate(arrived_s), span_s=21 * DAY_S)
    history = History(days=split_days(asked), machines=[machine(asked)])
    assert history.scores(0, 21).better is Method.FITTED
