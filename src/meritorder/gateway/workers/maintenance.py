"""Periodic tasks: heartbeats, state changes of batches, API keys, and deletion of what has expired."""

import asyncio
import contextlib
import logging
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from functools import partial
from typing import Final

import msgspec
from sqlalchemy import Connection

from meritorder.gateway.config import duration_s
from meritorder.gateway.errors import BlobMissingError, StoreUnavailableError
from meritorder.gateway.state.context import Context
from meritorder.gateway.store import files, heartbeats
from meritorder.gateway.store.queue import backlog, batches, requests
from meritorder.gateway.store.queue.backlog import OverdueCall
from meritorder.gateway.store.queue.requests import RequestAnswer
from meritorder.gateway.store.quotas import budgets
from meritorder.gateway.store.quotas.budgets import BudgetState
from meritorder.gateway.store.responses import stored_answers
from meritorder.gateway.store.sql.clock import reference_s, steady_s
from meritorder.gateway.wire.quotas import batch_errors, expired_error
from meritorder.gateway.workers.batch_input import ingest
from meritorder.gateway.workers.batch_output import finalize
from meritorder.gateway.workers.dispatch import Dispatcher

_FRESH_S: Final = 1.0  # a time of the store that took longer to arrive says too little
_ROUND_S: Final = 0.5
_SLOW_ROUND_S: Final = 10.0
_TAKE_OVER_S: Final = 1.0
_CANCEL_GRACE_S: Final = 600.0  # OpenAI's: a cancelled batch may take ten minutes
_MAX_FAILURES: Final = 3  # of reading or writing one batch, before it fails
_BATCH_RETRY_S: Final = 2.0
_WORKERS: Final = 2  # that read inputs, and as many that write outputs
_log: Final = logging.getLogger(__name__)


