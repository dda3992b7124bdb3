"""The coming days: their traffic as it is forecast, and what policy and real time are expected to cost on them."""

from dataclasses import dataclass
from typing import Final

import numpy as np

from meritorder.study.fleet.fleets import Trial
from meritorder.study.fleet.load import TraceLoad
from meritorder.study.forward.baseline import PastBaseline
from meritorder.study.forward.days import surged
from meritorder.study.forward.fit import ChosenPolicy
from meritorder.study.forward.forecast import (
    Forecast,
    Trend,
    day_type,
    find_trend,
    surge_factor,
)
from meritorder.study.forward.history import History
from meritorder.study.forward.policy import SLOT_S
from meritorder.units import SECONDS_PER_HOUR

_HOUR_SLOTS: Final = round(SECONDS_PER_HOUR / SLOT_S)


@dataclass(frozen=True, slots=True, kw_only=True)
class ForecastDay:
    """A day to come. Low and high bound what eight in ten such days have.

    Args:
        index: Days since the first of the trace.
        requests: Requests that are expected.
        replicas: Expected load in saturated replicas of the policy's machine, and its low and high.
        policy_usd: What the policy costs at the expected load, at the low and at the high one.
        baseline_usd: What real time, sized on the past, costs at the expected load.
        kept: Whether the policy keeps every promise at the expected load.
        floor: Fewest machines in each slot; empty without a floor.
    """

    index: int
    requests: int
    replicas: tuple[float, float, float]
    policy_usd: tuple[float, float, float]
    baseline_usd: float
    kept: bool
    floor: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Coming:
    """The days to come, and the trend that they are forecast with; the place of its shift is an index of a day."""

    days: tuple[ForecastDay, ...]
    trend: Trend


def forecast_coming(
    history: History,
    fitted: ChosenPolicy,
    baseline: PastBaseline,
    *,
    days: int,
    midnight_s: float | None,
    holidays: frozenset[str],
) -> Coming:
    """Forecast the days after the last one, and simulate on each what runs then.

    A coming day has the requests of the most recent day of its weekday, at the rate that is forecast for it.

    Args:
        history: The past.
        fitted: The policy.
        baseline: Real time on the past days.
        days: Number of days to come.
        midnight_s: Unix time of the beginning of the first day of the trace; None if it has no dates.
        holidays: Dates that are forecast as Sundays.
    """
    machine, past_days = fitted.machine, history.days
    past = np.array([history.loads(machine, place) for place in range(len(past_days))])
    kinds = [day.kind for day in past_days]
    arrangement = baseline.choose(len(past_days))
    before = history.load_before(machine, len(past_days))
    coming: list[ForecastDay] = []
    for ahead in range(1, days + 1):
        index = past_days[-1].index + ahead
        kind = day_type(index, midnight_s, holidays)
        forecast = history.forecast_coming(machine, kind, ahead)
        alike = max(range(len(kinds)), key=lambda place: (kinds[place] == kind, place))
        levels = _levels(forecast)
        mean = max(float(past[alike].mean()), 1e-12)
        loads = [at_rate(past_days[alike].load, level / mean) for level in levels]
        trials = [fitted.policy.run(load, forecast, before) if len(load) else None for load in loads]
        expected = trials[0]
        coming.append(
            ForecastDay(
                index=index,
                requests=len(loads[0]),
                replicas=levels,
                policy_usd=(_usd(trials[0]), _usd(trials[1]), _usd(trials[2])),
                baseline_usd=baseline.run_on(arrangement, loads[0]).usd if len(loads[0]) else 0.0,
                kept=expected is None or expected.feasible,
                floor=fitted.policy.floor(forecast),
            )
        )
        before = float(forecast.expected[-_HOUR_SLOTS:].mean())
    trend = find_trend(past, kinds)
    shifted = None if trend.shifted is None else past_days[trend.shifted].index
    return Coming(days=tuple(coming), trend=Trend(growth=trend.growth, shifted=shifted, shift=trend.shift))


def floor_of(coming: Coming) -> tuple[int, ...]:
    """Return the floor of the days to come in a cycle of as many days that begins with the first day of the trace."""
    by_place = sorted(coming.days, key=lambda day: day.index % len(coming.days))
    return tuple(machines for day in by_place for machines in day.floor)


def _levels(forecast: Forecast) -> tuple[float, float, float]:
    """Return the mean load that is expected, and the bounds of eight in ten days by the errors of past forecasts."""
    expected = float(forecast.expected.mean())
    means = (forecast.ratios * (forecast.expected + forecast.offset)).mean(axis=1)
    factor = surge_factor(np.log(means / (expected + forecast.offset)))
    return expected, expected / factor, expected * factor


def _usd(trial: Trial | None) -> float:
    return trial.usd if trial else 0.0


def at_rate(load: TraceLoad, factor: float) -> TraceLoad:
    """Return a load with `factor` times the requests: some left out, or copies of some added."""
    if factor >= 1:
        return surged(load, factor)
    return load.select(np.random.default_rng(0).random(len(load)) < factor)
