import asyncio
import dataclasses
from collections.abc import Sequence
from pathlib import Path

import pytest
from sqlalchemy import Connection

from meritorder.gateway.errors import StoreUnavailableError
from meritorder.gateway.state import ledger_writer
from meritorder.gateway.state.ledger_writer import LedgerWriter, deferrable_entry, realtime_entry
from meritorder.gateway.state.request import Request
from meritorder.gateway.store import ledger, migrations
from meritorder.gateway.store.database import Database
from meritorder.gateway.store.keys import Key
from meritorder.gateway.store.ledger import LedgerEntry
from meritorder.gateway.store.requests import ClaimedRequest, RequestAnswer
from meritorder.gateway.wire.calls import CallFields
from meritorder.gateway.wire.usage import Usage

CLAIMED = ClaimedRequest(
    seq=1,
    batch_seq=None,
    line=0,
    id="req_1",
    tenant="t",
    key_id="k",
    custom_id=None,
    endpoint="/v1/completions",
    model="m",
    body_at=None,
    body_bytes=2,
    body=b"{}",
    input_tokens=10,
    output_tokens=20,
    arrived_s=100.0,
    deadline_s=200.0,
    workload="w",
    trace=None,
    attempt=1,
    faults=0,
)
ANSWER = RequestAnswer(request_id="req_2", status_code=200, body=b"{}", venue="v", input_tokens=9, output_tokens=5)


def realtime(number: int = 0, model: str | None = "m") -> LedgerEntry:
    request = Request(
        id=f"req_{number}",
        key=Key(id="k", name="n", tenant="t"),
        endpoint="/v1/completions",
        call=CallFields(model=model),
        body=b"",
        arrived_s=100.0,
        started_s=3.0,
        ttft_s=0.5,
        status=200,
    )
    usage = Usage(input_tokens=7, cached_tokens=2, output_tokens=3, counted=True)
    return realtime_entry(request, "v", usage, e2e_s=2.0, cost_picousd=11)


def deferrable(*, stored: bool) -> LedgerEntry:
    return deferrable_entry(
        CLAIMED, ANSWER, "v", started_s=150.0, ended_s=160.0, cost_picousd=4, lost_tokens=6, stored=stored
    )


def test_realtime_entry_starts_on_arrival() -> None:
    entry = realtime()
    assert (entry.lane, entry.arrived_s, entry.started_s, entry.ended_s) == ("realtime", 100.0, 100.0, 102.0)
    assert (entry.input_tokens, entry.cached_tokens, entry.output_tokens, entry.cost_picousd) == (7, 2, 3, 11)
    assert (entry.deadline_s, entry.model) == (None, "m")
    assert realtime(model=None).model == "", "the column is never empty"


def test_deferrable_entry_has_deadline() -> None:
    entry = deferrable(stored=True)
    assert (entry.lane, entry.started_s, entry.deadline_s, entry.workload) == ("deferrable", 150.0, 200.0, "w")
    assert (entry.output_tokens, entry.lost_tokens) == (5, 6)


def test_second_answer_counts_as_lost() -> None:
    entry = deferrable(stored=False)
    assert (entry.output_tokens, entry.lost_tokens) == (0, 11)


def test_entries_are_written_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger_writer, "_COMMIT_SIZE", 2)
    monkeypatch.setattr(ledger_writer, "_MAX_PENDING", 5)
    database = Database(f"sqlite:///{tmp_path}/gateway.db")
    migrations.upgrade(database)
    writer, seen = LedgerWriter(database), list[str]()
    writer.observers.append(lambda entry: seen.append(entry.request_id))
    for number in range(6):
        writer.add(realtime(number))
    asyncio.run(writer.flush())
    written = database.read_now(lambda connection: [row["request_id"] for row in ledger.rows(connection)])
    database.close()
    assert written == [f"req_{number}" for number in range(5)]
    assert seen == [f"req_{number}" for number in range(6)], "observers see what is dropped"
    assert writer.dropped == 1


def test_commits_hold_5000_entries(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    database = Database(f"sqlite:///{tmp_path}/gateway.db")
    sizes: list[int] = []
    monkeypatch.setattr(ledger, "add", lambda _, entries: sizes.append(len(entries)))
    writer, entry = LedgerWriter(database), realtime()
    for _ in range(10_001):
        writer.add(entry)
    asyncio.run(writer.flush())
    database.close()
    assert sizes == [5000, 5000, 1]


def test_entry_defaults_to_a_stored_answer() -> None:
    entry = deferrable_entry(CLAIMED, ANSWER, "v", started_s=150.0, ended_s=160.0, cost_picousd=None)
    assert (entry.output_tokens, entry.lost_tokens, entry.cost_picousd) == (5, 0, None)
    assert (entry.arrived_s, entry.ended_s) == (100.0, 160.0)


def test_answers_without_input_are_not_counted() -> None:
    """A venue that reports any input tokens has counted; one that reports none has not."""
    for input_tokens, counted in ((0, False), (1, True)):
        answer = dataclasses.replace(ANSWER, input_tokens=input_tokens)
        entry = deferrable_entry(CLAIMED, answer, "v", started_s=150.0, ended_s=160.0, cost_picousd=4)
        assert entry.counted is counted


def test_entries_wait_for_the_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The store fails in the first round, a quarter of a second after the start; the second round writes."""
    database = Database(f"sqlite:///{tmp_path}/gateway.db")
    migrations.upgrade(database)
    writer, waits, add = LedgerWriter(database), list[float](), ledger.add

    async def sleep(wait_s: float) -> None:
        waits.append(wait_s)
        if len(waits) > 2:
            raise asyncio.CancelledError

    def add_or_fail(connection: Connection, entries: Sequence[LedgerEntry]) -> None:
        if len(waits) == 1:
            raise StoreUnavailableError("the store is down")
        add(connection, entries)

    monkeypatch.setattr(ledger_writer.asyncio, "sleep", sleep)
    monkeypatch.setattr(ledger, "add", add_or_fail)
    writer.add(realtime())
    with pytest.raises(asyncio.CancelledError):
        asyncio.run(writer.run())
    assert waits == [0.25] * 3
    assert database.read_now(lambda connection: len(list(ledger.rows(connection)))) == 1
    database.close()
