"""The periodic tasks of a gateway, one round at a time, on a clock that the test sets."""

import asyncio
import dataclasses
import threading
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import pytest
from tests.samples.batches import WINDOW_S, begin_batch, claim_lines, only_batch
from tests.samples.service import call, open_service
from tests.samples.stores import migrated_store, store_urls

from meritorder.gateway.state.context import Context
from meritorder.gateway.state.journal import Journal
from meritorder.gateway.store import files, heartbeats
from meritorder.gateway.store.database import Database
from meritorder.gateway.store.files import StoredFile
from meritorder.gateway.store.queue import backlog, batches, requests
from meritorder.gateway.store.queue.requests import RequestAnswer
from meritorder.gateway.store.schema import BATCHES
from meritorder.gateway.workers import maintenance
from meritorder.gateway.workers.dispatch import Dispatcher
from meritorder.gateway.workers.maintenance import _CANCEL_GRACE_S, Maintenance

NOW_S = 1e9


@dataclass
class Gateway:
    """The tasks of a service, with what they tell its dispatcher."""

    context: Context
    dispatcher: Dispatcher
    maintenance: Maintenance = field(init=False)
    now_s: float = NOW_S
    cancelled: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.context = dataclasses.replace(self.context, now_s=lambda: self.now_s)
        self.maintenance = Maintenance(self.context, self.dispatcher)
        self.dispatcher.cancel_batch = self.cancelled.append  # type: ignore[method-assign]

    @property
    def woken(self) -> bool:
        return self.dispatcher._wake.is_set()


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[Gateway]:
    with open_service(tmp_path) as service:
        yield Gateway(service.context, service.dispatcher)


def queue_call(context: Context, deadline_s: float) -> int:
    row = {"tenant": "t", "endpoint": "/v1/completions", "model": "m", "body": b"{}", "body_bytes": 2, "prefix": 0}
    row |= {"input_tokens": 1, "output_tokens": 1, "arrived_s": NOW_S, "deadline_s": deadline_s}
    return context.database.submit(lambda connection: requests.add_call(connection, **row)).result()


@pytest.mark.parametrize(("lease_s", "running"), [(60.0, True), (-1.0, False)])
@pytest.mark.parametrize("step_s", [0.0, 6 * 3600.0, -6 * 3600.0])
def test_silent_gateway_loses_its_requests(gateway: Gateway, lease_s: float, step_s: float, *, running: bool) -> None:
    """When its lease is over, and not when the clock of another gateway is set forward or back by hours."""
    context = gateway.context
    begin_batch(context, lines=1)
    context.database.submit(lambda connection: heartbeats.beat(connection, "other", lease_s=lease_s)).result()
    (request,) = claim_lines(context, limit=1, owner="other")
    gateway.now_s += step_s
    asyncio.run(gateway.maintenance.heartbeat())
    assert context.database.read_now(lambda connection: requests.is_running(connection, request.seq)) is running
    assert gateway.woken is not running


def test_killed_gateway_loses_its_work_at_once(gateway: Gateway) -> None:
    """Its heartbeat holds for days, but the lock of its journal is free: no lease is waited for."""
    context = gateway.context
    begin_batch(context, lines=1)
    context.database.submit(lambda connection: heartbeats.beat(connection, "other", lease_s=1e6)).result()
    other = Journal.create(context.settings.journal_folder, "other")
    (request,) = claim_lines(context, limit=1, owner="other")
    asyncio.run(gateway.maintenance.take_over())
    assert context.database.read_now(lambda connection: requests.is_running(connection, request.seq)), "it lives"
    other.close()
    asyncio.run(gateway.maintenance.take_over())
    assert not context.database.read_now(lambda connection: requests.is_running(connection, request.seq))
    assert gateway.woken
    assert not other.path.exists()


