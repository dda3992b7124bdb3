import asyncio
import dataclasses
import math
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
from sqlalchemy import Connection, Table, text
from tests.samples.stores import migrated_store

from meritorder.gateway.errors import StoreUnavailableError
from meritorder.gateway.state import journal, ledger_writer
from meritorder.gateway.state.entries import Place, Run, deferrable_entry, realtime_entry
from meritorder.gateway.state.journal import Journal
from meritorder.gateway.state.ledger_writer import LedgerWriter
from meritorder.gateway.state.request import Request
from meritorder.gateway.state.reservations import Spending
from meritorder.gateway.store.billing import ledger
from meritorder.gateway.store.billing.ledger import LedgerEntry
from meritorder.gateway.store.database import Database
from meritorder.gateway.store.keys import Budget, Key
from meritorder.gateway.store.queue.requests import ClaimedRequest, RequestAnswer
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
    return realtime_entry(request, Place("v"), usage, e2e_s=2.0, cost_picousd=11)


def test_realtime_entry_starts_on_arrival() -> None:
    entry = realtime()
    assert (entry.lane, entry.arrived_s, entry.started_s, entry.ended_s) == ("realtime", 100.0, 100.0, 102.0)
    assert (entry.input_tokens, entry.cached_tokens, entry.output_tokens, entry.cost_picousd) == (7, 2, 3, 11)
    assert (entry.deadline_s, entry.model) == (None, "m")
    assert realtime(model=None).model == "", "the column is never empty"


def test_deferrable_entry_has_deadline() -> None:
    entry = deferrable_entry(CLAIMED, ANSWER, Run(Place("v"), 150.0, 160.0), cost_picousd=4)
    assert (entry.lane, entry.started_s, entry.deadline_s, entry.workload) == ("deferrable", 150.0, 200.0, "w")
    assert (entry.output_tokens, entry.lost_tokens, entry.cost_picousd) == (5, 0, 4)


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    with migrated_store("sqlite", tmp_path) as store:
        yield store


def new_writer(database: Database, folder: Path, instance_id: str = "gateway-1") -> LedgerWriter:
    return LedgerWriter(database, Journal.create(folder / "journal", instance_id))


def written(database: Database) -> list[str]:
    return database.read_now(lambda connection: [row["request_id"] for row in ledger.rows(connection)])


def killed(writer: LedgerWriter) -> None:
    """Release the lock of the journal, as the kernel does for a killed process."""
    writer._journal.close()


async def release(_: str) -> None:
    """The claims of a killed gateway are released by others."""


def test_entries_are_written_in_order(database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger_writer, "_COMMIT_SIZE", 2)
    writer, seen = new_writer(database, tmp_path), list[str]()
    writer.observers.append(lambda entry: seen.append(entry.request_id))
    for number in range(5):
        writer.add(realtime(number))
    asyncio.run(writer.flush())
    assert written(database) == seen == [f"req_{number}" for number in range(5)]
    asyncio.run(writer.close())
    assert not list((tmp_path / "journal").iterdir())


def test_killed_entries_are_recovered_once(database: Database, tmp_path: Path) -> None:
    """A process is killed after some entries were added, and while it wrote the last one."""
    first = new_writer(database, tmp_path)
    for number in range(3):
        first.add(realtime(number))
    asyncio.run(first.flush())
    for number in range(3, 5):
        first.add(realtime(number))
    with first._journal.path.open("ab") as file:
        file.write(b"0123abcd {torn")
    second, gone = new_writer(database, tmp_path, "gateway-2"), list[str]()

    async def note(instance_id: str) -> None:
        assert len(written(database)) == 5, "its budgets are free before its entries count"
        gone.append(instance_id)

    asyncio.run(second.recover(note))
    assert not gone, "the first process lives"
    killed(first)
    for _ in range(2):
        asyncio.run(second.recover(note))
        assert gone == ["gateway-1"]
        assert written(database) == [f"req_{number}" for number in range(5)]


def test_unconfirmed_commit_is_not_repeated(database: Database, tmp_path: Path) -> None:
    """The connection breaks after a commit: entries added since then follow, and none is added twice."""
    writer, write = new_writer(database, tmp_path), database.write

    async def lose_confirmation(change: Callable[[Connection], Any]) -> Any:  # noqa: ANN401
        await write(change)
        raise StoreUnavailableError("the connection broke")

    database.write = lose_confirmation  # type: ignore[method-assign,assignment]
    writer.add(realtime(0))
    with pytest.raises(StoreUnavailableError):
        asyncio.run(writer.flush())
    writer.add(realtime(1))
    database.write = write  # type: ignore[method-assign]
    asyncio.run(writer.flush())
    assert written(database) == ["req_0", "req_1"]


