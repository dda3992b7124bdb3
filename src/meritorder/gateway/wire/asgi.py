"""ASGI types and functions of the hot path, without a framework."""

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from typing import Any, Final

from meritorder.gateway.wire.errors import ApiError

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
JSON: Final = b"application/json"
EVENT_STREAM: Final = b"text/event-stream; charset=utf-8"


class ClientDisconnectedError(Exception):
    """The client closed the connection."""


async def read_body(receive: Receive, *, max_bytes: int) -> bytes:
    """Return the body of a request.

    Raises:
        ApiError: The body is too large.
        ClientDisconnectedError: The client disconnected before the body was complete.
    """
    message = await receive()
    if message["type"] == "http.disconnect":
        raise ClientDisconnectedError
    body: bytes = message.get("body", b"")
    if message.get("more_body"):
        parts, size = [body], len(body)
        while message.get("more_body") and size <= max_bytes:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise ClientDisconnectedError
            parts.append(message.get("body", b""))
            size += len(parts[-1])
        body = b"".join(parts)
    if len(body) > max_bytes:
        raise ApiError(413, f"The body is larger than {max_bytes:,} bytes.", code="request_too_large")
    return body


async def cancel_on_disconnect(receive: Receive, task: "asyncio.Task[Any]") -> None:
    """Cancel a task when the client disconnects."""
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            task.cancel()
            return


def with_headers(send: Send, headers: Sequence[tuple[str, str]]) -> Send:
    """Return `send` with headers added to the answer, in place of those of the same names."""
    added = [(name.encode(), value.encode()) for name, value in headers]
    names = {name for name, _ in added}

    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            kept = [header for header in message["headers"] if header[0] not in names]
            message = {**message, "headers": [*kept, *added]}
        await send(message)

    return sending


async def respond(send: Send, status: int, headers: list[tuple[bytes, bytes]], body: bytes) -> None:
    """Send a complete response."""
    headers.append((b"content-length", b"%d" % len(body)))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
