"""Submits deferrable work to the batch APIs of providers, and stores the answers.

A provider batch is recorded before it is submitted, under an id that the provider learns: whatever crashes, it is
submitted once. Requests that the provider did not run, because its batch expired, was cancelled or failed, are queued
again; those that it answered are not sent again. What a provider has not answered is taken back early enough to meet
its deadline one by one, whatever the provider does: each provider batch is advanced by a task of its own until then,
and those of one venue take turns.
"""

import asyncio
import logging
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

from sqlalchemy import Connection

from meritorder.gateway import decoding, errors
from meritorder.gateway.config import DEFERRABLE, duration_s
from meritorder.gateway.state.context import Context
from meritorder.gateway.state.entries import Run, deferrable_entry
from meritorder.gateway.store import files
from meritorder.gateway.store.queue import backlog, provider_batches, requests
from meritorder.gateway.store.queue.answers import FinishedRequest, store_all
from meritorder.gateway.store.queue.backlog import QueuedRequests
from meritorder.gateway.store.queue.provider_batches import ProviderBatch, WantedRequests
from meritorder.gateway.store.queue.requests import ClaimedRequest, RequestAnswer
from meritorder.gateway.upstreams import retry
from meritorder.gateway.upstreams.batches.venue import BatchLine, BatchStatus, BatchVenue, LineResult, grouped
from meritorder.gateway.venues.batch_ways import RecallTimes
from meritorder.gateway.venues.plans.executor import PlanExecutor
from meritorder.gateway.venues.venues import Venue, Venues
from meritorder.gateway.wire import calls
from meritorder.gateway.wire.errors import normalized_error
from meritorder.gateway.wire.usage import Asked, Usage, measured_usage
from meritorder.gateway.workers.attempt import billed_usage, build_answer, no_answer, unsupported_answer
from meritorder.gateway.workers.dispatch import Dispatcher

_STORE_SIZE: Final = 200
_ID_LENGTH: Final = 26
_UNKNOWN: Final = (404, 410)  # answers to the id of a batch that a provider does not know
_IDLE_POLL_S: Final = 5.0  # without a batch API, what another configuration left is still looked for
_PLAIN: Final = partial(calls.with_fields, stream=None, stream_options=None, service_tier=None)
_log: Final = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Loss:
    """A request that a provider ran, or should have run, without a usable answer: a fault.

    Args:
        request: The request.
        what: What happened.
        answer: The provider's answer, such as a 500; None without one.
    """

    request: ClaimedRequest
    what: str
    answer: RequestAnswer | None = None


