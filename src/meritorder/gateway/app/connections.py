"""Connections of clients: uvicorn's, with bounds on their number, on heads of requests, and on how long clients take.

uvicorn bounds none of these for its fast parser, and answers in plain text what it cannot parse.
"""

import asyncio
import resource
import time
from collections.abc import Callable
from typing import Any, Final, cast

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from meritorder.gateway.app.joined_writes import JoinedWrites
from meritorder.gateway.wire.asgi import CLIENT, Client
from meritorder.gateway.wire.errors import ApiError, unavailable
from meritorder.gateway.wire.exchange import new_request_id

_MAX_HEAD_BYTES: Final = 64 * 1024
_MAX_HEADERS: Final = 128
_MIN_BYTES_PER_S: Final = 1024.0  # of a body
_LINGER_S: Final = 5.0  # for a client that still sends the body of a request that is answered
_CHECK_S: Final = 1.0
_RETRY_S: Final = 1.0
_GRACE_S: Final = 0.25  # for requests that are on their way when the server stops
_MAX_DESCRIPTORS: Final = 65_536  # more disturbs programs that go through all, such as engines


class Connections:
    """The open connections of a server.

    Args:
        client_time_s: How long a client may keep the gateway waiting.
        limit: The largest number of connections; None for half of the file descriptors of this process.
        stopping: Called when the server stops, for each connection, before it waits for what they run.
    """

    def __init__(self, client_time_s: float, limit: int | None, stopping: Callable[[], None] = lambda: None) -> None:
        self.client_time_s = client_time_s
        self.stopping = stopping
        self.limit = _raise_descriptors() // 2 if limit is None else limit
        self.open: set[Connection] = set()

    def protocol(self, **arguments: Any) -> "Connection":  # noqa: ANN401 - uvicorn's
        """Return the protocol of a new connection, as uvicorn asks for it."""
        return Connection(self, **arguments)

    async def run(self) -> None:
        """Close connections that are overdue, until cancelled."""
        while True:
            await asyncio.sleep(_CHECK_S)
            now_s = time.monotonic()
            for connection in list(self.open):
                connection.check(now_s)


