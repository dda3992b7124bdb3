"""What becomes of requests that were claimed: an answer that is stored once, or their place in the queue."""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from typing import Any, Final, TypeVar

from sqlalchemy import Connection

from meritorder.gateway.errors import StoreUnavailableError
from meritorder.gateway.state.context import Context
from meritorder.gateway.state.entries import Place, Run, deferrable_entry
from meritorder.gateway.store.queue import answers, requests
from meritorder.gateway.store.queue.answers import AnswerOutcome, FinishedRequest
from meritorder.gateway.store.queue.requests import ClaimedRequest, RequestAnswer
from meritorder.gateway.store.responses import conversations, stored_answers
from meritorder.gateway.venues.venues import Venue
from meritorder.gateway.wire.usage import Usage
from meritorder.gateway.workers.attempt import AttemptFailedError, billed_usage

T = TypeVar("T")

_STORE_RETRY_S: Final = 0.5
_BROKEN_PER_ATTEMPT: Final = 5  # broken connections that count as much as one error response of the venue


class Outcomes:
    """Writes the outcomes of requests, however long the database is unavailable.

    Args:
        context: The shared state.
        stored: Receives each request whose answer is stored, and the answer.
    """

    def __init__(self, context: Context, stored: Callable[[ClaimedRequest, RequestAnswer], None]) -> None:
        self._context = context
        self._stored = stored

    async def store(
        self, request: ClaimedRequest, answer: RequestAnswer, venue: Venue | None, started_s: float
    ) -> None:
        """Store an answer, once, and account for it."""
        usage, now_s = billed_usage(answer), self._context.now_s()
        cost_picousd = 0 if venue is None or usage == Usage() else venue.cost_picousd(usage)
        run = Run(Place(answer.venue) if venue is None else venue.place, started_s, now_s)
        finished = FinishedRequest(
            owner=self._context.instance_id,
            request=request,
            answer=answer,
            entry=deferrable_entry(request, answer, run, cost_picousd=cost_picousd),
            answered_s=now_s,
        )
        outcome = await self._durably(lambda: self._context.database.write_item(self._store_all, finished))
        if outcome.entry is not None:
            self._context.ledger_writer.observe(outcome.entry)
        self._stored(request, answer)

    async def fail(
        self,
        request: ClaimedRequest,
        failure: AttemptFailedError,
        venue: Venue | None = None,
        started_s: float | None = None,
        *,
        lost_tokens: int = 0,
    ) -> None:
        """Queue a request again for later, or store its last error if no attempts are left."""
        faults = request.faults + (1 if failure.fault else 0)
        max_faults = self._context.settings.limits.attempts
        if failure.answer.status_code is None:
            max_faults *= _BROKEN_PER_ATTEMPT
        now_s = self._context.now_s()
        if failure.fault and faults >= max_faults:
            await self.store(request, failure.answer, venue, now_s if started_s is None else started_s)
            return
        if venue is not None and started_s is not None and (failure.fault or lost_tokens):  # else nothing ran
            self._account_interrupted(request, venue, started_s, preempted=False)
        await self._requeue(request, now_s + failure.wait_s(faults), fault=failure.fault, lost_tokens=lost_tokens)

    async def preempt(self, request: ClaimedRequest, venue: Venue, started_s: float, *, lost_tokens: int) -> None:
        """Queue a request again that had to make room for others."""
        self._account_interrupted(request, venue, started_s, preempted=True)
        await self._requeue(request, self._context.now_s(), fault=False, lost_tokens=lost_tokens)

    async def delete(self, seq: int) -> None:
        """Delete a call whose client has disconnected."""
        await self._durably(partial(self._context.database.write, partial(requests.end_and_delete, seq=seq)))

    def _account_interrupted(self, request: ClaimedRequest, venue: Venue, started_s: float, *, preempted: bool) -> None:
        """Account for the time of an attempt after which its request is queued again."""
        run = Run(venue.place, started_s, self._context.now_s())
        self._context.ledger_writer.add_interrupted(request, run, preempted=preempted)

    async def _requeue(self, request: ClaimedRequest, not_before_s: float, *, fault: bool, lost_tokens: int) -> None:
        change = partial(
            requests.requeue,
            owner=self._context.instance_id,
            request=request,
            not_before_s=not_before_s,
            fault=fault,
            lost_tokens=lost_tokens,
        )
        await self._durably(partial(self._context.database.write, change))

    def _store_all(self, connection: Connection, finished: Sequence[FinishedRequest]) -> Sequence[AnswerOutcome]:
        outcomes = answers.store_all(connection, finished)
        for item, outcome in zip(finished, outcomes, strict=True):
            if outcome.stored and item.request.batch_seq is None:
                response = stored_answers.complete(connection, item.request.seq, item.answer)
                conversations.append_turn(connection, response)
                self._context.announce_response(connection, response)
        return outcomes

    async def _durably(self, write: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Write, however long the database is unavailable."""
        while True:
            try:
                return await asyncio.shield(write())
            except StoreUnavailableError:
                await asyncio.sleep(_STORE_RETRY_S)
