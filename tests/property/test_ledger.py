"""What was paid is attributed exactly, whatever starts, stops, is killed, overlaps or changes its price.

The oracle goes through time minute by minute with exact fractions; all times are whole minutes.
"""

from collections import defaultdict
from decimal import Decimal
from fractions import Fraction
from typing import Any

import hypothesis.strategies as st
import polars as pl
from hypothesis import given, settings

from meritorder.metering.capacity import PaidCapacity, PaidCommitment
from meritorder.records.accounting import Use
from meritorder.study.ledger.attempts import from_columns
from meritorder.study.ledger.costing import Period, cost

# Multiples of 60 picodollars an hour cost whole picodollars in every minute, so that sums are known exactly.
_UNIT_USD = Decimal(60).scaleb(-12)
_MONTH_END_S = 1_798_761_600  # 2027-01-01 00:00 UTC
_MINUTES = 180
_EPOCH_S = _MONTH_END_S - _MINUTES // 2 * 60
_minutes = st.integers(0, _MINUTES)
_prices = st.sampled_from([Decimal(1), Decimal("3.79"), Decimal("98.32"), Decimal(999_999)]).map(
    lambda usd: usd - usd % _UNIT_USD
)
_COLUMNS = (
    *("request_id", "lane", "model", "venue", "replica", "outcome", "arrived_s", "started_s", "ended_s"),
    *("input_tokens", "output_tokens", "cost_picousd"),
)


def _sorted_minutes(draw: st.DrawFn, count: int) -> list[int]:
    return [_EPOCH_S + 60 * minute for minute in sorted(draw(st.lists(_minutes, min_size=count, max_size=count)))]


@st.composite
def _replicas(draw: st.DrawFn) -> list[PaidCapacity]:
    """Replicas with a change of price, stopped or killed at any time, some of them before they are ready."""
    records = []
    for number in range(draw(st.integers(0, 4))):
        start_s, change_s, end_s = _sorted_minutes(draw, 3)
        ready_s = draw(st.sampled_from([None, start_s, *_sorted_minutes(draw, 1)]))
        venue, minimum_s = draw(st.sampled_from(["a", "b"])), draw(st.sampled_from([0, 60, 3600]))
        for from_s, to_s in ((start_s, change_s), (change_s, end_s)):
            record = PaidCapacity(
                venue=venue,
                replica=f"r{number}",
                started_s=from_s,
                ready_s=ready_s,
                ended_s=to_s,
                usd_per_hour=draw(_prices),
                minimum_billing_s=minimum_s,
            )
            records += [record] if from_s < to_s else []
    return draw(st.permutations(records))


@st.composite
def _commitments(draw: st.DrawFn) -> list[PaidCommitment]:
    terms = []
    for number in range(draw(st.integers(0, 2))):
        start_s, end_s = _sorted_minutes(draw, 2)
        venue, replicas = draw(st.sampled_from(["a", "b"])), draw(st.integers(1, 2))
        terms.append(
            PaidCommitment(
                venue=venue,
                name=f"c{number}",
                started_s=start_s,
                ended_s=end_s,
                usd_per_hour=Decimal("0.6"),
                replicas=replicas,
            )
        )
    return terms


@st.composite
def _attempts(draw: st.DrawFn, *, named: bool) -> pl.DataFrame:
    """Attempts that overlap, retries and preemptions of the same request, and calls of a token API."""
    rows: list[dict[str, Any]] = []
    for number in range(draw(st.integers(0, 12))):
        start_s, end_s = _sorted_minutes(draw, 2)
        venue = draw(st.sampled_from(["a", "b", "api"]))
        replicas = ["r0", "r1", "r2", "r3"] if named else [None, "r0", "r1"]
        tokens_picousd = draw(st.integers(0, 2**62)) if venue == "api" else None
        lane, model = draw(st.sampled_from(["realtime", "deferrable"])), draw(st.sampled_from(["m", "n"]))
        texts = (f"q{draw(st.integers(0, number))}", lane, model, venue, draw(st.sampled_from(replicas)))
        tokens = (draw(st.integers(0, 9)), draw(st.sampled_from([0, 1, 700])))
        outcome = draw(st.sampled_from([None, "answered", "preempted"]))
        values = (*texts, outcome, float(_EPOCH_S), float(start_s), float(end_s), *tokens, tokens_picousd)
        rows.append(dict(zip(_COLUMNS, values, strict=True)))
    return from_columns({name: [row[name] for row in rows] for name in _COLUMNS})


def _price(records: list[PaidCapacity], at_s: int) -> Fraction | None:
    """Return the price per minute of a replica at a time, in picodollars; None while it is not paid."""
    for record in records:
        if record.started_s <= at_s < record.ended_s:
            return Fraction(record.usd_per_hour or 0) * 10**12 / 60
    first, last = records[0], records[-1]
    if last.ended_s <= at_s < first.started_s + first.minimum_billing_s:
        return Fraction(last.usd_per_hour or 0) * 10**12 / 60
    return None


def _by_replica(records: list[PaidCapacity]) -> dict[tuple[str, str], list[PaidCapacity]]:
    replicas: defaultdict[tuple[str, str], list[PaidCapacity]] = defaultdict(list)
    for record in sorted(records, key=lambda record: record.started_s):
        replicas[record.venue, record.replica].append(record)
    return replicas