@pytest.mark.parametrize("step_s", [9.0, 6 * 3600.0, -6 * 3600.0])
def test_own_requests_survive_heartbeats(gateway: Gateway, step_s: float) -> None:
    """Also where the clock is set forward or back by hours between two of them."""
    context = gateway.context
    begin_batch(context, lines=1)
    (request,) = claim_lines(context, limit=1)
    for _ in range(3):
        gateway.now_s += step_s
        asyncio.run(gateway.maintenance.heartbeat())
    assert context.database.read_now(lambda connection: requests.is_running(connection, request.seq))


@pytest.mark.parametrize("step_s", [6 * 3600.0, -6 * 3600.0])
def test_step_of_the_clock_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, step_s: float
) -> None:
    """Neither a lease nor a deadline passes, and the log and `/health` say why."""
    with open_service(tmp_path) as service:
        context, wall_s = service.context, time.time()
        begin_batch(context, lines=2)
        context.database.submit(lambda connection: heartbeats.beat(connection, "other", lease_s=60.0)).result()
        mine, other = claim_lines(context, limit=1), claim_lines(context, limit=1, owner="other")
        asyncio.run(service.maintenance.heartbeat())
        monkeypatch.setattr(time, "time", lambda: wall_s + step_s)
        for _ in range(2):
            asyncio.run(service.maintenance.heartbeat())
            asyncio.run(service.maintenance._end_batches())
        assert only_batch(context).status == "in_progress"
        for request in (*mine, *other):
            assert context.database.read_now(partial(requests.is_running, seq=request.seq))
        assert "the clock was set" in caplog.text
        assert call(service, "GET", "/health").json == {"status": "degraded", "failing": ["clock"]}


_SETTABLE_CLOCK = """
CREATE SCHEMA machine;
CREATE TABLE machine.step AS SELECT 0::double precision AS step_s;
CREATE FUNCTION machine.statement_timestamp() RETURNS timestamptz LANGUAGE sql STABLE
AS $$ SELECT pg_catalog.statement_timestamp() + (SELECT step_s FROM machine.step) * interval '1 second' $$;
"""


def execute(database: Database, text: str) -> None:
    database.submit(lambda connection: connection.exec_driver_sql(text)).result()


@pytest.mark.skipif(len(store_urls()) < 2 or store_urls()[1].marks[0].args[0], reason="no PostgreSQL")
@pytest.mark.parametrize("step_s", [3600.0, -3600.0])
def test_step_of_postgresql_ends_no_lease(tmp_path: Path, step_s: float) -> None:
    """A gateway that lives keeps its requests, and one that is gone loses them a lease later, not an hour."""
    with migrated_store("postgresql", tmp_path, "clock") as database:
        url = database.engine.url
        execute(database, _SETTABLE_CLOCK)
        execute(database, f"ALTER DATABASE {url.database} SET search_path = machine, public, pg_catalog")
        store = {"url": url.set(drivername="postgresql").render_as_string(hide_password=False), "lease": "1s"}
        with open_service(tmp_path, store={**store, "blobs": f"file://{tmp_path}/blobs"}) as service:
            context = service.context
            begin_batch(context, lines=1)
            context.database.submit(lambda connection: heartbeats.beat(connection, "other", lease_s=1.0)).result()
            (request,) = claim_lines(context, limit=1, owner="other")
            is_running = partial(requests.is_running, seq=request.seq)
            asyncio.run(service.maintenance.heartbeat())
            execute(context.database, f"UPDATE machine.step SET step_s = {step_s}")  # noqa: S608 - a number
            asyncio.run(service.maintenance.heartbeat())
            assert context.database.read_now(is_running)
            ends_s = time.monotonic() + 60
            while context.database.read_now(is_running):
                assert time.monotonic() < ends_s
                time.sleep(0.2)
                asyncio.run(service.maintenance.heartbeat())


@pytest.mark.parametrize(("late_s", "status"), [(-1.0, "in_progress"), (0.0, "finalizing")])
def test_batch_expires_at_its_deadline(gateway: Gateway, late_s: float, status: str) -> None:
    batch = begin_batch(gateway.context, lines=2)
    gateway.now_s += WINDOW_S + late_s
    asyncio.run(gateway.maintenance._end_batches())
    expired = status == "finalizing"
    batch = only_batch(gateway.context)
    assert (batch.status, batch.ending) == (status, "expired" if expired else None)
    assert gateway.cancelled == ([batch.seq] if expired else [])


