"""ASGI types and functions of the hot path, without a framework."""

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final, Self

from meritorder.gateway import decoding
from meritorder.gateway.wire.errors import ApiError, unavailable

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
CLIENT: Final = "meritorder.client"
"""Extension of the scope of a request by our server: its `Client`."""

JSON: Final = b"application/json"
_BUSY_S: Final = 1.0
EVENT_STREAM: Final = b"text/event-stream; charset=utf-8"


class ClientDisconnectedError(Exception):
    """The client closed the connection."""


class Bodies:
    """Bodies of requests in memory, bounded each and together.

    Args:
        max_bytes: The largest body.
        max_total_bytes: The largest sum of bodies that arrive in parts.
    """

    def __init__(self, max_bytes: int, max_total_bytes: int) -> None:
        self.max_bytes = max_bytes
        self.max_total_bytes = max_total_bytes
        self.total_bytes = 0

    def reader(self, receive: Receive) -> "BodyReader":
        """Return what reads the body of one request; its memory is released when the context ends."""
        return BodyReader(self, receive)


class BodyReader:
    """Reads the body of one request; a context manager.

    Args:
        bodies: All bodies in memory.
        receive: Receives the messages of the server.
    """

    __slots__ = ("_bodies", "_held_bytes", "_receive")

    def __init__(self, bodies: Bodies, receive: Receive) -> None:
        self._bodies = bodies
        self._receive = receive
        self._held_bytes = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._bodies.total_bytes -= self._held_bytes

    async def read(self) -> bytes:
        """Return the body.

        Raises:
            ApiError: The body is too large, or too many large bodies are in memory.
            ClientDisconnectedError: The client disconnected before the body was complete.
        """
        message = await self._receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnectedError
        body: bytes = message.get("body", b"")
        if message.get("more_body"):
            body = await self._read_rest(body)
        if len(body) > self._bodies.max_bytes:
            raise too_large(self._bodies.max_bytes)
        return body

    async def _read_rest(self, body: bytes) -> bytes:
        parts, more = [body], True
        while more:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                raise ClientDisconnectedError
            parts.append(message.get("body", b""))
            more = bool(message.get("more_body"))
            self._hold(len(parts[-1]))
        return await joined(parts)

    def _hold(self, size: int) -> None:
        bodies = self._bodies
        self._held_bytes += size
        bodies.total_bytes += size
        if self._held_bytes > bodies.max_bytes:
            raise too_large(bodies.max_bytes)
        if bodies.total_bytes > bodies.max_total_bytes:
            raise unavailable("The gateway holds too many large requests.", retry_after_s=_BUSY_S)


def too_large(max_bytes: int, limit: str = "") -> ApiError:
    """Return the error for a body over a limit."""
    return ApiError(413, f"The body is larger than {max_bytes:,} bytes{limit}.", code="request_too_large")


async def joined(parts: list[bytes]) -> bytes:
    """Return the parts of a body as one; for a large one in a thread, which needs no lock to copy it."""
    return await asyncio.to_thread(b"".join, parts) if decoding.is_large(parts) else b"".join(parts)


class Client:
    """The client of a request, as far as it matters whether it still waits."""

    __slots__ = ("is_gone", "on_leaving")

    def __init__(self) -> None:
        self.is_gone = False
        self.on_leaving: Callable[[], object] | None = None

    def leave(self) -> None:
        """Record that it has disconnected."""
        self.is_gone = True
        if self.on_leaving is not None:
            self.on_leaving()


def client_of(scope: Scope) -> Client:
    """Return the client of a request, as our server knows it; any other server's stays for ever."""
    return scope.get("extensions", {}).get(CLIENT) or Client()


async def respond(send: Send, status: int, headers: list[tuple[bytes, bytes]], body: bytes) -> None:
    """Send a complete response."""
    headers.append((b"content-length", b"%d" % len(body)))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
