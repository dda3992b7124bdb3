"""Calls of a provider's batch API: JSON in and out, errors classified, reads retried."""

import asyncio
import contextlib
import logging
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import Final, TypeVar

import aiohttp
import msgspec
from yarl import URL

from meritorder.gateway.errors import BrokenAnswerError, RefusedError, UnavailableError, UpstreamError, checked_contract
from meritorder.gateway.upstreams import retry
from meritorder.gateway.upstreams.batches.venue import BatchLimits, BatchLine
from meritorder.gateway.upstreams.connection import ConnectionPool, Endpoint, HttpReply
from meritorder.gateway.upstreams.dialects.fields import Json
from meritorder.gateway.upstreams.upstream import Runtime
from meritorder.gateway.wire.errors import INVALID_JSON

_RETRY: Final = retry.RetryRule(attempts=4, first_wait_s=1.0, max_wait_s=20.0)
_CONTROL_S: Final = 60.0
_TRANSFER_S: Final = 1800.0
_ID: Final = re.compile(r"\w{1,32}", re.ASCII)
_TAG: Final = re.compile(r"\w{1,26}", re.ASCII)
_MAX_LINE_BYTES: Final = 64 * 2**20
_MAX_PAGES: Final = 1000
_WIRE_ID: Final = re.compile(r"(?!.*\.\.)[\w./:-]{1,256}", re.ASCII)
_log: Final = logging.getLogger(__name__)

Data = bytes | aiohttp.FormData | None
Line = TypeVar("Line")


