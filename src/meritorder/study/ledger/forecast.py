"""What coming days will cost: the spend of past days forecast as load is, with the errors that this made on them.

expected = level x weekday x damped growth, or that of the last day of the weekday, whichever erred less
interval = expected / f to expected x f,    f = the surge factor of the errors of past forecasts, each drawn whole
"""

import datetime as dt
import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from msgspec import structs
from numpy.typing import NDArray

from meritorder.errors import TraceError
from meritorder.gateway.store.keys import team_id
from meritorder.records.accounting import BudgetForecast, DayForecast, LedgerReport, SpendForecast
from meritorder.study.forward.forecast import IDLE_SHARE, day_type, expected_levels, surge_factor
from meritorder.study.forward.seasonal import MIN_SCORED_DAYS, Method, last_alike
from meritorder.study.ledger.days import account_days
from meritorder.units import PICOUSD_PER_USD, SECONDS_PER_DAY, utc

if TYPE_CHECKING:
    from meritorder.gateway.app.administration import Administration
    from meritorder.gateway.store.quotas.budgets import BudgetState

Floats = NDArray[np.float64]

_MAX_PAST: Final = 56
_MIN_PAST: Final = 2
_OWNERS: Final = ("key_id", "team")
_ORIGINS: Final = 28  # past days from which a forecast is made again, to see how it erred


@dataclass(frozen=True, slots=True, kw_only=True)
class Spend:
    """What whole days cost, one after the other.

    Args:
        first_day: The first, in days since the epoch.
        usd: Their costs, shape (days,).
    """

    first_day: int
    usd: Floats

    @property
    def next_day(self) -> int:
        """The day after the last."""
        return self.first_day + len(self.usd)


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """What days are expected to cost.

    Args:
        usd: Costs of the days, shape (days,).
        factor: Eight times in ten, their sum is at least its expectation / factor, and at most times it.
        method: How they were forecast.
        error: Root mean square of the logarithms of what past days cost against their forecast.
    """

    usd: Floats
    factor: float
    method: Method
    error: float


def expect(past: Spend, days: int) -> Expected:
    """Forecast the days that follow the past ones.

    Raises:
        TraceError: There are too few past days.
    """
    usd = past.usd[-_MAX_PAST:]
    if len(usd) < _MIN_PAST:
        what = f"only {len(usd)} whole days to forecast from"
        raise TraceError(what, where="--forecast", fix=f"wait until there are {_MIN_PAST}, without the first one")
    begin = past.next_day - len(usd)
    types = [day_type(day, 0.0) for day in range(begin, past.next_day + days)]
    offset = IDLE_SHARE * float(usd.mean()) or 1.0
    levels = usd + offset
    origins = range(max(_MIN_PAST - 1, len(usd) - _ORIGINS), len(usd))
    errors = {
        method: np.array([_error(method, levels, types, origin, days) for origin in origins]) for method in Method
    }
    rms = {method: float(np.sqrt(np.mean(errors[method] ** 2))) for method in Method}
    method = min(Method, key=lambda candidate: rms[candidate]) if len(origins) >= MIN_SCORED_DAYS else Method.FITTED
    expected = np.maximum(_forecast(method, levels, types) - offset, 0.0)
    return Expected(usd=expected, factor=surge_factor(errors[method]), method=method, error=rms[method])


