"""The past days as a policy sees them: the load of each slot on a machine, and forecasts from it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from meritorder.study.fleet.machines import CandidateMachine
from meritorder.study.forward.days import Day
from meritorder.study.forward.forecast import DAYS_PER_WEEK, Forecast, forecast_day, surge_factor
from meritorder.study.forward.policy import SLOT_S, slot_loads
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
    _forecasts: dict[tuple[int, int], Forecast] = field(default_factory=dict)

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
        if (machine, place) not in self._forecasts:
            self._forecasts[machine, place] = self._forecast(machine, place)
        return self._forecasts[machine, place]

    def _forecast(self, machine: int, place: int) -> Forecast:
        kinds = [day.kind for day in self.days]
        following = kinds[place] if place < len(kinds) else (kinds[-1] + 1) % DAYS_PER_WEEK
        past = np.array([self.loads(machine, before) for before in range(place)])
        return forecast_day(past, kinds[:place], following)

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