class Maintenance:
    """The periodic tasks of a gateway, each in a loop of its own.

    Args:
        context: The shared state.
        dispatcher: Learns of new work, and of answers that are no longer wanted.
    """

    def __init__(self, context: Context, dispatcher: Dispatcher) -> None:
        self._context = context
        self._dispatcher = dispatcher
        self._wake_events: list[asyncio.Event] = []
        self._failures: Counter[int] = Counter()  # by batch
        self._retry_s: dict[int, float] = {}  # when a batch that failed is tried again
        self._claiming = asyncio.Lock()
        self._in_work: set[int] = set()
        self._lease_s = duration_s(context.settings.store.lease)
        self._lenient_until_s = 0.0

    def wake(self) -> None:
        """Let the tasks look that read inputs and write outputs."""
        for event in self._wake_events:
            event.set()

    async def heartbeat(self) -> None:
        """Record that this gateway is alive, and requeue what was claimed by instances that no longer are.

        Where its own lease was over, because the store could not be reached or its clock was set forward, those of the
        others may be, too: all have the time of a lease to renew theirs. A clock that was set back lengthens none.
        """
        context, asked_s = self._context, steady_s()

        def beat(connection: Connection) -> tuple[int, float]:
            left_s = heartbeats.beat(connection, context.instance_id, lease_s=self._lease_s)
            if left_s is not None and left_s < 0:
                self._lenient_until_s = steady_s() + self._lease_s
            elif left_s is not None and left_s > self._lease_s:
                heartbeats.shorten(connection, lease_s=self._lease_s)
            if steady_s() >= self._lenient_until_s:
                heartbeats.remove_expired(connection)
            heartbeats.delete_orphaned(connection)
            return heartbeats.requeue_expired(connection), reference_s(connection)

        requeued, now_s = await context.database.write(beat)
        if steady_s() - asked_s < _FRESH_S:
            context.clock.follow(now_s)
        if requeued:
            self._dispatcher.wake()

    async def take_over(self) -> None:
        """Add the ledger entries of gateways of this machine that were killed, and requeue what they had claimed."""
        await self._context.ledger_writer.recover(self._release)

    async def _release(self, instance_id: str) -> None:
        await self._context.database.write(lambda connection: heartbeats.stop(connection, instance_id))
        await self.heartbeat()

    async def keep_alive(self) -> None:
        """Renew the leases, and reconcile the requests claimed in the store with those that run here."""
        untracked_before: set[int] = set()
        while True:
            await asyncio.sleep(self._lease_s / 3)
            running_before = self._dispatcher.running()
            try:
                await self.heartbeat()
                claimed = await self._context.database.read(
                    lambda connection: requests.claimed_seqs(connection, self._context.instance_id)
                )
            except StoreUnavailableError:
                continue
            self._dispatcher.cancel(running_before - claimed)  # lost, for example after the machine was suspended
            # Claims whose confirmation was lost with the connection; a claim seen only once may be in progress.
            untracked = claimed - self._dispatcher.tracked()
            if lost := untracked & untracked_before:
                await self._requeue(lost)
            untracked_before = untracked

    async def _requeue(self, lost: set[int]) -> None:
        with contextlib.suppress(StoreUnavailableError):  # the next round finds them again
            await self._context.database.write(
                lambda connection: requests.requeue_unstarted(connection, self._context.instance_id, lost)
            )
            _log.warning("%d requests were claimed but did not run, and are queued again", len(lost))
            self._dispatcher.wake()

    def tasks(self) -> dict[str, Callable[[], Awaitable[None]]]:
        """Return the tasks that run as long as the gateway does, by name."""
        return {
            "heartbeat": self.keep_alive,
            "take_over": partial(self._repeat, self.take_over, _TAKE_OVER_S),
            **self._workers("batch_input", self._read_inputs),
            **self._workers("batch_output", self._write_outputs),
            "batch_ends": partial(self._repeat, self._end_batches, _ROUND_S),
            "keys": partial(self._repeat, self._read_keys, 2 * _ROUND_S),
            "quotas": partial(self._repeat, self._context.quotas.give_back, 2 * _ROUND_S),
            "budget_events": partial(self._repeat, self._announce_budgets, 2 * _ROUND_S),
            "cleaning": partial(self._repeat, self._clean, _SLOW_ROUND_S),
        }

    def _workers(self, name: str, step: Callable[[], Awaitable[None]]) -> dict[str, Callable[[], Awaitable[None]]]:
        """Return several tasks that do the same, so that a large batch does not hold back the small ones."""
        return {f"{name}_{number}": partial(self._repeat_when_woken, step) for number in range(1, _WORKERS + 1)}

    async def _repeat(self, step: Callable[[], Awaitable[None]], every_s: float) -> None:
        while True:
            await step()
            await asyncio.sleep(every_s)

    async def _repeat_when_woken(self, step: Callable[[], Awaitable[None]]) -> None:
        woken = asyncio.Event()
        self._wake_events.append(woken)
        try:
            while True:
                await step()
                await woken.wait()
                woken.clear()
        finally:
            self._wake_events.remove(woken)

    async def _read_keys(self) -> None:
        await self._context.authenticator.refresh()

    async def _announce_budgets(self) -> None:
        """Announce the budgets of which a stated share is spent."""
        context, now_s = self._context, self._context.now_s()
        if not context.authenticator.has_soft_limits:
            return

        def change(connection: Connection) -> None:
            for state in budgets.take_announcements(connection, now_s=now_s):
                context.webhooks.announce_budget(connection, state)

        await context.database.write(change)

    async def _end_batches(self) -> None:
        context, now_s = self._context, self._context.now_s()

        def read(connection: Connection) -> tuple[bool, list[batches.Batch], list[OverdueCall]]:
            return (
                batches.any_to_work_on(connection),
                batches.to_end(connection, now_s=now_s),
                backlog.overdue_calls(connection, now_s=now_s),
            )

        has_work, ending, calls = await context.database.read(read)
        if has_work:  # a claim writes: none is tried in vain
            self.wake()
        await context.supervisor.run_each("batch_ends", ending, self._end_batch)
        await context.supervisor.run_each("batch_ends", calls, self._fail_overdue)

    async def _end_batch(self, batch: batches.Batch) -> None:
        await (self._finish_if_idle(batch) if batch.status == "cancelling" else self._expire_batch(batch))

    async def _expire_batch(self, batch: batches.Batch) -> None:
        await self._end(batch, "expired", budget=await self._spent_budget(batch.key_id))

    async def _finish_if_idle(self, batch: batches.Batch) -> None:
        running = await self._context.database.read(partial(batches.running_in, seq=batch.seq))
        if not running or (batch.cancelling_s or 0) + _CANCEL_GRACE_S <= self._context.now_s():
            await self._end(batch, "cancelled")

    async def _spent_budget(self, key_id: str | None) -> BudgetState | None:
        now_s = self._context.now_s()
        return await self._context.database.read(
            lambda connection: budgets.spent_budget(connection, key_id, now_s=now_s)
        )

    async def _end(self, batch: batches.Batch, ending: str, *, budget: BudgetState | None = None) -> None:
        """End a batch; `budget` is the one that was spent when its window closed."""
        now_s = self._context.now_s()
        errors = None if budget is None else batch_errors(budget)

        def finalize_batch(connection: Connection) -> None:
            batches.finalize(connection, batch.seq, ending=ending, now_s=now_s, errors=errors)
            if ending == "expired":
                self._alert_missed(connection, batch.tenant, batch.id)

        await self._context.database.write(finalize_batch)
        self._dispatcher.cancel_batch(batch.seq)

    def _alert_missed(self, connection: Connection, tenant: str, what: str) -> None:
        """Alert that work of a tenant was not done before its deadline, in the transaction that ends it."""
        self._context.webhooks.alert(connection, tenant, "alert.deadline_missed", tenant, tenant=tenant, what=what)

    async def _fail_overdue(self, call: OverdueCall) -> None:
        seq, budget = call.seq, await self._spent_budget(call.key_id)
        answer = RequestAnswer(
            request_id=self._context.new_id("req_"),
            status_code=None,
            error_code="deadline_exceeded",
            error_message="No venue could do this request before its deadline.",
        )
        if budget is not None:
            answer = replace(answer, status_code=429, body=expired_error(budget).body())

        def change(connection: Connection) -> bool:
            ended = requests.end(connection, seq)
            if ended:
                self._context.announce_response(connection, stored_answers.complete(connection, seq, answer))
                self._alert_missed(connection, call.tenant, answer.request_id)
            return ended

        if await self._context.database.write(change):
            self._dispatcher.deliver(seq, answer)

    async def _read_inputs(self) -> None:
        while (batch := await self._claim("validating")) is not None:
            async with self._claimed(batch, "batch_input"):
                await asyncio.to_thread(ingest, self._context, batch)
            self._dispatcher.wake()

    async def _write_outputs(self) -> None:
        while (batch := await self._claim("finalizing")) is not None:
            async with self._claimed(batch, "batch_output"):
                await finalize(self._context, batch)

    async def _claim(self, status: str) -> batches.Batch | None:
        context = self._context
        async with self._claiming:
            waiting = {seq for seq, retry_s in self._retry_s.items() if retry_s > time.monotonic()} | self._in_work
            batch = await context.database.write(
                lambda connection: batches.claim(connection, context.instance_id, status, without=waiting)
            )
            if batch is not None:
                self._in_work.add(batch.seq)
        return batch

    @contextlib.asynccontextmanager
    async def _claimed(self, batch: batches.Batch, task: str) -> AsyncIterator[None]:
        """Drop the claim on a batch if its work fails, so that it is retried later; after some failures it fails."""
        try:
            yield
        except Exception as error:  # noqa: BLE001 - a batch fails alone
            is_outage = isinstance(error, StoreUnavailableError) and not isinstance(error, BlobMissingError)
            if not is_outage:
                self._context.supervisor.record(task, error)
                self._failures[batch.seq] += 1
            if self._failures[batch.seq] >= _MAX_FAILURES:
                await self._fail(batch, task)
            else:
                self._retry_s[batch.seq] = time.monotonic() + _BATCH_RETRY_S
                await self._unclaim(batch.seq)
            return
        except BaseException:
            await self._unclaim(batch.seq)
            raise
        finally:
            self._in_work.discard(batch.seq)
        self._forget(batch)
        await self._log_if_final(batch.seq)

    async def _fail(self, batch: batches.Batch, task: str) -> None:
        """Set aside a batch that cannot be read or written."""
        context, now_s = self._context, self._context.now_s()
        what = "input could not be read" if task == "batch_input" else "output could not be written"
        problem = {"code": "server_error", "line": None, "message": f"Its {what}.", "param": None}
        errors = msgspec.json.encode({"object": "list", "data": [problem]}).decode()

        def change(connection: Connection) -> None:
            if batches.fail(connection, context.instance_id, batch.seq, errors=errors, now_s=now_s):
                context.webhooks.announce(connection, batch.tenant, "batch.failed", batch.id)

        await context.database.write(change)
        self._forget(batch)
        _log.error("batch %s failed: its %s in %d attempts", batch.id, what, _MAX_FAILURES)

    def _forget(self, batch: batches.Batch) -> None:
        self._failures.pop(batch.seq, None)
        self._retry_s.pop(batch.seq, None)

    async def _unclaim(self, seq: int) -> None:
        await self._context.database.write(
            lambda connection: batches.unclaim(connection, self._context.instance_id, seq)
        )

    async def _log_if_final(self, seq: int) -> None:
        batch = await self._context.database.read(lambda connection: batches.by_seq(connection, seq))
        if batch is not None and batch.status in batches.FINAL:
            _log.info("batch %s is %s", batch.id, batch.status)

    async def _clean(self) -> None:
        context, now_s = self._context, self._context.now_s()
        await context.database.write(budgets.drop_void_leases)
        ended = await context.database.read(batches.finished_with_requests)
        await context.supervisor.run_each("cleaning", ended, self._delete_requests)
        deletable = await context.database.read(lambda connection: files.deletable(connection, now_s=now_s))
        await context.supervisor.run_each("cleaning", deletable, self._delete_file)
        abandoned = await context.database.write(partial(files.abandoned_uploads, owner=context.instance_id))
        await context.supervisor.run_each("cleaning", abandoned, self._delete_upload)

    async def _delete_requests(self, seq: int) -> None:
        delete_some = partial(batches.delete_some_requests, seq=seq)
        while await self._context.database.write(delete_some):
            await asyncio.sleep(0)

    async def _delete_file(self, file: files.StoredFile) -> None:
        await self._context.blobs.remove(file.blob)
        await self._context.database.write(partial(files.delete_row, tenant=file.tenant, file_id=file.id))

    async def _delete_upload(self, blob: str) -> None:
        await self._context.blobs.remove(blob)
        await self._context.database.write(partial(files.forget_upload, blob=blob))