@pytest.mark.parametrize(
    "odd",
    [
        {"input_tokens": 10**18},
        {"output_tokens": -1},
        {"cost_picousd": -5},
        {"cost_picousd": 10**30},
        {"cached_tokens": 1.5},
        {"ended_s": math.inf},
        {"tenant": "a\0b"},
        {"model": "\ud800"},
        {"venue": print},
        {"status_code": 2**40},
    ],
    ids=str,
)
def test_invalid_entry_is_set_aside(database: Database, tmp_path: Path, odd: dict[str, Any]) -> None:
    writer, seen = new_writer(database, tmp_path), list[str]()
    writer.observers.append(lambda entry: seen.append(entry.request_id))
    writer.add(realtime(0))
    writer.add(msgspec.structs.replace(realtime(1), **odd))
    writer.add(realtime(2))
    asyncio.run(writer.flush())
    assert written(database) == seen == ["req_0", "req_2"]
    assert writer.set_aside == database.read_now(ledger.rejected) == 1


def test_unknown_time_is_left_out(database: Database, tmp_path: Path) -> None:
    writer, seen = new_writer(database, tmp_path), list[float | None]()
    writer.observers.append(lambda entry: seen.append(entry.ttft_s))
    writer.add(msgspec.structs.replace(realtime(0), ttft_s=math.nan))
    asyncio.run(writer.flush())
    assert (written(database), seen) == (["req_0"], [None])


def test_damaged_line_is_set_aside(database: Database, tmp_path: Path) -> None:
    writer = new_writer(database, tmp_path)
    for number in range(3):
        writer.add(realtime(number))
    content = writer._journal.path.read_bytes()
    writer._journal.path.write_bytes(content.replace(b"req_1", b"req_9"))
    asyncio.run(writer.flush())
    assert written(database) == ["req_0", "req_2"]
    assert database.read_now(ledger.rejected) == 1


def test_refused_row_is_set_aside(database: Database, tmp_path: Path) -> None:
    """The database refuses a row that looks valid: the others are added."""
    with database.engine.connect() as connection, connection.begin():
        connection.exec_driver_sql("CREATE UNIQUE INDEX only_once ON ledger (request_id)")
    writer = new_writer(database, tmp_path)
    for number in (0, 1, 1, 2):
        writer.add(realtime(number))
    asyncio.run(writer.flush())
    assert written(database) == ["req_0", "req_1", "req_2"]
    assert database.read_now(ledger.rejected) == 1


