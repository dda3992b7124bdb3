"""Background responses: queued durably, answered at once with their id, and streamed as they finish."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import replace
from functools import partial
from typing import Final

from sqlalchemy import Connection

from meritorder.gateway import decoding
from meritorder.gateway.errors import StoreUnavailableError
from meritorder.gateway.state.context import Context
from meritorder.gateway.state.request import Deferral, Request
from meritorder.gateway.store.queue import requests
from meritorder.gateway.store.responses import stored_answers
from meritorder.gateway.store.responses.stored_answers import RESPONSE, StoredAnswer
from meritorder.gateway.wire import calls
from meritorder.gateway.wire.asgi import EVENT_STREAM, JSON, Send, respond
from meritorder.gateway.wire.errors import invalid_request
from meritorder.gateway.wire.objects import response_body, response_object
from meritorder.gateway.wire.replay import encode_events, opening_events, output_events
from meritorder.gateway.workers.dispatch import Dispatcher

_POLL_S: Final = 1.0  # another gateway that shares the store may serve the request


class BackgroundResponses:
    """Queues background responses.

    Args:
        context: The shared state.
        dispatcher: Dispatches the queued requests.
    """

    def __init__(self, context: Context, dispatcher: Dispatcher) -> None:
        self._context = context
        self._dispatcher = dispatcher
        self._streams = ResponseStreams(context, dispatcher)

    async def serve(self, request: Request, deferral: Deferral, send: Send) -> None:
        """Queue a response, and answer with its queued state or, if streamed, with its events as they come.

        Raises:
            ApiError: The call is not a response, or asks not to be stored.
        """
        response = await self._queue(request, deferral)
        self._dispatcher.wake()
        if not request.call.stream:
            body = await decoding.run(response_body, response, "queued")
            await respond(send, 200, _headers(request, JSON), body)
            return
        await send({"type": "http.response.start", "status": 200, "headers": _headers(request, EVENT_STREAM)})
        async for event in self._streams.events(response):
            await send({"type": "http.response.body", "body": event, "more_body": True})
        await send({"type": "http.response.body", "body": b""})

    async def _queue(self, request: Request, deferral: Deferral) -> StoredAnswer:
        if request.endpoint != "/v1/responses":
            raise invalid_request(
                "Only responses run in the background.", param="background", code="unsupported_parameter"
            )
        if request.call.store is False:
            raise invalid_request("A background response must be stored.", param="store", code="invalid_value")
        response = StoredAnswer(
            id=self._context.new_id("resp_"),
            kind=RESPONSE,
            tenant=request.key.tenant,
            model=request.call.model,
            status="queued",
            request=request.client_body,
            created_s=request.arrived_s,
        )
        plain = partial(calls.with_fields, background=None, background_options=None, stream=None)
        body = await decoding.run(plain, request.body)
        row = request.queue_row(deferral, self._context.traceparent())
        row |= {"body": body, "body_bytes": len(body), "id": response.id}

        def change(connection: Connection) -> int:
            seq = requests.add_call(connection, **row)
            stored_answers.add(connection, response, request_seq=seq)
            return seq

        seq = await self._context.quotas.queue(request.key, request.expected_picousd, change)
        return replace(response, request_seq=seq)


class ResponseStreams:
    """Streams background responses as server-sent events; a disconnected client does not stop the response.

    Args:
        context: The shared state.
        dispatcher: Notifies of finished requests.
    """

    def __init__(self, context: Context, dispatcher: Dispatcher) -> None:
        self._context = context
        self._dispatcher = dispatcher

    async def events(self, response: StoredAnswer, *, after: int = -1) -> AsyncIterator[bytes]:
        """Yield the events of a response as they come.

        Args:
            response: The stored response.
            after: Sequence number of the last event that the client has received.
        """
        opening = await decoding.run(_opening, response)
        for event in opening[max(0, after + 1) :]:
            yield event
        finished = await self._finished(response)
        if finished is not None:
            closing = await decoding.run(_closing, finished, len(opening))
            for event in closing[max(0, after + 1 - len(opening)) :]:
                yield event

    async def _finished(self, response: StoredAnswer) -> StoredAnswer | None:
        """Wait until a response has finished, and return it; None if it was deleted."""
        current: StoredAnswer | None = response
        while current is not None and current.status == "queued" and current.request_seq is not None:
            answer = self._dispatcher.wait_for(current.request_seq)
            await asyncio.wait((answer,), timeout=_POLL_S)
            with contextlib.suppress(StoreUnavailableError):
                current = await self._context.database.read_soon(
                    lambda connection: stored_answers.get(connection, response.tenant, RESPONSE, response.id)
                )
        if response.request_seq is not None:
            self._dispatcher.stop_waiting(response.request_seq)
        return current


def _opening(response: StoredAnswer) -> list[bytes]:
    return encode_events(opening_events(response_object(response, response.status)))


def _closing(response: StoredAnswer, first: int) -> list[bytes]:
    return encode_events(output_events(response_object(response, response.status)), first)


def _headers(request: Request, kind: bytes) -> list[tuple[bytes, bytes]]:
    return [(b"content-type", kind), (b"x-request-id", request.id.encode())]
