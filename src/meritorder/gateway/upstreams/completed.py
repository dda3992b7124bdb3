"""Responses of an engine that leaves out of them what the contract has: filled in as they come.

llama.cpp's events have no numbers and no places, and its responses do not repeat what was asked (b10549, 2026-10); the
official client's helpers need both. What the engine does say stays as it is.
"""

import time
from collections.abc import AsyncIterator
from typing import Any, Final

import msgspec

from meritorder.gateway.upstreams.upstream import Reply, Wrapped
from meritorder.gateway.wire.objects import echoed_fields

_DATA: Final = b"data: "
_END: Final = b"\n\n"
_WITHIN_AN_ITEM: Final = ("response.content_part.", "response.output_text.", "response.refusal.")
_TEXT: Final = "response.output_text."
_DETAILS: Final = {
    "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
    "output_tokens_details": {"reasoning_tokens": 0},
}


class Completed(Wrapped):
    """A response, whole or streamed, with what its engine left out. See `upstream.Reply`.

    Args:
        reply: As the engine gave it.
        asked: The body of the request.
    """

    __slots__ = ("_asked", "_created_s", "_number", "_places")

    def __init__(self, reply: Reply, asked: bytes) -> None:
        super().__init__(reply)
        self._asked: dict[str, Any] = msgspec.json.decode(asked)
        self._created_s = int(time.time())
        self._number = 0
        self._places: dict[str, int] = {}

    @property
    def body(self) -> AsyncIterator[bytes]:
        """The events as they come."""
        return self._events()

    async def read(self) -> bytes:
        """Return the whole response."""
        body = await self._reply.read()
        try:
            whole = msgspec.json.decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return body
        return msgspec.json.encode(self._response(whole)) if isinstance(whole, dict) else body

    async def _events(self) -> AsyncIterator[bytes]:
        rest = b""
        async for chunk in self._reply.body:
            *events, rest = (rest + chunk).split(_END)
            if events:
                yield b"".join(self._event(each) + _END for each in events)
        if rest:
            yield rest

    def _event(self, text: bytes) -> bytes:
        head, marked, data = text.rpartition(_DATA)
        try:
            event = msgspec.json.decode(data)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return text
        if not marked or not isinstance(event, dict):
            return text
        return head + _DATA + msgspec.json.encode(self._filled(event))

    def _filled(self, event: dict[str, Any]) -> dict[str, Any]:
        kind = str(event.get("type"))
        left_out: dict[str, Any] = {"sequence_number": self._number}
        self._number += 1
        item_id = event.get("item_id") or (event.get("item") or {}).get("id")
        if item_id is not None:
            left_out["output_index"] = self._places.setdefault(item_id, len(self._places))
        if kind.startswith(_WITHIN_AN_ITEM):
            left_out["content_index"] = 0  # a message of it has one part
        if kind.startswith(_TEXT):
            left_out["logprobs"] = []
        part = event.get("part")
        if isinstance(part, dict) and part.get("type") == "output_text":
            event["part"] = {"annotations": [], "logprobs": [], **part}
        if isinstance(event.get("response"), dict):
            event["response"] = self._response(event["response"])
        return {**left_out, **event}

    def _response(self, response: dict[str, Any]) -> dict[str, Any]:
        left_out = {"created_at": self._created_s, "output": [], "usage": None, **echoed_fields(self._asked)}
        usage = response.get("usage")
        if isinstance(usage, dict):
            response["usage"] = usage | {name: none | (usage.get(name) or {}) for name, none in _DETAILS.items()}
        return {**left_out, **response}
