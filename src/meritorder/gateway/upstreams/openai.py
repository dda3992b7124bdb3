"""The client of OpenAI's API: vLLM, SGLang, llama.cpp, TGI, and most providers of tokens."""

import base64
import struct
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import partial
from typing import Any, Final

import msgspec

from meritorder.gateway import decoding
from meritorder.gateway.errors import UpstreamError, checked_request
from meritorder.gateway.upstreams.connection import ConnectionPool, Endpoint
from meritorder.gateway.upstreams.engine_load import parse_max_sequences, parse_metrics, parse_slots
from meritorder.gateway.upstreams.upstream import Call, EngineLoad, Reply, Wrapped
from meritorder.gateway.wire import calls
from meritorder.gateway.wire.errors import INVALID_JSON
from meritorder.gateway.wire.events import DATA

# Longer than any engine needs to report its load.
_LOAD_S: Final = 1.0
# Away from 0, the priority of requests that set none.
_DEFERRABLE_RANK: Final = 100
_MAX_EMBEDDINGS_BYTES: Final = 64 * 2**20  # thousands of inputs with thousands of dimensions each
_MAX_LOAD_BYTES: Final = 2**20
_CHAT: Final = "/v1/chat/completions"
_EMBEDDINGS: Final = "/v1/embeddings"
_ROLE: Final = "assistant"
_BASE64: Final = "base64"


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
        lacks_roles: Whether its streams may begin without a role.
    """

    endpoint: Endpoint
    models: Mapping[str, str] = field(default_factory=dict)
    priority: Priority = Priority.NONE
    reads_load: bool = False
    max_sequences: int | None = None
    lacks_roles: bool = False


class OpenAIUpstream:
    """Forwards requests unchanged. See `upstream.Upstream`."""

    def __init__(self, venue: OpenAIVenue) -> None:
        self.name = venue.endpoint.name
        self.pool = ConnectionPool(venue.endpoint)
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
        reply: Reply = await self.pool.post(
            call.path,
            await self._body(call),
            stream=call.stream,
            headers=call.headers,
            timeout_s=call.timeout_s,
            max_bytes=_MAX_EMBEDDINGS_BYTES if call.path == _EMBEDDINGS else None,
        )
        if self._venue.lacks_roles and call.stream and call.path == _CHAT and reply.status == 200:
            return FirstRoleReply(reply, await decoding.run(calls.choices, call.body))
        if call.path == _EMBEDDINGS and reply.status == 200 and await decoding.run(wants_base64, call.body):
            return Base64Reply(reply)
        return reply

    async def _body(self, call: Call) -> bytes:
        fields: dict[str, Any] = {}
        if (model := self._venue.models.get(call.model, call.model)) != call.model:
            fields["model"] = model
        if self._rank is not None and call.deferrable:
            fields["priority"] = self._rank
        if not fields:
            return call.body
        with checked_request(self.name):
            return await decoding.run(partial(calls.with_fields, **fields), call.body)

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
            reply = await self.pool.request("GET", self.pool.root_url(path), timeout_s=_LOAD_S)
            async with reply:
                return await reply.read(max_bytes=_MAX_LOAD_BYTES) if reply.status == 200 else None
        except UpstreamError:
            return None

    async def close(self) -> None:
        """Close the connections to the venue."""
        await self.pool.close()


class FirstRoleReply(Wrapped):
    """A stream in which the first chunk of each choice has a role, as the specification and official clients require.

    Everything else is as it arrives.

    Args:
        reply: The engine's reply.
        choices: Number of choices that the request asked for.
    """

    __slots__ = ("_choices", "_seen")

    def __init__(self, reply: Reply, choices: int) -> None:
        super().__init__(reply)
        self._choices = choices
        self._seen: set[int] = set()

    @property
    def body(self) -> AsyncIterator[bytes]:
        """The chunks as they arrive."""
        return self._parts()

    async def _parts(self) -> AsyncIterator[bytes]:
        incomplete = b""
        async for part in self._reply.body:
            if len(self._seen) >= self._choices:
                yield incomplete + part
                incomplete = b""
                continue
            *lines, incomplete = (incomplete + part).split(b"\n")
            if lines:
                yield b"".join(self._with_role(line) + b"\n" for line in lines)
        if incomplete:
            yield incomplete

    def _with_role(self, line: bytes) -> bytes:
        if not line.startswith(DATA) or b'"delta"' not in line:
            return line
        try:
            chunk: Any = msgspec.json.decode(line[len(DATA) :])
            added = [self._add_role(choice) for choice in chunk["choices"]]
        except (*INVALID_JSON, KeyError, TypeError, AttributeError):
            return line  # its reader says what is wrong
        return DATA + b" " + msgspec.json.encode(chunk) if any(added) else line

    def _add_role(self, choice: dict[str, Any]) -> bool:
        """Add the role to the first chunk of a choice; return whether it was missing."""
        index, delta = choice.get("index", 0), choice["delta"]
        if index in self._seen:
            return False
        self._seen.add(index)
        if delta.get("role"):
            return False
        choice["delta"] = {"role": _ROLE, **{name: value for name, value in delta.items() if name != "role"}}
        return True


class _Format(msgspec.Struct):
    encoding_format: str | None = None


def wants_base64(body: bytes) -> bool:
    """Tell whether a request asks for embeddings in base64."""
    if _BASE64.encode() not in body:
        return False
    try:
        return msgspec.json.decode(body, type=_Format).encoding_format == _BASE64
    except INVALID_JSON:
        return False  # the venue rejects it


class Base64Reply(Wrapped):
    """An answer whose embeddings are little-endian 32-bit numbers in base64, as official clients ask for by default.

    Engines that answer with numbers only need it. See `upstream.Reply`.
    """

    __slots__ = ("_content",)

    def __init__(self, reply: Reply) -> None:
        super().__init__(reply)
        self._content: bytes | None = None

    @property
    def body(self) -> AsyncIterator[bytes]:
        """The whole answer."""
        return self._parts()

    async def _parts(self) -> AsyncIterator[bytes]:
        yield await self.read()

    async def read(self) -> bytes:
        """Return the answer; embeddings in base64 stay as they are."""
        if self._content is None:
            self._content = await decoding.run(_in_base64, await self._reply.read())
        return self._content


def _in_base64(body: bytes) -> bytes:
    try:
        answer: Any = msgspec.json.decode(body)
        numbers = [item for item in answer["data"] if isinstance(item["embedding"], list)]
        for item in numbers:
            packed = struct.pack(f"<{len(item['embedding'])}f", *item["embedding"])
            item["embedding"] = base64.b64encode(packed).decode()
    except (*INVALID_JSON, KeyError, TypeError, struct.error, OverflowError):
        return body  # its reader says what is wrong
    return msgspec.json.encode(answer) if numbers else body
