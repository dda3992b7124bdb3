"""Deferred calls: queued durably, dispatched like any other request, and answered on the open connection."""

import asyncio
import contextlib
from dataclasses import replace
from typing import Final

from meritorder.gateway import decoding
from meritorder.gateway.errors import StoreUnavailableError
from meritorder.gateway.lanes.answer_recorder import store_answer
from meritorder.gateway.lanes.history import with_history
from meritorder.gateway.state.context import Context
from meritorder.gateway.state.entries import cut_off_entry
from meritorder.gateway.state.request import Deferral, Request
from meritorder.gateway.store.queue import answers, requests
from meritorder.gateway.store.queue.requests import RequestAnswer
from meritorder.gateway.wire import calls
from meritorder.gateway.wire.asgi import EVENT_STREAM, JSON, Send, respond
from meritorder.gateway.wire.replay import to_events
from meritorder.gateway.workers.dispatch import Dispatcher

_POLL_S: Final = 2.0


class DeferredCalls:
    """Queues calls and answers their waiting clients.

    Args:
        context: The shared state.
        dispatcher: Dispatches the queued calls.
    """

    def __init__(self, context: Context, dispatcher: Dispatcher) -> None:
        self._context = context
        self._dispatcher = dispatcher

    async def serve(self, request: Request, deferral: Deferral, send: Send) -> None:
        """Queue a call, wait for its answer, and send it; a call whose client disconnects is abandoned."""
        row = request.queue_row(deferral, self._context.traceparent()) | {"holder": self._context.instance_id}
        seq = await self._context.quotas.queue(
            request.key,
            request.expected_picousd,
            lambda connection: requests.add_call(connection, **row),
            undo=lambda late: lambda connection: requests.end_and_delete(connection, late),
        )
        pending = self._dispatcher.wait_for(seq)
        self._dispatcher.wake()
        try:
            answer = await self._wait(seq, pending)
        except asyncio.CancelledError:
            self._dispatcher.abandon(seq)
            status = self._context.supervisor.cut_off_status
            self._context.ledger_writer.add(cut_off_entry(request, deferral, status, ended_s=self._context.now_s()))
            raise
        try:
            if answer.succeeded and answer.body is not None:
                body = answer.body
                if request.original is not None:
                    body = await decoding.run(with_history, body, request.original)
                if request.stored_as is not None:
                    body = await store_answer(self._context, request, body)
                answer = replace(answer, body=body)
        finally:
            self._context.database.submit(lambda connection: requests.delete_call(connection, seq))
        await _respond(request, answer, send)

    async def _wait(self, seq: int, pending: "asyncio.Future[RequestAnswer]") -> RequestAnswer:
        """Wait for the answer from this gateway or from another one that shares the store."""
        while True:
            done, _ = await asyncio.wait((pending,), timeout=_POLL_S)
            if done:
                return pending.result()
            with contextlib.suppress(StoreUnavailableError):  # the connection stays open until the store is back
                stored = await self._context.database.read_soon(lambda connection: answers.find_answer(connection, seq))
                if stored is not None:
                    return stored


async def _respond(request: Request, answer: RequestAnswer, send: Send) -> None:
    status, body = answer.status_code or 503, answer.body or answer.error()
    kind = JSON
    if request.call.stream and answer.succeeded:
        with_usage = await decoding.run(calls.wants_usage, request.body)
        kind, body = EVENT_STREAM, await decoding.run(to_events, body, request.endpoint, with_usage)
    headers = [(b"content-type", kind), (b"x-request-id", request.id.encode())]
    await respond(send, status, headers, body)
