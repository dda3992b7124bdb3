"""The client of OpenAI's API: vLLM, SGLang, llama.cpp, TGI, and most providers of tokens."""

import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

import msgspec

from meritorder.gateway.errors import UpstreamError
from meritorder.gateway.upstreams.connection import Connection, Endpoint
from meritorder.gateway.upstreams.engine_load import parse_max_sequences, parse_metrics, parse_slots
from meritorder.gateway.upstreams.upstream import Call, EngineLoad, Reply, Wrapped
from meritorder.gateway.wire.errors import INVALID_JSON
from meritorder.gateway.wire.objects import echoed_fields

# Longer than any engine needs to report its load.
_LOAD_S: Final = 1.0
# Away from 0, the priority of requests that set none.
_DEFERRABLE_RANK: Final = 100
_RESPONSES: Final = "/v1/responses"
_DATA: Final = b"data: "
_END: Final = b"\n\n"
_ITEM_EVENTS: Final = ("response.content_part.", "response.output_text.", "response.refusal.")
_TEXT_EVENTS: Final = "response.output_text."
_DETAILS: Final = {
    "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
    "output_tokens_details": {"reasoning_tokens": 0},
}


class Priority(StrEnum):
    """What a `priority` in a request means to an engine."""

    NONE = "none"
    LOWER_FIRST = "lower-first"  # vLLM, with --scheduling-policy priority
    HIGHER_FIRST = "higher-first"  # SGLang, with --enable-priority-scheduling


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenAIVenue:
    """A venue with OpenAI's API.

    Args:
        endpoint: Its address and headers.
        models: Its own names of models, by the names that requests use.
        priority: How deferrable requests are marked.
        reads_load: Whether to read its load: true for an engine, false for a provider.
        max_sequences: Most sequences that it runs at one time, if it does not report that.
        completes_responses: Whether to add the fields that it omits from responses.
    """

    endpoint: Endpoint
    models: Mapping[str, str] = field(default_factory=dict)
    priority: Priority = Priority.NONE
    reads_load: bool = False
    max_sequences: int | None = None
    completes_responses: bool = False


class _CompletedReply(Wrapped):
    """A response, whole or streamed, with the fields added that llama.cpp omits. See `upstream.Reply`.

    llama.cpp's events lack sequence numbers and indices, and its responses do not echo the request (b10549, 2026-10);
    the helpers of the official client need both. Fields that the engine sends stay as they are.

    Args:
        reply: The engine's reply.
        request: The body of the request.
    """

    __slots__ = ("_created_s", "_next_number", "_output_indices", "_request")

    def __init__(self, reply: Reply, request: bytes) -> None:
        super().__init__(reply)
        self._request: dict[str, Any] = msgspec.json.decode(request)
        self._created_s = int(time.time())
        self._next_number = 0
        self._output_indices: dict[str, int] = {}

    @property
    def body(self) -> AsyncIterator[bytes]:
        """The events as they arrive."""
        return self._events()

    async def read(self) -> bytes:
        """Return the whole response."""
        body = await self._reply.read()
        try:
            whole = msgspec.json.decode(body)
        except INVALID_JSON:
            return body
        return msgspec.json.encode(self._response(whole)) if isinstance(whole, dict) else body

    async def _events(self) -> AsyncIterator[bytes]:
        incomplete = b""
        async for part in self._reply.body:
            *events, incomplete = (incomplete + part).split(_END)
            if events:
                yield b"".join(self._event(event) + _END for event in events)
        if incomplete:
            yield incomplete

    def _event(self, text: bytes) -> bytes:
        head, marker, data = text.rpartition(_DATA)
        try:
            event = msgspec.json.decode(data)
        except INVALID_JSON:
            return text
        if not marker or not isinstance(event, dict):
            return text
        return head + _DATA + msgspec.json.encode(self._complete(event))

    def _complete(self, event: dict[str, Any]) -> dict[str, Any]:
        kind = str(event.get("type"))
        missing: dict[str, Any] = {"sequence_number": self._next_number}
        self._next_number += 1
        item_id = event.get("item_id") or (event.get("item") or {}).get("id")
        if item_id is not None:
            missing["output_index"] = self._output_indices.setdefault(item_id, len(self._output_indices))
        if kind.startswith(_ITEM_EVENTS):
            missing["content_index"] = 0  # its messages have one part
        if kind.startswith(_TEXT_EVENTS):
            missing["logprobs"] = []
        part = event.get("part")
        if isinstance(part, dict) and part.get("type") == "output_text":
            event["part"] = {"annotations": [], "logprobs": [], **part}
        if isinstance(event.get("response"), dict):
            event["response"] = self._response(event["response"])
        return {**missing, **event}

    def _response(self, response: dict[str, Any]) -> dict[str, Any]:
        missing = {"created_at": self._created_s, "output": [], "usage": None, **echoed_fields(self._request)}
        usage = response.get("usage")
        if isinstance(usage, dict):
            response["usage"] = usage | {name: default | (usage.get(name) or {}) for name, default in _DETAILS.items()}
        return {**missing, **response}


class OpenAIUpstream:
    """Forwards requests unchanged. See `upstream.Upstream`."""

    def __init__(self, venue: OpenAIVenue) -> None:
        self.name = venue.endpoint.name
        self.connection = Connection(venue.endpoint)
        self._venue = venue
        self._rank = {
            Priority.NONE: None,
            Priority.LOWER_FIRST: _DEFERRABLE_RANK,
            Priority.HIGHER_FIRST: -_DEFERRABLE_RANK,
        }[venue.priority]
        self._max_sequences = venue.max_sequences
        self._has_max_sequences = venue.max_sequences is not None

    async def send(self, call: Call) -> Reply:
        """Send a request; only the model's name and the priority are changed in its body, where needed."""
        reply = await self.connection.post(
            call.path, self._body(call), stream=call.stream, headers=call.headers, timeout_s=call.timeout_s
        )
        if self._venue.completes_responses and call.path == _RESPONSES and reply.status == 200:
            return _CompletedReply(reply, call.body)
        return reply

    def _body(self, call: Call) -> bytes:
        model = self._venue.models.get(call.model, call.model)
        rank = self._rank if call.deferrable else None
        if model == call.model and rank is None:
            return call.body
        fields = msgspec.json.decode(call.body, type=dict[str, msgspec.Raw])
        fields["model"] = msgspec.Raw(msgspec.json.encode(model))
        if rank is not None:
            fields["priority"] = msgspec.Raw(msgspec.json.encode(rank))
        return msgspec.json.encode(fields)

    async def load(self) -> EngineLoad | None:
        """Return the load that the engine reports; None if it cannot be read."""
        if not self._venue.reads_load:
            return None
        text = await self._text("/metrics")
        if text is not None:
            if not self._has_max_sequences:
                await self._read_max_sequences(text)
            return parse_metrics(text, max_sequences=self._max_sequences)
        slots = await self._text("/slots")
        return None if slots is None else parse_slots(slots)

    async def _read_max_sequences(self, metrics: bytes) -> None:
        self._has_max_sequences = True
        if b"llamacpp:" in metrics and (props := await self._text("/props")) is not None:
            self._max_sequences = parse_max_sequences(props)

    async def _text(self, path: str) -> bytes | None:
        """Return the text at a path of the server; None if there is none, or the server does not answer."""
        try:
            reply = await self.connection.request("GET", self.connection.root_url(path), timeout_s=_LOAD_S)
            try:
                return await reply.read() if reply.status == 200 else None
            finally:
                await reply.close()
        except UpstreamError:
            return None

    async def close(self) -> None:
        """Close the connections to the venue."""
        await self.connection.close()
