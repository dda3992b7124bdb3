"""Commitments over weeks that may come: what to buy is chosen over many, drawn from a forecast, not over one."""

import dataclasses
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from meritorder.errors import TraceError
from meritorder.planner.model.demand import Cyclic, DeferrableDemand, Demand, RealtimeDemand
from meritorder.planner.model.problem import Problem
from meritorder.planner.model.supply import CapacityBlock, MachinePayment, Spot
from meritorder.units import HOURS_PER_DAY

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class SeasonalForecast:
    """A typical season and what actual ones were relative to it.

    Args:
        season: Median demand by slot of the season, shape (slots,), at the level of the last season.
        errors: Actual / forecast of past seasons, each forecast from those before it alone, shape (seasons, slots).
    """

    season: Floats
    errors: Floats

    def quantile(self, q: float) -> Floats:
        """Return the demand that a share q of seasons stays below, by slot, shape (slots,)."""
        return np.asarray(self.season * np.quantile(self.errors, q, axis=0))

    def scenarios(self, count: int, rng: np.random.Generator) -> Floats:
        """Draw seasons, shape (count, slots): the typical one times the errors of a past one, drawn with its days kept.

        Errors of a season are drawn whole, so that busy hours come together as they do.

        Args:
            count: Seasons to draw.
            rng: Source of randomness.
        """
        return np.asarray(self.season * self.errors[rng.integers(len(self.errors), size=count)])


def fit_forecast(demand: Floats, season_slots: int, *, level_seasons: int = 4) -> SeasonalForecast:
    """Fit the season of a demand.

        forecast[t] = shape[t mod season] * level,   level = median of the last seasons' totals,
        shape = median over seasons of demand / its season's total

    Args:
        demand: Work by slot, oldest first, shape (slots,); what is short of a whole season at its start is left out.
        season_slots: Slots of a season: those of a week.
        level_seasons: Seasons whose median total is the level.

    Raises:
        TraceError: There are fewer than two seasons, so that nothing could be judged on time not seen.
    """
    seasons = len(demand) // season_slots
    if seasons < 2:
        raise TraceError(
            f"a forecast needs two whole seasons, there are {seasons}",
            fix="give it a longer trace, or plan for the trace as it is",
        )
    table = demand[len(demand) - seasons * season_slots :].reshape(seasons, season_slots)
    errors = []
    for season in range(1, seasons):
        predicted = _predict(table[:season], level_seasons)
        errors.append(np.divide(table[season], predicted, out=np.ones(season_slots), where=predicted > 0))
    return SeasonalForecast(season=_predict(table, level_seasons), errors=np.array(errors))


def _predict(table: Floats, level_seasons: int) -> Floats:
    totals = table.sum(axis=1)
    shape = np.median(np.divide(table, totals[:, None], out=np.zeros_like(table), where=totals[:, None] > 0), axis=0)
    level = float(np.median(totals[-level_seasons:]))
    return np.asarray(shape / max(shape.sum(), 1e-300) * level)


DAYS_PER_WEEK: Final = 7
SCENARIOS: Final = 8


def longest_season(problem: Problem) -> int | None:
    """Return the slots of the longest season that the horizon has twice: a week, or a day; None if it has neither."""
    per_day = HOURS_PER_DAY * problem.horizon.slots_per_hour
    return next((days * per_day for days in (DAYS_PER_WEEK, 1) if problem.horizon.slots >= 2 * days * per_day), None)


def draw_scenarios(problem: Problem, season: int, rng: np.random.Generator, count: int = SCENARIOS) -> Problem:
    """Return a problem of several seasons as they may come, side by side, in which commitments are the same.

    Each workload has its own typical season; how far a season is off it is drawn once for all workloads, since the
    traffic of a service rises and falls together.

    Args:
        problem: A problem of one scenario, of at least two seasons.
        season: Slots of a season.
        rng: Source of randomness.
        count: Seasons to draw.
    """
    total = np.sum([next(iter(one.work_s.values())) for one in problem.workloads if one.work_s], axis=0)
    common = fit_forecast(total, season)
    drawn = common.scenarios(count, rng) / np.maximum(common.season, 1e-300)
    drawn = np.where(common.season > 0, drawn, 1.0).ravel()

    def typical(column: Floats) -> Floats:
        return np.tile(fit_forecast(column, season).season, count) * drawn

    def workload(one: Demand) -> Demand:
        work_s = {replica: typical(work) for replica, work in one.work_s.items()}
        tokens = None if one.tokens is None else typical(one.tokens)
        if isinstance(one, DeferrableDemand):
            patience = int(np.median(one.due - np.arange(len(one.due))))
            due = np.arange(count * season) + patience
            return dataclasses.replace(one, work_s=work_s, tokens=tokens, due=due)
        return dataclasses.replace(one, work_s=work_s, tokens=tokens, burst=_burst(one, season, count))

    def payment(one: MachinePayment) -> MachinePayment:
        return dataclasses.replace(one, available=np.asarray(np.min(one.available))) if isinstance(one, Spot) else one

    return dataclasses.replace(
        problem,
        horizon=dataclasses.replace(problem.horizon, slots=season, scenarios=count, ends=Cyclic()),
        workloads=tuple(workload(one) for one in problem.workloads),
        pools=tuple(dataclasses.replace(pool, headroom=np.asarray(np.mean(pool.headroom))) for pool in problem.pools),
        payments=tuple(payment(one) for one in problem.payments if not isinstance(one, CapacityBlock)),
        tiers=(),
    )


def _burst(one: RealtimeDemand, season: int, count: int) -> Floats | None:
    """Return the bursts of a season: the median of those seen in each of its slots."""
    if one.burst is None:
        return None
    seasons = len(one.burst) // season
    table = one.burst[len(one.burst) - seasons * season :].reshape(seasons, season)
    return np.tile(np.median(table, axis=0), count)
