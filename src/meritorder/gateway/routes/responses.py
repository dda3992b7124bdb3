"""`/v1/responses/{id}`: responses that are kept, and those that are made in the background."""

from typing import Any, Final

import msgspec
from sqlalchemy import Connection
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from meritorder.gateway.core import Core
from meritorder.gateway.held import as_events
from meritorder.gateway.release import Release
from meritorder.gateway.routes.answering import caller, json_response
from meritorder.gateway.routes.listing import cut, order_of
from meritorder.gateway.store import kept, waiting
from meritorder.gateway.store.kept import RESPONSE, Kept
from meritorder.gateway.wire.problems import Problem, invalid

_PATH: Final = "/v1/responses/{response_id}"


class Responses:
    """The routes of kept responses.

    Args:
        core: What is shared.
        release: Told of those that are not wanted any more.
    """

    def __init__(self, core: Core, release: Release) -> None:
        self._core = core
        self._release = release

    def routes(self) -> list[Route]:
        """Return the routes."""
        return [
            Route(_PATH, self.retrieve, methods=["GET"]),
            Route(_PATH, self.delete, methods=["DELETE"]),
            Route(_PATH + "/cancel", self.cancel, methods=["POST"]),
            Route(_PATH + "/input_items", self.input_items, methods=["GET"]),
        ]

    async def retrieve(self, request: Request) -> Response:
        """Return a response as far as it is; as a stream of events if asked."""
        item = await self._item(request)
        answer = await self._object(item)
        if request.query_params.get("stream") == "true":
            return Response(as_events(msgspec.json.encode(answer)), media_type="text/event-stream")
        return json_response(answer)

    async def delete(self, request: Request) -> Response:
        """Keep it no longer, and make it no further."""
        item = await self._item(request)

        def change(connection: Connection) -> None:
            if item.request_seq is not None:
                waiting.end(connection, item.request_seq)
            kept.remove(connection, item.tenant, RESPONSE, item.id)

        await self._core.database.write_soon(change)
        self._break_off(item)
        return json_response({"id": item.id, "object": "response", "deleted": True})

    async def cancel(self, request: Request) -> Response:
        """Cancel a background response."""
        item = await self._item(request)
        if item.request_seq is None:
            raise invalid("Cannot cancel a synchronous response.", param="id")

        def change(connection: Connection) -> None:
            if kept.cancelled(connection, item.tenant, item.id):
                waiting.end(connection, item.request_seq or 0)
                self._core.webhooks.announce(connection, item.tenant, "response.cancelled", item.id)

        await self._core.database.write_soon(change)
        self._break_off(item)
        return json_response(await self._object(await self._item(request)))

    async def input_items(self, request: Request) -> Response:
        """Return what it was asked with."""
        item = await self._item(request)
        return json_response(cut(_items(item), request, ascending=order_of(request, "desc")))

    def _break_off(self, item: Kept) -> None:
        if item.request_seq is not None:
            self._release.break_off({item.request_seq})

    async def _item(self, request: Request) -> Kept:
        key, item_id = await caller(self._core, request), request.path_params["response_id"]
        item = await self._core.database.read_soon(
            lambda connection: kept.get(connection, key.tenant, RESPONSE, item_id)
        )
        if item is None:
            raise Problem(404, f"Response with id '{item_id}' not found.", param="id")
        return item

    async def _object(self, item: Kept) -> dict[str, Any]:
        if item.status == "queued" and item.request_seq is not None:
            seq = item.request_seq
            if await self._core.database.read_soon(lambda connection: waiting.is_running(connection, seq)):
                return response_object(item, "in_progress")
        return response_object(item, item.status)


def response_object(item: Kept, status: str) -> dict[str, Any]:
    """Return a response: as the venue answered it under our id, or as far as it is known before."""
    answer = msgspec.json.decode(item.answer) if item.answer else {}
    if status == "completed":
        return {**answer, "id": item.id, **({"background": True} if item.request_seq is not None else {})}
    asked = msgspec.json.decode(item.request)
    error = answer.get("error") if status == "failed" else None
    if error is not None:
        error = {"code": "server_error", "message": error.get("message") or "The request failed."}
    return {
        "id": item.id,
        "object": "response",
        "created_at": int(item.created_s),
        "status": status,
        "background": True,
        "error": error,
        "incomplete_details": None,
        "instructions": asked.get("instructions"),
        "max_output_tokens": asked.get("max_output_tokens"),
        "metadata": asked.get("metadata") or {},
        "model": item.model,
        "output": [],
        "parallel_tool_calls": asked.get("parallel_tool_calls", True),
        "previous_response_id": asked.get("previous_response_id"),
        "service_tier": asked.get("service_tier"),
        "temperature": asked.get("temperature"),
        "tool_choice": asked.get("tool_choice", "auto"),
        "tools": asked.get("tools") or [],
        "top_p": asked.get("top_p"),
        "usage": None,
    }


def _items(item: Kept) -> list[dict[str, Any]]:
    asked = msgspec.json.decode(item.request).get("input") or []
    if isinstance(asked, str):
        asked = [{"role": "user", "content": asked}]
    return [_item(each, f"msg_{item.id.removeprefix('resp_')}_{number}") for number, each in enumerate(asked)]


def _item(given: dict[str, Any], item_id: str) -> dict[str, Any]:
    item = {"id": item_id, **given}
    if item.get("type", "message") == "message":
        content = item.get("content")
        if isinstance(content, str):
            kind = "output_text" if item.get("role") == "assistant" else "input_text"
            content = [{"type": kind, "text": content}]
        item |= {"type": "message", "status": item.get("status", "completed"), "content": content}
    return item
