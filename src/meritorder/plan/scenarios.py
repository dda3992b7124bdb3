"""Commitments over weeks that may come: what to buy is chosen over many, drawn from a forecast, not over one."""

import dataclasses
from typing import Final

import numpy as np
from numpy.typing import NDArray

from meritorder.plan.demand import Cyclic, Deferrable, Realtime, Workload
from meritorder.plan.forecast import fit
from meritorder.plan.problem import Problem
from meritorder.plan.venues import Block, Machines, Spot
from meritorder.units import HOURS_PER_DAY

Floats = NDArray[np.float64]

DAYS_PER_WEEK: Final = 7
SCENARIOS: Final = 8


def season_slots(problem: Problem) -> int | None:
    """Return the slots of the longest season that the horizon has twice: a week, or a day; None if it has neither."""
    per_day = HOURS_PER_DAY * problem.horizon.slots_per_hour
    return next((days * per_day for days in (DAYS_PER_WEEK, 1) if problem.horizon.slots >= 2 * days * per_day), None)


def scenarios_of(problem: Problem, season: int, rng: np.random.Generator, count: int = SCENARIOS) -> Problem:
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
    common = fit(total, season)
    drawn = common.scenarios(count, rng) / np.maximum(common.season, 1e-300)
    drawn = np.where(common.season > 0, drawn, 1.0).ravel()

    def typical(column: Floats) -> Floats:
        return np.tile(fit(column, season).season, count) * drawn

    def workload(one: Workload) -> Workload:
        work_s = {replica: typical(work) for replica, work in one.work_s.items()}
        tokens = None if one.tokens is None else typical(one.tokens)
        if isinstance(one, Deferrable):
            patience = int(np.median(one.due - np.arange(len(one.due))))
            due = np.arange(count * season) + patience
            return dataclasses.replace(one, work_s=work_s, tokens=tokens, due=due)
        return dataclasses.replace(one, work_s=work_s, tokens=tokens, burst=_burst(one, season, count))

    def payment(one: Machines) -> Machines:
        return dataclasses.replace(one, available=np.asarray(np.min(one.available))) if isinstance(one, Spot) else one

    return dataclasses.replace(
        problem,
        horizon=dataclasses.replace(problem.horizon, slots=season, scenarios=count, ends=Cyclic()),
        workloads=tuple(workload(one) for one in problem.workloads),
        pools=tuple(dataclasses.replace(pool, room=np.asarray(np.mean(pool.room))) for pool in problem.pools),
        payments=tuple(payment(one) for one in problem.payments if not isinstance(one, Block)),
        tiers=(),
        throughputs=(),
    )


def _burst(one: Realtime, season: int, count: int) -> Floats | None:
    """Return the bursts of a season: the median of those seen in each of its slots."""
    if one.burst is None:
        return None
    seasons = len(one.burst) // season
    table = one.burst[len(one.burst) - seasons * season :].reshape(seasons, season)
    return np.tile(np.median(table, axis=0), count)
