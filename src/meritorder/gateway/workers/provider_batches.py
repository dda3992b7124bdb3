"""Hands work that can wait to providers' batch APIs, in chunks, and takes the answers back.

A chunk is written down before it is submitted, under an id that the provider is told: whatever crashes, it is submitted
once. What the provider did not do, because the chunk expired, was cancelled or failed, goes back into the queue; what
it did is not asked for again.
"""

import asyncio
import logging
from collections.abc import AsyncIterator
from dataclasses import replace
from functools import partial
from typing import Final

import msgspec
from sqlalchemy import Connection

from meritorder.gateway.config import duration_s
from meritorder.gateway.errors import RefusedError, StoreUnavailableError, UnsupportedError, UpstreamError
from meritorder.gateway.state.context import Context
from meritorder.gateway.store import files, provider_batches, requests
from meritorder.gateway.store.ledger import Entry
from meritorder.gateway.store.provider_batches import ProviderBatch
from meritorder.gateway.store.requests import ClaimedRequest, QueuedRequests, RequestAnswer
from meritorder.gateway.upstreams import retry
from meritorder.gateway.upstreams.batches.chunks import size_bytes
from meritorder.gateway.upstreams.batches.venue import BatchLimits, BatchLine, BatchStatus, BatchVenue, LineResult
from meritorder.gateway.venues.plan_executor import PlanExecutor
from meritorder.gateway.venues.venues import Venue, Venues
from meritorder.gateway.wire import calls
from meritorder.gateway.wire.usage import Usage, parse_usage
from meritorder.gateway.workers.dispatch import LANE, Dispatcher
from meritorder.policy.escalation import needs_provider_batch

_AGAIN_S: Final = 60.0
_CLAIMED_AT_A_TIME: Final = 1000
_STORED_AT_A_TIME: Final = 200
_ID_LENGTH: Final = 26
_log: Final = logging.getLogger(__name__)


