"""Calls of their own that can wait: kept durably, released like any other, answered on the line that is held open."""

import asyncio
import contextlib
from typing import Any

from meritorder.gateway.errors import StoreUnavailableError
from meritorder.gateway.state.context import Context
from meritorder.gateway.state.request import Deferral, Request
from meritorder.gateway.store import requests
from meritorder.gateway.store.requests import RequestAnswer
from meritorder.gateway.wire import calls
from meritorder.gateway.wire.asgi import Send, respond
from meritorder.gateway.wire.replay import to_events
from meritorder.gateway.workers.dispatch import Dispatcher

_POLL_S = 2.0
_EVENTS = b"text/event-stream; charset=utf-8"
_JSON = b"application/json"


class Held:
    """Queues calls, and holds the line for those that wait for the answer.

    Args:
        context: What is shared.
        dispatcher: Who runs them.
    """

    def __init__(self, context: Context, dispatcher: Dispatcher) -> None:
        self._context = context
        self._dispatcher = dispatcher

    def fields(self, request: Request, deferral: Deferral) -> dict[str, Any]:
        """Return a call as a row of the queue."""
        return {
            "id": request.id,
            "tenant": request.key.tenant,
            "key_id": request.key.id,
            "endpoint": request.endpoint,
            "model": request.call.model,
            "body": request.body,
            "body_bytes": len(request.body),
            "input_tokens": calls.estimate_tokens(len(request.body)),
            "output_tokens": request.call.output_tokens,
            "prefix": calls.prefix_hash(request.body),
            "arrived_s": request.arrived_s,
            "deadline_s": deferral.deadline_s,
            "workload": deferral.workload,
            "trace": self._context.traceparent(),
        }

    async def carry(self, request: Request, deferral: Deferral, send: Send) -> None:
        """Queue a call, wait for its answer, and give it."""
        fields = self.fields(request, deferral) | {"holder": self._context.me}
        seq = await self._context.database.write_soon(
            lambda connection: requests.add_call(connection, **fields),
            undo=lambda late: lambda connection: requests.end_and_delete(connection, late),
        )
        answer = self._dispatcher.wait_for(seq)
        self._dispatcher.wake()
        try:
            given = await self._answer(seq, answer)
        except asyncio.CancelledError:
            self._dispatcher.abandon(seq)
            raise
        self._context.database.submit(lambda connection: requests.delete_call(connection, seq))
        await self._respond(request, given, send)

    async def _answer(self, seq: int, answer: "asyncio.Future[RequestAnswer]") -> RequestAnswer:
        """Wait until it is answered, here or by another gateway that shares the store."""
        while True:
            done, _ = await asyncio.wait((answer,), timeout=_POLL_S)
            if done:
                return answer.result()
            with contextlib.suppress(
                StoreUnavailableError
            ):  # whoever holds the line can hold it until the store is back
                elsewhere = await self._context.database.read_soon(
                    lambda connection: requests.find_answer(connection, seq)
                )
                if elsewhere is not None:
                    return elsewhere

    async def _respond(self, request: Request, given: RequestAnswer, send: Send) -> None:
        status, body = given.status_code or 503, given.body or given.error()
        kind = _JSON
        if request.call.stream and given.succeeded:
            kind, body = _EVENTS, to_events(body, with_usage=calls.wants_usage(request.body))
        headers = [(b"content-type", kind), (b"x-request-id", request.id.encode())]
        await respond(send, status, headers, body)
