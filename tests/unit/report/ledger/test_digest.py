"""The digest of a week in words, from figures that say it."""

from decimal import Decimal

import msgspec
from tests.samples.ledgers import attempts, replica

from meritorder.records.accounting import LedgerReport, RunningCommitment
from meritorder.report.ledger import digest
from meritorder.study.ledger.answer import account, cost_all
from meritorder.study.ledger.costing import Period

_WEEK_S = 7 * 86_400.0
_BEGIN_S = 20_500 * 86_400.0


def _week(number: int, requests: int) -> LedgerReport:
    """A week of a machine for $1 an hour, whose requests each take an hour, one after the other."""
    begin_s = _BEGIN_S + number * _WEEK_S
    rows = attempts(
        *(
            {
                "started_s": begin_s + hour * 3600.0,
                "arrived_s": begin_s + hour * 3600.0,
                "ended_s": begin_s + (hour + 1) * 3600.0,
                "tenant": f"t{hour % 2}",
                "workload": "w",
                "deadline_s": begin_s,
                "status_code": 200,
            }
            for hour in range(requests)
        )
    )
    paid = [replica(begin_s, begin_s + _WEEK_S, "1")]
    return account(cost_all(rows, paid, Period(from_s=begin_s, to_s=begin_s + _WEEK_S)), ("tenant",))


def test_digest_compares_and_names_the_largest() -> None:
    """Three hours of work in 168; the fewer hours of the week before cost the same."""
    said = digest.lines(_week(1, 3), _week(0, 2))
    assert said[0] == "2026-02-23 to 2026-03-01: $168.00 were paid for 3 requests, $56.00 each."
    assert said[1] == "Against the week before, which cost $168.00: the same; requests: 50 % more."
    assert said[2] == "Idle machines cost $165.00, 98 % of all."
    assert said[3] == "Deadlines: 0 kept, 3 missed."
    assert said[4:] == ("By workload: w $3.00.", "By tenant: t0 $2.00, t1 $1.00.")


def test_digest_names_commitments_and_their_ends() -> None:
    terms = {"machine": "", "pricing_model": "reserved", "usd_per_hour": Decimal(2)}
    commitments = (
        RunningCommitment(venue="a", **terms, ends_at="2026-12-10T00:00:00+00:00", days_left=9),
        RunningCommitment(venue="b", **terms, ends_at="2027-12-10T00:00:00+00:00", days_left=374),
        RunningCommitment(venue="c", **terms, ends_at=None, days_left=None),
    )
    said = digest.lines(msgspec.structs.replace(_week(0, 0), commitments=commitments), None)
    assert said[-1] == (
        "Commitments: a (reserved) at $2.00 an hour, ends soon: until 2026-12-10, in 9 days; "
        "b (reserved) at $2.00 an hour, until 2027-12-10, in 374 days; "
        "c (reserved) at $2.00 an hour, without a stated end."
    )


def test_first_week_is_compared_with_nothing() -> None:
    said = digest.lines(_week(0, 0), None)
    assert len(said) == 2
    assert _week(0, 0).paid_usd == Decimal(168)
