"""The naive seasonal forecast, and the choice between it and the fitted one by their scores on days not seen."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import numpy as np

from meritorder.study.forward.forecast import IDLE_SHARE, Floats, Forecast, ForecastScore

MIN_SCORED_DAYS: Final = 7
"""Days that both forecasts must have been scored on before the scores decide; until then the fitted one is used."""


class Method(StrEnum):
    """How the load of a day is forecast."""

    FITTED = "fitted"
    """Level, weekday, growth and shape of past days."""
    SEASONAL = "naive seasonal"
    """The last day of the same weekday."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MethodScores:
    """How good each method was on days that it had not seen.

    Args:
        days: Number of days.
        pinball: Mean pinball loss by method, as a share of the mean load.
    """

    days: int
    pinball: dict[Method, float]

    @property
    def better(self) -> Method:
        """The method to use: the fitted one, unless the other was better on enough days."""
        is_enough = self.days >= MIN_SCORED_DAYS
        return min(Method, key=lambda method: self.pinball[method]) if is_enough else Method.FITTED


def compare_scores(scores: Sequence[dict[Method, ForecastScore]]) -> MethodScores:
    """Return the mean scores of days."""
    return MethodScores(
        days=len(scores),
        pinball={
            method: float(np.mean([day[method].pinball for day in scores])) if scores else 0.0 for method in Method
        },
    )


def forecast_seasonal(past: Floats, types: Sequence[int], next_type: int) -> Forecast:
    """Forecast a coming day as the last day of its weekday, with the errors that this made on past days.

    Without a day of that weekday, the last day stands in.

    Args:
        past: Load of each slot, shape (days, slots).
        types: Weekday of each day.
        next_type: Weekday of the day to forecast.
    """
    offset = IDLE_SHARE * float(past.mean()) or 1.0
    ratios = [
        (past[day] + offset) / (past[last_alike(types[:day], types[day])] + offset) for day in range(1, len(past))
    ]
    return Forecast(
        expected=past[last_alike(types, next_type)],
        ratios=np.array(ratios or [np.ones(past.shape[1])]),
        offset=offset,
    )


def last_alike(types: Sequence[int], weekday: int) -> int:
    """Return the place of the last day of a weekday, or of the last day if there is none."""
    return max((place for place, known in enumerate(types) if known == weekday), default=len(types) - 1)
