"""HTTP connections to one venue: pooled only where that is safe, with failures classified."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Final, Self

import aiohttp
from yarl import URL

from meritorder.gateway.errors import (
    BrokenAnswerError,
    TranslatedErrors,
    UnavailableError,
    UpstreamError,
    UpstreamTimeoutError,
    checked_contract,
)
from meritorder.gateway.upstreams.upstream import Reply, WholeReply, Wrapped
from meritorder.gateway.wire.events import EventCutter
from meritorder.posting.answers import ACCEPTED_ENCODINGS, BUFFER_BYTES
from meritorder.posting.poster import Posted, Poster, PostingConnector

MAX_ANSWER_BYTES: Final = 16 * 2**20
"""Largest answer, or event of a stream, after decompression."""

_LARGE_BYTES: Final = 2**20
_MAX_ERROR_BYTES: Final = 2**16
_ERROR_IDLE_S: Final = 5.0

# Uvicorn and llama.cpp close a connection after five idle seconds.
_KEEP_IDLE_S: Final = 3.0
_JSON: Final = "application/json"
_EVENTS: Final = "text/event-stream"
# Specific errors before general ones.
_NEVER_SENT: Final[tuple[tuple[type[Exception], str], ...]] = (
    (aiohttp.ConnectionTimeoutError, "does not accept connections in time"),
    (aiohttp.ClientConnectorDNSError, "its host name is unknown"),
    (aiohttp.ClientConnectorCertificateError, "its certificate is not trusted"),
    (aiohttp.ClientConnectorError, "nothing listens there"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """Address, headers and time limits of a venue.

    Args:
        name: The venue's name.
        base_url: As the official clients take it, such as `https://api.openai.com/v1`; without a path, `/v1` is added.
        headers: Sent with each request; includes secrets.
        connect_s: Time to connect.
        timeout_s: Time for a whole answer, if the call sets none.
        stall_s: Longest silence within a streamed answer.
        max_connections: Most connections at one time; 0 for no limit.
    """

    name: str
    base_url: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    connect_s: float = 5.0
    timeout_s: float = 600.0
    stall_s: float = 120.0
    max_connections: int = 0


class HttpReply:
    """An HTTP answer of any form, whose body is still arriving."""

    __slots__ = ("_has_turn", "_pool", "_response")

    def __init__(self, response: aiohttp.ClientResponse | Posted, pool: "ConnectionPool") -> None:
        self._response = response
        self._pool = pool
        self._has_turn = False

    @property
    def status(self) -> int:
        """The HTTP status."""
        return self._response.status

    @property
    def headers(self) -> Mapping[str, str]:
        """The headers; names are found in any case."""
        return self._response.headers

    @property
    def body(self) -> AsyncIterator[bytes]:
        """The body as it arrives, unbuffered."""
        return self._parts()

    @property
    def events(self) -> AsyncIterator[bytes]:
        """The body as it arrives, in parts of complete server-sent events."""
        return self._events()

    async def _parts(self) -> AsyncIterator[bytes]:
        readany = self._response.content.readany
        with self._between_parts():
            while part := await readany():
                yield part

    async def _events(self) -> AsyncIterator[bytes]:
        readany, cutter = self._response.content.readany, EventCutter()
        with self._between_parts():
            while part := await readany():
                if complete := cutter.feed(part):
                    yield complete
                if self._has_turn or cutter.incomplete_bytes > _LARGE_BYTES:
                    await self._bound(cutter.incomplete_bytes, MAX_ANSWER_BYTES)
        with checked_contract(self._pool.endpoint.name):
            rest = cutter.end()
        if rest:
            yield rest

    async def read(self, *, max_bytes: int | None = None, idle_s: float | None = None) -> bytes:
        """Return the whole body.

        Args:
            max_bytes: Largest size after decompression; by default `MAX_ANSWER_BYTES`.
            idle_s: Longest time without a part; by default as in a stream.
        """
        content, parts, size = self._response.content, [], 0
        with self._between_parts():
            while not content.at_eof():
                if content.is_eof():
                    parts.append(content.read_nowait())
                else:
                    async with asyncio.timeout(idle_s or self._pool.endpoint.stall_s):
                        parts.append(await content.readany())
                size += len(parts[-1])
                await self._bound(size, max_bytes or MAX_ANSWER_BYTES)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _between_parts(self) -> TranslatedErrors:
        return classified_errors(self._pool.endpoint.name, "between two parts of the answer")

    async def _bound(self, held_bytes: int, max_bytes: int) -> None:
        """Limit what is held of an answer: large ones are read one at a time per venue."""
        if held_bytes > max_bytes:
            raise BrokenAnswerError("its answer is too long", venue=self._pool.endpoint.name)
        if held_bytes <= _LARGE_BYTES:
            self._release_turn()
        elif not self._has_turn:
            await self._pool.large_answers.acquire()
            self._has_turn = True

    def _release_turn(self) -> None:
        if self._has_turn:
            self._has_turn = False
            self._pool.large_answers.release()

    async def close(self) -> None:
        """Close the connection if the answer was not read to its end; otherwise it is already back in the pool."""
        self._release_turn()
        if not self._response.content.at_eof():
            self._response.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        await self.close()


class _StreamReply(Wrapped):
    """A streamed answer, in parts of complete events."""

    __slots__ = ("_http",)

    def __init__(self, reply: HttpReply) -> None:
        super().__init__(reply)
        self._http = reply

    @property
    def body(self) -> AsyncIterator[bytes]:
        return self._http.events


async def _read_error(reply: HttpReply) -> bytes:
    """Return the body of an error; empty if it cannot be read, since the status says enough."""
    try:
        return await reply.read(max_bytes=_MAX_ERROR_BYTES, idle_s=_ERROR_IDLE_S)
    except UpstreamError:
        return b""


def _drops_connections(headers: Mapping[str, str]) -> bool:
    """Tell whether a server may close pooled connections without notice.

    A server that announces a number of requests per connection (`Keep-Alive: timeout=5, max=100`) closes it without
    notice after that many. llama.cpp does, and also after each event stream (b10549, 2026-10).
    """
    return "max=" in headers.get("Keep-Alive", "")


def classified_errors(venue: str, when: str) -> TranslatedErrors:
    """Return a block in which any failure of the HTTP client is an `UpstreamError`. See `classify_error`."""
    return TranslatedErrors(lambda error: classify_error(error, venue, when))


def classify_error(error: Exception, venue: str, when: str) -> UpstreamError:
    """Return the `UpstreamError` for a failure of the HTTP client.

    Args:
        error: As raised.
        venue: Name of the venue.
        when: The phase, for the message of a time-out.
    """
    if isinstance(error, TimeoutError) and not isinstance(error, aiohttp.ConnectionTimeoutError):
        return UpstreamTimeoutError(f"timed out {when}", venue=venue)
    for kind, what in _NEVER_SENT:
        if isinstance(error, kind):
            return UnavailableError(what, venue=venue)
    broken = "the answer broke off" if isinstance(error, aiohttp.ClientPayloadError) else "the connection broke"
    return BrokenAnswerError(broken, venue=venue)


class ConnectionPool:
    """The connection pool of one venue, opened by the first request."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        self._poster: Poster | None = None
        self._retired: Poster | None = None
        self.large_answers = asyncio.Lock()
        self._keeps_alive = True
        self._urls: dict[str, URL] = {}
        self._root = URL(endpoint.base_url.rstrip("/"))
        if self._root.path in {"", "/"}:
            self._root /= "v1"

    def url(self, path: str) -> URL:
        """Return the URL of a path of the API; a leading `/v1` stands for the base URL."""
        url = self._urls.get(path)
        if url is None:
            url = URL(f"{self._root}{path.removeprefix('/v1')}", encoded=True)
            if len(self._urls) < 64:  # paths that contain ids must not accumulate
                self._urls[path] = url
        return url

    def root_url(self, path: str) -> URL:
        """Return the URL of a path at the root of the server, such as `/metrics`."""
        return self._root.with_path(path)

    def _open(self) -> Poster:
        if self._poster is None:
            session = aiohttp.ClientSession(
                connector=PostingConnector(
                    limit=self.endpoint.max_connections,
                    keepalive_timeout=_KEEP_IDLE_S if self._keeps_alive else None,
                    force_close=not self._keeps_alive,
                    ttl_dns_cache=60,
                ),
                cookie_jar=aiohttp.DummyCookieJar(),
                headers={"Accept-Encoding": ACCEPTED_ENCODINGS, **self.endpoint.headers},
                auto_decompress=True,
                read_bufsize=BUFFER_BYTES,
            )
            self._poster = Poster(session, self.endpoint.connect_s)
        return self._poster

    async def post(
        self,
        path: str,
        body: bytes,
        *,
        stream: bool,
        headers: Sequence[tuple[str, str]] = (),
        timeout_s: float | None,
        max_bytes: int | None = None,
    ) -> Reply:
        """Send JSON, and return the whole answer, or a stream once its headers have arrived.

        Raises:
            UpstreamError: No answer arrived, or one that violates the API contract.
        """
        endpoint = self.endpoint
        with classified_errors(endpoint.name, "before an answer started"):
            response = await self._open().post(
                self.url(path),
                body,
                headers,
                timeout_s=endpoint.timeout_s if timeout_s is None else timeout_s,
                stall_s=endpoint.stall_s if stream else None,
            )
        reply = HttpReply(response, self)
        try:
            self._check_head(response, stream=stream)
            if stream and response.status == 200:
                return _StreamReply(reply)
            content = await reply.read(max_bytes=max_bytes) if response.status == 200 else await _read_error(reply)
        except BaseException:
            await reply.close()
            raise
        await reply.close()
        return WholeReply(response.status, response.headers, content)

    async def request(
        self,
        method: str,
        url: URL,
        *,
        data: bytes | aiohttp.MultipartWriter | aiohttp.FormData | None = None,
        headers: Mapping[str, str] | None = None,
        timeout_s: float | None = None,
    ) -> HttpReply:
        """Send any request and return any answer once its headers have arrived."""
        total_s = self.endpoint.timeout_s if timeout_s is None else timeout_s
        timeout = aiohttp.ClientTimeout(total=total_s, sock_connect=self.endpoint.connect_s)
        with classified_errors(self.endpoint.name, "before an answer started"):
            response = await self._open().session.request(
                method, url, data=data, headers=headers, timeout=timeout, allow_redirects=False
            )
        return HttpReply(response, self)

    def _check_head(self, response: Posted, *, stream: bool) -> None:
        """Check status and type of an answer; of an error, the type does not matter: load balancers send HTML.

        Raises:
            BrokenAnswerError: They violate the API contract.
        """
        status, violation = response.status, None
        if status == 200:
            kind, due = response.headers.get("Content-Type", ""), _EVENTS if stream else _JSON
            if not kind.startswith(due):
                violation = f"answers with {kind.partition(';')[0] or 'no type'} where {due} is due"
        elif 300 <= status < 400:
            violation = "redirects; correct its base_url"
        elif not 400 <= status < 600:
            violation = f"answers with the status {status}"
        if violation is not None:
            raise BrokenAnswerError(violation, venue=self.endpoint.name)
        if self._keeps_alive and _drops_connections(response.headers):
            self._keeps_alive = False
            self._poster, self._retired = None, self._poster

    async def close(self) -> None:
        """Close all connections."""
        for poster in (self._poster, self._retired):
            if poster is not None:
                await poster.session.close()
        self._poster = self._retired = None
