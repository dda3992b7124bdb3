"""`/v1/conversations`: items that several responses share."""

from typing import Any, Final

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from meritorder.gateway import decoding
from meritorder.gateway.routes.answering import (
    caller,
    is_ascending,
    json_response,
    page_object,
    small_object,
    whole_body,
)
from meritorder.gateway.state.context import Context
from meritorder.gateway.store.responses import conversations, stored_answers
from meritorder.gateway.store.responses.conversations import Item
from meritorder.gateway.store.responses.stored_answers import CONVERSATION, StoredAnswer
from meritorder.gateway.wire import checks
from meritorder.gateway.wire.errors import ApiError
from meritorder.gateway.wire.objects import conversation_object, list_object

_PATH: Final = "/v1/conversations/{conversation_id}"
MAX_NEW_ITEMS: Final = 20  # as OpenAI


class Conversations:
    """The routes of conversations."""

    def __init__(self, context: Context) -> None:
        self._context = context

    def routes(self) -> list[Route]:
        """Return the routes."""
        return [
            Route("/v1/conversations", self.create, methods=["POST"]),
            Route(_PATH, self.retrieve, methods=["GET"]),
            Route(_PATH, self.update, methods=["POST"]),
            Route(_PATH, self.delete, methods=["DELETE"]),
            Route(_PATH + "/items", self.add_items, methods=["POST"]),
            Route(_PATH + "/items", self.list_items, methods=["GET"]),
            Route(_PATH + "/items/{item_id}", self.retrieve_item, methods=["GET"]),
            Route(_PATH + "/items/{item_id}", self.delete_item, methods=["DELETE"]),
        ]

    async def create(self, request: Request) -> Response:
        """Create a conversation, with its first items if there are some."""
        key = await caller(self._context, request)
        items, metadata = await decoding.run(_new_conversation, await whole_body(self._context, request))
        conversation = StoredAnswer(
            id=self._context.new_id("conv_"),
            kind=CONVERSATION,
            tenant=key.tenant,
            model=None,
            status="completed",
            request=b"{}",
            answer=items,
            metadata=metadata,
            created_s=self._context.now_s(),
        )
        await self._context.database.write_soon(lambda connection: stored_answers.add(connection, conversation))
        return json_response(conversation_object(conversation))

    async def retrieve(self, request: Request) -> Response:
        """Return a conversation."""
        return json_response(conversation_object(await self._find(request)))

    async def update(self, request: Request) -> Response:
        """Replace the metadata of a conversation."""
        found = await self._find(request)
        fields = await small_object(self._context, request)
        metadata = checks.metadata(checks.required(fields, "metadata"))
        await self._context.database.write_soon(
            lambda connection: stored_answers.set_metadata(connection, found.tenant, CONVERSATION, found.id, metadata)
        )
        return json_response(conversation_object(await self._find(request)))

    async def delete(self, request: Request) -> Response:
        """Delete a conversation; its responses stay."""
        found = await self._find(request)
        await self._context.database.write_soon(
            lambda connection: stored_answers.remove(connection, found.tenant, CONVERSATION, found.id)
        )
        return json_response({"id": found.id, "object": "conversation.deleted", "deleted": True})

    async def add_items(self, request: Request) -> Response:
        """Add items at the end of a conversation."""
        found = await self._find(request)
        items = await decoding.run(_added_items, await whole_body(self._context, request))
        await self._context.database.write_soon(
            lambda connection: conversations.append(connection, found.tenant, found.id, items)
        )
        return json_response(list_object(items, has_more=False))

    async def list_items(self, request: Request) -> Response:
        """List the items, newest first."""
        items = await decoding.run(conversations.items_of, await self._find(request))
        return json_response(page_object(items, request, ascending=is_ascending(request, "desc")))

    async def retrieve_item(self, request: Request) -> Response:
        """Return an item."""
        return json_response(await self._item(request, await self._find(request)))

    async def delete_item(self, request: Request) -> Response:
        """Delete an item, and return the conversation."""
        found = await self._find(request)
        item_id = (await self._item(request, found))["id"]
        await self._context.database.write_soon(
            lambda connection: conversations.remove_item(connection, found.tenant, found.id, item_id)
        )
        return json_response(conversation_object(found))

    async def _item(self, request: Request, conversation: StoredAnswer) -> Item:
        item_id = request.path_params["item_id"]
        item = await decoding.run(_find_item, conversation, item_id)
        if item is None:
            raise ApiError(404, f"Item with id '{item_id}' not found.", param="item_id")
        return item

    async def _find(self, request: Request) -> StoredAnswer:
        key, conversation_id = await caller(self._context, request), request.path_params["conversation_id"]
        found = await self._context.database.read_soon(
            lambda connection: stored_answers.get(connection, key.tenant, CONVERSATION, conversation_id)
        )
        if found is None:
            raise ApiError(404, f"Conversation with id '{conversation_id}' not found.", param="conversation_id")
        return found


def _find_item(conversation: StoredAnswer, item_id: str) -> Item | None:
    return next((item for item in conversations.items_of(conversation) if item.get("id") == item_id), None)


def _new_conversation(body: bytes) -> tuple[bytes, str | None]:
    """Return the items of a new conversation as JSON, and its metadata."""
    fields = checks.json_object(body)
    return msgspec.json.encode(_new_items(fields)), checks.metadata(fields.get("metadata"))


def _added_items(body: bytes) -> list[Item]:
    fields = checks.json_object(body)
    if not fields.get("items"):
        raise checks.missing("items")
    return _new_items(fields)


def _new_items(fields: dict[str, Any]) -> list[Item]:
    items = [] if fields.get("items") is None else fields["items"]
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        raise checks.wrong_type("items", "an array of objects", items)
    for number, item in enumerate(items):
        if not isinstance(item.get("type"), str | None):
            raise checks.wrong_type(f"items[{number}].type", "a string", item["type"])
    checks.check_range("items", len(items), 0, MAX_NEW_ITEMS)
    return conversations.with_ids(items)