class Connection(HttpToolsProtocol):
    """One connection.

    Args:
        connections: The connections of its server.
        arguments: uvicorn's.
    """

    def __init__(self, connections: Connections, **arguments: Any) -> None:  # noqa: ANN401 - uvicorn's
        super().__init__(**arguments)
        self._all = connections
        self._refusal: ApiError | None = None
        self._running: RequestResponseCycle | None = None  # what is being answered; later requests wait behind it
        self._is_stopping = False
        self._client = Client()
        self._head_since_s: float | None = None  # since when the client owes the rest of a head
        self._head_bytes = 0
        self._body_since_s: float | None = None  # since when it owes the rest of a body
        self._body_bytes = 0
        self._answered_s: float | None = None  # when it was answered before it has sent its body
        self._unread_since_s: float | None = None  # since when it reads nothing of an answer
        self._unread_bytes = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Refuse a connection beyond the limit."""
        super().connection_made(JoinedWrites(cast("asyncio.Transport", transport)))
        self._head_since_s = time.monotonic()
        if len(self._all.open) >= self._all.limit:
            self._refuse(unavailable("The gateway has too many connections.", retry_after_s=_RETRY_S))
        else:
            self._all.open.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection, and let what runs know."""
        self._all.open.discard(self)
        self._disconnect()
        super().connection_lost(exc)

    def shutdown(self) -> None:
        """Stop after the request that is being answered or on its way."""
        self._all.stopping()
        self._is_stopping = True
        if self._is_idle:
            self.loop.call_later(_GRACE_S, super().shutdown)
        else:
            super().shutdown()

    def data_received(self, data: bytes) -> None:
        """Parse what has arrived; refuse a head that grows without an end."""
        if self._body_since_s is None and self._head_since_s is None:
            self._head_since_s = time.monotonic()
        super().data_received(data)
        if self._head_since_s is not None and not self.transport.is_closing():
            self._head_bytes += len(data)
            if self._head_bytes > _MAX_HEAD_BYTES:
                self._refuse(_head_too_large())

    def on_headers_complete(self) -> None:
        """Refuse a head with too much in it before anything is done for it."""
        size = len(self.url) + sum(len(name) + len(value) for name, value in self.headers)
        if size > _MAX_HEAD_BYTES or len(self.headers) > _MAX_HEADERS:
            self._refusal = _head_too_large()
            raise self._refusal
        self._head_since_s, self._head_bytes = None, 0
        self._body_since_s, self._body_bytes, self._answered_s = time.monotonic(), 0, None
        super().on_headers_complete()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:  # noqa: ANN401 - uvicorn's
        self._running, self._client = cycle, Client()
        cycle.keep_alive = cycle.keep_alive and not self._is_stopping
        cycle.scope["extensions"] = {CLIENT: cast("dict[object, object]", self._client)}
        super()._start_asgi_task(cycle, app)

    def on_body(self, body: bytes) -> None:
        """Count the body."""
        self._body_bytes += len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Stop waiting for the body."""
        self._body_since_s = None
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """Note an answer that was complete before the request."""
        if self._body_since_s is not None:
            self._answered_s = time.monotonic()
        super().on_response_complete()

    def send_400_response(self, msg: str) -> None:
        """Refuse what cannot be parsed."""
        self._refuse(self._refusal or ApiError(400, msg))

    def check(self, now_s: float) -> None:
        """Close the connection if its client takes too long."""
        patience_s = self._all.client_time_s
        if self._head_since_s is not None and now_s - self._head_since_s > patience_s:
            if not self._head_bytes:  # an answer to nothing could be taken for that of a request on its way
                self.transport.close()
                return
            self._refuse(ApiError(408, f"The request was not complete within {patience_s:g} s.", code="timeout"))
        elif self._answered_s is not None and self._body_since_s is not None:
            if now_s - self._answered_s > _LINGER_S:
                self.transport.close()
        elif self._body_since_s is not None:
            if self.flow.read_paused:  # we do not read: that is not the client's time
                self._body_since_s += _CHECK_S
            if now_s - self._body_since_s > patience_s + self._body_bytes / _MIN_BYTES_PER_S:
                self._refuse(ApiError(408, f"The body did not arrive: {self._body_bytes:,} bytes did.", code="timeout"))
        if self._is_unread(now_s, patience_s):
            self.transport.abort()

    def _is_unread(self, now_s: float, patience_s: float) -> bool:
        """Tell whether the client has read nothing of what is to be sent for too long."""
        unread_bytes = self.transport.get_write_buffer_size()
        if unread_bytes == 0 or unread_bytes < self._unread_bytes or self._unread_since_s is None:
            self._unread_since_s = now_s
        self._unread_bytes = unread_bytes
        return unread_bytes > 0 and now_s - self._unread_since_s > patience_s

    def _refuse(self, error: ApiError) -> None:
        """Answer with an error, unless an earlier request is being answered, and close the connection."""
        running = self._running
        owes_body = self._body_since_s is not None and running is self.cycle
        if self._is_idle or (owes_body and running is not None and not running.response_started):
            body = error.body()
            headers = {
                "content-type": "application/json",
                "content-length": str(len(body)),
                "connection": "close",
                "x-request-id": new_request_id(),
                **dict(error.headers),
            }
            lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
            self.transport.write(STATUS_LINE[error.status] + lines.encode() + b"\r\n" + body)
        self._disconnect()
        self._head_since_s = self._body_since_s = None
        self.transport.close()

    @property
    def _is_idle(self) -> bool:
        return self._running is None or self._running.response_complete

    def _disconnect(self) -> None:
        """Tell the request that is being answered that its client is gone."""
        if self._running is not None and not self._running.response_complete:
            self._running.disconnected = True
            self._running.message_event.set()
            self._client.leave()


def _head_too_large() -> ApiError:
    limit = f"{_MAX_HEAD_BYTES:,} bytes or {_MAX_HEADERS} headers"
    return ApiError(431, f"The head of the request has more than {limit}.", code="request_header_fields_too_large")


def _raise_descriptors() -> int:
    """Raise the limit on file descriptors as far as it is sensible, and return it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _MAX_DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, _MAX_DESCRIPTORS)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return _MAX_DESCRIPTORS if soft == resource.RLIM_INFINITY else soft
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    except (ValueError, OSError):  # macOS refuses more than its own limit
        return soft
    return wanted