@pytest.mark.parametrize(
    ("claimed", "later_s", "status"),
    [(0, 0.0, "finalizing"), (1, _CANCEL_GRACE_S - 1, "cancelling"), (1, _CANCEL_GRACE_S, "finalizing")],
)
def test_cancelled_batch_waits_for_running(gateway: Gateway, claimed: int, later_s: float, status: str) -> None:
    """Its running requests get ten minutes, as OpenAI's do."""
    context = gateway.context
    batch = begin_batch(context, lines=2)
    if claimed:
        claim_lines(context, limit=claimed)
    context.database.submit(lambda connection: batches.cancel(connection, batch.seq, now_s=NOW_S)).result()
    gateway.now_s += later_s
    asyncio.run(gateway.maintenance._end_batches())
    assert only_batch(context).status == status


def test_overdue_call_answers_its_client(gateway: Gateway) -> None:
    overdue, in_time = (queue_call(gateway.context, NOW_S + wait_s) for wait_s in (5, 50))
    gateway.now_s += 6

    async def answer() -> tuple[RequestAnswer, bool]:
        first, second = gateway.dispatcher.wait_for(overdue), gateway.dispatcher.wait_for(in_time)
        await gateway.maintenance._end_batches()
        return await asyncio.wait_for(first, 1), second.done()

    failed, other_answered = asyncio.run(answer())
    assert (failed.status_code, failed.error_code) == (None, "deadline_exceeded")
    assert not other_answered
    left = gateway.context.database.read_now(lambda connection: backlog.queued_work(connection, now_s=gateway.now_s))
    assert [work.seq for work in left] == [in_time]


def test_expired_file_loses_its_blob(gateway: Gateway) -> None:
    context = gateway.context

    async def content() -> AsyncIterator[bytes]:
        yield b"x"

    async def store(name: str, expires_s: float) -> None:
        size = await context.blobs.write(name, content())
        file = StoredFile(
            id=f"file-{name}", tenant="t", filename=name, purpose="batch", bytes=size, blob=name, created_s=NOW_S,
            expires_s=expires_s,
        )  # fmt: skip
        await context.database.write(lambda connection: files.add(connection, file))

    async def clean() -> None:
        await store("old", NOW_S + 1)
        await store("new", NOW_S + 100)
        gateway.now_s += 2
        await gateway.maintenance._clean()

    asyncio.run(clean())
    assert context.blobs._folder is not None
    assert [path.name for path in context.blobs._folder.iterdir()] == ["new"]
    assert context.database.read_now(lambda connection: files.find_blob(connection, "t", "file-old")) is None


def test_claim_without_task_is_requeued(gateway: Gateway) -> None:
    """A claim may be in progress when it is first seen; at the second look its confirmation must be lost."""
    context, maintenance = gateway.context, gateway.maintenance
    begin_batch(context, lines=1)
    (request,) = claim_lines(context, limit=1)
    maintenance._lease_s = 0.03
    running_before_look: list[bool] = []

    async def look_three_times() -> None:
        enough = asyncio.Event()

        async def heartbeat() -> None:
            running_before_look.append(
                await context.database.read(lambda connection: requests.is_running(connection, request.seq))
            )
            if len(running_before_look) == 3:
                enough.set()

        maintenance.heartbeat = heartbeat  # type: ignore[method-assign]
        task = asyncio.create_task(maintenance.keep_alive())
        await asyncio.wait_for(enough.wait(), 5)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    asyncio.run(look_three_times())
    assert running_before_look == [True, True, False]


def test_step_is_repeated_when_woken(gateway: Gateway) -> None:
    async def repeat() -> None:
        rounds = asyncio.Queue[None]()

        async def step() -> None:
            rounds.put_nowait(None)

        task = asyncio.create_task(gateway.maintenance._repeat_when_woken(step))
        for _ in range(2):
            await asyncio.wait_for(rounds.get(), 1)
            gateway.maintenance.wake()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert gateway.maintenance._wake_events == []

    asyncio.run(repeat())


