"""Calls of a provider's batch API: JSON in and out, errors named, reading tried again."""

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from typing import Final

import aiohttp
import msgspec
from yarl import URL

from meritorder.gateway.errors import BrokenAnswerError, RefusedError, UnavailableError, UpstreamError
from meritorder.gateway.upstreams import retry
from meritorder.gateway.upstreams.batches.venue import BatchLimits, BatchLine
from meritorder.gateway.upstreams.connection import Connection, Endpoint, HttpReply
from meritorder.gateway.upstreams.fields import Json
from meritorder.gateway.upstreams.upstream import Runtime

_RETRY: Final = retry.RetryRule(attempts=4, first_wait_s=1.0, max_wait_s=20.0)
_CONTROL_S: Final = 60.0
_TRANSFER_S: Final = 1800.0
_ID: Final = re.compile(r"\w{1,32}", re.ASCII)
_TAG: Final = re.compile(r"\w{1,26}", re.ASCII)
_LONGEST_LINE_BYTES: Final = 64 * 2**20

Data = bytes | aiohttp.FormData | None


class Provider:
    """A provider's API, for calls that are few and matter.

    Args:
        endpoint: Where it is.
        runtime: The date and random shares.
    """

    def __init__(self, endpoint: Endpoint, runtime: Runtime) -> None:
        self.name = endpoint.name
        self.now = runtime.now
        self._connection = Connection(endpoint)
        self._draw = runtime.draw

    def url(self, path: str, **query: str | int) -> URL:
        """Return the address of a path of the API."""
        url = self._connection.url(path)
        return url.with_query({name: str(value) for name, value in query.items()}) if query else url

    def beside(self, path: str) -> URL:
        """Return the address of a path at the server's root."""
        return self._connection.beside(path)

    async def read(self, url: URL) -> Json:
        """Return what is at an address, asked again where a failure may pass."""
        reply = await self._patiently("GET", url)
        return await self._json(reply)

    async def write(self, url: URL, data: Data = None, headers: Mapping[str, str] | None = None) -> Json:
        """Post once, and return the answer. It is not sent again here: it might be done twice."""
        reply = await self._once("POST", url, data, headers)
        return await self._json(reply)

    async def post(self, url: URL, data: Data, headers: Mapping[str, str]) -> Mapping[str, str]:
        """Post once, and return the headers of the answer."""
        reply = await self._once("POST", url, data, headers)
        await reply.close()
        return reply.headers

    async def lines(self, url: URL) -> AsyncIterator[bytes]:
        """Yield the lines of a file, as they come."""
        reply = await self._patiently("GET", url, timeout_s=_TRANSFER_S)
        try:
            rest = b""
            async for part in reply.body:
                *whole, rest = (rest + part).split(b"\n")
                for line in whole:
                    if line.strip():
                        yield line
                if len(rest) > _LONGEST_LINE_BYTES:
                    raise BrokenAnswerError("a line of a result file does not end", venue=self.name)
            if rest.strip():
                yield rest
        finally:
            await reply.close()

    async def _patiently(self, method: str, url: URL, timeout_s: float = _CONTROL_S) -> HttpReply:
        attempt = 1
        while True:
            try:
                return await self._once(method, url, None, None, timeout_s=timeout_s)
            except RefusedError:
                raise
            except UpstreamError as error:
                asked_s = error.retry_after_s if isinstance(error, UnavailableError) else None
                wait_s = _RETRY.wait_s(attempt, asked_s, self._draw())
                if wait_s is None:
                    raise
            await asyncio.sleep(wait_s)
            attempt += 1

    async def _once(
        self,
        method: str,
        url: URL,
        data: Data,
        headers: Mapping[str, str] | None,
        timeout_s: float | None = None,
    ) -> HttpReply:
        if timeout_s is None:
            timeout_s = _TRANSFER_S if data is not None else _CONTROL_S
        reply = await self._connection.request(method, url, data=data, headers=headers, timeout_s=timeout_s)
        if reply.status < 300:
            return reply
        try:
            text = await reply.read()
        finally:
            await reply.close()
        what = f"HTTP {reply.status}: {_message(text)}"
        if retry.is_transient(reply.status):
            asked_s = retry.retry_after_s(reply.headers, self.now())
            raise UnavailableError(what, venue=self.name, retry_after_s=asked_s)
        raise RefusedError(what, venue=self.name, status=reply.status)

    async def _json(self, reply: HttpReply) -> Json:
        try:
            text = await reply.read()
        finally:
            await reply.close()
        try:
            return msgspec.json.decode(text or b"{}", type=Json)
        except msgspec.DecodeError:
            raise BrokenAnswerError("the answer is not JSON", venue=self.name) from None

    async def close(self) -> None:
        """Close what is open towards the provider."""
        await self._connection.close()


def _message(text: bytes) -> str:
    """Return a provider's own words on an error, in one line."""
    try:
        found = msgspec.json.decode(text, type=Json)["error"]
        words = found["message"] if isinstance(found, dict) else str(found)
    except (msgspec.DecodeError, KeyError, TypeError):
        words = "no reason given"
    return " ".join(str(words).split())[:300]


@contextlib.contextmanager
def of_its_api(venue: str) -> Iterator[None]:
    """Name what an answer lacks that the API promises.

    Raises:
        BrokenAnswerError: A field is missing or of another kind.
    """
    try:
        yield
    except (msgspec.DecodeError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise BrokenAnswerError(f"an answer is not of its API: {type(error).__name__} {error}", venue=venue) from None


def check(lines: Sequence[BatchLine], tag: str, limits: BatchLimits) -> None:
    """Check what is about to be submitted.

    Raises:
        ValueError: A mistake of the caller.
    """
    if not _TAG.fullmatch(tag):
        raise ValueError(f"{tag!r} is not a tag")
    if not 0 < len(lines) <= limits.max_lines:
        raise ValueError(f"{len(lines)} lines are not within 1 to {limits.max_lines}")
    if len({(line.path, line.model) for line in lines}) != 1:
        raise ValueError("the lines are not of one path and model")
    if not all(_ID.fullmatch(line.custom_id) for line in lines):
        raise ValueError("a custom_id is longer than 32 or has more than letters, digits and underscores")


def wire_id(tag: str, line: BatchLine) -> str:
    """Return a line's id at the provider: it tells whose it is."""
    return f"{tag}-{line.custom_id}"


def own_id(wire_id: str) -> str:
    """Return our id of a line."""
    return wire_id.partition("-")[2]


def tag_of(wire_id: str) -> str:
    """Return the tag that a line was submitted under."""
    return wire_id.partition("-")[0]
