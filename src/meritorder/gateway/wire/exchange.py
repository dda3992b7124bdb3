"""One request and its answer: every answer has an id, and every failure ends it as an error in its API's form."""

import random
from collections.abc import Awaitable
from typing import Final

from meritorder.gateway.wire.asgi import JSON, Message, Send, respond
from meritorder.gateway.wire.errors import ApiError

_ID: Final = b"x-request-id"
_BAD_GATEWAY: Final = 502
_STATUSES: Final = range(100, 600)  # the server knows no others


class Exchange:
    """The answer to one request.

    Args:
        path: Path of the request.
        send: Sends a message to the server.
    """

    __slots__ = ("_ended", "_path", "_send", "_started", "_streamed", "headers", "id")

    def __init__(self, path: str, send: Send) -> None:
        self.id = new_request_id()
        self.headers: tuple[tuple[str, str], ...] = ()  # of any answer, unless it has its own of the same names
        self._path = path
        self._send = send
        self._started = self._ended = self._streamed = False

    def send(self, message: Message) -> Awaitable[None]:
        """Send a part of the answer."""
        if message["type"] == "http.response.start":
            self._start(message)
        elif not message.get("more_body"):
            self._ended = True
        return self._send(message)

    async def fail(self, error: ApiError) -> None:
        """End with an error: as the answer, or as the last event of a stream; an answer in part is broken off."""
        if not self._started:
            headers = [(b"content-type", JSON)]
            headers += [(name.lower().encode(), value.encode()) for name, value in error.headers]
            await respond(self.send, error.status, headers, error.body_of(self._path, self.id))
        elif self._streamed and not self._ended:
            await self.send({"type": "http.response.body", "body": error.event(self._path)})

    def _start(self, message: Message) -> None:
        self._started = True
        if message["status"] not in _STATUSES:
            message["status"] = _BAD_GATEWAY
        headers = message["headers"] = list(message["headers"])
        given = dict(headers)
        self._streamed = given.get(b"content-type", b"").startswith(b"text/event-stream")
        if _ID not in given:
            headers.append((_ID, self.id.encode()))
        for name, value in self.headers:
            if (key := name.encode()) not in given:
                headers.append((key, value.encode()))


def new_request_id() -> str:
    """Return the id of a request; it is no secret, unique is enough."""
    return f"req_{random.getrandbits(128):032x}"
