"""Background responses: queued durably, and answered at once with their id or as a stream of events."""

from dataclasses import replace
from typing import Final

import msgspec
from sqlalchemy import Connection

from meritorder.gateway.lanes.deferred import queue_row
from meritorder.gateway.lanes.response_stream import ResponseStreams
from meritorder.gateway.state.context import Context
from meritorder.gateway.state.request import Deferral, Request
from meritorder.gateway.store import requests, stored_answers
from meritorder.gateway.store.stored_answers import RESPONSE, StoredAnswer
from meritorder.gateway.wire import calls
from meritorder.gateway.wire.asgi import Send, respond
from meritorder.gateway.wire.errors import invalid_request
from meritorder.gateway.wire.objects import response_object
from meritorder.gateway.workers.dispatch import Dispatcher

_EVENTS: Final = b"text/event-stream; charset=utf-8"
_JSON: Final = b"application/json"


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
        item = await self._queue(request, deferral)
        self._dispatcher.wake()
        if not request.call.stream:
            await respond(send, 200, _headers(request, _JSON), msgspec.json.encode(response_object(item, "queued")))
            return
        await send({"type": "http.response.start", "status": 200, "headers": _headers(request, _EVENTS)})
        async for event in self._streams.events(item):
            await send({"type": "http.response.body", "body": event, "more_body": True})
        await send({"type": "http.response.body", "body": b""})

    async def _queue(self, request: Request, deferral: Deferral) -> StoredAnswer:
        if request.endpoint != "/v1/responses":
            raise invalid_request(
                "Only responses run in the background.", param="background", code="unsupported_parameter"
            )
        if request.call.store is False:
            raise invalid_request("A background response must be stored.", param="store", code="invalid_value")
        item = StoredAnswer(
            id=self._context.new_id("resp_"),
            kind=RESPONSE,
            tenant=request.key.tenant,
            model=request.call.model,
            status="queued",
            request=request.body,
            created_s=request.arrived_s,
        )
        body = calls.with_fields(request.body, background=None, background_options=None, stream=None)
        row = queue_row(request, deferral, self._context.traceparent())
        row |= {"body": body, "body_bytes": len(body), "id": item.id}

        def change(connection: Connection) -> int:
            seq = requests.add_call(connection, **row)
            stored_answers.add(connection, item, request_seq=seq)
            return seq

        return replace(item, request_seq=await self._context.database.write_soon(change))


def _headers(request: Request, kind: bytes) -> list[tuple[bytes, bytes]]:
    return [(b"content-type", kind), (b"x-request-id", request.id.encode())]
