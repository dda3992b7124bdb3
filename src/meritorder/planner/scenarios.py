"""Forecasts of demand by season, and scenarios drawn from them, over which commitments are chosen.

The forecast needs no library: a median by slot of the season, a level that follows the last seasons, and the errors
that this forecast made on seasons it had not seen.
"""

import dataclasses
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from meritorder.errors import TraceError
from meritorder.planner.model.demand import Cyclic, DeferrableDemand, Demand
from meritorder.planner.model.problem import Problem
from meritorder.planner.model.supply import CapacityBlock, MachinePayment, Spot
from meritorder.planner.model.variants import map_carbon
from meritorder.units import HOURS_PER_DAY

Floats = NDArray[np.float64]

DAYS_PER_WEEK: Final = 7
SCENARIOS: Final = 8
"""Number of scenarios over which commitments are chosen."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SeasonalForecast:
    """A typical season, and the relative errors of the forecast.

    Args:
        season: Median demand by slot of the season at the level of the last seasons, shape (slots,).
        errors: Actual / forecast of past seasons, each forecast from those before it, shape (seasons, slots).
    """

    season: Floats
    errors: Floats

    def draw(self, count: int, rng: np.random.Generator) -> Floats:
        """Draw seasons: the typical one times the errors of a past one, taken whole to keep their correlation.

        Args:
            count: Seasons to draw.
            rng: Source of randomness.

        Returns:
            Demand, shape (count, slots).
        """
        return np.asarray(self.season * self.errors[rng.integers(len(self.errors), size=count)])


def fit_forecast(demand: Floats, season_slots: int, *, level_seasons: int = 4) -> SeasonalForecast:
    """Fit the season of a demand.

        forecast[t] = shape[t mod season] * level,   level = median of the last seasons' totals,
        shape = median over seasons of demand / its season's total

    Args:
        demand: Work by slot, oldest first, shape (slots,); an incomplete season at its start is left out.
        season_slots: Slots of a season.
        level_seasons: Seasons whose median total is the level.

    Raises:
        TraceError: There are fewer than two seasons, so that no error can be measured.
    """
    if len(demand) < 2 * season_slots:
        raise TraceError(
            f"a forecast needs two whole seasons, there are {len(demand) // season_slots}",
            fix="give it a longer trace, or plan for the trace as it is",
        )
    table = _by_season(demand, season_slots)
    errors = []
    for season in range(1, len(table)):
        predicted = _predict(table[:season], level_seasons)
        errors.append(np.divide(table[season], predicted, out=np.ones(season_slots), where=predicted > 0))
    return SeasonalForecast(season=_predict(table, level_seasons), errors=np.array(errors))


def _by_season(column: Floats, season_slots: int) -> Floats:
    """Return the last whole seasons of a time series, shape (seasons, slots)."""
    seasons = len(column) // season_slots
    return column[len(column) - seasons * season_slots :].reshape(seasons, season_slots)


def _predict(table: Floats, level_seasons: int) -> Floats:
    totals = table.sum(axis=1)
    shape = np.median(np.divide(table, totals[:, None], out=np.zeros_like(table), where=totals[:, None] > 0), axis=0)
    level = float(np.median(totals[-level_seasons:]))
    return np.asarray(shape / max(shape.sum(), 1e-300) * level)


def longest_season(problem: Problem) -> int | None:
    """Return the slots of the longest season, a week or a day, that fits twice into the horizon; None if none does."""
    per_day = HOURS_PER_DAY * problem.horizon.slots_per_hour
    return next((days * per_day for days in (DAYS_PER_WEEK, 1) if problem.horizon.slots >= 2 * days * per_day), None)


def draw_scenarios(problem: Problem, season: int, rng: np.random.Generator, count: int = SCENARIOS) -> Problem:
    """Return a problem with seasons drawn from a forecast as scenarios, which share their commitments.

    Each workload has its own typical season. The forecast error is drawn once for all workloads, because the traffic of
    a service rises and falls together.

    Args:
        problem: A problem of one scenario and at least two seasons.
        season: Slots of a season.
        rng: Source of randomness.
        count: Number of scenarios.
    """
    total = np.sum([next(iter(demand.work_s.values())) for demand in problem.workloads if demand.work_s], axis=0)
    common = fit_forecast(total, season)
    error = common.draw(count, rng) / np.maximum(common.season, 1e-300)
    error = np.where(common.season > 0, error, 1.0).ravel()

    def draw(column: Floats) -> Floats:
        return np.tile(fit_forecast(column, season).season, count) * error

    def draw_demand(demand: Demand) -> Demand:
        work_s = {replica: draw(work) for replica, work in demand.work_s.items()}
        tokens = None if demand.tokens is None else draw(demand.tokens)
        if isinstance(demand, DeferrableDemand):
            patience = int(np.median(demand.due - np.arange(len(demand.due))))
            due = np.arange(count * season) + patience
            return dataclasses.replace(demand, work_s=work_s, tokens=tokens, due=due)
        burst = None
        if demand.burst is not None:
            burst = np.tile(np.median(_by_season(demand.burst, season), axis=0), count)
        return dataclasses.replace(demand, work_s=work_s, tokens=tokens, burst=burst)

    def draw_payment(payment: MachinePayment) -> MachinePayment:
        if isinstance(payment, Spot):
            return dataclasses.replace(payment, available=np.asarray(np.min(payment.available)))
        return payment

    def typical_intensity(grams: Floats) -> Floats:
        return grams if grams.ndim == 0 else np.tile(_by_season(grams, season).mean(axis=0), count)

    return dataclasses.replace(
        problem,
        horizon=dataclasses.replace(problem.horizon, slots=season, scenarios=count, ends=Cyclic()),
        workloads=tuple(draw_demand(demand) for demand in problem.workloads),
        pools=tuple(dataclasses.replace(pool, headroom=np.asarray(np.mean(pool.headroom))) for pool in problem.pools),
        payments=tuple(draw_payment(payment) for payment in problem.payments if not isinstance(payment, CapacityBlock)),
        tiers=(),
        carbon=map_carbon(problem, typical_intensity),
    )
