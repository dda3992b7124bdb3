"""Forecast the load of tomorrow's slots from past days, with the errors that the same forecast made on them."""

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from meritorder.units import SECONDS_PER_DAY

Floats = NDArray[np.float64]

DAYS_PER_WEEK: Final = 7
HOLIDAY_TYPE: Final = 6
"""Holidays are forecast as Sundays."""
BAND: Final = (0.1, 0.9)
"""Quantiles that bound the 80 % band."""
IDLE_SHARE: Final = 0.02
"""Share of the mean load that is added to both sides of a ratio, so that slots without load have one."""

# Weight of the newest day in the level, and of each day in the shape relative to the day after it.
_LEVEL_WEIGHT: Final = 0.5
_SHAPE_DECAY: Final = 0.85
# Weight in the shape of days of another weekday.
_OTHER_TYPE_WEIGHT: Final = 0.3
# A level that moves by this many typical moves has shifted: the days before it no longer count.
_SHIFT: Final = 3.0
_MIN_MOVE: Final = 0.05
# Days from which on weekdays have levels of their own, and from which on growth is fitted.
_WEEKLY_DAYS: Final = 8
# Days that weekdays and growth are fitted to, and days before a step of their level.
_TREND_DAYS: Final = 28
_MIN_STEP_DAYS: Final = 3
# Regularization of that fit, in days of evidence, and the share of its squared error that a step must leave at most.
_WEEKDAY_PRIOR: Final = 0.1
_FEW_DAYS_PRIOR: Final = 0.5
_GROWTH_PRIOR: Final = 0.1
_STEP_PRIOR: Final = 0.3
_STEP_EXPLAINS: Final = 0.25
# Share of its growth that a level keeps from day to day, where weeks are forecast.
_DAMPING: Final = 0.9
# Error of a day's load that is expected before any was seen; 1.28 standard deviations are exceeded one time in ten.
_PRIOR_ERROR: Final = 0.25
_DEVIATIONS: Final = 1.28


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """The load of each slot of a day.

    Args:
        expected: Expected load, shape (slots,).
        ratios: Load / forecast of past days, each day whole, shape (days, slots).
        offset: Load that was added to both before they were divided.
    """

    expected: Floats
    ratios: Floats
    offset: float

    @property
    def scenarios(self) -> Floats:
        """Days as they may turn out: the expected load with the errors of each past day, shape (days, slots)."""
        return np.maximum((self.expected + self.offset) * self.ratios - self.offset, 0.0)

    def quantile(self, share: float) -> Floats:
        """Return a quantile of the load of each slot, shape (slots,).

        The fewer days there are, the more neighboring slots count as draws of a slot's error.
        """
        days, slots = self.ratios.shape
        reach = min(slots // 2, max(2, slots // (2 * days)))
        wrapped = np.concatenate((self.ratios[:, slots - reach :], self.ratios, self.ratios[:, :reach]), axis=1)
        windows = np.lib.stride_tricks.sliding_window_view(wrapped, 2 * reach + 1, axis=1)
        errors = np.quantile(windows, share, axis=(0, 2))
        return np.maximum((self.expected + self.offset) * errors - self.offset, 0.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class ForecastScore:
    """How good a forecast was.

    Args:
        pinball: Mean pinball loss at quantiles 0.1, 0.5 and 0.9, as a share of the mean load.
        coverage: Share of slots whose load was within the 80 % band.
    """

    pinball: float
    coverage: float


def forecast_day(past: Floats, types: Sequence[int], next_type: int, ahead: int = 1) -> Forecast:
    """Forecast a coming day from past days, the oldest first.

        expected[t] = level x shape[t],    level = the most recent one x weekday x growth^ahead

    Its errors are those of forecasts made as many days ahead on past days, as far as there are as many days before.

    Args:
        past: Load of each slot, shape (days, slots).
        types: Weekday of each day.
        next_type: Weekday of the day to forecast.
        ahead: Days from the last one to the day to forecast.
    """
    offset = IDLE_SHARE * float(past.mean()) or 1.0
    ratios = [(past[0] + offset) / (past[0].mean() + offset)]
    for day in range(1, len(past)):
        known = max(1, day - ahead + 1)
        expected = _expected(past[:known], types[:known], types[day], day - known + 1)
        ratios.append((past[day] + offset) / (expected + offset))
    # The first day was forecast without a shape; its errors count only while there are hardly others.
    errors = ratios if len(ratios) < DAYS_PER_WEEK // 2 else ratios[1:]
    return Forecast(expected=_expected(past, types, next_type, ahead), ratios=np.array(errors), offset=offset)


@dataclass(frozen=True, slots=True, kw_only=True)
class Trend:
    """How the level of past days moved.

    Args:
        growth: Factor from day to day; 1 without enough days to tell.
        shifted: Place of the last day on which the level shifted; None if it never did.
        shift: Factor by which it shifted there.
    """

    growth: float
    shifted: int | None
    shift: float


def find_trend(past: Floats, types: Sequence[int]) -> Trend:
    """Return the growth of past days and their last shift of level; arguments as for `forecast_day`."""
    levels = past.mean(axis=1)
    places = np.flatnonzero(levels > 0)
    if not len(places):
        return Trend(growth=1.0, shifted=None, shift=1.0)
    logs, kinds = np.log(levels[places]), np.asarray(types)[places]
    weekday = _weekdays(logs, kinds)
    _, begin, move = _level(logs - weekday[kinds])
    return Trend(
        growth=float(np.exp(_growth(logs[begin:] - weekday[kinds[begin:]]))),
        shifted=int(places[begin]) if begin else None,
        shift=float(np.exp(move)),
    )


def score_forecast(forecast: Forecast, load: Floats) -> ForecastScore:
    """Return how well a forecast met the load of each slot, shape (slots,)."""
    lower, upper = (forecast.quantile(share) for share in BAND)
    losses = [pinball_loss(forecast.quantile(share), load, share) for share in (BAND[0], 0.5, BAND[1])]
    covered = (lower <= load) & (load <= upper)
    return ForecastScore(
        pinball=float(np.mean(losses)) / max(float(load.mean()), 1e-12), coverage=float(covered.mean())
    )


def pinball_loss(quantile: Floats, load: Floats, share: float) -> float:
    """Return the mean pinball loss of a quantile forecast: share x shortfall, or (1 - share) x excess."""
    missing = load - quantile
    return float(np.mean(np.maximum(share * missing, (share - 1) * missing)))


def surge_factor(errors: Floats) -> float:
    """Return the factor by which a day's load stays below its forecast times it, nine times in ten.

        exp(1.28 s),    s^2 = (0.25^2 + sum of squared errors) / (1 + errors)

    Args:
        errors: Logarithms of load / forecast of past days, shape (days,).
    """
    spread = np.sqrt((_PRIOR_ERROR**2 + float(np.sum(errors**2))) / (1 + len(errors)))
    return float(np.exp(_DEVIATIONS * spread))


def day_type(day: int, epoch_s: float | None, holidays: frozenset[str] = frozenset()) -> int:
    """Return the weekday of a day, Monday 0; without a calendar, days simply repeat after seven.

    Args:
        day: Days since the beginning.
        epoch_s: Unix time of the beginning; None if the trace has no dates.
        holidays: Dates, such as 2026-12-25, that are forecast as Sundays.
    """
    if epoch_s is None:
        return day % DAYS_PER_WEEK
    date = dt.datetime.fromtimestamp(epoch_s + day * SECONDS_PER_DAY, dt.UTC).date()
    return HOLIDAY_TYPE if date.isoformat() in holidays else date.weekday()


def expected_levels(past: Floats, types: Sequence[int], coming: Sequence[int]) -> Floats:
    """Return the expected levels of the days that follow past ones, their growth damped, shape (coming days,).

        expected[d] = level x weekday x growth^(0.9 + 0.9^2 + ... + 0.9^d)

    Args:
        past: Levels of past days, all above 0, shape (days,).
        types: Their weekdays.
        coming: Weekdays of the days that follow.
    """
    levels, kinds = np.log(past), np.asarray(types)
    weekday = _weekdays(levels, kinds)
    own = levels - weekday[kinds]
    level, begin, _ = _level(own)
    ahead = np.cumsum(_DAMPING ** np.arange(1, len(coming) + 1))
    return np.asarray(np.exp(level + weekday[np.asarray(coming)] + ahead * _growth(own[begin:])))


def _expected(past: Floats, types: Sequence[int], next_type: int, ahead: int = 1) -> Floats:
    """Return the expected load of each slot of a coming day, shape (slots,)."""
    levels = past.mean(axis=1)
    busy = levels > 0
    if not busy.any():
        return np.zeros(past.shape[1])
    kinds = np.asarray(types)[busy]
    weights = np.where(kinds == next_type, 1.0, _OTHER_TYPE_WEIGHT) * _SHAPE_DECAY ** np.arange(busy.sum())[::-1]
    shape = np.average(past[busy] / levels[busy, None], axis=0, weights=weights)
    return np.asarray(shape * np.exp(_next_level(np.log(levels[busy]), kinds, next_type, ahead)))


def _next_level(levels: Floats, types: NDArray[np.int_], next_type: int, ahead: int) -> float:
    """Return the level of a coming day from logarithms of the levels of past days."""
    weekday = _weekdays(levels, types)
    own = levels - weekday[types]
    level, begin, _ = _level(own)
    return level + float(weekday[next_type]) + ahead * _growth(own[begin:])


def _weekdays(levels: Floats, types: NDArray[np.int_]) -> Floats:
    """Return the deviation of each weekday from the trend, shape (7,); 0 on the evidence of few days.

    Fitted together with growth and at most one step, so that neither is taken for a weekday: regularized least squares.

        level[d] = a + growth d + weekday[type[d]] + step [d >= s]
    """
    days = min(len(levels), _TREND_DAYS)
    if days < _WEEKLY_DAYS:
        return np.zeros(DAYS_PER_WEEK)
    level, kinds, day = levels[-days:], types[-days:], np.arange(days)
    columns = np.column_stack((np.ones(days), day / DAYS_PER_WEEK, np.eye(DAYS_PER_WEEK)[kinds]))
    starts = np.array([days, *range(_MIN_STEP_DAYS, days - 1)])  # the first is no step
    step = (day >= starts[:, None]).astype(float)
    design = np.concatenate((np.broadcast_to(columns, (len(starts), *columns.shape)), step[:, :, None]), axis=2)
    weekday_prior = _WEEKDAY_PRIOR if days >= 2 * DAYS_PER_WEEK else _FEW_DAYS_PRIOR
    prior = np.diag([1e-9, _GROWTH_PRIOR, *[weekday_prior] * DAYS_PER_WEEK, _STEP_PRIOR])
    transposed = design.transpose(0, 2, 1)
    fitted = np.linalg.solve(transposed @ design + prior, (transposed @ level)[:, :, None])[:, :, 0]
    errors = np.sum((level - (design @ fitted[:, :, None])[:, :, 0]) ** 2, axis=1)
    best = int(np.argmin(errors))
    stepped = errors[best] < _STEP_EXPLAINS * errors[0] and abs(fitted[best, -1]) > _SHIFT * _MIN_MOVE
    return np.asarray(fitted[best if stepped else 0, 2:-1])


def _level(levels: Floats) -> tuple[float, int, float]:
    """Return the present level, the place of the day on which it last shifted, and by how much; 0 and 0 without one."""
    level, begin, shift, moves = float(levels[0]), 0, 0.0, [_MIN_MOVE]
    for day in range(1, len(levels)):
        move = float(levels[day]) - level
        shifted = len(moves) > 2 and abs(move) > _SHIFT * float(np.median(moves))
        level += move if shifted else _LEVEL_WEIGHT * move
        begin, shift = (day, move) if shifted else (begin, shift)
        moves.append(max(abs(move), _MIN_MOVE))
    return level, begin, shift


def _growth(levels: Floats) -> float:
    """Return the growth from day to day: the median slope between days; 0 if there are too few."""
    if len(levels) < _WEEKLY_DAYS:
        return 0.0
    first, second = np.triu_indices(len(levels), 1)
    return float(np.median((levels[second] - levels[first]) / (second - first)))