@pytest.mark.parametrize(("task", "status"), [("ingest", "validating"), ("finalize", "finalizing")])
def test_unreadable_batch_fails_alone(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch, task: str, status: str
) -> None:
    """It is tried three times; a batch behind it is not held back."""
    context = gateway.context
    broken, sound = (begin_batch(context, lines=1, name=name) for name in ("broken", "sound"))
    statuses = BATCHES.update().values(status=status, ending="completed", owner=None)
    context.database.submit(lambda connection: connection.execute(statuses)).result()
    tried: list[int] = []

    def work(_: Context, batch: batches.Batch) -> None:
        tried.append(batch.seq)
        if batch.seq == broken.seq:
            raise RecursionError

    async def finish(context: Context, batch: batches.Batch) -> None:
        work(context, batch)
        await context.database.write(
            lambda connection: batches.conclude(
                connection, context.instance_id, batch, output=None, error=None, now_s=0.0
            )
        )

    def begin(context: Context, batch: batches.Batch) -> None:
        work(context, batch)
        context.database.submit(
            lambda connection: batches.begin(
                connection, context.instance_id, batch.seq, total=1, tokens=1, model="m", now_s=0.0
            )
        ).result()

    monkeypatch.setattr(maintenance, "ingest", begin)
    monkeypatch.setattr(maintenance, "finalize", finish)
    step = gateway.maintenance._read_inputs if task == "ingest" else gateway.maintenance._write_outputs
    asyncio.run(step())
    assert tried == [broken.seq, sound.seq]
    for _ in range(5):
        gateway.maintenance._retry_s.clear()
        asyncio.run(step())
    assert tried.count(broken.seq) == 3
    failed = context.database.read_now(lambda connection: batches.by_seq(connection, broken.seq))
    assert failed is not None
    assert failed.status == "failed"
    assert "could not be" in (failed.errors or "")


def test_missing_input_ends_its_batch(gateway: Gateway) -> None:
    """An outage of the store is not held against a batch, but a blob that does not exist is."""
    context = gateway.context
    batch = begin_batch(context, lines=1)
    file = StoredFile(id="file-1", tenant="t", filename="f", purpose="batch", bytes=2, blob="gone", created_s=NOW_S)
    context.database.submit(lambda connection: files.add(connection, file)).result()
    statuses = BATCHES.update().values(status="validating", owner=None)
    context.database.submit(lambda connection: connection.execute(statuses)).result()
    for _ in range(3):
        gateway.maintenance._retry_s.clear()
        asyncio.run(gateway.maintenance._read_inputs())
    failed = context.database.read_now(lambda connection: batches.by_seq(connection, batch.seq))
    assert failed is not None
    assert failed.status == "failed"


def test_large_batch_does_not_hold_back_small_ones(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two tasks read inputs: what the first is reading is not claimed again, and the second has the next."""
    context = gateway.context
    large, small = (begin_batch(context, lines=1, name=name) for name in ("large", "small"))
    statuses = BATCHES.update().values(status="validating", owner=None)
    context.database.submit(lambda connection: connection.execute(statuses)).result()
    read: list[int] = []
    is_small_read = threading.Event()

    def read_input(context: Context, batch: batches.Batch) -> None:
        if batch.seq == large.seq:
            assert is_small_read.wait(10)
        context.database.submit(
            lambda connection: batches.fail(connection, context.instance_id, batch.seq, errors="{}", now_s=0.0)
        ).result()
        read.append(batch.seq)
        is_small_read.set()

    monkeypatch.setattr(maintenance, "ingest", read_input)

    async def both() -> None:
        await asyncio.gather(gateway.maintenance._read_inputs(), gateway.maintenance._read_inputs())

    asyncio.run(both())
    assert read == [small.seq, large.seq]
    assert not gateway.maintenance._in_work