class ProviderBatches:
    """The worker of the batch APIs.

    Args:
        context: The shared state.
        venues: The venues; those with a batch API are used.
        dispatcher: Knows when backfill would finish the work.
        plan_executor: Knows how much the plan sends to batch APIs.
    """

    def __init__(self, context: Context, venues: Venues, dispatcher: Dispatcher, plan_executor: PlanExecutor) -> None:
        self._context = context
        self._dispatcher = dispatcher
        self._ways = dispatcher.batch_ways
        self._plan_executor = plan_executor
        self._venues = venues
        self._knows_turnarounds = False
        self._batch_venues: dict[str, tuple[Venue, BatchVenue]] = {
            venue.name: (venue, venue.batches) for venue in venues.all if venue.batches is not None
        }
        self._turns: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._advancing: set[str] = set()
        self._poll_s = min(
            (duration_s(venue.table.batch_poll) for venue, _ in self._batch_venues.values()), default=_IDLE_POLL_S
        )

    async def run(self) -> None:
        """Submit and poll until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            while True:
                try:
                    await self._round(tasks)
                except errors.StoreUnavailableError as error:
                    if self._context.database.is_up:  # else the database has logged it
                        _log.warning("a round of provider batches could not be done and will be retried: %s", error)
                except Exception as error:  # noqa: BLE001 - one failed round must not stop the worker
                    self._context.supervisor.record("provider_batches", error)
                await asyncio.sleep(self._poll_s)

    async def _round(self, tasks: asyncio.TaskGroup) -> None:
        context = self._context
        if not self._knows_turnarounds:
            self._ways.record_ends(await context.database.read(provider_batches.turnarounds))
            self._knows_turnarounds = True
        await self._create_batches()
        advancing = self._advancing.copy()  # before they are read: a record read during its advance would be outdated
        for batch in await context.database.write(partial(provider_batches.adopt, owner=context.instance_id)):
            if batch.venue not in self._batch_venues:
                await self._take_back_in_time(batch)
            elif batch.id not in advancing:
                self._advancing.add(batch.id)
                tasks.create_task(self._advance_alone(batch, *self._batch_venues[batch.venue]))

    async def _take_back_in_time(self, batch: ProviderBatch) -> None:
        """Queue the requests of a batch at a venue that is not configured again, early enough for their deadline."""
        wanted = await self._context.database.read(lambda connection: provider_batches.wanted(connection, batch))
        if wanted is None or self._recall_times(wanted).cancel_s <= self._context.now_s():
            _log.warning("provider batch %s is given up: %s is not configured", batch.id, batch.venue)
            await self._release(batch)

    async def _advance_alone(self, batch: ProviderBatch, venue: Venue, api: BatchVenue) -> None:
        """Advance a provider batch; a failure is logged, and it is advanced again in the next round."""
        try:
            await self._advance(batch, venue, api)
        except (errors.UpstreamError, errors.StoreUnavailableError, TimeoutError) as error:
            _log.warning("provider batch %s: %s; will be polled again", batch.id, str(error) or "no answer in time")
        except Exception as error:  # noqa: BLE001 - one batch must not stop the others
            self._context.supervisor.record("provider_batches", error)
        finally:
            self._advancing.discard(batch.id)

    async def _create_batches(self) -> None:
        """Create provider batches of work that fits a batch API and that our engines would not finish in time."""
        if not self._batch_venues:
            return
        now_s = self._context.now_s()
        blocked = self._context.quotas.blocked()
        queued = await self._context.database.read(
            lambda connection: backlog.queued_work(connection, now_s=now_s, blocked_keys=blocked)
        )
        for work in queued:
            if work.batch_seq is None:
                continue  # a client keeps its connection open
            for venue, api in self._batch_venues.values():
                if not self._ways.fits(work, venue, now_s) or not self._plan_executor.permits(work, venue):
                    continue
                if self._is_needed(work, queued, now_s):
                    await self._create(work, venue, api, now_s, count=work.count)
                    break
                planned = self._plan_executor.provider_batch_quota(work, venue, now_s)
                if planned:
                    await self._create(work, venue, api, now_s, count=planned)

    def _is_needed(self, work: QueuedRequests, queued: list[QueuedRequests], now_s: float) -> bool:
        """Tell whether backfill on our own engines, if there are any, would not finish work in time."""
        if not any(serving.is_engine for serving in self._venues.serving(work.model, DEFERRABLE)):
            return True
        ahead = [other for other in queued if other.model == work.model and other.deadline_s < work.deadline_s]
        return self._dispatcher.latest_backfill_s(work, ahead) <= now_s

    async def _create(self, work: QueuedRequests, venue: Venue, api: BatchVenue, now_s: float, *, count: int) -> None:
        """Claim queued requests of a batch and record them as provider batches within the provider's limits."""
        context = self._context

        def claim(connection: Connection, count: int) -> int:
            accepted, excess = provider_batches.claim_within(
                connection,
                context.instance_id,
                work,
                max_lines=min(count, api.limits.max_lines),
                max_bytes=api.limits.max_bytes,
                now_s=now_s,
            )
            for request in excess:
                requests.requeue(connection, context.instance_id, request, not_before_s=now_s, fault=False)
            batch_id = context.new_id("c")[:_ID_LENGTH]
            accepted = accepted[: context.quotas.claim_for_provider(connection, batch_id, accepted)]
            if accepted:
                batch = ProviderBatch(
                    id=batch_id,
                    venue=venue.name,
                    batch_seq=work.batch_seq or 0,
                    provider_id=None,
                    created_s=now_s,
                    cancelled=False,
                )
                provider_batches.create(connection, context.instance_id, batch, accepted)
            return len(accepted)

        while count > 0 and (claimed := await context.database.write(partial(claim, count=count))):
            self._plan_executor.record_dispatch(work, venue, claimed)
            count -= claimed

    async def _advance(self, batch: ProviderBatch, venue: Venue, api: BatchVenue) -> None:
        """Submit a provider batch, or poll it and store its results once it has ended."""
        wanted = await self._context.database.read(lambda connection: provider_batches.wanted(connection, batch))
        recall = None if wanted is None else self._recall_times(wanted)
        now_s = self._context.now_s()
        if recall is None and await self._is_over(batch, venue):
            await self._release(batch)
            return
        left_s = None
        if recall is not None:
            left_s = (recall.cancel_s if batch.provider_id is None else recall.requeue_s) - now_s
            if left_s <= 0:
                _log.warning("provider batch %s has no answer from %s in time: sent one by one", batch.id, venue.name)
                self._ways.record_failure(venue, batch.batch_seq)
                await self._release(batch)
                return
        async with asyncio.timeout(left_s):
            await self._ask(batch, venue, api, cancel=recall is None or now_s >= recall.cancel_s)

    async def _is_over(self, batch: ProviderBatch, venue: Venue) -> bool:
        """Tell whether nothing is to be done any more for a provider batch whose answers are not wanted.

        Its requests stay claimed while the batch that they are of waits for what is answered before the cancellation.
        """
        if batch.sent_s is None:
            return True
        if await self._context.database.read(lambda connection: requests.claimed_seqs(connection, batch.id)):
            return False
        if batch.cancelled:
            _log.warning("provider batch %s: %s has not confirmed that it is cancelled", batch.id, venue.name)
            return True
        return self._context.now_s() - batch.sent_s >= duration_s(venue.table.batch_window)  # it cannot be cancelled

    async def _ask(self, batch: ProviderBatch, venue: Venue, api: BatchVenue, *, cancel: bool) -> None:
        """Submit or poll a provider batch when it is its turn, and wait as long as the provider asks for."""
        try:
            async with self._turns[venue.name]:
                if batch.provider_id is None:
                    await self._submit(batch, venue, api)
                else:
                    await self._poll(batch, batch.provider_id, venue, api, cancel=cancel)
        except errors.RefusedError as error:
            if batch.provider_id is None or error.status not in _UNKNOWN:
                raise
            await self._give_up(batch, venue, f"{venue.name} does not know it any more")
        except errors.UnavailableError as error:
            _log.warning("provider batch %s: %s; will be polled again", batch.id, error)
            await asyncio.sleep(error.retry_after_s or 0.0)

    async def _poll(
        self, batch: ProviderBatch, provider_id: str, venue: Venue, api: BatchVenue, *, cancel: bool
    ) -> None:
        """Poll a provider batch; cancel it on request while it runs, and store its results once it has ended."""
        state = await api.poll(provider_id)
        elapsed_s = self._context.now_s() - (batch.sent_s or batch.created_s)
        if state.status is BatchStatus.RUNNING:
            self._ways.record_running(venue, batch.id, elapsed_s)
            if cancel:
                await self._cancel(batch, api, provider_id)
        elif state.status is BatchStatus.FAILED:
            await api.discard(provider_id)
            await self._give_up(batch, venue, f"{venue.name} refused it: {state.message}")
        else:
            answered, losses = await self._store_results(batch, provider_id, venue, api)
            if state.status is not BatchStatus.DONE:  # the provider has not started the requests without a result
                losses = {seq: loss for seq, loss in losses.items() if loss.answer is not None}
            if not (batch.cancelled or answered or any(loss.answer for loss in losses.values())):
                self._ways.record_failure(venue, batch.batch_seq)
            elif state.status is not BatchStatus.CANCELLED:
                await self._record_end(venue, elapsed_s)
            await self._finish(batch, venue, losses)

    async def _record_end(self, venue: Venue, turnaround_s: float) -> None:
        """Remember how long a provider batch took, also after a restart."""
        self._ways.record_end(venue.name, turnaround_s)
        record = partial(provider_batches.record_turnaround, venue=venue.name, turnaround_s=turnaround_s)
        await self._context.database.write(record)

    def _recall_times(self, wanted: WantedRequests) -> RecallTimes:
        return self._ways.recall_times(wanted.model, wanted.tokens, wanted.arrived_s, wanted.deadline_s)

    async def _cancel(self, batch: ProviderBatch, api: BatchVenue, provider_id: str) -> None:
        """Ask the provider, once, to cancel a batch whose answers are not wanted, or would be late."""
        if not batch.cancelled:
            await api.cancel(provider_id)
            await self._context.database.write(lambda connection: provider_batches.mark_cancelled(connection, batch.id))

    async def _give_up(self, batch: ProviderBatch, venue: Venue, what: str) -> None:
        """Queue the requests of a batch that the provider refused or lost, and count it as a fault of each."""
        _log.warning("provider batch %s: %s", batch.id, what)
        self._ways.record_failure(venue, batch.batch_seq)
        claimed = await self._context.database.read(lambda connection: requests.claimed_by(connection, batch.id))
        await self._finish(batch, venue, {request.seq: _Loss(request, what) for request in claimed})

    async def _submit(self, batch: ProviderBatch, venue: Venue, api: BatchVenue) -> None:
        database = self._context.database
        claimed = await database.read(lambda connection: requests.claimed_by(connection, batch.id))
        lines = []
        for request, body in zip(claimed, await self._bodies(batch, claimed), strict=True):
            line = BatchLine(
                custom_id=f"r{request.seq}",
                path=request.endpoint,
                model=request.model,
                body=await decoding.run(_PLAIN, body),
            )
            try:
                api.check(line)
            except errors.UnsupportedError as error:
                answer = unsupported_answer(self._context.new_id("req_"), error, code="unsupported_parameter")
                await self._store(batch, venue, [(request, answer)])
                continue
            lines.append(line)
        if not lines:
            await self._release(batch)
            return
        known_ids = await database.read(provider_batches.provider_ids)
        if batch.sent_s is None:
            sent = partial(provider_batches.mark_sent, batch_id=batch.id, now_s=self._context.now_s())
            await database.write(sent)
        try:
            provider_id = await api.submit(lines, batch.id, sent_epoch_s=batch.sent_s, known_ids=known_ids)
        except errors.RefusedError as error:
            await self._give_up(batch, venue, str(error))
            return
        await database.write(lambda connection: provider_batches.mark_submitted(connection, batch.id, provider_id))
        _log.info("provider batch %s: %d requests are at %s as %s", batch.id, len(lines), venue.name, provider_id)

    async def _bodies(self, batch: ProviderBatch, claimed: list[ClaimedRequest]) -> list[bytes]:
        if not claimed:
            return []
        blob = await self._context.database.read(lambda connection: files.find_input_blob(connection, batch.batch_seq))
        if blob is None:
            raise errors.StoreUnavailableError("the input file is missing")
        places = [(request.body_at or 0, request.body_bytes) for request in claimed]
        return await self._context.blobs.parts(blob, places)

    async def _store_results(
        self, batch: ProviderBatch, provider_id: str, venue: Venue, api: BatchVenue
    ) -> tuple[int, dict[int, _Loss]]:
        """Store the answers of a provider batch that has ended; return their number, and the losses by request."""
        claimed = await self._context.database.read(lambda connection: requests.claimed_by(connection, batch.id))
        missing = f"{venue.name} left it out of its results"
        unanswered = {f"r{request.seq}": _Loss(request, missing) for request in claimed}
        async for results in grouped(api.results(provider_id, batch.id), _STORE_SIZE):
            answers = []
            for result in results:
                if (loss := unanswered.get(result.custom_id)) is None:
                    continue
                answer = self._answer(loss.request, result, venue)
                if answer is not None and not retry.is_transient(answer.status_code or 0):
                    del unanswered[result.custom_id]
                    answers.append((loss.request, answer))
                else:
                    what = f"{venue.name} answered with an error: {result.error_code or result.status_code}"
                    unanswered[result.custom_id] = _Loss(loss.request, what, answer)
            await self._store(batch, venue, answers)
        return len(claimed) - len(unanswered), {loss.request.seq: loss for loss in unanswered.values()}

    def _answer(self, request: ClaimedRequest, result: LineResult, venue: Venue) -> RequestAnswer | None:
        """Return the answer in a result; None if it has none, or a broken one."""
        status = result.status_code or 0
        if 400 <= status < 600:
            body, usage = normalized_error(result.body, status), Usage()
        elif status == 200 and calls.is_object(result.body):
            body, usage = result.body, measured_usage(result.body, Asked(request.body_bytes, request.output_tokens))
        else:
            return None
        return build_answer(self._context.new_id("req_"), status, body, venue, usage)

    async def _finish(self, batch: ProviderBatch, venue: Venue, losses: dict[int, _Loss]) -> None:
        """Fail lost requests without attempts left, and queue the other unanswered ones again."""
        attempts = self._context.settings.limits.attempts
        answers = [
            (loss.request, loss.answer or no_answer(self._context.new_id("req_"), loss.what))
            for loss in losses.values()
            if loss.request.faults + 1 >= attempts
        ]
        for start in range(0, len(answers), _STORE_SIZE):
            await self._store(batch, venue, answers[start : start + _STORE_SIZE])
        await self._release(batch, faulty=list(losses))

    async def _release(self, batch: ProviderBatch, *, faulty: Sequence[int] = ()) -> None:
        """Queue the unanswered requests again, and delete the provider batch."""
        self._ways.forget_running(batch.venue, batch.id)
        await self._context.database.write(
            lambda connection: provider_batches.finish(connection, batch.id, faulty=faulty)
        )
        self._dispatcher.wake()

    async def _store(
        self, batch: ProviderBatch, venue: Venue, answers: list[tuple[ClaimedRequest, RequestAnswer]]
    ) -> None:
        """Store answers, each once, with their ledger entries."""
        if not answers:
            return
        now_s = self._context.now_s()
        finished = [
            FinishedRequest(
                owner=batch.id,
                request=request,
                answer=answer,
                entry=deferrable_entry(
                    request,
                    answer,
                    Run(venue.batch_place, batch.created_s, now_s),
                    cost_picousd=venue.batch_cost_picousd(billed_usage(answer)) if answer.succeeded else 0,
                ),
                answered_s=now_s,
                is_repeated=True,
            )
            for request, answer in answers
        ]
        for outcome in await self._context.database.write(lambda connection: store_all(connection, finished)):
            if outcome.entry is not None:
                self._context.ledger_writer.observe(outcome.entry)
