"""Responses that go on from earlier ones: the gateway adds the earlier turns to their input from what it keeps.

A venue gets the whole input, whether it stores responses or not, and whichever venue answered before.
"""

from collections.abc import AsyncIterator
from typing import Any, Final

import msgspec

from meritorder.gateway import decoding
from meritorder.gateway.config import VenueKind
from meritorder.gateway.state.context import Context
from meritorder.gateway.store.responses import conversations, stored_answers
from meritorder.gateway.store.responses.conversations import Item
from meritorder.gateway.store.responses.stored_answers import CONVERSATION, RESPONSE, StoredAnswer
from meritorder.gateway.upstreams.upstream import Reply, Wrapped
from meritorder.gateway.venues.venues import Venues
from meritorder.gateway.wire import calls, checks
from meritorder.gateway.wire.echo import echoed_history
from meritorder.gateway.wire.errors import INVALID_JSON, ApiError, invalid_request
from meritorder.gateway.wire.events import DATA

_PREVIOUS: Final = "previous_response_id"
_CONVERSATION: Final = "conversation"
_MAX_TURNS: Final = 1000
_NO_ITEMS: Final = b"[]"


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
        refers = await decoding.run(_reference, body)
        previous, conversation = refers.previous_response_id, refers.conversation_id
        if previous is None and conversation is None:
            return body
        if previous is not None and refers.conversation is not None:
            message = f"'{_PREVIOUS}' and '{_CONVERSATION}' exclude each other."
            raise invalid_request(message, param=_PREVIOUS, code="mutually_exclusive_parameters")
        if conversation is not None and refers.store is False:
            raise invalid_request("A response of a conversation must be stored.", param="store", code="invalid_value")
        turns: list[bytes] | None
        if conversation is not None:
            turns = await self._conversation(tenant, conversation)
        elif isinstance(previous, str):
            turns = await self._turns(tenant, previous, str(refers.model))
        else:
            raise checks.wrong_type(_PREVIOUS, "a string", previous)
        if turns is None:
            return body
        whole = await decoding.run(_with_earlier, body, turns)
        if len(whole) > self._context.settings.limits.body_bytes:
            raise ApiError(413, "The input and the turns before it are too large.", code="request_too_large")
        return whole

    async def _conversation(self, tenant: str, conversation: str) -> list[bytes]:
        found = await self._find(tenant, CONVERSATION, conversation)
        if found is None:
            raise ApiError(404, f"Conversation with id '{conversation}' not found.", param=_CONVERSATION)
        return [found.answer or _NO_ITEMS]

    async def _turns(self, tenant: str, response_id: str, model: str) -> list[bytes] | None:
        """Return the items of a response and of those before it, as JSON by turn; None if a venue may know them."""
        turns: list[bytes] = []
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
            items, refers = await decoding.run(_turn, response.request, response.answer)
            turns.append(items)
            if refers.conversation_id is not None:
                found = await self._find(tenant, CONVERSATION, refers.conversation_id)
                if found is not None and found.answer is not None:
                    turns.append(await decoding.run(_before, found.answer, response.request, response.answer))
                break
            previous = refers.previous_response_id
        return turns[::-1]

    def _may_be_elsewhere(self, model: str) -> bool:
        return any(venue.table.kind == VenueKind.OPENAI and model in venue.served for venue in self._venues.all)

    async def _find(self, tenant: str, kind: str, item_id: str) -> StoredAnswer | None:
        return await self._context.database.read_soon(
            lambda connection: stored_answers.get(connection, tenant, kind, item_id)
        )


class _Reference(msgspec.Struct):
    """What a request goes on from."""

    previous_response_id: Any = None
    conversation: Any = None
    store: Any = None
    model: Any = None

    @property
    def conversation_id(self) -> str | None:
        """Id of the conversation that it names."""
        named = self.conversation.get("id") if isinstance(self.conversation, dict) else self.conversation
        return named if isinstance(named, str) else None


def _reference(request: bytes) -> _Reference:
    return msgspec.json.decode(request, type=_Reference)


def _turn(request: bytes, answer: bytes) -> tuple[bytes, _Reference]:
    """Return the items of a response as JSON, and what it goes on from."""
    items = [*conversations.request_items(request), *conversations.answer_items(answer)]
    return msgspec.json.encode(items), _reference(request)


def _before(conversation: bytes, request: bytes, answer: bytes) -> bytes:
    """Return the items of a conversation, as JSON, before a response that is part of it."""
    items: list[Item] = msgspec.json.decode(conversation)
    own = [item.get("id") for item in conversations.answer_items(answer)]
    first = next((index for index, item in enumerate(items) if item.get("id") in own), len(items))
    return msgspec.json.encode(items[: max(0, first - len(conversations.request_items(request)))])


def _with_earlier(request: bytes, turns: list[bytes]) -> bytes:
    """Return a request with the items of earlier turns before its own."""
    items = [item for turn in turns for item in msgspec.json.decode(turn)]
    items += conversations.request_items(request)
    return calls.with_fields(request, **{"input": items, _PREVIOUS: None, _CONVERSATION: None})


def with_history(body: bytes, request: bytes) -> bytes:
    """Return a response that names what its client's request goes on from."""
    return _with_fields(body, _history(request))


def _history(request: bytes) -> dict[str, Any]:
    return echoed_history(msgspec.json.decode(request))


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

    __slots__ = ("_fields", "_request")

    def __init__(self, reply: Reply, request: bytes) -> None:
        super().__init__(reply)
        self._request = request
        self._fields: dict[str, Any] = {}

    @property
    def body(self) -> AsyncIterator[bytes]:
        """The events as they arrive."""
        return self._events()

    async def read(self) -> bytes:
        """Return the whole response."""
        body = await self._reply.read()
        return body if self.status >= 400 else await decoding.run(with_history, body, self._request)

    async def _events(self) -> AsyncIterator[bytes]:
        self._fields = await decoding.run(_history, self._request)
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
