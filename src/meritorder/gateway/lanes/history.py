"""Responses that go on from earlier ones: the gateway adds the earlier turns to their input from what it keeps.

A venue gets the whole input, whether it stores responses or not, and whichever venue answered before.
"""

from collections.abc import AsyncIterator
from typing import Any, Final

import msgspec

from meritorder.gateway.config import VenueKind
from meritorder.gateway.state.context import Context
from meritorder.gateway.store import conversations, stored_answers
from meritorder.gateway.store.conversations import Item
from meritorder.gateway.store.stored_answers import CONVERSATION, RESPONSE, StoredAnswer
from meritorder.gateway.upstreams.upstream import Reply, Wrapped
from meritorder.gateway.venues.venues import Venues
from meritorder.gateway.wire import calls, checks
from meritorder.gateway.wire.echo import echoed_history
from meritorder.gateway.wire.errors import INVALID_JSON, ApiError, invalid_request
from meritorder.gateway.wire.events import DATA

_PREVIOUS: Final = "previous_response_id"
_CONVERSATION: Final = "conversation"
_MAX_TURNS: Final = 1000


class EarlierTurns:
    """Adds earlier turns to requests.

    Args:
        context: The shared state.
        venues: Only venues of OpenAI's kind may know responses that this gateway does not.
    """

    def __init__(self, context: Context, venues: Venues) -> None:
        self._context = context
        self._venues = venues

    async def expanded(self, tenant: str, body: bytes) -> bytes:
        """Return a request with the turns before it as part of its input; unchanged if it names none.

        Raises:
            ApiError: It names a response or a conversation that is not known.
        """
        if _PREVIOUS.encode() not in body and _CONVERSATION.encode() not in body:
            return body
        fields = checks.json_object(body)
        previous, conversation = fields.get(_PREVIOUS), conversations.conversation_id(body)
        if previous is None and conversation is None:
            return body
        if previous is not None and fields.get(_CONVERSATION) is not None:
            message = f"'{_PREVIOUS}' and '{_CONVERSATION}' exclude each other."
            raise invalid_request(message, param=_PREVIOUS, code="mutually_exclusive_parameters")
        if conversation is not None and fields.get("store") is False:
            raise invalid_request("A response of a conversation must be stored.", param="store", code="invalid_value")
        earlier: list[Item] | None
        if conversation is not None:
            earlier = await self._conversation_items(tenant, conversation)
        elif isinstance(previous, str):
            earlier = await self._earlier_items(tenant, previous, str(fields.get("model")))
        else:
            raise checks.wrong_type(_PREVIOUS, "a string", previous)
        if earlier is None:
            return body
        items = [*earlier, *conversations.request_items(body)]
        whole = calls.with_fields(body, **{"input": items, _PREVIOUS: None, _CONVERSATION: None})
        if len(whole) > self._context.settings.limits.body_bytes:
            raise ApiError(413, "The input and the turns before it are too large.", code="request_too_large")
        return whole

    async def _conversation_items(self, tenant: str, conversation: str) -> list[Item]:
        found = await self._find(tenant, CONVERSATION, conversation)
        if found is None:
            raise ApiError(404, f"Conversation with id '{conversation}' not found.", param=_CONVERSATION)
        return conversations.items_of(found)

    async def _earlier_items(self, tenant: str, response_id: str, model: str) -> list[Item] | None:
        """Return the items of a response and of those before it; None if a venue may know them."""
        turns: list[list[Item]] = []
        seen: set[str] = set()
        previous: str | None = response_id
        while previous is not None and previous not in seen and len(turns) < _MAX_TURNS:
            seen.add(previous)
            response = await self._find(tenant, RESPONSE, previous)
            if response is None and self._may_be_elsewhere(model):
                return None
            if response is None or response.answer is None:
                message = f"Previous response with id '{previous}' not found."
                raise invalid_request(message, param=_PREVIOUS, code="previous_response_not_found")
            turns.append([*conversations.request_items(response.request), *conversations.answer_items(response.answer)])
            if (named := conversations.conversation_id(response.request)) is not None:
                turns.append(await self._conversation_before(tenant, named, response))
                break
            previous = msgspec.json.decode(response.request).get(_PREVIOUS)
        return [item for turn in reversed(turns) for item in turn]

    async def _conversation_before(self, tenant: str, conversation: str, response: StoredAnswer) -> list[Item]:
        """Return the items of a conversation before a response that was part of it."""
        found = await self._find(tenant, CONVERSATION, conversation)
        items = [] if found is None else conversations.items_of(found)
        own = {item.get("id") for item in conversations.answer_items(response.answer)}
        first = next((index for index, item in enumerate(items) if item.get("id") in own), len(items))
        return items[: max(0, first - len(conversations.request_items(response.request)))]

    def _may_be_elsewhere(self, model: str) -> bool:
        return any(venue.table.kind == VenueKind.OPENAI and model in venue.served for venue in self._venues.all)

    async def _find(self, tenant: str, kind: str, item_id: str) -> StoredAnswer | None:
        return await self._context.database.read_soon(
            lambda connection: stored_answers.get(connection, tenant, kind, item_id)
        )


def with_history(body: bytes, request: bytes | None) -> bytes:
    """Return a response that names what its client's request goes on from; as it is if no turns were added."""
    return body if request is None else _with_fields(body, echoed_history(msgspec.json.decode(request)))


def _with_fields(body: bytes, fields: dict[str, Any]) -> bytes:
    try:
        whole: Any = msgspec.json.decode(body)
    except INVALID_JSON:
        return body
    return msgspec.json.encode(whole | fields) if isinstance(whole, dict) else body


class EchoingReply(Wrapped):
    """A response that names the response or the conversation that the client named. See `upstream.Reply`.

    Args:
        reply: The venue's reply to the request with the earlier turns.
        request: The client's request.
    """

    __slots__ = ("_fields",)

    def __init__(self, reply: Reply, request: bytes) -> None:
        super().__init__(reply)
        self._fields = echoed_history(msgspec.json.decode(request))

    @property
    def body(self) -> AsyncIterator[bytes]:
        """The events as they arrive."""
        return self._events()

    async def read(self) -> bytes:
        """Return the whole response."""
        body = await self._reply.read()
        return body if self.status >= 400 else _with_fields(body, self._fields)

    async def _events(self) -> AsyncIterator[bytes]:
        async for part in self._reply.body:  # which consists of complete events
            yield b"\n".join(map(self._line, part.split(b"\n")))

    def _line(self, line: bytes) -> bytes:
        if not line.startswith(DATA) or b'"response"' not in line:
            return line
        try:
            event: Any = msgspec.json.decode(line[len(DATA) :])
        except INVALID_JSON:
            return line
        if not isinstance(event, dict) or not isinstance(event.get("response"), dict):
            return line
        event["response"] |= self._fields
        return DATA + b" " + msgspec.json.encode(event)
