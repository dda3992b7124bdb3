"""Posts of JSON over the connections of aiohttp, but without the layers of its session.

Those layers, for redirects, cookies, proxies, forms and tracing, take half of the time that a call spends here.
"""

import asyncio
from collections.abc import Sequence
from functools import lru_cache, partial
from typing import Any, Final, cast

import aiohttp
from aiohttp import ClientRequest
from aiohttp.client_proto import ResponseHandler
from multidict import CIMultiDict
from yarl import URL

from meritorder.posting.answers import Answer, AnswerHandler

_LENGTH: Final = "Content-Length"
_COPIED_BYTES: Final = 2**16  # a head and a body up to this size are one write


class PostingConnector(aiohttp.TCPConnector):
    """Opens connections that parse the answers to our posts themselves."""

    def __init__(self, **options: Any) -> None:  # noqa: ANN401 - aiohttp's
        super().__init__(**options)
        self._factory = cast("partial[ResponseHandler]", partial(AnswerHandler, loop=self._loop))


class Posted:
    """The answer to a post, whose body is still arriving.

    Args:
        handler: Its connection.
        content: The answer.
    """

    __slots__ = ("_handler", "content", "headers", "status")

    def __init__(self, handler: AnswerHandler, content: Answer) -> None:
        self.status = content.status
        self.headers = content.headers
        self.content = content
        self._handler = handler

    def close(self) -> None:
        """Close the connection, unless it is back in the pool."""
        if not self.content.is_eof():
            self._handler.abandon()


class Poster:
    """Posts JSON over the connections of a session.

    Args:
        session: The session, of which the connections and the headers are used.
        connect_s: Time to connect.
    """

    def __init__(self, session: aiohttp.ClientSession, connect_s: float) -> None:
        self.session = session
        self._connector = cast("PostingConnector", session.connector)
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
        handler = cast("AnswerHandler", connection.protocol)
        answer = handler.expect(connection, ends_s, stall_s)
        try:
            _write(cast("asyncio.Transport", handler.transport), head % len(body), body)
            await answer.head()
        except BaseException:
            handler.abandon()
            raise
        return Posted(handler, answer)

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