class ProviderBatches:
    """The worker of the batch APIs.

    Args:
        context: What is shared.
        venues: Those with a batch API are used.
        dispatcher: The other worker; it knows when the gaps would be done.
        plan_executor: What the plan buys there.
    """

    def __init__(self, context: Context, venues: Venues, dispatcher: Dispatcher, plan_executor: PlanExecutor) -> None:
        self._context = context
        self._dispatcher = dispatcher
        self._plan_executor = plan_executor
        self._venues = venues
        self._at: dict[str, tuple[Venue, BatchVenue]] = {
            venue.name: (venue, venue.batches) for venue in venues.all if venue.batches is not None
        }
        self._margin_s = duration_s(context.settings.lanes.margin)
        self._round_s = min((duration_s(venue.table.batch_poll) for venue, _ in self._at.values()), default=0.0)

    async def run(self) -> None:
        """Hand out and take back, until cancelled."""
        if not self._at:
            return
        while True:
            try:
                await self._round()
            except StoreUnavailableError as error:
                if self._context.database.is_there:  # else it has said so itself
                    _log.warning("a round could not be done, and will be tried again: %s", error)
            except Exception:  # noqa: BLE001 - a duty goes on, whatever happens once
                _log.exception("a round failed; it will be tried again")
            await asyncio.sleep(self._round_s)

    async def _round(self) -> None:
        context = self._context
        await self._hand_out()
        now_s = context.now_s()
        for chunk in await context.database.write(
            lambda connection: provider_batches.adopt(connection, context.me, now_s=now_s)
        ):
            if chunk.venue not in self._at:
                _log.warning("chunk %s is at the venue %s, which is not configured any more", chunk.id, chunk.venue)
                continue
            venue, batches = self._at[chunk.venue]
            try:
                await self._look_after(chunk, venue, batches)
            except UpstreamError as error:
                _log.warning("chunk %s: %s; looking again", chunk.id, error)

    async def _hand_out(self) -> None:
        """Make chunks of what fits a batch API and would not be done in time by our own engines."""
        now_s = self._context.now_s()
        found = await self._context.database.read(lambda connection: requests.queued_work(connection, now_s=now_s))
        for work in found:
            if work.batch_seq is None:
                continue  # a client holds the line
            for venue, batches in self._at.values():
                if work.model not in venue.served or not self._plan_executor.permits(work, venue):
                    continue
                if self._fits(work, found, venue, now_s):
                    await self._chunk(work, venue, batches, now_s, most=work.count)
                    break
                planned = self._plan_executor.provider_batch_quota(work, venue, now_s)
                if planned and self._has_time(work, venue, now_s):
                    await self._chunk(work, venue, batches, now_s, most=planned)

    def _fits(self, work: QueuedRequests, found: list[QueuedRequests], venue: Venue, now_s: float) -> bool:
        own = any(each.is_engine for each in self._venues.serving(work.model, LANE))
        ahead = [each for each in found if each.model == work.model and each.deadline_s < work.deadline_s]
        latest_s = self._dispatcher.latest_backfill_s(work, ahead)
        window_s = duration_s(venue.table.batch_window)
        return needs_provider_batch(work.deadline_s, latest_s, window_s, self._margin_s, own=own, now_s=now_s)

    def _has_time(self, work: QueuedRequests, venue: Venue, now_s: float) -> bool:
        window_s = duration_s(venue.table.batch_window)
        return needs_provider_batch(work.deadline_s, now_s, window_s, self._margin_s, own=False, now_s=now_s)

    async def _chunk(self, work: QueuedRequests, venue: Venue, batches: BatchVenue, now_s: float, *, most: int) -> None:
        """Claim so many of a batch that wait, cut to what the provider takes."""
        context = self._context

        def claim(connection: Connection, most: int) -> int:
            limits = replace(batches.limits, max_lines=min(most, batches.limits.max_lines))
            taken, left = _taken(connection, context.me, work, limits, now_s)
            for request in left:
                requests.requeue(connection, context.me, request, not_before_s=now_s, fault=False)
            if taken:
                chunk = ProviderBatch(
                    id=context.new_id("c")[:_ID_LENGTH],
                    venue=venue.name,
                    batch_seq=work.batch_seq or 0,
                    provider_id=None,
                    created_s=now_s,
                    cancelled=False,
                )
                provider_batches.create(connection, context.me, chunk, taken)
            return len(taken)

        while most > 0 and (taken := await context.database.write(partial(claim, most=most))):
            self._plan_executor.record_dispatch(work, venue, taken)
            most -= taken

    async def _look_after(self, chunk: ProviderBatch, venue: Venue, batches: BatchVenue) -> None:
        if chunk.provider_id is None:
            await self._submit(chunk, venue, batches)
            return
        state = await batches.poll(chunk.provider_id)
        if state.status is BatchStatus.RUNNING:
            await self._cancel_unwanted(chunk, batches)
            return
        unanswered = await self._take_back(chunk, chunk.provider_id, venue, batches)
        if state.status is BatchStatus.FAILED:
            _log.warning("chunk %s was refused by %s: %s", chunk.id, venue.name, state.message)
        await self._drop(chunk, venue, unanswered, fault=state.status is BatchStatus.FAILED)

    async def _cancel_unwanted(self, chunk: ProviderBatch, batches: BatchVenue) -> None:
        """Ask the provider to stop what nobody waits for any more."""
        wanted = await self._context.database.read(lambda connection: provider_batches.is_wanted(connection, chunk))
        if not wanted and not chunk.cancelled and chunk.provider_id is not None:
            await batches.cancel(chunk.provider_id)
            await self._context.database.write(lambda connection: provider_batches.mark_cancelled(connection, chunk.id))

    async def _submit(self, chunk: ProviderBatch, venue: Venue, batches: BatchVenue) -> None:
        database = self._context.database
        claimed = await database.read(lambda connection: requests.claimed_by(connection, chunk.id))
        lines = []
        for request, body in zip(claimed, await self._bodies(chunk, claimed), strict=True):
            line = BatchLine(
                custom_id=f"r{request.seq}",
                path=request.endpoint,
                model=request.model,
                body=calls.with_fields(body, stream=None, stream_options=None, service_tier=None),
            )
            try:
                batches.check(line)
            except UnsupportedError as error:
                await self._store(chunk, venue, [(request, self._not_carried(error, venue))])
                continue
            lines.append(line)
        if not lines:
            await self._drop(chunk, venue, [], fault=False)
            return
        known = await database.read(lambda connection: provider_batches.provider_ids(connection, chunk.venue))
        if chunk.sent_s is None:
            now_s = self._context.now_s()
            await database.write(lambda connection: provider_batches.mark_sent(connection, chunk.id, now_s=now_s))
        try:
            provider_id = await batches.submit(lines, chunk.id, sent_epoch_s=chunk.sent_s, known=known)
        except RefusedError as error:
            _log.warning("chunk %s: %s", chunk.id, error)
            rest = await database.read(lambda connection: requests.claimed_by(connection, chunk.id))
            await self._drop(chunk, venue, rest, fault=True)
            return
        await database.write(lambda connection: provider_batches.mark_submitted(connection, chunk.id, provider_id))
        _log.info("chunk %s: %d requests are at %s as %s", chunk.id, len(lines), venue.name, provider_id)

    async def _bodies(self, chunk: ProviderBatch, requests: list[ClaimedRequest]) -> list[bytes]:
        if not requests:
            return []
        blob = await self._context.database.read(lambda connection: files.blob_of_batch(connection, chunk.batch_seq))
        if blob is None:
            raise StoreUnavailableError("the input file is not there")
        places = [(request.body_at or 0, request.body_bytes) for request in requests]
        return await self._context.blobs.parts(blob, places)

    async def _take_back(
        self, chunk: ProviderBatch, provider_id: str, venue: Venue, batches: BatchVenue
    ) -> list[ClaimedRequest]:
        """Store the answers of a chunk that is over; return the requests that have none."""
        owned = await self._context.database.read(lambda connection: requests.claimed_by(connection, chunk.id))
        left = {f"r{request.seq}": request for request in owned}
        async for results in _grouped(batches.results(provider_id)):
            answers = []
            for result in results:
                request = left.get(result.custom_id)
                if request is not None and result.status_code is not None and not retry.passes(result.status_code):
                    answers.append((request, self._answer(result, venue)))
                    del left[result.custom_id]
            await self._store(chunk, venue, answers)
        return list(left.values())

    async def _drop(self, chunk: ProviderBatch, venue: Venue, unanswered: list[ClaimedRequest], *, fault: bool) -> None:
        """Give back what was not answered, and forget the chunk; what failed too often fails for good."""
        if fault:
            attempts = self._context.settings.limits.attempts
            given_up = [request for request in unanswered if request.faults + 1 >= attempts]
            what = f"{venue.name} refused it"
            await self._store(chunk, venue, [(request, self._no_answer(what)) for request in given_up])
        not_before_s = self._context.now_s() + (_AGAIN_S if fault else 0.0)
        await self._context.database.write(
            lambda connection: provider_batches.finish(connection, chunk.id, now_s=not_before_s, fault=fault)
        )
        self._dispatcher.wake()

    async def _store(
        self, chunk: ProviderBatch, venue: Venue, answers: list[tuple[ClaimedRequest, RequestAnswer]]
    ) -> None:
        """Store answers, each once, and write their rows of the ledger."""
        if not answers:
            return
        now_s = self._context.now_s()

        def change(connection: Connection) -> list[bool]:
            return [
                requests.store_answer(connection, chunk.id, request, given, now_s=now_s) for request, given in answers
            ]

        stored = await self._context.database.write(change)
        for (request, given), is_new in zip(answers, stored, strict=True):
            if is_new:
                self._context.ledger_writer.add(self._entry(chunk, request, given, venue))

    def _answer(self, result: LineResult, venue: Venue) -> RequestAnswer:
        used = parse_usage(result.body) or Usage()
        return RequestAnswer(
            request_id=self._context.new_id("req_"),
            status_code=result.status_code,
            body=result.body,
            venue=venue.name,
            input_tokens=used.input_tokens,
            cached_tokens=used.cached_tokens,
            output_tokens=used.output_tokens,
            reasoning_tokens=used.reasoning_tokens,
        )

    def _not_carried(self, error: UnsupportedError, venue: Venue) -> RequestAnswer:
        problem = {"message": error.what, "type": "invalid_request_error", "param": error.param}
        body = msgspec.json.encode({"error": {**problem, "code": "unsupported_parameter"}})
        return RequestAnswer(request_id=self._context.new_id("req_"), status_code=400, body=body, venue=venue.name)

    def _no_answer(self, what: str) -> RequestAnswer:
        return RequestAnswer(
            request_id=self._context.new_id("req_"), status_code=None, error_code="upstream_error", error_message=what
        )

    def _entry(self, chunk: ProviderBatch, request: ClaimedRequest, given: RequestAnswer, venue: Venue) -> Entry:
        used = Usage(
            input_tokens=given.input_tokens, cached_tokens=given.cached_tokens, output_tokens=given.output_tokens
        )
        cost = venue.cost_picousd(used) if given.succeeded else 0
        self._context.authenticator.spend(request.key_id, cost)
        return Entry(
            request_id=given.request_id,
            arrived_s=request.arrived_s,
            started_s=chunk.created_s,
            ended_s=self._context.now_s(),
            ttft_s=None,
            lane=LANE,
            tenant=request.tenant,
            key_id=request.key_id,
            model=request.model,
            endpoint=request.endpoint,
            venue=venue.name,
            workload=request.workload,
            deadline_s=request.deadline_s,
            status_code=given.status_code,
            input_tokens=used.input_tokens,
            cached_tokens=used.cached_tokens,
            output_tokens=used.output_tokens,
            counted=used.input_tokens > 0,
            cost_picousd=cost,
        )


def _taken(
    connection: Connection, me: str, work: QueuedRequests, limits: BatchLimits, now_s: float
) -> tuple[list[ClaimedRequest], list[ClaimedRequest]]:
    """Claim what a provider takes in one batch, one request at least; return that, and what was claimed beyond."""
    taken: list[ClaimedRequest] = []
    size = 0
    while len(taken) < limits.max_lines:
        limit = min(_CLAIMED_AT_A_TIME, limits.max_lines - len(taken))
        some = requests.claim(connection, me, work, limit=limit, now_s=now_s)
        for at, request in enumerate(some):
            size += size_bytes(request.body_bytes)
            if taken and size > limits.max_bytes:
                return taken, some[at:]
            taken.append(request)
        if len(some) < limit:
            break
    return taken, []


async def _grouped(results: AsyncIterator[LineResult]) -> AsyncIterator[list[LineResult]]:
    """Yield results some at a time, as they come."""
    some: list[LineResult] = []
    async for result in results:
        some.append(result)
        if len(some) >= _STORED_AT_A_TIME:
            yield some
            some = []
    if some:
        yield some
