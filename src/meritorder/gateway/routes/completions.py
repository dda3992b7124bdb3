"""`/v1/chat/completions/{id}`: chat completions that were asked for with `store: true`."""

import json
from functools import partial
from typing import Any, Final

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from meritorder.gateway.lanes.answer_recorder import kept_soon
from meritorder.gateway.routes.answering import caller, cut, json_response, order_of, whole_body
from meritorder.gateway.state.context import Context
from meritorder.gateway.store import stored_answers
from meritorder.gateway.store.stored_answers import COMPLETION, StoredAnswer
from meritorder.gateway.wire import checks
from meritorder.gateway.wire.errors import ApiError
from meritorder.gateway.wire.objects import list_object

_PATH: Final = "/v1/chat/completions"
_MAX_PAGE: Final = 100


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
        """List them, the oldest first, by model and metadata if asked."""
        key, asked = await caller(self._context, request), request.query_params
        ascending = order_of(request, "asc")
        limit = checks.limit(asked.get("limit"), default=20, maximum=_MAX_PAGE)
        wanted = {name[9:-1]: value for name, value in asked.items() if name.startswith("metadata[")}
        found: list[dict[str, Any]] = []
        after, more = asked.get("after"), True
        while more and len(found) <= limit:
            page = await self._context.database.read_soon(
                partial(
                    stored_answers.pages,
                    tenant=key.tenant,
                    kind=COMPLETION,
                    after=after,
                    limit=_MAX_PAGE,
                    ascending=ascending,
                    model=asked.get("model"),
                )
            )
            objects = map(_object, page.items)
            found += [each for each in objects if wanted.items() <= (each["metadata"] or {}).items()]
            after, more = (page.items[-1].id, page.has_more) if page.items else (after, False)
        return json_response(list_object(found[:limit], has_more=len(found) > limit))

    async def retrieve(self, request: Request) -> Response:
        """Return one."""
        return json_response(_object(await self._item(request)))

    async def update(self, request: Request) -> Response:
        """Change its metadata."""
        item = await self._item(request)
        asked = checks.json_object(await whole_body(self._context, request))
        metadata = checks.metadata(asked.get("metadata"))
        await self._context.database.write_soon(
            lambda connection: stored_answers.set_metadata(connection, item.tenant, COMPLETION, item.id, metadata)
        )
        return json_response(_object(await self._item(request)))

    async def delete(self, request: Request) -> Response:
        """Keep it no longer."""
        item = await self._item(request)
        await self._context.database.write_soon(
            lambda connection: stored_answers.remove(connection, item.tenant, COMPLETION, item.id)
        )
        return json_response({"object": "chat.completion.deleted", "id": item.id, "deleted": True})

    async def messages(self, request: Request) -> Response:
        """Return what it was asked with."""
        item = await self._item(request)
        asked = msgspec.json.decode(item.request).get("messages") or []
        found = [
            {"content": None, "refusal": None, **message, "id": message.get("id", f"{item.id}-{number}")}
            for number, message in enumerate(asked)
        ]
        return json_response(cut(found, request, ascending=order_of(request, "asc")))

    async def _item(self, request: Request) -> StoredAnswer:
        key, item_id = await caller(self._context, request), request.path_params["completion_id"]
        item = await kept_soon(self._context, key.tenant, COMPLETION, item_id)
        if item is None:
            raise ApiError(404, f"Chat completion with id '{item_id}' not found.", param="id")
        return item


def _object(item: StoredAnswer) -> dict[str, Any]:
    metadata = json.loads(item.metadata) if item.metadata else {}
    return {**msgspec.json.decode(item.answer or b"{}"), "metadata": metadata}
