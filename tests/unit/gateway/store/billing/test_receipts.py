"""What the store knows of a batch, and its receipt, on each kind of database."""

from functools import partial
from typing import Any

from meritorder.gateway.store.billing import ledger, receipts
from meritorder.gateway.store.billing.ledger import LedgerEntry
from meritorder.gateway.store.billing.receipts import PlaceUse, ReplicaUse
from meritorder.gateway.store.database import Database


def _add(database: Database, *rows: dict[str, Any]) -> None:
    defaults = {
        "request_id": "r",
        "arrived_s": 0.0,
        "ttft_s": None,
        "lane": "deferrable",
        "tenant": "t",
        "key_id": None,
    }
    defaults |= {"model": "m", "endpoint": "/", "venue": "gpu", "status_code": 200, "input_tokens": 10, "counted": True}
    defaults |= {"output_tokens": 5, "batch_seq": 1, "price_basis": "machine", "replica": "g"}
    entries = [LedgerEntry(**(defaults | row)) for row in rows]
    assert database.submit(lambda connection: ledger.add(connection, entries)).result() == 0


def test_batch_is_summed_by_place(database: Database) -> None:
    """Of three attempts one was preempted; another batch and real time do not count."""
    _add(
        database,
        {"started_s": 1.0, "ended_s": 2.0, "outcome": "preempted", "output_tokens": 0},
        {"started_s": 3.0, "ended_s": 5.0, "lost_tokens": 7},
        {
            "venue": "api",
            "price_basis": "tokens",
            "started_s": 4.0,
            "ended_s": 6.0,
            "request_id": "s",
            "cost_picousd": 9,
        },
        {"started_s": 1.0, "ended_s": 9.0, "batch_seq": 2},
        {"started_s": 1.0, "ended_s": 9.0, "batch_seq": None},
    )
    shared = {"input_tokens": 10, "cached_tokens": 0, "output_tokens": 5}
    assert database.read_now(partial(receipts.places, own=receipts.of_batch(1))) == [
        PlaceUse(
            **shared,
            venue="api",
            price_basis="tokens",
            attempts=1,
            requests=1,
            lost_tokens=0,
            cost_picousd=9,
            unpriced=0,
        ),
        PlaceUse(
            **(shared | {"input_tokens": 20}),
            venue="gpu",
            price_basis="machine",
            attempts=2,
            requests=1,
            lost_tokens=7,
            cost_picousd=0,
            unpriced=2,
        ),
    ]
    (used,) = database.read_now(partial(receipts.replicas, own=receipts.of_batch(1)))
    assert used == ReplicaUse(venue="gpu", replica="g", from_s=1.0, to_s=5.0, attempts=2)


def test_attempts_that_overlap_a_time(database: Database) -> None:
    rows = [(1.0, 2.0, 1), (0.0, 3.0, None), (8.0, 9.0, 1), (0.0, 0.5, 1)]
    _add(database, *({"started_s": start, "ended_s": end, "batch_seq": seq} for start, end, seq in rows))
    _add(
        database,
        {"started_s": 1.0, "ended_s": 2.0, "replica": "other"},
        {"started_s": 1.0, "ended_s": 2.0, "replica": None},
    )
    read = partial(receipts.attempts_on, venue="gpu", replica="g", own=receipts.of_batch(1), from_s=1.0, to_s=8.0)
    found = database.read_now(read)
    attempts = zip(found.ran.starts_us.tolist(), found.ran.ends_us.tolist(), found.own.tolist(), strict=True)
    assert sorted(attempts) == [(0, 3_000_000, False), (1_000_000, 2_000_000, True), (1_000_000, 2_000_000, True)]


def test_first_receipt_stays(database: Database) -> None:
    add = partial(receipts.add, tenant="t", subject_id="b", now_s=1.0)
    assert database.submit(partial(add, body=b"first")).result() == b"first"
    assert database.submit(partial(add, body=b"second")).result() == b"first"
    assert database.read_now(partial(receipts.get, tenant="t", subject_id="b")) == b"first"
    assert database.read_now(partial(receipts.get, tenant="u", subject_id="b")) is None
