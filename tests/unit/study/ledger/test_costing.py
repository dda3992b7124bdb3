from dataclasses import replace
from decimal import Decimal

import polars as pl
from tests.samples.ledgers import attempts, replica

from meritorder.metering.capacity import PaidCommitment
from meritorder.study.ledger.costing import CostedLedger, Period, cost

_DAY = Period(from_s=0, to_s=86_400)


def _by_use(costed: CostedLedger) -> dict[str, int]:
    return dict(costed.costs.group_by(pl.col("use").cast(pl.String)).agg(pl.col("picousd").sum()).iter_rows())


def _of(costed: CostedLedger, attempt: int) -> int:
    return int(costed.costs.filter(pl.col("attempt") == attempt)["picousd"].sum())


def test_overlap_is_shared_equally() -> None:
    # $3.6 an hour is 10⁹ picodollars a second: alone for 100 s, two for 100 s, alone for 100 s.
    rows = attempts({"started_s": 0, "ended_s": 200}, {"started_s": 100, "ended_s": 300})
    costed = cost(rows, [replica(0, 400)], period=_DAY)
    assert (_of(costed, 0), _of(costed, 1)) == (150 * 10**9, 150 * 10**9)
    assert _by_use(costed) == {"busy": 300 * 10**9, "idle": 100 * 10**9}


def test_price_change_in_mid_request() -> None:
    rows = attempts({"started_s": 0, "ended_s": 200})
    records = [replica(0, 100, "3.6"), replica(100, 200, "7.2", ready_s=0)]
    assert _of(cost(rows, records, period=_DAY), 0) == 300 * 10**9


def test_waiting_for_start_is_not_busy() -> None:
    rows = attempts({"started_s": 0, "ended_s": 100})
    assert _by_use(cost(rows, [replica(0, 100, ready_s=60)], period=_DAY)) == {
        "starting": 60 * 10**9,
        "busy": 40 * 10**9,
    }


def test_period_cuts_requests_and_capacity() -> None:
    rows = attempts({"started_s": 0, "ended_s": 200})
    costed = cost(rows, [replica(0, 400)], period=Period(from_s=100, to_s=300))
    assert _by_use(costed) == {"busy": 100 * 10**9, "idle": 100 * 10**9}


def test_tokens_are_paid_at_their_end() -> None:
    rows = attempts({"venue": "api", "started_s": 3000.0, "ended_s": 3700.0, "cost_picousd": 9})
    assert cost(rows, [], period=_DAY).costs.select("hour", "picousd").rows() == [(1, 9)]
    assert cost(rows, [], period=Period(from_s=0, to_s=3600)).costs.is_empty()


def test_unpriced_venues_are_named() -> None:
    rows = attempts({"venue": "api", "ended_s": 5.0}, {"venue": "api", "ended_s": 6.0}, {"ended_s": 7.0})
    capacity = [replace(replica(0, 10), usd_per_hour=None)]
    text = " ".join(cost(rows, capacity, period=_DAY).warnings)
    assert "api: no price for 2 attempts" in text
    assert "gpu: no price per hour" in text


def test_attempt_outside_paid_time_is_named() -> None:
    rows = attempts({"started_s": 500, "ended_s": 600})
    assert "gpu: no paid capacity at the time of 1 attempt," in " ".join(
        cost(rows, [replica(0, 400)], period=_DAY).warnings
    )


def test_recorded_basis_precedes_venue() -> None:
    # A token API that became a machine in the afternoon: its calls of the morning cost their tokens.
    rows = attempts(
        {"started_s": 0, "ended_s": 10, "price_basis": "tokens", "cost_picousd": 3},
        {"started_s": 50_000, "ended_s": 50_010, "price_basis": "machine", "replica": "r0", "cost_picousd": 3},
    )
    costed = cost(rows, [replica(50_000, 50_010)], period=_DAY)
    assert (_of(costed, 0), _of(costed, 1)) == (3, 10 * 10**9)


def test_unnamed_replicas_are_pooled() -> None:
    rows = attempts({"started_s": 0, "ended_s": 100})
    costed = cost(rows, [replica(0, 100), replica(0, 100, replica="r1")], period=_DAY)
    assert _of(costed, 0) == 200 * 10**9
    assert "not name their replica" in " ".join(costed.warnings)


def test_stopped_replica_leaves_commitment_unused() -> None:
    term = PaidCommitment(venue="gpu", name="c", started_s=0, ended_s=1000, usd_per_hour=Decimal("3.6"))
    rows = attempts({"started_s": 0, "ended_s": 50})
    costed = cost(rows, [replica(0, 100)], [term], period=_DAY)
    assert _by_use(costed) == {"busy": 50 * 10**9, "idle": 50 * 10**9, "unused commitment": 900 * 10**9}


def test_unnamed_attempt_spans_two_replicas() -> None:
    # The engine was restarted while the request waited: each replica charges its own time.
    rows = attempts({"started_s": 0, "ended_s": 100})
    costed = cost(rows, [replica(0, 40), replica(60, 100, replica="r1")], period=_DAY)
    assert _of(costed, 0) == 80 * 10**9
    assert costed.warnings == ()


def test_hostile_names_stay_apart() -> None:
    names = ["a", "a ", "A", "a\x00", "", "' OR 1=1", "ä" * 300]
    rows = attempts(*({"started_s": 0, "ended_s": 70, "venue": name, "replica": "r"} for name in names))
    records = [replica(0, 70, venue=name, replica="r") for name in names]
    costed = cost(rows, records, period=_DAY)
    assert [_of(costed, number) for number in range(len(names))] == [70 * 10**9] * len(names)


def test_clock_set_back_costs_nothing() -> None:
    rows = attempts({"started_s": 50, "ended_s": 10}, {"started_s": 0, "ended_s": 100})
    costed = cost(rows, [replica(0, 100)], period=_DAY)
    assert (_of(costed, 0), _of(costed, 1)) == (0, 100 * 10**9)
