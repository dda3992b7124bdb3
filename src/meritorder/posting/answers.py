"""Answers to posts: parsed by llhttp as they arrive, and passed on by the read, not by the chunk.

aiohttp passes each chunk of a stream on by a dozen calls, which takes longer than all that the gateway does with it.
"""

import asyncio
import zlib
from collections.abc import Mapping
from typing import Final

import aiohttp
import httptools
from aiohttp.client_proto import ResponseHandler
from aiohttp.connector import Connection
from multidict import CIMultiDict

BUFFER_BYTES: Final = 2**18
"""What is read of a body ahead of its reader."""

ACCEPTED_ENCODINGS: Final = "gzip"
"""The encodings of bodies that can be decoded."""

_MAX_HEAD_BYTES: Final = 2**16
_FINAL: Final = 200  # statuses below it announce another
_GZIP: Final = {"gzip", "x-gzip"}
_PLAIN: Final = {"", "identity"}
_GZIP_BITS: Final = 16 + zlib.MAX_WBITS
_NEVER_S: Final = float("inf")


class Answer:
    """An answer that is arriving; its body can be read once. Its connection may serve others before it is read."""

    __slots__ = (
        "_decoder",
        "_error",
        "_handler",
        "_is_complete",
        "_parts",
        "headers",
        "size_bytes",
        "status",
        "waiter",
    )

    def __init__(self, handler: "AnswerHandler") -> None:
        self.status = 0  # until its head has arrived
        self.headers: Mapping[str, str] = {}
        self.size_bytes = 0  # of what waits for its reader
        self.waiter: asyncio.Future[None] | None = None
        self._parts: list[bytes] = []
        self._is_complete = False
        self._error: BaseException | None = None
        self._decoder: zlib._Decompress | None = None
        self._handler: AnswerHandler | None = handler

    def begin(self, status: int, headers: Mapping[str, str]) -> None:
        """Take the head."""
        self.status, self.headers = status, headers
        encoding = headers.get("Content-Encoding", "").strip().lower()
        if encoding in _GZIP:
            self._decoder = zlib.decompressobj(_GZIP_BITS)
        elif encoding not in _PLAIN:
            self.end(aiohttp.ClientPayloadError("encoded in a way that was not accepted"))

    def feed(self, part: bytes) -> None:
        """Add a part, unless nothing was to follow."""
        if not self._is_complete:
            self._parts.append(part)
            self.size_bytes += len(part)

    def end(self, error: BaseException | None = None) -> None:
        """Note that nothing follows, or what its readers fail with."""
        if not self._is_complete:
            self._is_complete, self._error, self._handler = True, error, None
            self.wake()

    def wake(self) -> None:
        """Wake its reader."""
        waiter, self.waiter = self.waiter, None
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    async def head(self) -> None:
        """Wait for status and headers.

        Raises:
            Exception: They did not arrive, or are not HTTP.
        """
        while not self.status:
            await self._change()

    async def _change(self) -> None:
        """Wait until more has arrived.

        Raises:
            Exception: The answer failed.
        """
        if self._error is None and not self._is_complete:
            self.waiter = asyncio.get_running_loop().create_future()
            await self.waiter
        if self._error is not None:
            raise self._error

    def is_eof(self) -> bool:
        """Tell whether all of it has arrived."""
        return self._is_complete and self._error is None

    def at_eof(self) -> bool:
        """Tell whether all of it was read."""
        return self.is_eof() and not self._has_more()

    async def readany(self) -> bytes:
        """Return what has arrived; empty at the end.

        Raises:
            Exception: The answer failed.
        """
        while not (part := self.read_nowait()) and not self.at_eof():
            if not self._has_more():
                await self._change()
        return part

    def _has_more(self) -> bool:
        """Tell whether something has arrived and was not read."""
        return bool(self._parts) or (self._decoder is not None and bool(self._decoder.unconsumed_tail))

    def read_nowait(self) -> bytes:
        """Return what has arrived, if anything.

        Raises:
            Exception: The answer failed.
        """
        if self._error is not None:
            raise self._error
        if self._decoder is not None and self._decoder.unconsumed_tail:
            return self._decoded(self._decoder, b"")  # before more of it is read
        parts, self._parts = self._parts, []
        self.size_bytes = 0
        if self._handler is not None:
            self._handler.resume()
        part = parts[0] if len(parts) == 1 else b"".join(parts)
        return part if self._decoder is None else self._decoded(self._decoder, part)

    def _decoded(self, decoder: "zlib._Decompress", part: bytes) -> bytes:
        """Return what a part decodes to, as far as it fits into the buffer; the rest follows."""
        try:
            decoded = decoder.decompress(decoder.unconsumed_tail + part, BUFFER_BYTES)
        except zlib.error as error:
            raise aiohttp.ClientPayloadError("not what its encoding says") from error
        if self.at_eof() and not decoder.eof:
            raise aiohttp.ClientPayloadError("ended within what is encoded")
        return decoded


