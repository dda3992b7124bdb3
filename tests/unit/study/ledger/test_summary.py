from decimal import Decimal
from typing import Any

import pytest
from tests.samples.ledgers import attempts, replica

from meritorder.errors import ConfigError
from meritorder.records.accounting import LedgerReport
from meritorder.records.receipts import SettledQuote
from meritorder.report.ledger import words
from meritorder.study.ledger.costing import Period, cost
from meritorder.study.ledger.summary import DIMENSIONS, parse_dimensions, report

_DAY = Period(from_s=0, to_s=86_400)
_NIGHT: dict[str, Any] = {"lane": "deferrable", "workload": "night", "tenant": "b"}


def _report(*by: str, usd: str = "3.6") -> LedgerReport:
    rows = attempts(
        {"started_s": 0, "ended_s": 3700, "tenant": "a"},
        {"started_s": 3650, "ended_s": 3750, "deadline_s": 4000.0, "status_code": 200, **_NIGHT},
        {"started_s": 10, "ended_s": 20, "outcome": "preempted", "request_id": "req_1", **_NIGHT},
        {"venue": "api", "ended_s": 30.0, "cost_picousd": 5, "tenant": "a"},
        {"ended_s": 40.0, "deadline_s": 30.0, "status_code": 200, **_NIGHT},
        {"ended_s": 50.0, "deadline_s": 90.0, "status_code": 499, **_NIGHT},
        {"ended_s": 60.0, "deadline_s": 90.0, **_NIGHT},
    )
    costed = cost(rows, [replica(0, 7200, usd)], period=_DAY)
    return report(costed, _DAY, by, no_saving_because="")


@pytest.mark.parametrize("name", DIMENSIONS)
def test_every_dimension_sums_to_paid(name: str) -> None:
    answer = _report(name)
    assert answer.paid_usd == Decimal("7.200000000005")
    assert sum(row.paid_usd for row in answer.rows) == answer.paid_usd
    assert sum(row.attempts for row in answer.rows) == answer.attempts == 7
    assert sum(row.requests for row in answer.rows) == answer.requests == 6


def test_uses_sum_to_paid() -> None:
    answer = _report()
    assert sum(use.paid_usd for use in answer.by_use) == answer.paid_usd
    assert answer.idle_usd == Decimal("3.45")


def test_idle_belongs_to_no_tenant() -> None:
    rows = {row.by["tenant"]: row for row in _report("tenant").rows}
    assert set(rows) == {"a", "b", "(idle)"}
    assert rows["(idle)"].requests == 0


def test_large_bills_do_not_overflow() -> None:
    # Two hours at a million dollars: ten such days exceed 64 bits of picodollars, one day's report must not care.
    rows = attempts({"started_s": 0, "ended_s": 864_000})
    period = Period(from_s=0, to_s=864_000)
    costed = cost(rows, [replica(0, 864_000, "1000000")], period=period)
    assert report(costed, period, ("day",), no_saving_because="").paid_usd == 240_000_000


def test_deadlines_count_answers_in_time() -> None:
    deadlines = _report().deadlines
    assert (deadlines.kept, deadlines.missed) == (1, 2)


def test_workloads_pay_for_their_requests() -> None:
    night = next(row for row in _report().by_workload if row.workload == "night")
    # Half of 50 s and all of 50 s as the second request, half of 10 s when preempted.
    assert night.paid_usd == Decimal("0.08")
    assert night.requests == 4


@pytest.mark.parametrize(("text", "problem"), [("squad", "unknown 'squad'"), ("day,day", "twice")])
def test_wrong_dimensions_are_refused(text: str, problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        parse_dimensions(text)


def test_quotes_are_apart_from_what_was_paid() -> None:
    """One batch is charged its quote of 5 for a cost of 3, one what it cost, 4, for a quote of 1."""
    paid = [replica(0, 3600, "3.6")]
    costed = cost(attempts(), paid, period=Period(from_s=0, to_s=3600))
    honored = SettledQuote(quoted_picousd=5 * 10**12, charged_picousd=5 * 10**12, paid_picousd=3 * 10**12)
    shown = SettledQuote(quoted_picousd=1 * 10**12, charged_picousd=4 * 10**12, paid_picousd=4 * 10**12)
    answer = report(costed, costed.period, (), no_saving_because="", quotes=[honored, shown])
    assert answer.quotes is not None
    assert (answer.quotes.batches, answer.quotes.quoted_usd, answer.quotes.charged_usd) == (2, 6, 9)
    assert (answer.quotes.paid_usd, answer.quotes.difference_usd, answer.paid_usd) == (7, 2, Decimal("3.6"))
    assert "charged $9.00 cost $7.00: a difference of $2.00" in words.quotes(answer)


def test_teams_share_what_was_paid() -> None:
    """Ten seconds of a team, ten of none, ten idle."""
    rows = attempts({"started_s": 0, "ended_s": 10, "team": "search"}, {"started_s": 10, "ended_s": 20, "team": None})
    costed = cost(rows, [replica(0, 30, "3600")], period=Period(from_s=0, to_s=30))
    answer = report(costed, costed.period, ("team",), no_saving_because="")
    assert {row.by["team"]: row.paid_usd for row in answer.rows} == {"search": 10, "": 10, "(idle)": 10}