def forecast_spend(by_day: LedgerReport, *, now_s: float, days: int) -> SpendForecast:
    """Return what the coming days, today the first, are expected to cost.

    Args:
        by_day: The whole ledger by day.
        now_s: Epoch seconds.
        days: Number of days.

    Raises:
        TraceError: There are too few past days.
    """
    today = int(now_s // SECONDS_PER_DAY)
    epoch = dt.date(1970, 1, 1)
    costs = {(dt.date.fromisoformat(row.by["day"]) - epoch).days: float(row.paid_usd) for row in by_day.rows}
    past = _spend(costs, today)
    expected = expect(past, days)
    total = float(expected.usd.sum())
    return SpendForecast(
        days=days,
        expected_usd=total,
        low_usd=total / expected.factor,
        high_usd=total * expected.factor,
        past_days=min(len(past.usd), _MAX_PAST),
        past_usd_per_day=float(past.usd[-_MAX_PAST:].mean()),
        method=expected.method.value,
        error=expected.error,
        by_day=tuple(
            DayForecast(day=_date(day), expected_usd=float(usd)) for day, usd in enumerate(expected.usd, start=today)
        ),
    )


def forecast_store(store: "Administration", *, now_s: float, days: int) -> SpendForecast:
    """Return what the coming days of a gateway will cost, and what of each budget will be spent.

    Raises:
        TraceError: There are too few past days.
    """
    spend = forecast_spend(account_days(store, ("day",), from_s=None, to_s=None), now_s=now_s, days=days)
    summed = [day for day in store.summed_days() if day < now_s // SECONDS_PER_DAY]
    if len(summed) <= _MIN_PAST:
        return spend
    costs = _costs_by_owner(store.daily_sums(_OWNERS, first=summed[0], last=summed[-1]))
    budgets = []
    for state in store.budget_states():
        own = {summed[0]: 0.0} | costs.get(state.budget.id, {})
        budgets.append(_forecast_budget(state, _spend(own, summed[-1] + 1), now_s=now_s, days=days))
    return structs.replace(spend, budgets=tuple(budgets))


def _costs_by_owner(sums: Mapping[str, Sequence[Any]]) -> dict[str, dict[int, float]]:
    """Return what the calls of each day cost, by the id of a budget that they count towards: a key's or a team's."""
    costs: dict[str, dict[int, float]] = defaultdict(lambda: defaultdict(float))
    for day, key_id, team, picousd in zip(*(sums[name] for name in ("day", *_OWNERS, "cost_picousd")), strict=True):
        for owner in (key_id, None if team is None else team_id(team)):
            if owner is not None:
                costs[owner][day] += picousd / PICOUSD_PER_USD
    return costs


def _forecast_budget(state: "BudgetState", past: Spend, *, now_s: float, days: int) -> BudgetForecast:
    """Return what of a budget will be spent at the end of its period, or of the coming days if it does not renew.

    Args:
        state: The budget.
        past: What its calls cost on whole days.
        now_s: Epoch seconds.
        days: Days to come, for budgets that do not renew.

    Raises:
        TraceError: There are too few past days.
    """
    budget = state.budget
    ends_s = now_s + days * SECONDS_PER_DAY if state.renews_s is None else state.renews_s
    today, last = (int(moment_s // SECONDS_PER_DAY) for moment_s in (now_s, ends_s))
    expected = expect(past, last + 1 - past.next_day)
    begins_s = np.arange(today, last + 1) * SECONDS_PER_DAY
    to_come_s = np.minimum(begins_s + SECONDS_PER_DAY, ends_s) - np.maximum(begins_s, now_s)
    coming = expected.usd[today - past.next_day :] * to_come_s / SECONDS_PER_DAY
    limit_usd, spent_usd = (picousd / PICOUSD_PER_USD for picousd in (budget.amount_picousd, state.spent_picousd))
    total = float(coming.sum())
    reached = np.flatnonzero(spent_usd + np.cumsum(coming) >= limit_usd)
    return BudgetForecast(
        budget=budget.owner,
        limit_usd=limit_usd,
        spent_usd=spent_usd,
        ends_at=utc(ends_s).isoformat(timespec="seconds"),
        expected_usd=spent_usd + total,
        low_usd=spent_usd + total / expected.factor,
        high_usd=spent_usd + total * expected.factor,
        spent_on=_date(today + int(reached[0])) if len(reached) else None,
    )


def _spend(costs: Mapping[int, float], until: int) -> Spend:
    """Return what whole days cost, those without costs nothing; the first one is left out."""
    first = min(costs, default=until) + 1
    return Spend(first_day=first, usd=np.array([costs.get(day, 0.0) for day in range(first, until)]))


def _error(method: Method, levels: Floats, types: Sequence[int], origin: int, days: int) -> float:
    """Return the logarithm of what days after an origin cost against their forecast.

    Errors grow with time: those over fewer days than will be forecast count as much more as a random walk would add.
    """
    seen = levels[origin : origin + days]
    foretold = _forecast(method, levels[:origin], types[: origin + len(seen)])
    return math.log(float(seen.sum() / foretold.sum())) * math.sqrt(days / len(seen))


def _forecast(method: Method, levels: Floats, types: Sequence[int]) -> Floats:
    """Return the levels of the days that follow, whose types are the last ones."""
    known, coming = list(types[: len(levels)]), types[len(levels) :]
    if method is Method.SEASONAL:
        return levels[[last_alike(known, kind) for kind in coming]]
    return expected_levels(levels, known, coming)


def _date(day: int) -> str:
    return utc(day * SECONDS_PER_DAY).date().isoformat()
