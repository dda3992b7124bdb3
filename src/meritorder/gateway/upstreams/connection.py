"""HTTP connections to one venue: pooled only where that is safe, with failures classified."""

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Final, Self

import aiohttp
from multidict import CIMultiDict
from yarl import URL

from meritorder.gateway.errors import BrokenAnswerError, UnavailableError, UpstreamError, UpstreamTimeoutError

# Uvicorn and llama.cpp close a connection after five idle seconds.
_KEEP_IDLE_S: Final = 3.0
_JSON: Final = "application/json"
_EVENTS: Final = "text/event-stream"
_JSON_HEADERS: Final = CIMultiDict({"Content-Type": _JSON})  # of most requests, in the type that aiohttp expects
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
    """An HTTP answer. See `upstream.Reply`."""

    __slots__ = ("_response", "_venue")

    def __init__(self, response: aiohttp.ClientResponse, venue: str) -> None:
        self._response = response
        self._venue = venue

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

    async def _parts(self) -> AsyncIterator[bytes]:
        readany = self._response.content.readany
        try:
            while part := await readany():
                yield part
        except (aiohttp.ClientError, OSError) as error:
            raise classify_error(error, self._venue, "between two parts of the answer") from error

    async def read(self) -> bytes:
        """Return the whole body."""
        try:
            return await self._response.read()
        except (aiohttp.ClientError, OSError) as error:
            raise classify_error(error, self._venue, "before the answer was complete") from error

    async def close(self) -> None:
        """Close the connection if the answer was not read to its end; otherwise it is already back in the pool."""
        if not self._response.content.at_eof():
            self._response.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        await self.close()


def _drops_connections(headers: Mapping[str, str]) -> bool:
    """Tell whether a server may close pooled connections without notice.

    A server that announces a number of requests per connection (`Keep-Alive: timeout=5, max=100`) closes it without
    notice after that many. llama.cpp does, and also after each event stream (b10549, 2026-10).
    """
    return "max=" in headers.get("Keep-Alive", "")


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


class Connection:
    """The connection pool of one venue, opened by the first request."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        self._session: aiohttp.ClientSession | None = None
        self._retired: aiohttp.ClientSession | None = None
        self._keeps_alive = True
        self._urls: dict[str, URL] = {}
        self._root = URL(endpoint.base_url.rstrip("/"))
        if self._root.path in {"", "/"}:
            self._root /= "v1"
        self._streamed = self._timeout(endpoint.timeout_s, endpoint.stall_s)
        self._whole = self._timeout(endpoint.timeout_s, None)

    def _timeout(self, total_s: float, stall_s: float | None) -> aiohttp.ClientTimeout:
        return aiohttp.ClientTimeout(total=total_s, sock_connect=self.endpoint.connect_s, sock_read=stall_s)

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

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(
                    limit=self.endpoint.max_connections,
                    keepalive_timeout=_KEEP_IDLE_S if self._keeps_alive else None,
                    force_close=not self._keeps_alive,
                    ttl_dns_cache=60,
                ),
                cookie_jar=aiohttp.DummyCookieJar(),
                headers=dict(self.endpoint.headers),
                auto_decompress=True,
                read_bufsize=2**18,
            )
        return self._session

    async def post(
        self, path: str, body: bytes, *, stream: bool, headers: Sequence[tuple[str, str]] = (), timeout_s: float | None
    ) -> HttpReply:
        """Send JSON and return the answer once its headers have arrived and match the API contract.

        Raises:
            UpstreamError: No answer arrived, or one that violates the API contract.
        """
        timeout = self._streamed if stream else self._whole
        if timeout_s is not None:
            timeout = self._timeout(timeout_s, self.endpoint.stall_s if stream else None)
        sent_headers = {**_JSON_HEADERS, **dict(headers)} if headers else _JSON_HEADERS
        response = await self._request("POST", self.url(path), data=body, headers=sent_headers, timeout=timeout)
        return self._checked(response, stream=stream)

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
        timeout = self._whole if timeout_s is None else self._timeout(timeout_s, None)
        response = await self._request(method, url, data=data, headers=headers, timeout=timeout)
        return HttpReply(response, self.endpoint.name)

    async def _request(
        self,
        method: str,
        url: URL,
        *,
        data: bytes | aiohttp.MultipartWriter | aiohttp.FormData | None,
        headers: Mapping[str, str] | None,
        timeout: aiohttp.ClientTimeout,
    ) -> aiohttp.ClientResponse:
        session = self._session or self._open()
        try:
            return await session.request(
                method, url, data=data, headers=headers, timeout=timeout, allow_redirects=False
            )
        except (aiohttp.ClientError, OSError) as error:
            raise classify_error(error, self.endpoint.name, "before an answer started") from error

    def _checked(self, response: aiohttp.ClientResponse, *, stream: bool) -> HttpReply:
        status = response.status
        violation = None
        if status == 200:
            kind = response.headers.get("Content-Type", "")
            if not kind.startswith(_EVENTS if stream else _JSON):
                violation = (
                    f"answers with {kind.partition(';')[0] or 'no type'} where {_EVENTS if stream else _JSON} is due"
                )
        elif 300 <= status < 400:
            violation = "redirects; correct its base_url"
        if violation is None:
            if self._keeps_alive and _drops_connections(response.headers):
                self._keeps_alive = False
                self._session, self._retired = None, self._session
            return HttpReply(response, self.endpoint.name)
        response.close()
        raise BrokenAnswerError(violation, venue=self.endpoint.name)

    async def close(self) -> None:
        """Close all connections."""
        for session in (self._session, self._retired):
            if session is not None:
                await session.close()
        self._session = self._retired = None
