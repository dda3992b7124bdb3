"""The interface of a venue that answers one request at a time."""

import datetime as dt
import time
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

import msgspec


class Call(msgspec.Struct, frozen=True, kw_only=True):
    """One request to a venue: always a POST in OpenAI's format.

    Args:
        path: From the root of the API, such as `/v1/chat/completions`.
        body: JSON, as the client sent it.
        stream: Whether the body asks for server-sent events.
        model: The model that the body names.
        headers: Sent in addition to those of the venue.
        timeout_s: Time for the whole answer; None for the venue's default.
        tokens: Estimated tokens, for the venue's token rate; 0 if unknown.
        deferrable: Whether the request is deferrable: engines with priorities get it at a lower one.
        tenant: Whose real-time request it is: what a venue fails to answer pauses it for that tenant only. Deferrable
            requests, which are without one, wait together.
    """

    path: str
    body: bytes
    stream: bool
    model: str
    headers: tuple[tuple[str, str], ...] = ()
    timeout_s: float | None = None
    tokens: int = 0
    deferrable: bool = False
    tenant: str = ""


class Reply(Protocol):
    """An HTTP answer: whole, or a stream that is still arriving. It must always be closed."""

    @property
    def status(self) -> int:
        """The HTTP status, of the venue or as translated."""

    @property
    def headers(self) -> Mapping[str, str]:
        """The headers; names are found in any case."""

    @property
    def body(self) -> AsyncIterator[bytes]:
        """The body as it arrives, to be read once. Raises `UpstreamError` if it breaks off."""

    async def read(self) -> bytes:
        """Return the body of a whole answer."""

    async def close(self) -> None:
        """Return the connection to the pool, or close it if the body was not read to its end.

        Closing the connection of a stream ends its sequence in the engine at once; an answer that is not streamed runs
        to its end there.
        """


class WholeReply:
    """An answer that is complete. See `Reply`."""

    __slots__ = ("_content", "headers", "status")

    def __init__(self, status: int, headers: Mapping[str, str], content: bytes) -> None:
        self.status = status
        self.headers = headers
        self._content = content

    @property
    def body(self) -> AsyncIterator[bytes]:
        """The body, in one part."""
        return self._parts()

    async def _parts(self) -> AsyncIterator[bytes]:
        yield self._content

    async def read(self) -> bytes:
        """Return the whole body."""
        return self._content

    async def close(self) -> None:
        """Do nothing: its connection is already back in the pool."""


class Wrapped:
    """A reply around another, as a base class. See `Reply`."""

    __slots__ = ("_reply", "headers", "status")

    def __init__(self, reply: Reply) -> None:
        self._reply = reply
        self.status = reply.status
        self.headers = reply.headers

    @property
    def body(self) -> AsyncIterator[bytes]:
        """The body as it arrives."""
        return self._reply.body

    async def read(self) -> bytes:
        """Return the whole body."""
        return await self._reply.read()

    async def close(self) -> None:
        """Close the reply."""
        await self._reply.close()


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineLoad:
    """The load that an engine reports.

    Args:
        running: Sequences being decoded.
        waiting: Sequences in its queue.
        kv_cache_share: Share of its KV memory in use; None if it does not report that.
        max_sequences: Most sequences that it runs at one time; None if it does not report that.
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
        """Send a request and return its answer: whole, or a stream once its headers have arrived.

        Raises:
            UpstreamError: No HTTP answer arrived. An answer with an error status is a `Reply`.
        """

    async def load(self) -> EngineLoad | None:
        """Return the load that the engine reports; None if it cannot be read."""

    async def close(self) -> None:
        """Close the connections to the venue."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Runtime:
    """Clocks and randomness for upstreams, so that tests control them.

    Args:
        now: Returns the date.
        draw: Returns a random number in [0, 1), to spread retries.
        clock: Returns monotonic seconds.
        wrap: Wraps each upstream, for example to trace every attempt.
    """

    now: Callable[[], dt.datetime]
    draw: Callable[[], float]
    clock: Callable[[], float] = time.monotonic
    wrap: Callable[[Upstream], Upstream] = lambda upstream: upstream