def test_breaking_entry_is_set_aside(database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bug of ours breaks one entry: the others are added."""
    insert_rows = ledger.insert_rows

    def break_once(connection: Connection, table: Table, names: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        if table.name == "ledger" and any("req_1" in row for row in rows):
            raise KeyError("req_1")
        insert_rows(connection, table, names, rows)

    monkeypatch.setattr(ledger, "insert_rows", break_once)
    writer = new_writer(database, tmp_path)
    for number in range(3):
        writer.add(realtime(number))
    asyncio.run(writer.flush())
    assert written(database) == ["req_0", "req_2"]
    assert database.read_now(ledger.rejected) == 1


def test_full_disk_keeps_entries_in_memory(database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger_writer, "_MAX_WAITING", 2)
    writer, write = new_writer(database, tmp_path), os.write
    monkeypatch.setattr(journal.os, "write", lambda descriptor, line: write(descriptor, line[:20]))
    for number in range(3):
        writer.add(realtime(number))
    asyncio.run(writer.flush())
    monkeypatch.undo()
    assert writer.dropped == 1
    asyncio.run(writer.flush())
    assert written(database) == ["req_0", "req_1"]


def test_calls_of_a_turn_are_written_together(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each goes on only once its own entry is in the journal, which one write has done for all."""
    writer, write, sizes = new_writer(database, tmp_path), os.write, list[int]()
    path = writer._journal.path

    def count(descriptor: int, content: bytes) -> int:
        sizes.append(content.count(b"\n"))
        return write(descriptor, content)

    async def end(number: int) -> bool:
        writer.collect(realtime(number))
        await writer.write_together()
        return f"req_{number}".encode() in path.read_bytes()

    async def end_all() -> list[bool]:
        return await asyncio.gather(*map(end, range(5)))

    monkeypatch.setattr(journal.os, "write", count)
    assert all(asyncio.run(end_all()))
    assert sizes == [5]


def test_canceled_call_is_written(database: Database, tmp_path: Path) -> None:
    writer = new_writer(database, tmp_path)

    async def cancel() -> None:
        writer.collect(realtime(0))
        task = asyncio.create_task(writer.write_together())
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    asyncio.run(cancel())
    assert b"req_0" in writer._journal.path.read_bytes()


@pytest.mark.parametrize("size", [0, 20, 300, 700, 1200])
def test_cut_off_write_loses_no_entry(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    """The disk takes a part of what was written together: the entries in it are not written again, the others are."""
    writer, write = new_writer(database, tmp_path), os.write
    sizes = iter((size,))

    def take(descriptor: int, content: bytes) -> int:
        return write(descriptor, content[: next(sizes, 0)])

    for number in range(4):
        writer.collect(realtime(number))
    with monkeypatch.context() as full:
        full.setattr(journal.os, "write", take)
        writer.write()
    asyncio.run(writer.flush())
    assert sorted(written(database)) == [f"req_{number}" for number in range(4)]
    assert writer.dropped == 0


def test_journal_starts_again_when_long(database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger_writer, "_MAX_JOURNAL_BYTES", 500)
    writer = new_writer(database, tmp_path)
    for number in range(6):
        writer.add(realtime(number))
        if number % 2:
            asyncio.run(writer.flush())
    assert writer._journal.path.stat().st_size == journal.HEADER_BYTES
    writer.add(realtime(6))
    killed(writer)
    asyncio.run(new_writer(database, tmp_path, "gateway-2").recover(release))
    assert written(database) == [f"req_{number}" for number in range(7)]
    query = text("SELECT count(*) FROM journals")
    assert database.read_now(lambda connection: connection.execute(query).scalar()) == 0


def test_failing_observer_stops_nothing(database: Database, tmp_path: Path) -> None:
    writer, seen = new_writer(database, tmp_path), list[str]()

    def fail(_: LedgerEntry) -> None:
        raise ValueError

    writer.observers += [fail, lambda entry: seen.append(entry.request_id)]
    writer.add(realtime(0))
    asyncio.run(writer.flush())
    assert written(database) == seen == ["req_0"]


def test_estimated_answers_are_not_counted() -> None:
    for counted in (False, True):
        answer = dataclasses.replace(ANSWER, counted=counted)
        entry = deferrable_entry(CLAIMED, answer, Run(Place("v"), 150.0, 160.0), cost_picousd=4)
        assert entry.counted is counted


def test_delay_is_since_all_was_added(database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writer = new_writer(database, tmp_path)
    writer._complete_s -= 30.0

    async def refuse(_: Journal) -> int:
        raise StoreUnavailableError("the store is down")

    with monkeypatch.context() as patched:
        patched.setattr(writer, "_add_all", refuse)
        with pytest.raises(StoreUnavailableError):
            asyncio.run(writer.flush())
    assert writer.delay_s >= 30.0
    asyncio.run(writer.flush())
    assert writer.delay_s < 30.0


def test_entries_wait_for_the_store(database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The store fails in the first round, a quarter of a second after the start; the second round writes."""
    writer, waits, add = new_writer(database, tmp_path), list[float](), ledger.add_lines

    async def sleep(wait_s: float) -> None:
        waits.append(wait_s)
        if len(waits) > 2:
            raise asyncio.CancelledError

    def add_or_fail(connection: Connection, lines: Sequence[bytes]) -> int:
        if len(waits) == 1:
            raise StoreUnavailableError("the store is down")
        return add(connection, lines)

    monkeypatch.setattr(ledger_writer.asyncio, "sleep", sleep)
    monkeypatch.setattr(ledger, "add_lines", add_or_fail)
    writer.add(realtime())
    with pytest.raises(asyncio.CancelledError):
        asyncio.run(writer.run())
    assert waits == [0.25] * 3
    assert written(database) == ["req_0"]


def test_stored_entry_is_spent_at_once(database: Database, tmp_path: Path) -> None:
    """Its answer and its row of the ledger were one transaction: the cost of 11 waits for no other."""
    key = Key(id="k", name="n", tenant="t", budgets=(Budget(id="b", amount_picousd=100),))
    spending = Spending({"k": key}.get)  # type: ignore[arg-type]
    LedgerWriter(database, Journal.create(tmp_path / "journal", "gateway-1"), spending).observe(realtime())
    lease = spending.leases["b"]
    assert (lease.pending, lease.settled) == (0, 11)