def _paid_picousd(records: list[PaidCapacity], commitments: list[PaidCommitment], low_s: int, high_s: int) -> Fraction:
    total = Fraction(0)
    replicas = _by_replica(records)
    for at_s in range(low_s, high_s, 60):
        covered: defaultdict[str, int] = defaultdict(int)
        for term in commitments:
            if term.started_s <= at_s < term.ended_s:
                covered[term.venue] += term.replicas
                total += Fraction(term.usd_per_hour or 0) * 10**12 / 60 * term.replicas
        running: defaultdict[str, list[Fraction]] = defaultdict(list)
        for (venue, _), own in replicas.items():
            price = _price(own, at_s)
            running[venue] += [] if price is None else [price]
        for venue, prices in running.items():
            # All prices are the same where there are commitments, so that it does not matter which are covered.
            total += sum(prices[covered[venue] :])
    return total


@settings(max_examples=100, deadline=None)
@given(records=_replicas(), attempts=_attempts(named=False), bounds=st.tuples(_minutes, _minutes))
def test_totals_equal_paid_capacity(
    records: list[PaidCapacity], attempts: pl.DataFrame, bounds: tuple[int, int]
) -> None:
    low_s, high_s = (_EPOCH_S + 60 * minute for minute in sorted(bounds))
    costs = cost(attempts, records, period=Period(from_s=low_s, to_s=high_s)).costs
    ended = attempts.filter((pl.col("ended_s") >= low_s) & (pl.col("ended_s") < high_s))
    tokens = sum(picousd for picousd in ended["cost_picousd"].to_list() if picousd is not None)
    assert sum(costs["picousd"].to_list()) - tokens == _paid_picousd(records, [], low_s, high_s)
    assert (costs["picousd"] >= 0).all()
    assert costs.is_empty() or (costs["hour"] * 3600 >= low_s - 3600).all()
    assert costs.is_empty() or (costs["hour"] * 3600 < high_s).all()


@settings(max_examples=100, deadline=None)
@given(records=_replicas(), commitments=_commitments(), attempts=_attempts(named=True))
def test_commitments_are_paid_once(
    records: list[PaidCapacity], commitments: list[PaidCommitment], attempts: pl.DataFrame
) -> None:
    level = [
        PaidCapacity(
            venue=record.venue,
            replica=record.replica,
            started_s=record.started_s,
            ready_s=record.ready_s,
            ended_s=record.ended_s,
            usd_per_hour=Decimal("1.2"),
            minimum_billing_s=record.minimum_billing_s,
        )
        for record in records
    ]
    low_s, high_s = _EPOCH_S, _EPOCH_S + 60 * (_MINUTES + 60)
    own = attempts.filter(pl.col("venue") != "api")
    costs = cost(own, level, commitments, period=Period(from_s=low_s, to_s=high_s)).costs
    assert sum(costs["picousd"].to_list()) == _paid_picousd(level, commitments, low_s, high_s)


@settings(max_examples=100, deadline=None)
@given(records=_replicas(), attempts=_attempts(named=True))
def test_kinds_share_by_time_and_attempts_by_work(records: list[PaidCapacity], attempts: pl.DataFrame) -> None:
    """All times are whole minutes, so that each minute is alike in all of its windows."""
    period = Period(from_s=_EPOCH_S, to_s=_EPOCH_S + 60 * (_MINUTES + 60))
    own = attempts.filter(pl.col("venue") != "api")
    rows = own.with_row_index().to_dicts()
    expected: defaultdict[int, Fraction] = defaultdict(Fraction)
    for (venue, replica), paid in _by_replica(records).items():
        for at_s in range(_EPOCH_S, _EPOCH_S + 60 * _MINUTES, 60):
            record = next((record for record in paid if record.started_s <= at_s < record.ended_s), None)
            if record is None or record.ready_s is None or at_s < record.ready_s:
                continue
            price = Fraction(record.usd_per_hour or 0) * 10**12 / 60
            running = [
                row
                for row in rows
                if (row["venue"], row["replica"]) == (venue, replica) and row["started_s"] <= at_s < row["ended_s"]
            ]
            for row in running:
                alike = [other for other in running if _kind(other) == _kind(row)]
                share = Fraction(_pace(row), sum(map(_pace, alike)))
                expected[row["index"]] += price * len(alike) / len(running) * share
    costs = cost(own, records, period=period).costs.filter(pl.col("use") == Use.BUSY)
    for index in range(len(own)):
        parts = costs.filter(pl.col("attempt") == index)["picousd"]
        assert abs(sum(parts.to_list()) - expected[index]) <= 2 * len(parts) + expected[index] * Fraction(1, 10_000)


def _kind(row: dict[str, Any]) -> tuple[str, str] | None:
    counted = row["input_tokens"] + row["output_tokens"] or row["outcome"] == "preempted"
    return (row["lane"], row["model"]) if counted else None


def _pace(row: dict[str, Any]) -> Fraction:
    """Return the work in a second; what ran again does next to none, and attempts without tokens do the same."""
    work = row["input_tokens"] + 4 * row["output_tokens"]
    if row["outcome"] == "preempted":
        return Fraction(1, 10**12)
    return Fraction(work) / round(row["ended_s"] - row["started_s"]) if work else Fraction(1)
