"""`/v1/responses/{id}`: stored responses and background responses."""

from typing import Any, Final

from sqlalchemy import Connection
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from meritorder.gateway import decoding
from meritorder.gateway.lanes.background import ResponseStreams
from meritorder.gateway.routes.answering import caller, is_ascending, json_response, page_object
from meritorder.gateway.state.context import Context
from meritorder.gateway.store.queue import requests
from meritorder.gateway.store.responses import conversations, stored_answers
from meritorder.gateway.store.responses.stored_answers import RESPONSE, StoredAnswer
from meritorder.gateway.wire import checks
from meritorder.gateway.wire.errors import ApiError, invalid_request
from meritorder.gateway.wire.objects import response_body
from meritorder.gateway.workers.dispatch import Dispatcher

_PATH: Final = "/v1/responses/{response_id}"


class Responses:
    """The routes of stored responses.

    Args:
        context: The shared state.
        dispatcher: Cancels the requests of deleted and cancelled responses.
    """

    def __init__(self, context: Context, dispatcher: Dispatcher) -> None:
        self._context = context
        self._dispatcher = dispatcher
        self._streams = ResponseStreams(context, dispatcher)

    def routes(self) -> list[Route]:
        """Return the routes."""
        return [
            Route(_PATH, self.retrieve, methods=["GET"]),
            Route(_PATH, self.delete, methods=["DELETE"]),
            Route(_PATH + "/cancel", self.cancel, methods=["POST"]),
            Route(_PATH + "/input_items", self.input_items, methods=["GET"]),
        ]

    async def retrieve(self, request: Request) -> Response:
        """Return a response in its current state or, on request, as a stream of events."""
        response = await self._find(request)
        if request.query_params.get("stream") == "true":
            after = checks.integer("starting_after", request.query_params.get("starting_after"), default=-1)
            return StreamingResponse(self._streams.events(response, after=after), media_type="text/event-stream")
        return await self._response(response)

    async def delete(self, request: Request) -> Response:
        """Delete a response, and cancel its request."""
        response = await self._find(request)

        def change(connection: Connection) -> None:
            if response.request_seq is not None:
                requests.end(connection, response.request_seq)
            stored_answers.remove(connection, response.tenant, RESPONSE, response.id)

        await self._context.database.write_soon(change)
        self._cancel_request(response)
        return json_response({"id": response.id, "object": "response", "deleted": True})

    async def cancel(self, request: Request) -> Response:
        """Cancel a background response."""
        response = await self._find(request)
        if response.request_seq is None:
            raise invalid_request("Cannot cancel a synchronous response.", param="id")

        def change(connection: Connection) -> None:
            if stored_answers.cancel(connection, response.tenant, response.id):
                requests.end(connection, response.request_seq or 0)
                self._context.webhooks.announce(connection, response.tenant, "response.cancelled", response.id)

        await self._context.database.write_soon(change)
        self._cancel_request(response)
        return await self._response(await self._find(request))

    async def input_items(self, request: Request) -> Response:
        """Return the input items of the request."""
        response = await self._find(request)
        items = await decoding.run(_input_items, response)
        return json_response(page_object(items, request, ascending=is_ascending(request, "desc")))

    def _cancel_request(self, response: StoredAnswer) -> None:
        if response.request_seq is not None:
            self._dispatcher.cancel({response.request_seq})

    async def _find(self, request: Request) -> StoredAnswer:
        key, response_id = await caller(self._context, request), request.path_params["response_id"]
        response = await self._context.database.read_soon(
            lambda connection: stored_answers.get(connection, key.tenant, RESPONSE, response_id)
        )
        if response is None:
            raise ApiError(404, f"Response with id '{response_id}' not found.", param="id")
        return response

    async def _response(self, response: StoredAnswer) -> Response:
        status = response.status
        if response.status == "queued" and response.request_seq is not None:
            seq = response.request_seq
            if await self._context.database.read_soon(lambda connection: requests.is_running(connection, seq)):
                status = "in_progress"
        return Response(await decoding.run(response_body, response, status), media_type="application/json")


def _input_items(response: StoredAnswer) -> list[dict[str, Any]]:
    """Return the input of a response as items, whose ids follow from the response's."""
    prefix = f"msg_{response.id.removeprefix('resp_')}_"
    items = conversations.request_items(response.request)
    return conversations.with_ids([{"id": f"{prefix}{number}", **fields} for number, fields in enumerate(items)])
