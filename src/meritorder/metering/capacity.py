"""Paid capacity: what was rented when and at which price, as spans of constant price.

A replica is paid once: where two records of it overlap, the one that started later is in force. A commitment is paid
whether or not replicas use it; the replicas of its venue that started first are covered by it.
"""

import heapq
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from itertools import pairwise
from typing import Final, TypeVar

from meritorder.errors import ConfigError
from meritorder.records.accounting import Use
from meritorder.units import MAX_USD_PER_HOUR, PICOUSD_PER_USD

Record = TypeVar("Record", "PaidCapacity", "PaidCommitment")

US_PER_S: Final = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class PaidCapacity:
    """A replica and when it was paid. Times are epoch seconds.

    Args:
        venue: Its venue.
        replica: Its id; a change of price is another record of the same id.
        started_s: Since when it is paid at this price.
        ready_s: When it could serve; None if it never could.
        ended_s: Until when it was paid, or last seen.
        usd_per_hour: Its price; None if it is unknown.
        minimum_billing_s: Shortest time that is billed.
        pricing_model: How it is paid for.
        machine: What it runs on.
    """

    venue: str
    replica: str
    started_s: float
    ready_s: float | None
    ended_s: float
    usd_per_hour: Decimal | None
    minimum_billing_s: float = 0.0
    pricing_model: str = "on_demand"
    machine: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class PaidCommitment:
    """Replicas of a venue that are paid for a term, used or not. Times are epoch seconds.

    Args:
        venue: The venue whose replicas it covers.
        name: Its name; where two records of one commitment overlap, it is paid once.
        started_s: Start of the term.
        ended_s: End of the term, or until when it was last seen.
        usd_per_hour: Price of one replica; None if it is unknown.
        replicas: Replicas that it covers at one time.
        pricing_model: How it is paid for.
    """

    venue: str
    name: str
    started_s: float
    ended_s: float
    usd_per_hour: Decimal | None
    replicas: int = 1
    pricing_model: str = "reserved"


Paid = PaidCapacity | PaidCommitment


@dataclass(frozen=True, slots=True)
class Span:
    """A time at a constant price.

    Args:
        venue: The venue.
        replica: The replica; empty for a commitment that none uses.
        start_us: Start, epoch microseconds.
        end_us: End.
        picousd_per_hour: Price.
        use: What it is paid for; `BUSY` stands for a time in which requests can run.
    """

    venue: str
    replica: str
    start_us: int
    end_us: int
    picousd_per_hour: int
    use: Use


def microseconds(time_s: float) -> int:
    """Return a time in whole microseconds."""
    return round(time_s * US_PER_S)


def picousd_per_hour(usd_per_hour: Decimal, where: str) -> int:
    """Return a price in whole picodollars.

    Raises:
        ConfigError: It is negative, not a number, or beyond any machine's price.
    """
    if not (usd_per_hour.is_finite() and 0 <= usd_per_hour <= MAX_USD_PER_HOUR):
        fix = f"give dollars from 0 to {MAX_USD_PER_HOUR:,}"
        raise ConfigError(f"{usd_per_hour} is not a price per hour", where=where, fix=fix)
    return round(usd_per_hour * PICOUSD_PER_USD)


def spans(
    capacity: Sequence[PaidCapacity], commitments: Sequence[PaidCommitment], *, from_us: int, to_us: int
) -> list[Span]:
    """Return what was paid within a period; a span for each time at a constant price.

    Capacity without a price is left out.
    """
    by_replica: defaultdict[tuple[str, str], list[PaidCapacity]] = defaultdict(list)
    for record in capacity:
        if record.usd_per_hour is not None:
            by_replica[record.venue, record.replica].append(record)
    by_venue: defaultdict[str, list[Span]] = defaultdict(list)
    for (venue, _), records in by_replica.items():
        by_venue[venue] += _replica_spans(records)
    by_name: defaultdict[tuple[str, str], list[PaidCommitment]] = defaultdict(list)
    for commitment in commitments:
        if commitment.usd_per_hour is not None:
            by_name[commitment.venue, commitment.name].append(commitment)
    committed: defaultdict[str, list[Span]] = defaultdict(list)
    for (venue, _), terms in by_name.items():
        committed[venue] += _commitment_spans(terms)
    for venue, slots in committed.items():
        by_venue[venue] = list(_covered(by_venue[venue], slots))
    clipped = (
        replace(span, start_us=max(span.start_us, from_us), end_us=min(span.end_us, to_us))
        for venue_spans in by_venue.values()
        for span in venue_spans
    )
    return [span for span in clipped if span.start_us < span.end_us]


