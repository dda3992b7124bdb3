from dataclasses import replace
from decimal import Decimal

import pytest
from tests.samples.ledgers import replica

from meritorder.errors import ConfigError
from meritorder.metering.capacity import PaidCapacity, PaidCommitment, Span, spans
from meritorder.records.accounting import Use

_S = 1_000_000
_ALL = {"from_us": 0, "to_us": 10**15}


def _spans(*records: PaidCapacity, commitments: tuple[PaidCommitment, ...] = ()) -> list[tuple[int, int, int, Use]]:
    found: list[Span] = sorted(spans(records, commitments, **_ALL), key=lambda span: (span.start_us, span.use))
    return [(span.start_us // _S, span.end_us // _S, span.picousd_per_hour, span.use) for span in found]


def test_starting_precedes_serving() -> None:
    assert _spans(replica(0, 100, ready_s=30)) == [
        (0, 30, 3_600_000_000_000, Use.STARTING),
        (30, 100, 3_600_000_000_000, Use.BUSY),
    ]


def test_replica_never_ready_only_starts() -> None:
    assert _spans(replica(0, 100, ready_s=None)) == [(0, 100, 3_600_000_000_000, Use.STARTING)]


def test_minimum_billing_extends_short_runs() -> None:
    assert _spans(replica(0, 20, minimum_billing_s=60))[-1] == (20, 60, 3_600_000_000_000, Use.IDLE)
    assert len(_spans(replica(0, 80, minimum_billing_s=60))) == 1


def test_overlapping_records_paid_once() -> None:
    # Two gateways that see the same engine: each second of it is paid once, at the later record's price.
    rates = [(start, end, rate) for start, end, rate, _ in _spans(replica(0, 100, "1"), replica(50, 80, "2"))]
    assert rates == [(0, 50, 10**12), (50, 80, 2 * 10**12), (80, 100, 10**12)]


def test_minimum_billing_spans_price_changes() -> None:
    records = (replica(0, 20, "1", minimum_billing_s=60), replica(20, 30, "2", ready_s=0, minimum_billing_s=60))
    assert _spans(*records)[-1] == (30, 60, 2 * 10**12, Use.IDLE)


def test_commitment_covers_first_replica() -> None:
    term = PaidCommitment(venue="gpu", name="c", started_s=0, ended_s=100, usd_per_hour=Decimal(1))
    found = _spans(replica(10, 90, "5"), replica(20, 60, "5", replica="r1"), commitments=(term,))
    assert sum((end - start) * rate for start, end, rate, _ in found) == 100 * 10**12 + 40 * 5 * 10**12
    unused = [(start, end) for start, end, _, use in found if use is Use.UNUSED_COMMITMENT]
    assert unused == [(0, 10), (90, 100)]


def test_unpriced_capacity_left_out() -> None:
    assert _spans(replace(replica(0, 100), usd_per_hour=None)) == []


@pytest.mark.parametrize("usd", ["-1", "1000001", "NaN", "Infinity"])
def test_impossible_price_refused(usd: str) -> None:
    with pytest.raises(ConfigError, match="not a price per hour"):
        _spans(replica(0, 1, usd))
