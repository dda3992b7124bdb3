"""Background responses: queued durably, answered at once with their id."""

from dataclasses import replace
from typing import Final

import msgspec
from sqlalchemy import Connection

from meritorder.gateway.lanes.deferred import Held
from meritorder.gateway.lanes.response_stream import Following
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


class Background:
    """Takes background responses.

    Args:
        context: What is shared.
        held: Makes rows of the queue.
        dispatcher: Who runs them.
    """

    def __init__(self, context: Context, held: Held, dispatcher: Dispatcher) -> None:
        self._context = context
        self._held = held
        self._dispatcher = dispatcher
        self._following = Following(context, dispatcher)

    async def take(self, request: Request, deferral: Deferral, send: Send) -> None:
        """Queue a response, and answer with it as it is now; or with its events as they come, if it is streamed.

        Raises:
            ApiError: It is no response, or asks not to be stored.
        """
        item = await self._queue(request, deferral)
        self._dispatcher.wake()
        if not request.call.stream:
            await respond(send, 200, _headers(request, _JSON), msgspec.json.encode(response_object(item, "queued")))
            return
        await send({"type": "http.response.start", "status": 200, "headers": _headers(request, _EVENTS)})
        async for each in self._following.events(item):
            await send({"type": "http.response.body", "body": each, "more_body": True})
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
        fields = self._held.fields(request, deferral) | {"body": body, "body_bytes": len(body), "id": item.id}

        def change(connection: Connection) -> int:
            seq = requests.add_call(connection, **fields)
            stored_answers.add(connection, item, request_seq=seq)
            return seq

        return replace(item, request_seq=await self._context.database.write_soon(change))


def _headers(request: Request, kind: bytes) -> list[tuple[bytes, bytes]]:
    return [(b"content-type", kind), (b"x-request-id", request.id.encode())]
