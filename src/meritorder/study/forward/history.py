"""The past days as a policy sees them: the load of each slot on a machine, and forecasts from it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from meritorder.study.fleet.machines import CandidateMachine
from meritorder.study.forward.days import Day
from meritorder.study.forward.forecast import (
    DAYS_PER_WEEK,
    Forecast,
    ForecastScore,
    forecast_day,
    score_forecast,
    surge_factor,
)
from meritorder.study.forward.policy import SLOT_S, slot_loads
from meritorder.study.forward.seasonal import Method, MethodScores, compare_scores, forecast_seasonal
from meritorder.units import SECONDS_PER_HOUR

Floats = NDArray[np.float64]

# The load before a day is that of the last hour.
_BEFORE_SLOTS: Final = round(SECONDS_PER_HOUR / SLOT_S)


@dataclass(slots=True, kw_only=True)
class History:
    """Days in order, with their loads in replicas of each machine.

    Args:
        days: The days.
        machines: Machines that loads are measured on.
    """

    days: Sequence[Day]
    machines: Sequence[CandidateMachine]
    _loads: dict[tuple[int, int], Floats] = field(default_factory=dict)
    _forecasts: dict[tuple[int, int], dict[Method, Forecast]] = field(default_factory=dict)
    _scores: dict[tuple[int, int], dict[Method, ForecastScore]] = field(default_factory=dict)

    def loads(self, machine: int, place: int) -> Floats:
        """Return the load of each slot of a day, shape (slots,).

        Args:
            machine: Index of the machine.
            place: Place of the day.
        """
        key = machine, place
        if key not in self._loads:
            self._loads[key] = slot_loads(self.machines[machine], self.days[place].load)
        return self._loads[key]

    def forecast(self, machine: int, place: int) -> Forecast | None:
        """Return the forecast of a day, or of the one after the last, from the days before it; None for the first."""
        if place == 0:
            return None
        return self._by_method(machine, place)[self.scores(machine, place).better]

    def forecast_coming(self, machine: int, kind: int, ahead: int = 1) -> Forecast:
        """Return the forecast of a weekday after the last day, by the method that was better on all days.

        Args:
            machine: Index of the machine.
            kind: The weekday.
            ahead: Days from the last one.
        """
        count = len(self.days)
        return self._made(machine, count, kind, ahead)[self.scores(machine, count).better]

    def scores(self, machine: int, place: int) -> MethodScores:
        """Return how good each method was on the days before a place that it had not seen."""
        return compare_scores([self._scored(machine, before) for before in range(1, place)])

    def _scored(self, machine: int, place: int) -> dict[Method, ForecastScore]:
        key = machine, place
        if key not in self._scores:
            load = self.loads(machine, place)
            self._scores[key] = {
                method: score_forecast(forecast, load) for method, forecast in self._by_method(machine, place).items()
            }
        return self._scores[key]

    def _by_method(self, machine: int, place: int) -> dict[Method, Forecast]:
        key = machine, place
        if key not in self._forecasts:
            kinds = [day.kind for day in self.days]
            following = kinds[place] if place < len(kinds) else (kinds[-1] + 1) % DAYS_PER_WEEK
            self._forecasts[key] = self._made(machine, place, following)
        return self._forecasts[key]

    def _made(self, machine: int, place: int, kind: int, ahead: int = 1) -> dict[Method, Forecast]:
        kinds = [day.kind for day in self.days[:place]]
        past = np.array([self.loads(machine, before) for before in range(place)])
        return {
            Method.FITTED: forecast_day(past, kinds, kind, ahead),
            Method.SEASONAL: forecast_seasonal(past, kinds, kind),
        }

    def expected_load(self, machine: int, place: int) -> float:
        """Return the forecast of the mean load of a day; 0 for the first."""
        forecast = self.forecast(machine, place)
        return float(forecast.expected.mean()) if forecast else 0.0

    def possible_load(self, machine: int, place: int) -> float:
        """Return a mean load of a day that nine in ten days stay below, by the errors of earlier forecasts."""
        errors: list[float] = []
        for before in range(1, place):
            expected, load = self.expected_load(machine, before), self.loads(machine, before).mean()
            if min(expected, load) > 0:
                errors.append(math.log(load / expected))
        return self.expected_load(machine, place) * surge_factor(np.array(errors))

    def load_before(self, machine: int, place: int) -> float:
        """Return the load just before a day; for the first day, that of its first hour."""
        if place == 0:
            return float(self.loads(machine, 0)[:_BEFORE_SLOTS].mean())
        return float(self.loads(machine, place - 1)[-_BEFORE_SLOTS:].mean())
