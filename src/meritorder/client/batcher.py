"""Collects awaiting calls into batches, follows these at the gateway, and answers the calls."""

import asyncio
import contextlib
import sqlite3
import time
import uuid
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import httpx2

from meritorder.client.api import BatchApi, RefusedError, has_ended, refused_lines, without
from meritorder.client.calls import Answer, Call, Promise, failure
from meritorder.client.journal import Batch, Journal
from meritorder.client.progress import Progress
from meritorder.deadlines import parse_deadline

_MAX_BATCH_BYTES: Final = 32 * 1024 * 1024
_FIRST_POLL_S: Final = 0.1
_LONGEST_POLL_S: Final = 5.0
_POLL_SHARE: Final = 0.1  # of the time that a batch has taken so far

Outcome = Answer | httpx2.TransportError | None
"""An answer, an outage of the gateway, or None: ask the journal again."""


@dataclass(slots=True, eq=False)
class _Followed:
    """A batch that is followed, and its calls that were not cancelled here."""

    wanted: set[str]
    is_cancelled: asyncio.Event = field(default_factory=asyncio.Event)
    task: "asyncio.Task[None] | None" = None


class Batcher:
    """Answers calls of one caller at one gateway.

    Args:
        scope: Identifies gateway and caller in the journal.
        api: The caller's batches.
        journal: Calls and answers that outlive the program.
        progress: Counts the calls.
        collect_s: How long a call waits for others before its batch is sent.
        max_calls: Most calls of a batch.
    """

    def __init__(
        self, scope: str, api: BatchApi, journal: Journal, progress: Progress, *, collect_s: float, max_calls: int
    ) -> None:
        self._scope, self._api, self._journal, self._progress = scope, api, journal, progress
        self._collect_s, self._max_calls = collect_s, max_calls
        self._collected: dict[str, Call] = {}
        self._flush_at: asyncio.TimerHandle | None = None
        self._waiters: defaultdict[str, list[asyncio.Future[Outcome]]] = defaultdict(list)
        self._followed: dict[str, _Followed] = {}

    async def answer(self, call: Call) -> Answer:
        """Return the answer to a call: the stored one, or that of the batch which it is in or joins.

        Raises:
            httpx2.TransportError: The gateway is away for too long; the same call attaches later.
        """
        while True:
            entry = self._journal.find(self._scope, call.key)
            known = entry or self._collected.get(call.key)
            if known is not None and known.digest != call.digest:
                return failure(422, "This key was used before, with another body.", code="idempotency_key_reused")
            if entry is not None and entry.answer is not None:
                return entry.answer
            with self._waiting(call.key) as waiter:
                if entry is None:
                    self._collect(call)
                else:
                    self._follow(entry.batch_id, call.key)
                outcome = await waiter
            if isinstance(outcome, Exception):
                raise outcome
            if outcome is not None:
                return outcome

    async def close(self) -> None:
        """Stop following; what runs at the gateway goes on."""
        tasks = [followed.task for followed in self._followed.values() if followed.task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._api.close()

    @contextlib.contextmanager
    def _waiting(self, key: str) -> Iterator["asyncio.Future[Outcome]"]:
        """Yield a future for the outcome of a call; the last waiter who is cancelled withdraws the call."""
        waiter: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        self._waiters[key].append(waiter)
        try:
            yield waiter
        except asyncio.CancelledError:
            if self._waiters[key] == [waiter]:
                self._withdraw(key)
            raise
        finally:
            self._waiters[key].remove(waiter)
            if not self._waiters[key]:
                del self._waiters[key]

    def _withdraw(self, key: str) -> None:
        """Drop a call that was not sent; cancel a batch of which no call is wanted any more."""
        self._collected.pop(key, None)
        for followed in self._followed.values():
            followed.wanted.discard(key)
            if not followed.wanted:
                followed.is_cancelled.set()

    def _collect(self, call: Call) -> None:
        self._collected[call.key] = call
        if len(self._collected) >= self._max_calls:
            self._flush()
        elif self._flush_at is None:
            self._flush_at = asyncio.get_running_loop().call_later(self._collect_s, self._flush)

    def _flush(self) -> None:
        """Send what was collected, as batches of calls with one promise."""
        if self._flush_at is not None:
            self._flush_at.cancel()
            self._flush_at = None
        by_promise: defaultdict[Promise, list[Call]] = defaultdict(list)
        for call in self._collected.values():
            by_promise[call.promise].append(call)
        self._collected.clear()
        for promise, calls in by_promise.items():
            now_s = time.time()
            window_s = max(1, int(parse_deadline(promise.deadline).due_s(now_s) - now_s))
            for part in _parts(calls, self._max_calls):
                self._open(Batch(id=uuid.uuid4().hex, promise=promise, window_s=window_s, input=b""), part)

    def _open(self, batch: Batch, calls: Sequence[Call]) -> None:
        try:
            entries = self._journal.open(self._scope, batch, calls)
        except sqlite3.Error as error:
            for call in calls:
                self._deliver(call.key, httpx2.WriteError(f"The journal cannot be written: {error}."))
            return
        for key, entry in entries.items():
            if entry.batch_id == batch.id:
                self._follow(batch.id, key)
            else:  # another program has asked it
                self._deliver(key, None)

    def _follow(self, batch_id: str, key: str) -> None:
        """Follow a batch in which a call is wanted."""
        followed = self._followed.get(batch_id)
        if followed is None:
            followed = self._followed[batch_id] = _Followed(set(self._journal.keys(batch_id).values()))
            followed.task = asyncio.create_task(self._settle(batch_id, followed))
        followed.wanted.add(key)

    async def _settle(self, batch_id: str, followed: _Followed) -> None:
        """Follow a batch to its end, keep its results, and answer its calls."""
        keys = self._journal.keys(batch_id)
        outcomes: dict[str, Outcome] = dict.fromkeys(keys.values(), httpx2.ReadError("The client was closed."))
        try:
            batch = self._journal.batch(batch_id)
            answers: dict[str, Answer] = {}
            if batch is not None:  # else another program has settled it
                answers = {keys[line]: answer for line, answer in (await self._run(batch, keys, followed)).items()}
                self._journal.settle(batch_id, answers)
            outcomes = dict.fromkeys(outcomes) | answers
        except RefusedError as refused:
            self._journal.settle(batch_id, {})
            outcomes = dict.fromkeys(outcomes, refused.answer)
        except httpx2.TransportError as outage:
            outcomes = dict.fromkeys(outcomes, outage)
        finally:
            self._followed.pop(batch_id, None)
            for key, outcome in outcomes.items():
                self._deliver(key, outcome)

    async def _run(self, batch: Batch, keys: Mapping[str, str], followed: _Followed) -> dict[str, Answer]:
        """Return the answers of a batch by line, once it has ended at the gateway."""
        try:
            file_id = batch.file_id or self._journal.record(batch.id, "file_id", await self._api.upload(batch))
        except RefusedError as refused:
            if refused.line is None:
                raise
            return self._go_on_without(batch, keys, {batch.line_ids()[refused.line]: refused.answer})
        quote_id = batch.quote_id
        if batch.promise.max_usd is not None and quote_id is None:
            quote_id = self._journal.record(
                batch.id, "quote_id", await self._api.quote(batch, file_id, calls=len(keys))
            )
        ended = await self._ended(await self._api.create(batch, file_id, quote_id), batch.id, followed)
        if ended["status"] != "failed":
            return await self._api.results(ended)
        return self._go_on_without(batch, keys, refused_lines(ended, batch))

    def _go_on_without(self, batch: Batch, keys: Mapping[str, str], refused: dict[str, Answer]) -> dict[str, Answer]:
        """Let the other calls of a batch of which nothing ran go on as another batch; return the answers to these."""
        if len(refused) < len(keys):
            smaller, left = without(batch, uuid.uuid4().hex, keys, refused)
            self._journal.replace(batch, smaller, left)
        return refused

    async def _ended(self, created: dict[str, Any], batch_id: str, followed: _Followed) -> dict[str, Any]:
        started_s, asked_to_cancel = time.monotonic(), False
        while not has_ended(created):
            self._progress.running(batch_id, created["request_counts"])
            if followed.is_cancelled.is_set() and not asked_to_cancel:
                asked_to_cancel = True
                with contextlib.suppress(httpx2.TransportError):
                    await self._api.cancel(created)
            wait_s = min(_LONGEST_POLL_S, _FIRST_POLL_S + _POLL_SHARE * (time.monotonic() - started_s))
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait_s):
                    await (asyncio.sleep(wait_s) if asked_to_cancel else followed.is_cancelled.wait())
            created = await self._api.retrieve(created)
        self._progress.running(batch_id, None)
        return created

    def _deliver(self, key: str, outcome: Outcome) -> None:
        for waiter in self._waiters.get(key, ()):
            if not waiter.done():
                waiter.set_result(outcome)


def _parts(calls: Sequence[Call], max_calls: int) -> Iterator[list[Call]]:
    """Yield calls by batch, within the limits of its lines and bytes."""
    part: list[Call] = []
    size_bytes = 0
    for call in calls:
        if part and (len(part) == max_calls or size_bytes + len(call.body) > _MAX_BATCH_BYTES):
            yield part
            part, size_bytes = [], 0
        part.append(call)
        size_bytes += len(call.body)
    yield part
