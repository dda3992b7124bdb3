"""Completions stored before they are acknowledged, and queued requests claimed, finished and stored, a second."""

import asyncio
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Connection
from tests.samples.stores import fresh_url

from bench._gateway import Gateway, Process
from bench.gateway import cores, load
from meritorder.gateway.state.entries import Place, Run, deferrable_entry
from meritorder.gateway.store import heartbeats, migrations
from meritorder.gateway.store.database import Database
from meritorder.gateway.store.queue import backlog, batches, requests
from meritorder.gateway.store.queue.answers import FinishedRequest, store_all
from meritorder.gateway.store.queue.requests import ClaimedRequest, RequestAnswer

STORES: Final = ("sqlite", "postgresql")
LINES: Final = 50_000
_SECONDS: Final = 4.0
_ROUNDS: Final = 3
_CONNECTIONS: Final = 128
_CLAIM: Final = 256
_IN_FLIGHT: Final = 1024
_OWNER: Final = "bench"
_BODY: Final = (
    b'{"id":"c","object":"chat.completion","choices":[{"index":0,"message":{"role":"assistant","content":"yes"}}]}'
)


def run(stores: tuple[str, ...] = STORES, lines: int = LINES, seconds: float = _SECONDS) -> dict[str, Any]:
    """Measure both on each store."""
    return {store: {**_completions(store, seconds), **_queue(store, lines)} for store in stores}


def _completions(store: str, seconds: float) -> dict[str, float]:
    """Return the best of some rounds, with and without `store: true`, in turns."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        core, other = cores()
        url = stack.enter_context(fresh_url(store, folder, "storing"))
        engine = stack.enter_context(Process(["-m", "bench._stub", "ids"], folder / "stub.log", core=other))
        gateway = stack.enter_context(Gateway(folder, engine.url, store=url, max_sequences=256, core=core))
        best: dict[str, dict[str, float]] = {}
        for _ in range(_ROUNDS):
            for form in ("whole", "stream", "whole-stored", "stream-stored"):
                before_s = gateway.cpu_s()
                figures = load(gateway.url, "none", form, seconds=seconds, core=other, connections=_CONNECTIONS)
                figures["cpu_s"] = (gateway.cpu_s() - before_s) / figures["requests"]
                if form not in best or figures["requests_per_s"] > best[form]["requests_per_s"]:
                    best[form] = figures
        return {
            f"{form.replace('-', '_')}_{name}": figures[name]
            for form, figures in best.items()
            for name in ("requests_per_s", "cpu_s", "p50_s", "p99_s")
        }


@contextmanager
def _database(store: str) -> Iterator[Database]:
    with tempfile.TemporaryDirectory() as folder, fresh_url(store, Path(folder), "queue") as url:
        database = Database(url)
        try:
            migrations.upgrade(database)
            yield database
        finally:
            database.close()


def _queue(store: str, lines: int) -> dict[str, float]:
    """Claim, finish and store the lines of one batch, with many in flight, and no time between claim and answer."""
    with _database(store) as database:
        seq = database.submit(partial(_add_batch, lines=lines)).result()
        cpu_s, began_s = time.process_time(), time.perf_counter()
        asyncio.run(_drain(database))
        took_s = time.perf_counter() - began_s
        batch = database.read_now(lambda connection: batches.by_seq(connection, seq))
        if batch is None or batch.done != lines:
            raise RuntimeError("not all lines were stored")
        return {
            "queued_requests_per_s": lines / took_s,
            "queued_cpu_s_per_request": (time.process_time() - cpu_s) / lines,
        }


def _add_batch(connection: Connection, lines: int) -> int:
    added = batches.add(
        connection,
        id="batch_1",
        tenant="t",
        endpoint="/v1/chat/completions",
        completion_window="24h",
        input_file_id="file-1",
        created_s=0.0,
        expires_s=1e12,
    )
    row = {"batch_seq": added.seq, "tenant": "t", "endpoint": added.endpoint, "model": "m", "body_bytes": 300}
    row |= {"input_tokens": 100, "output_tokens": 100, "prefix": 0, "arrived_s": 0.0, "deadline_s": 1e12}
    requests.add(
        connection, [row | {"line": at, "custom_id": str(at), "body_at": at, "state": "queued"} for at in range(lines)]
    )
    heartbeats.beat(connection, _OWNER, lease_s=1e9)
    batches.claim(connection, _OWNER, "validating")
    batches.begin(connection, _OWNER, added.seq, total=lines, tokens=200 * lines, model="m", now_s=0.0)
    return added.seq


async def _drain(database: Database) -> None:
    places = asyncio.Semaphore(_IN_FLIGHT)
    tasks: set[asyncio.Task[None]] = set()
    works = await database.read(lambda connection: backlog.queued_work(connection, now_s=1.0))
    claim = partial(requests.claim, owner=_OWNER, work=works[0], limit=_CLAIM, now_s=1.0)
    while claimed := await database.write(claim):
        for request in claimed:
            await places.acquire()
            task = asyncio.create_task(_answer(database, request))
            tasks.add(task)
            task.add_done_callback(tasks.discard)
            task.add_done_callback(lambda _: places.release())
    await asyncio.gather(*tasks)


async def _answer(database: Database, request: ClaimedRequest) -> None:
    answer = RequestAnswer(
        request_id=f"req_{request.seq:032x}",
        status_code=200,
        body=_BODY,
        venue="v",
        input_tokens=90,
        output_tokens=20,
    )
    entry = deferrable_entry(request, answer, Run(Place("v"), 2.0, 3.0), cost_picousd=5)
    finished = FinishedRequest(owner=_OWNER, request=request, answer=answer, entry=entry, answered_s=3.0)
    await database.write_item(store_all, finished)
