"""A venue whose responses are translated to chat completions, always or if it turns out to lack responses."""

import time
from collections.abc import AsyncIterator
from enum import StrEnum
from functools import partial
from typing import Any, Final

import msgspec

from meritorder.gateway import decoding
from meritorder.gateway.errors import BrokenAnswerError, checked_contract, checked_request
from meritorder.gateway.upstreams.dialects.fields import Json, decode
from meritorder.gateway.upstreams.responses.answer import ResponseDraft, to_response
from meritorder.gateway.upstreams.responses.events import ResponseEvents
from meritorder.gateway.upstreams.responses.request import to_chat
from meritorder.gateway.upstreams.upstream import Call, EngineLoad, Reply, Upstream, WholeReply, Wrapped
from meritorder.gateway.wire.errors import INVALID_JSON
from meritorder.gateway.wire.events import parse_events
from meritorder.gateway.wire.replay import encode_events

_RESPONSES: Final = "/v1/responses"
_CHAT: Final = "/v1/chat/completions"
_NO_SUCH_PATH: Final = (404, 405, 501)


class ResponsesApi(StrEnum):
    """How a venue serves responses."""

    NATIVE = "native"  # by its own API
    CHAT = "chat"  # as chat completions, which the gateway translates
    AUTO = "auto"  # by its own API if it has one, else as chat completions


class ResponsesUpstream:
    """An upstream that serves responses as chat completions. See `upstream.Upstream`.

    Args:
        inner: The venue.
        api: How it serves responses.
    """

    def __init__(self, inner: Upstream, api: ResponsesApi) -> None:
        self.name = inner.name
        self._inner = inner
        self._api = api

    async def send(self, call: Call) -> Reply:
        """Send a request; a response as a chat completion if the venue lacks responses."""
        if call.path != _RESPONSES or self._api is ResponsesApi.NATIVE:
            return await self._inner.send(call)
        if self._api is ResponsesApi.AUTO:
            reply = await self._inner.send(call)
            if reply.status not in _NO_SUCH_PATH:
                return reply
            if not await decoding.run(_lacks_path, await reply.read()):
                return reply
            self._api = ResponsesApi.CHAT
        return await self._send_as_chat(call)

    async def _send_as_chat(self, call: Call) -> Reply:
        with checked_request(self.name):
            translate = partial(_as_chat, venue=self.name, stream=call.stream)
            body, request = await decoding.run(translate, call.body)
        reply = await self._inner.send(msgspec.structs.replace(call, path=_CHAT, body=body))
        if reply.status != 200:
            return reply
        created_s = int(time.time())
        if call.stream:
            return _EventReply(reply, ResponseDraft(request=request, created_s=created_s), self.name)
        with checked_contract(self.name):
            response = await decoding.run(_as_response, await reply.read(), request, created_s)
        return WholeReply(200, reply.headers, response)

    async def load(self) -> EngineLoad | None:
        """Return the load that the engine reports; None if it cannot be read."""
        return await self._inner.load()

    async def close(self) -> None:
        """Close the connections to the venue."""
        await self._inner.close()


def _as_chat(body: bytes, *, venue: str, stream: bool) -> tuple[bytes, Json]:
    """Return a request as a chat completion, and the fields that its response repeats."""
    request = decode(body, venue=venue)
    chat = to_chat(request, venue=venue)
    if stream:
        chat |= {"stream": True, "stream_options": {"include_usage": True}}
    return msgspec.json.encode(chat), {name: value for name, value in request.items() if name != "input"}


def _as_response(completion: bytes, request: Json, created_s: int) -> bytes:
    return msgspec.json.encode(to_response(msgspec.json.decode(completion, type=Json), request, created_s=created_s))


def _lacks_path(body: bytes) -> bool:
    """Tell whether a 404 is about the path, not about the model or an item: servers say no more than "not found"."""
    try:
        content: Any = msgspec.json.decode(body)
    except INVALID_JSON:
        return True
    error = content.get("error", content) if isinstance(content, dict) else content
    text = (error.get("message") or error.get("detail") or "") if isinstance(error, dict) else str(error)
    words = str(text).strip(" .").lower()
    return words in {"", "not found", "method not allowed", "file not found"} or "responses" in words


class _EventReply(Wrapped):
    """A stream of a chat completion that becomes one of a response."""

    def __init__(self, reply: Reply, draft: ResponseDraft, venue: str) -> None:
        super().__init__(reply)
        self._draft = draft
        self._venue = venue

    @property
    def body(self) -> AsyncIterator[bytes]:
        return self._parts()

    async def _parts(self) -> AsyncIterator[bytes]:
        stream, number = ResponseEvents(self._draft), 0
        with checked_contract(self._venue):
            async for part in self._reply.body:
                for _, data in parse_events(part):
                    is_end = data == b"[DONE]"
                    produced = stream.end() if is_end else stream.feed(msgspec.json.decode(data, type=Json))
                    if produced:
                        yield b"".join(encode_events(produced, number))
                    number += len(produced)
                    if stream.ended:
                        return
        raise BrokenAnswerError("the stream ended before the answer was complete", venue=self._venue)
