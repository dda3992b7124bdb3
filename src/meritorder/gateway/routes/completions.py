"""`/v1/chat/completions/{id}`: chat completions stored with `store: true`."""

import json
from functools import partial
from typing import Any, Final

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from meritorder.gateway import decoding
from meritorder.gateway.routes.answering import (
    DEFAULT_PAGE,
    MAX_PAGE,
    caller,
    is_ascending,
    json_response,
    page_object,
    small_object,
)
from meritorder.gateway.state.context import Context
from meritorder.gateway.store.responses import stored_answers
from meritorder.gateway.store.responses.stored_answers import COMPLETION, StoredAnswer
from meritorder.gateway.wire import checks
from meritorder.gateway.wire.errors import ApiError
from meritorder.gateway.wire.objects import list_object

_PATH: Final = "/v1/chat/completions"


class Completions:
    """The routes of stored chat completions."""

    def __init__(self, context: Context) -> None:
        self._context = context

    def routes(self) -> list[Route]:
        """Return the routes."""
        return [
            Route(_PATH, self.list, methods=["GET"]),
            Route(_PATH + "/{completion_id}", self.retrieve, methods=["GET"]),
            Route(_PATH + "/{completion_id}", self.update, methods=["POST"]),
            Route(_PATH + "/{completion_id}", self.delete, methods=["DELETE"]),
            Route(_PATH + "/{completion_id}/messages", self.messages, methods=["GET"]),
        ]

    async def list(self, request: Request) -> Response:
        """List completions, oldest first, optionally by model and metadata."""
        key, query = await caller(self._context, request), request.query_params
        ascending = is_ascending(request, "asc")
        limit = checks.limit(query.get("limit"), default=DEFAULT_PAGE, maximum=MAX_PAGE)
        wanted_metadata = {name[9:-1]: value for name, value in query.items() if name.startswith("metadata[")}
        matching: list[dict[str, Any]] = []
        after, more = query.get("after"), True
        while more and len(matching) <= limit:
            page = await self._context.database.read_soon(
                partial(
                    stored_answers.pages,
                    tenant=key.tenant,
                    kind=COMPLETION,
                    after=after,
                    limit=MAX_PAGE,
                    ascending=ascending,
                    model=query.get("model"),
                )
            )
            matching += [
                await decoding.run(_object, completion)
                for completion in page.items
                if wanted_metadata.items() <= _metadata(completion).items()
            ]
            after, more = (page.items[-1].id, page.has_more) if page.items else (after, False)
        return json_response(list_object(matching[:limit], has_more=len(matching) > limit))

    async def retrieve(self, request: Request) -> Response:
        """Return a completion."""
        return await self._response(await self._find(request))

    async def update(self, request: Request) -> Response:
        """Replace the metadata of a completion."""
        completion = await self._find(request)
        fields = await small_object(self._context, request)
        metadata = checks.metadata(checks.required(fields, "metadata"))
        await self._context.database.write_soon(
            lambda connection: stored_answers.set_metadata(
                connection, completion.tenant, COMPLETION, completion.id, metadata
            )
        )
        return await self._response(await self._find(request))

    async def delete(self, request: Request) -> Response:
        """Delete a completion."""
        completion = await self._find(request)
        await self._context.database.write_soon(
            lambda connection: stored_answers.remove(connection, completion.tenant, COMPLETION, completion.id)
        )
        return json_response({"object": "chat.completion.deleted", "id": completion.id, "deleted": True})

    async def messages(self, request: Request) -> Response:
        """Return the messages of the request."""
        completion = await self._find(request)
        items = await decoding.run(_messages, completion)
        return json_response(page_object(items, request, ascending=is_ascending(request, "asc")))

    async def _response(self, completion: StoredAnswer) -> Response:
        return json_response(await decoding.run(_object, completion))

    async def _find(self, request: Request) -> StoredAnswer:
        key, completion_id = await caller(self._context, request), request.path_params["completion_id"]
        completion = await self._context.database.read_soon(
            lambda connection: stored_answers.get(connection, key.tenant, COMPLETION, completion_id)
        )
        if completion is None:
            raise ApiError(404, f"Chat completion with id '{completion_id}' not found.", param="id")
        return completion


def _metadata(completion: StoredAnswer) -> dict[str, Any]:
    return json.loads(completion.metadata) if completion.metadata else {}


def _object(completion: StoredAnswer) -> dict[str, Any]:
    return {**msgspec.json.decode(completion.answer or b"{}"), "metadata": _metadata(completion)}


def _messages(completion: StoredAnswer) -> list[dict[str, Any]]:
    messages = msgspec.json.decode(completion.request).get("messages") or []
    return [
        {"content": None, "refusal": None, **message, "id": message.get("id", f"{completion.id}-{number}")}
        for number, message in enumerate(messages)
    ]