def _replica_spans(records: list[PaidCapacity]) -> Iterator[Span]:
    """Yield the spans of one replica: starting, serving, and what its minimum billing adds."""
    run_start_us = run_end_us = minimum_us = rate = 0
    last: PaidCapacity | None = None
    for record, start_us, end_us in _in_force(records):
        if last is None or start_us > run_end_us:
            if last is not None:
                yield from _minimum_billing(last, run_start_us + minimum_us, run_end_us, start_us, rate)
            run_start_us, minimum_us = start_us, 0
        rate = picousd_per_hour(record.usd_per_hour or Decimal(0), f"venue {record.venue}")
        ready_us = end_us if record.ready_s is None else microseconds(record.ready_s)
        ready_us = min(max(ready_us, start_us), end_us)
        for from_us, to_us, use in ((start_us, ready_us, Use.STARTING), (ready_us, end_us, Use.BUSY)):
            if from_us < to_us:
                yield Span(record.venue, record.replica, from_us, to_us, rate, use)
        minimum_us = max(minimum_us, microseconds(record.minimum_billing_s))
        last, run_end_us = record, end_us
    if last is not None:
        yield from _minimum_billing(last, run_start_us + minimum_us, run_end_us, None, rate)


def _minimum_billing(
    record: PaidCapacity, paid_until_us: int, ended_us: int, next_start_us: int | None, rate: int
) -> Iterator[Span]:
    """Yield the time after a replica's end that is billed all the same."""
    until_us = paid_until_us if next_start_us is None else min(paid_until_us, next_start_us)
    if until_us > ended_us:
        yield Span(record.venue, record.replica, ended_us, until_us, rate, Use.IDLE)


def _in_force(records: list[Record]) -> Iterator[tuple[Record, int, int]]:
    """Yield the record in force over time: of those that overlap, the one that started last."""
    bounded = sorted(
        ((microseconds(record.started_s), microseconds(record.ended_s), record) for record in records),
        key=lambda bounds: bounds[:2],
    )
    times = sorted({time_us for start_us, end_us, _ in bounded for time_us in (start_us, end_us)})
    active: list[tuple[int, int, int, Record]] = []
    place = 0
    for start_us, end_us in pairwise(times):
        while place < len(bounded) and bounded[place][0] <= start_us:
            began_us, until_us, record = bounded[place]
            heapq.heappush(active, (-began_us, -place, until_us, record))
            place += 1
        while active and active[0][2] <= start_us:
            heapq.heappop(active)
        if active:
            yield active[0][3], start_us, end_us


def _commitment_spans(terms: list[PaidCommitment]) -> Iterator[Span]:
    for term, start_us, end_us in _in_force(terms):
        rate = picousd_per_hour(term.usd_per_hour or Decimal(0), f"venue {term.venue}")
        for _ in range(term.replicas):
            yield Span(term.venue, "", start_us, end_us, rate, Use.UNUSED_COMMITMENT)


def _covered(used: Iterable[Span], slots: Iterable[Span]) -> Iterator[Span]:
    """Yield spans at the price of the commitments that cover them, and the commitments that cover nothing.

    Of the spans at one time, those that started first are covered, by the commitments at the lowest price first.
    """
    starts: defaultdict[int, list[Span]] = defaultdict(list)
    ends: defaultdict[int, list[Span]] = defaultdict(list)
    for span in (*used, *slots):
        starts[span.start_us].append(span)
        ends[span.end_us].append(span)
    times = sorted({*starts, *ends})
    active: list[Span] = []
    for start_us, end_us in pairwise(times):
        active = [span for span in active if span.end_us > start_us] + starts[start_us]
        free = sorted(
            (span for span in active if span.use is Use.UNUSED_COMMITMENT), key=lambda slot: slot.picousd_per_hour
        )
        for span in active:
            if span.use is Use.UNUSED_COMMITMENT:
                continue
            rate = free.pop(0).picousd_per_hour if free else span.picousd_per_hour
            yield replace(span, start_us=start_us, end_us=end_us, picousd_per_hour=rate)
        for slot in free:
            yield replace(slot, start_us=start_us, end_us=end_us)
