"""What the gateway knows of a venue that answers one request at a time."""

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Protocol

import msgspec


class Call(msgspec.Struct, frozen=True, kw_only=True):
    """One request to a venue: always a POST, in OpenAI's form.

    Args:
        path: From the root of the API, such as `/v1/chat/completions`.
        body: JSON, as the client sent it.
        stream: Whether the body asks for server-sent events.
        model: The model that the body names.
        headers: To send besides those of the venue.
        timeout_s: Time for the whole answer; None for the venue's own.
        tokens: Tokens that the request may take, for the venue's token rate; 0 if unknown.
        deferrable: Nobody waits for it: an engine with priorities is told so.
    """

    path: str
    body: bytes
    stream: bool
    model: str
    headers: tuple[tuple[str, str], ...] = ()
    timeout_s: float | None = None
    tokens: int = 0
    deferrable: bool = False


class Reply(Protocol):
    """An HTTP answer, its body still on the way. It must be closed, whatever became of it."""

    @property
    def status(self) -> int:
        """The HTTP status, of the venue or as translated."""

    @property
    def headers(self) -> Mapping[str, str]:
        """The headers; names are found in any case."""

    @property
    def body(self) -> AsyncIterator[bytes]:
        """The body as it comes, to be read once. Raises `UpstreamError` where it breaks off."""

    async def read(self) -> bytes:
        """Return the whole body. Raises `UpstreamError` where it breaks off."""

    async def close(self) -> None:
        """Give the connection back, or cut it if the body was not read to its end.

        Cutting a streamed answer frees the engine's seat at once; an answer that is not streamed runs to its end there.
        """


class Wrapped:
    """A reply around another, to which those who inherit add what they do with it. See `Reply`."""

    __slots__ = ("_reply", "headers", "status")

    def __init__(self, reply: Reply) -> None:
        self._reply = reply
        self.status = reply.status
        self.headers = reply.headers

    @property
    def body(self) -> AsyncIterator[bytes]:
        """The body as it comes."""
        return self._reply.body

    async def read(self) -> bytes:
        """Return the whole body."""
        return await self._reply.read()

    async def close(self) -> None:
        """Give the connection back."""
        await self._reply.close()


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineLoad:
    """What an engine says of itself.

    Args:
        running: Sequences being decoded.
        waiting: Sequences in its queue.
        kv_cache_share: Share of its KV memory in use; None if it does not say.
        max_sequences: Most sequences that it runs at one time; None if it does not say.
    """

    running: int
    waiting: int
    kv_cache_share: float | None = None
    max_sequences: int | None = None


class Upstream(Protocol):
    """A venue that answers one request at a time."""

    @property
    def name(self) -> str:
        """The venue's name in the configuration."""

    async def send(self, call: Call) -> Reply:
        """Send a request and return its answer once the headers are there.

        Raises:
            UpstreamError: No HTTP answer came. An answer with an error status is a `Reply`.
        """

    async def load(self) -> EngineLoad | None:
        """Return what the engine says of its load; None if it cannot be read."""

    async def close(self) -> None:
        """Close what is open towards the venue."""
