"""Forecasts of spend, against days whose continuation is known."""

import asyncio
import datetime as dt
import math
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from tests.samples.ledgers import attempts, replica
from tests.samples.stores import copy_migrated

from meritorder.errors import TraceError
from meritorder.gateway.app.administration import Administration, KeyRequest
from meritorder.gateway.app.key_limits import KeyLimits
from meritorder.gateway.store.billing import ledger
from meritorder.gateway.store.billing.ledger import LedgerEntry
from meritorder.gateway.store.database import Database
from meritorder.gateway.workers.daily_costs import sum_days
from meritorder.study.ledger.answer import account, cost_all, whole_period
from meritorder.study.ledger.forecast import Spend, expect, forecast_spend, forecast_store

_MONDAY = 20_500 // 7 * 7 + 4  # day 4 of the epoch was a Monday
_DAY_S = 86_400.0


def _past(usd: Any) -> Spend:  # noqa: ANN401
    return Spend(first_day=_MONDAY, usd=np.asarray(usd, dtype=float))


def test_steady_days_go_on() -> None:
    """Without an error, only the prior is left in the interval: 0.25^2 / (1 + 27 origins)."""
    expected = expect(_past([100.0] * 28), 30)
    assert expected.usd == pytest.approx([100.0] * 30)
    assert expected.factor == pytest.approx(math.exp(1.28 * math.sqrt(0.25**2 / 28)))


def test_free_weekends_stay_free() -> None:
    week = [10.0, 10.0, 10.0, 10.0, 10.0, 0.0, 0.0]
    assert expect(_past(week * 4), 7).usd == pytest.approx(week)
    assert expect(_past(week * 4 + week[:3]), 7).usd == pytest.approx(week[3:] + week[:3])


def test_growth_does_not_explode() -> None:
    """Ten days that grow by 10 % a day: undamped, the thirtieth would cost 17 times the last."""
    usd = 10 * 1.1 ** np.arange(10)
    coming = expect(_past(usd), 30).usd
    assert usd[-1] * 0.5 < coming.min()
    assert coming.max() < 3 * usd[-1]


@pytest.mark.parametrize("days", [7, 30])
def test_interval_holds_eight_in_ten(days: int) -> None:
    random = np.random.default_rng(3)
    kept = []
    for _ in range(60):
        level: NDArray[np.float64] = np.exp(np.cumsum(random.normal(0, 0.04, 40 + days)))
        week = np.resize([1, 1.05, 1.1, 1.05, 1, 0.5, 0.45], 40 + days)
        usd = 50 * level * week * np.exp(random.normal(0, 0.1, 40 + days))
        expected = expect(_past(usd[:40]), days)
        total, actual = expected.usd.sum(), usd[40:].sum()
        kept.append(total / expected.factor <= actual <= total * expected.factor)
    assert np.mean(kept) >= 0.8


def test_too_few_days_are_an_error() -> None:
    with pytest.raises(TraceError, match="only 1 whole days"):
        expect(_past([1.0]), 30)


def test_first_day_and_today_are_left_out() -> None:
    """A replica of $24 a day that started at noon, and runs since; now it is noon four days later."""
    begin_s = 20_500 * _DAY_S + _DAY_S / 2
    rows, paid = attempts(), [replica(begin_s, begin_s + 4 * _DAY_S, "1")]
    by_day = account(cost_all(rows, paid, whole_period(rows, paid)), ("day",))
    coming = forecast_spend(by_day, now_s=begin_s + 4 * _DAY_S, days=3)
    first = dt.date(1970, 1, 1) + dt.timedelta(days=20_504)
    assert coming.by_day[0].day == first.isoformat()
    assert [day.expected_usd for day in coming.by_day] == pytest.approx([24.0] * 3)
    assert (coming.past_days, coming.past_usd_per_day) == (3, 24.0)
    assert coming.low_usd < coming.expected_usd < coming.high_usd


def _call(ended_s: float, key_id: str) -> LedgerEntry:
    """Return the ledger row of a call that cost a dollar."""
    return LedgerEntry(
        request_id=f"req_{ended_s}",
        arrived_s=ended_s - 1,
        started_s=ended_s - 1,
        ended_s=ended_s,
        ttft_s=None,
        lane="realtime",
        tenant="default",
        key_id=key_id,
        model="m",
        endpoint="/v1/completions",
        venue="api",
        status_code=200,
        input_tokens=1,
        output_tokens=1,
        counted=True,
        cost_picousd=10**12,
    )


def test_budget_is_spent_when_its_calls_reach_it(tmp_path: Path) -> None:
    """A dollar a day for 11 days; at two o'clock of the next, 15 dollars are reached on the fifth day from it."""
    copy_migrated(tmp_path / "store.db")
    config = tmp_path / "gateway.toml"
    config.write_text(f'[store]\nurl = "sqlite:///{tmp_path}/store.db"\n')
    now_s = (20_500 + 11) * _DAY_S + 7200.0
    with Administration(config) as store:
        store.set_team("crew", KeyLimits(budget="1000"))
        for name in ("spends", "idles"):
            store.create_key(KeyRequest(name=name, team="crew"))
        spends, idles = sorted((report.key for report in store.list_keys().keys), key=lambda key: key.name)[::-1]
        days = range(20_500, 20_511)
        rows = [_call(day * _DAY_S + 100, spends.id) for day in days]
        database = Database(f"sqlite:///{tmp_path}/store.db")
        database.submit(partial(ledger.add, entries=rows)).result()
        asyncio.run(sum_days(database, now_s))
        database.close()
        for key in (spends, idles):
            store.update_key(key.id, KeyLimits(budget="15"))
        coming = forecast_store(store, now_s=now_s, days=10)
    fifth = (dt.date(1970, 1, 1) + dt.timedelta(days=20_515)).isoformat()
    budgets = {(budget.limit_usd, round(budget.expected_usd, 6), budget.spent_on) for budget in coming.budgets}
    assert budgets == {(15.0, 21.0, fifth), (15.0, 0.0, None), (1000.0, 21.0, None)}
