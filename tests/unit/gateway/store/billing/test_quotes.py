"""Quotes on each kind of database: used once, settled once."""

import dataclasses
from functools import partial

import pytest
from sqlalchemy import update

from meritorder.gateway.store import files
from meritorder.gateway.store.billing import quotes
from meritorder.gateway.store.billing.quotes import StoredQuote
from meritorder.gateway.store.database import Database
from meritorder.gateway.store.files import StoredFile
from meritorder.gateway.store.queue import batches
from meritorder.gateway.store.queue.batches import Batch
from meritorder.gateway.store.schema import BATCHES, LEDGER
from meritorder.metering.expected import PastJob, picousd_per_token
from meritorder.metering.words import MACHINE
from meritorder.records.accounting import OUTPUT_WEIGHT
from meritorder.records.receipts import SettledQuote

QUOTE = StoredQuote(id="quote_1", tenant="t", input_file_id="file-1", body=b"{}", created_s=0.0, valid_until_s=900.0)


def _batch(database: Database, name: str, created_s: float = 0.0) -> Batch:
    fields = {"tenant": "t", "endpoint": "/", "completion_window": "1h", "input_file_id": "file-1", "expires_s": 3600.0}
    add = partial(batches.add, id=name, created_s=created_s, **fields)
    return database.submit(add).result()


@pytest.fixture
def quoted(database: Database) -> Database:
    database.submit(partial(quotes.add, quote=QUOTE)).result()
    return database


def _use(database: Database, batch: Batch) -> bool:
    use = partial(quotes.use, quote_id="quote_1", batch=batch, quoted_picousd=5, honored=True)
    return database.submit(use).result()


def test_quote_is_used_once_and_in_time(quoted: Database) -> None:
    assert not _use(quoted, _batch(quoted, "late", created_s=901.0))
    assert _use(quoted, _batch(quoted, "first"))
    assert not _use(quoted, _batch(quoted, "second"))
    found = quoted.read_now(partial(quotes.of_batch, tenant="t", batch_id="first"))
    assert found is not None
    assert (found.id, found.quoted_picousd, found.honored) == ("quote_1", 5, True)
    assert quoted.read_now(partial(quotes.get, tenant="u", quote_id="quote_1")) is None


def test_unused_quotes_are_forgotten_after_a_day(quoted: Database) -> None:
    """The first expires at 900 s; the second is used."""
    used = dataclasses.replace(QUOTE, id="quote_2", batch_id="b")
    late = dataclasses.replace(QUOTE, id="quote_3", created_s=900.0 + 86_401.0)
    for quote in (used, late):
        quoted.submit(partial(quotes.add, quote=quote)).result()
    left = {name: quoted.read_now(partial(quotes.get, tenant="t", quote_id=name)) for name in ("quote_1", "quote_2")}
    assert left == {"quote_1": None, "quote_2": used}


def test_quote_is_settled_once(quoted: Database) -> None:
    batch = _batch(quoted, "first")
    assert _use(quoted, batch)
    assert quoted.read_now(quotes.unsettled) == [batch.seq]
    quote = quoted.read_now(partial(quotes.of_batch, tenant="t", batch_id="first"))
    for paid in (3, 4):
        settle = partial(quotes.settle, quote=quote, batch_seq=batch.seq, charged_picousd=5, ended_s=7.0)
        quoted.submit(partial(settle, paid_picousd=paid)).result()
    assert quoted.read_now(quotes.unsettled) == []
    settled = partial(quotes.settled, from_s=7.0)
    assert quoted.read_now(partial(settled, to_s=8.0)) == [
        SettledQuote(quoted_picousd=5, charged_picousd=5, paid_picousd=3)
    ]
    assert quoted.read_now(partial(settled, to_s=7.0)) == []


def test_past_batches_are_the_latest_complete_ones(database: Database) -> None:
    past = partial(quotes.past_jobs, tenant="t", model="m", endpoint="/", limit=1)
    assert database.read_now(past) == []
    file = StoredFile(id="file-1", tenant="t", filename="f", purpose="batch", bytes=100, blob="b", created_s=0.0)
    database.submit(lambda connection: files.add(connection, file)).result()
    used = {"status": "completed", "model": "m", "done": 4, "limit_tokens": 60, "input_tokens": 40, "output_tokens": 20}
    for name, changes in (("a", {}), ("b", {"input_tokens": 80}), ("c", {"failed": 1}), ("d", {"status": "expired"})):
        seq = _batch(database, name).seq
        change = update(BATCHES).where(BATCHES.c.seq == seq).values(**(used | changes))
        database.submit(lambda connection, change=change: connection.execute(change)).result()
    latest = PastJob(file_bytes=100, requests=4, limit_tokens=60, input_tokens=80, output_tokens=20)
    assert database.read_now(past) == [latest]


def test_latest_attempts_are_those_on_machines(database: Database) -> None:
    """Of a venue, those that ran, of all models, the newest first; a lane that has none is any lane."""
    row = {"request_id": "r", "arrived_s": 1.0, "started_s": 2.0, "lane": "realtime", "tenant": "t", "model": "m"}
    row |= {"endpoint": "/", "input_tokens": 3, "cached_tokens": 0, "output_tokens": 4, "lost_tokens": 0}
    row |= {"counted": True, "venue": "gpu", "price_basis": MACHINE, "replica": "gpu-1"}
    others = ({"venue": "other"}, {"price_basis": "tokens"}, {"started_s": None})
    rows = [row | {"ended_s": 5.0} | other for other in ({}, *others, {"ended_s": 7.5, "model": "n", "replica": None})]
    database.submit(lambda connection: connection.execute(LEDGER.insert(), rows)).result()
    latest = partial(quotes.latest_attempts, venue="gpu", model="m")
    attempts = database.read_now(partial(latest, lane="realtime"))
    assert attempts.ran.ends_us.tolist() == [7_500_000, 5_000_000]
    assert attempts.own.tolist() == [False, True]
    assert attempts.replica.tolist() == ["", "gpu-1"]
    assert (attempts.ran.starts_us[1], attempts.work_tokens[1]) == (2_000_000, 3 + OUTPUT_WEIGHT * 4)
    assert attempts.ran.kind[0] != attempts.ran.kind[1]
    assert database.read_now(partial(latest, lane="deferrable")).own.tolist() == [False, True]
    nothing = database.read_now(partial(quotes.latest_attempts, venue="nowhere", model="m", lane="realtime"))
    assert picousd_per_token(nothing, 1) is None