class Provider:
    """The client of a provider's control API.

    Args:
        endpoint: Its address and headers.
        runtime: Clock and randomness.
    """

    def __init__(self, endpoint: Endpoint, runtime: Runtime) -> None:
        self.name = endpoint.name
        self.now = runtime.now
        self._pool = ConnectionPool(endpoint)
        self._draw = runtime.draw
        self._uploaded: dict[str, str] = {}

    def url(self, path: str, **query: str | int) -> URL:
        """Return the URL of a path of the API."""
        url = self._pool.url(path)
        return url.with_query({name: str(value) for name, value in query.items()}) if query else url

    def root_url(self, path: str) -> URL:
        """Return the URL of a path at the root of the server."""
        return self._pool.root_url(path)

    async def read(self, url: URL) -> Json:
        """Return the JSON at a URL, with retries of transient failures."""
        reply = await self._with_retries("GET", url)
        return await self._json(reply)

    async def pages(
        self, path: str, find_next: Callable[[Json], Mapping[str, str] | None], **query: str | int
    ) -> AsyncIterator[Json]:
        """Yield the pages of a list; each names the query of the next, or None at the end."""
        after: Mapping[str, str] = {}
        for _ in range(_MAX_PAGES):
            page = await self.read(self.url(path, **query, **after))
            yield page
            with checked_contract(self.name):
                following = find_next(page)
            if following is None:
                return
            after = following
        raise BrokenAnswerError("a list does not end", venue=self.name)

    async def write(self, url: URL, data: Data = None, headers: Mapping[str, str] | None = None) -> Json:
        """Post once and return the answer. There is no retry, which could have an effect twice."""
        reply = await self._once("POST", url, data, headers)
        return await self._json(reply)

    async def post(self, url: URL, data: Data, headers: Mapping[str, str]) -> Mapping[str, str]:
        """Post once and return the headers of the answer."""
        reply = await self._once("POST", url, data, headers)
        await reply.close()
        return reply.headers

    async def delete(self, url: URL) -> None:
        """Delete what is at a URL, if it is there; a provider that does not answer deletes it at its expiry."""
        try:
            reply = await self._once("DELETE", url, None, None)
        except UpstreamError as error:
            _log.warning("%s: a file could not be deleted: %s", self.name, error)
        else:
            await reply.close()

    @contextlib.asynccontextmanager
    async def uploaded(self, tag: str, upload: Callable[[], Awaitable[str]], folder: str) -> AsyncIterator[str]:
        """Upload the file of a submission and keep it for the next attempt, unless it is accepted or refused.

        A refused submission's file is deleted.
        """
        file_id = self._uploaded.get(tag) or await upload()
        self._uploaded[tag] = file_id
        try:
            yield file_id
        except RefusedError:
            del self._uploaded[tag]
            await self.delete(self.url(f"{folder}/{file_id}"))
            raise
        del self._uploaded[tag]

    async def decoded(self, url: URL, decode: Callable[[bytes], Line]) -> AsyncIterator[Line]:
        """Yield the decoded lines of a result file; lines that violate the API are skipped: they count as missing."""
        skipped, reason = 0, None
        async for line in self._lines(url):
            try:
                with checked_contract(self.name):
                    decoded = decode(line)
            except BrokenAnswerError as error:
                skipped, reason = skipped + 1, reason or error.__cause__
            else:
                yield decoded
        if skipped:
            _log.warning("%s: %d lines of a result file are skipped, such as for %r", self.name, skipped, reason)

    async def _lines(self, url: URL) -> AsyncIterator[bytes]:
        """Yield the lines of a file as they arrive."""
        reply = await self._with_retries("GET", url, timeout_s=_TRANSFER_S)
        try:
            incomplete = b""
            async for part in reply.body:
                *lines, incomplete = (incomplete + part).split(b"\n")
                for line in lines:
                    if line.strip():
                        yield line
                if len(incomplete) > _MAX_LINE_BYTES:
                    raise BrokenAnswerError("a line of a result file does not end", venue=self.name)
            if incomplete.strip():
                yield incomplete
        finally:
            await reply.close()

    async def _with_retries(self, method: str, url: URL, timeout_s: float = _CONTROL_S) -> HttpReply:
        attempt = 1
        while True:
            try:
                return await self._once(method, url, None, None, timeout_s=timeout_s)
            except RefusedError:
                raise
            except UpstreamError as error:
                retry_after_s = error.retry_after_s if isinstance(error, UnavailableError) else None
                wait_s = _RETRY.wait_s(attempt, retry_after_s, self._draw())
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
        reply = await self._pool.request(method, url, data=data, headers=headers, timeout_s=timeout_s)
        if reply.status < 300:
            return reply
        try:
            text = await reply.read()
        finally:
            await reply.close()
        what = f"HTTP {reply.status}: {_message(text)}"
        if retry.is_transient(reply.status):
            retry_after_s = retry.retry_after_s(reply.headers, self.now())
            raise UnavailableError(what, venue=self.name, retry_after_s=retry_after_s)
        raise RefusedError(what, venue=self.name, status=reply.status)

    async def _json(self, reply: HttpReply) -> Json:
        try:
            text = await reply.read()
        finally:
            await reply.close()
        with checked_contract(self.name):
            return msgspec.json.decode(text or b"{}", type=Json)

    async def close(self) -> None:
        """Close the connections to the provider."""
        await self._pool.close()


def _message(text: bytes) -> str:
    """Return the message of a provider's error."""
    try:
        error = msgspec.json.decode(text, type=Json)["error"]
        message = error["message"] if isinstance(error, dict) else str(error)
    except (*INVALID_JSON, KeyError, TypeError):
        message = "no reason given"
    return one_line(message)


def one_line(message: object) -> str:
    """Return a provider's message in one line of limited length."""
    return " ".join(str(message).split())[:300]


def checked_id(value: object) -> str:
    """Return a provider's id of a batch or file.

    Raises:
        ValueError: It is none.
    """
    if not isinstance(value, str) or not _WIRE_ID.fullmatch(value):
        raise ValueError(f"{value!r:.100} is not an id")
    return value


def check(lines: Sequence[BatchLine], tag: str, limits: BatchLimits) -> None:
    """Check the lines and the tag of a submission.

    Raises:
        ValueError: The caller made a mistake.
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
    """Return a line's id at the provider, which includes the tag."""
    return f"{tag}-{line.custom_id}"


def own_id(wire_id: str, tag: str) -> str:
    """Return our id of a line that was submitted under a tag.

    Raises:
        ValueError: The line is of another batch.
    """
    if tag_of(wire_id) != tag:
        raise ValueError(f"{wire_id!r:.100} is a line of another batch")
    return wire_id.partition("-")[2]


def tag_of(wire_id: str) -> str:
    """Return the tag that a line was submitted under."""
    return wire_id.partition("-")[0]