class AnswerHandler(ResponseHandler):
    """A connection of aiohttp that parses the answers to our posts itself."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop)
        self._connection: Connection | None = None
        self._answer: Answer | None = None
        self._lines: list[tuple[str, str]] = []
        self._arrived: list[bytes] = []
        self._bytes_since_body = 0  # of heads, trailers and announcements
        self._is_paused = False
        self._ends_s = self._stall_s = self._timer_s = _NEVER_S
        self._heard_s = 0.0
        self._clock: asyncio.TimerHandle | None = None
        self._llhttp: httptools.HttpResponseParser | None = httptools.HttpResponseParser(self)
        self._llhttp.set_dangerous_leniencies(
            lenient_headers=True, lenient_optional_cr_before_lf=True, lenient_spaces_after_chunk_size=True
        )

    def expect(self, connection: Connection, ends_s: float, stall_s: float | None) -> Answer:
        """Expect an answer on this connection.

        Args:
            connection: The connection, which goes back to the pool when the body has arrived.
            ends_s: When all of it is due, by the clock of the loop.
            stall_s: Longest silence of the server; None for no limit.
        """
        self._connection, self._answer = connection, Answer(self)
        self._bytes_since_body = 0
        self._heard_s = self._loop.time()
        self._ends_s, self._stall_s = ends_s, _NEVER_S if stall_s is None else stall_s
        self._set_timer(self._due_s())
        return self._answer

    def data_received(self, data: bytes) -> None:
        """Parse what has arrived."""
        answer, llhttp = self._answer, self._llhttp
        if answer is None or llhttp is None:
            super().data_received(data)
            return
        self._heard_s = self._loop.time()
        self._bytes_since_body += len(data)
        try:
            llhttp.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            self._fail(error)
            return
        self._pass_on(answer)
        if answer.is_eof():
            self._release()
        elif self._bytes_since_body > _MAX_HEAD_BYTES:
            self._fail(aiohttp.ServerDisconnectedError("its head or its trailers are too large"))
        elif answer.size_bytes > BUFFER_BYTES and self.transport is not None:
            self._is_paused = True
            self.transport.pause_reading()
        answer.wake()

    def resume(self) -> None:
        """Go on reading: what waited was read."""
        if self._is_paused and self.transport is not None:
            self._is_paused = False
            self.transport.resume_reading()

    def connection_lost(self, exc: BaseException | None) -> None:
        """End an answer that is as long as its connection; any other is incomplete."""
        answer, self._answer = self._answer, None
        self._llhttp = None  # it refers to this
        self._stop_timer()
        if answer is not None:
            has_length = "Content-Length" in answer.headers or "Transfer-Encoding" in answer.headers
            if not answer.status:
                answer.end(exc or aiohttp.ServerDisconnectedError())
            else:
                answer.end(aiohttp.ClientPayloadError() if exc is not None or has_length else None)
            connection, self._connection = self._connection, None
            if connection is not None:
                connection.close()
        super().connection_lost(exc)

    def abandon(self) -> None:
        """Close the connection, unless the answer is complete."""
        connection, self._connection = self._connection, None
        self._answer = None
        self._stop_timer()
        if connection is not None:
            connection.close()

    def on_message_begin(self) -> None:
        """Begin an answer; the server sends more than it was asked for if there is one already."""
        if self._answer is None or self._answer.status:
            self.force_close()
        self._lines = []

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header of the head; trailers say nothing that matters."""
        if self._answer is not None and not self._answer.status:
            self._lines.append((name.decode("latin-1"), value.decode("latin-1")))

    def on_headers_complete(self) -> None:
        """Take the head, unless it only announces another."""
        answer, llhttp = self._answer, self._llhttp
        if answer is None or llhttp is None or answer.status:
            return
        status = llhttp.get_status_code()
        if status >= _FINAL:
            answer.begin(status, CIMultiDict(self._lines))

    def on_body(self, part: bytes) -> None:
        """Take a part of the body."""
        self._arrived.append(part)

    def on_message_complete(self) -> None:
        """End the answer."""
        answer, llhttp = self._answer, self._llhttp
        if answer is not None and answer.status and llhttp is not None:
            if not llhttp.should_keep_alive():
                self.force_close()
            self._pass_on(answer)
            answer.end()

    def _pass_on(self, answer: Answer) -> None:
        """Pass on what has arrived of the body, as one part."""
        if self._arrived:
            answer.feed(b"".join(self._arrived))
            self._arrived.clear()
            self._bytes_since_body = 0

    def _release(self) -> None:
        """Return the connection to the pool, unless its server may take what follows for the rest of the request."""
        connection, self._connection = self._connection, None
        self._answer = None
        if connection is None:
            return
        if self.transport is not None and self.transport.get_write_buffer_size():
            self.transport.abort()
            connection.close()
        else:
            connection.release()

    def _fail(self, error: BaseException) -> None:
        answer = self._answer
        self.abandon()
        if answer is not None:
            answer.end(error)

    def _due_s(self) -> float:
        return min(self._ends_s, self._heard_s + self._stall_s)

    def _set_timer(self, due_s: float) -> None:
        """Check at a time at the latest; a check that comes too early sets the next."""
        if due_s < self._timer_s:
            self._stop_timer()
            self._timer_s, self._clock = due_s, self._loop.call_at(due_s, self._check)

    def _stop_timer(self) -> None:
        if self._clock is not None:
            self._clock.cancel()
        self._timer_s, self._clock = _NEVER_S, None

    def _check(self) -> None:
        """Fail the answer if it is overdue."""
        self._timer_s, self._clock = _NEVER_S, None
        answer = self._answer
        if answer is None:
            return
        now_s = self._loop.time()
        if answer.waiter is None:
            self._heard_s = now_s  # its reader keeps it waiting, not the server
        if now_s >= self._due_s():
            self._fail(TimeoutError())
        else:
            self._set_timer(self._due_s())
