"""Posts of JSON, by the connections and the parser of aiohttp, but without the layers of its session.

Those layers, for redirects, cookies, proxies, forms and tracing, take half of the time that a call spends here.
"""

import asyncio
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Final, cast

import aiohttp
from aiohttp import ClientRequest
from aiohttp.client_proto import ResponseHandler
from aiohttp.connector import Connection
from multidict import CIMultiDict
from yarl import URL

_LENGTH: Final = "Content-Length"
_COPIED_BYTES: Final = 2**16  # a head and a body up to this size are one write
_FINAL: Final = 200  # statuses below it announce another
_NOW_S: Final = 1e-6  # 0 is no limit

BUFFER_BYTES: Final = 2**18
"""What is read of a body ahead of its reader."""


class Posted:
    """The answer to a post, whose body is still arriving.

    Args:
        status: The HTTP status.
        headers: The headers; names are found in any case.
        content: The body.
        connection: Its connection, which goes back to the pool when the body has arrived.
        deadline: Ends it when it takes too long.
    """

    __slots__ = ("_connection", "_deadline", "content", "headers", "status")

    def __init__(
        self,
        status: int,
        headers: Mapping[str, str],
        content: aiohttp.StreamReader,
        connection: Connection,
        deadline: asyncio.TimerHandle,
    ) -> None:
        self.status = status
        self.headers = headers
        self.content = content
        self._connection = connection
        self._deadline = deadline
        content.on_eof(self._release)

    def close(self) -> None:
        """Close the connection, unless it is back in the pool."""
        self._deadline.cancel()
        self._connection.close()

    def _release(self) -> None:
        self._deadline.cancel()
        transport = self._connection.transport
        if transport is not None and transport.get_write_buffer_size():
            transport.abort()  # answered before the whole request was sent; the rest may never be read
            self._connection.close()
        else:
            self._connection.release()


class Poster:
    """Posts JSON over the connections of a session.

    Args:
        session: The session, of which the connections and the headers are used.
        connect_s: Time to connect.
    """

    def __init__(self, session: aiohttp.ClientSession, connect_s: float) -> None:
        self.session = session
        self._connector = cast("aiohttp.BaseConnector", session.connector)
        self._connect_s = connect_s
        self._loop = asyncio.get_running_loop()
        self._requests: dict[URL, tuple[ClientRequest, bytes]] = {}

    async def post(
        self,
        url: URL,
        body: bytes,
        headers: Sequence[tuple[str, str]] = (),
        *,
        timeout_s: float,
        stall_s: float | None = None,
    ) -> Posted:
        """Post a body; return the answer once its headers have arrived.

        Args:
            url: Where to.
            body: The body.
            headers: Sent in addition to those of the session.
            timeout_s: Time for the whole answer.
            stall_s: Longest silence of the server; None for no limit.
        """
        request, head = self._new_request(url, headers) if headers else self._request(url)
        ends_s = self._loop.time() + timeout_s
        try:
            connection = await self._connector.connect(request, [], _connect_limits(timeout_s, self._connect_s))
        except TimeoutError as error:
            raise aiohttp.ConnectionTimeoutError from error
        protocol = cast("ResponseHandler", connection.protocol)
        deadline = self._loop.call_at(ends_s, _expire, protocol)
        try:
            protocol.set_response_params(read_until_eof=True, read_timeout=stall_s, read_bufsize=BUFFER_BYTES)
            _write(cast("asyncio.Transport", protocol.transport), head % len(body), body)
            protocol.start_timeout()
            message, content = await protocol.read()
            while message.code < _FINAL:
                message, content = await protocol.read()
        except BaseException:
            deadline.cancel()
            connection.close()
            raise
        return Posted(message.code, message.headers, content, connection, deadline)

    def _request(self, url: URL) -> tuple[ClientRequest, bytes]:
        request = self._requests.get(url)
        if request is None:
            request = self._new_request(url, ())
            if len(self._requests) < 64:  # paths that contain ids must not accumulate
                self._requests[url] = request
        return request

    def _new_request(self, url: URL, headers: Sequence[tuple[str, str]]) -> tuple[ClientRequest, bytes]:
        """Return a request to connect with, and its head, in which the length of the body is left open."""
        all_headers = CIMultiDict(self.session.headers)
        all_headers.update({"Content-Type": "application/json", **dict(headers)})
        request = ClientRequest("POST", url, headers=all_headers, loop=self._loop, session=self.session)
        request.headers.popall(_LENGTH, None)
        if self._connector.force_close:
            request.headers["Connection"] = "close"
        lines = [f"POST {url.raw_path_qs} HTTP/1.1", *(f"{name}: {value}" for name, value in request.headers.items())]
        if any("\r" in line or "\n" in line for line in lines):
            raise ValueError("a header contains a line break")
        return request, "\r\n".join(lines).replace("%", "%%").encode() + b"\r\nContent-Length: %d\r\n\r\n"


@lru_cache
def _connect_limits(total_s: float, connect_s: float) -> aiohttp.ClientTimeout:
    return aiohttp.ClientTimeout(connect=total_s, sock_connect=connect_s)


def _write(transport: asyncio.Transport, head: bytes, body: bytes) -> None:
    if len(body) <= _COPIED_BYTES:
        transport.write(head + body)
    else:
        transport.write(head)
        transport.write(body)


def _expire(protocol: ResponseHandler) -> None:
    """Time out: from now on, no silence of the server is short enough."""
    protocol.read_timeout = _NOW_S
    protocol.start_timeout()
