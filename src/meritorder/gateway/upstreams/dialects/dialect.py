"""Venues with another API than OpenAI's: one upstream, and lines of batches, translated through a dialect."""

import datetime as dt
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Final, Protocol

import msgspec

from meritorder.gateway.errors import BrokenAnswerError, UnsupportedError
from meritorder.gateway.upstreams.batches.venue import BatchLine, LineResult
from meritorder.gateway.upstreams.connection import Connection, Endpoint, HttpReply
from meritorder.gateway.upstreams.dialects import completions
from meritorder.gateway.upstreams.dialects.fields import Json, decode
from meritorder.gateway.upstreams.upstream import Call, EngineLoad, Reply
from meritorder.gateway.wire.events import DONE, event, events

CHAT: Final = "/v1/chat/completions"
_LIMIT_HEADERS: Final = ("retry-after", "request-id", "x-request-id")


class Stream(Protocol):
    """The translation of one streamed answer."""

    def feed(self, name: str, data: Json) -> list[Json]:
        """Return the stream chunks that an event becomes.

        Raises:
            ValueError: The event reports a failure; the message may be shown to the client.
        """

    @property
    def ended(self) -> bool:
        """Whether the answer is complete."""


class Dialect(Protocol):
    """Translates requests to another API, and its answers to OpenAI's."""

    def path(self, model: str, *, stream: bool) -> str:
        """Return the path of a request."""

    def request(self, body: Json, *, venue: str) -> Json:
        """Return a chat request in the format of the other API, without model and stream.

        Raises:
            UnsupportedError: The other API cannot express a field.
        """

    def envelope(self, request: Json, model: str, *, stream: bool) -> Json:
        """Return the body that is sent for a request."""

    def headers(self, request: Json) -> tuple[tuple[str, str], ...]:
        """Return the headers of a request in addition to those of the endpoint."""

    def answer(self, answer: Json, *, created_s: int) -> Json:
        """Return an answer as a chat completion.

        Raises:
            KeyError, TypeError, ValueError: It violates the other API's contract.
        """

    def stream(self, model: str, *, created_s: int, with_usage: bool) -> Stream:
        """Return the translation of a streamed answer."""

    def error(self, error: Json) -> tuple[str, str | None, float | None]:
        """Return message, code and `Retry-After` of an error's body."""


class _TranslatedReply:
    """A translated answer that is complete."""

    def __init__(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        self.status = status
        self.headers = headers
        self._body = body

    @property
    def body(self) -> AsyncIterator[bytes]:
        return self._parts()

    async def _parts(self) -> AsyncIterator[bytes]:
        yield self._body

    async def read(self) -> bytes:
        return self._body

    async def close(self) -> None:
        pass


class _TranslatedStream:
    """A streamed answer whose events are translated as they arrive."""

    status = 200

    def __init__(self, reply: HttpReply, stream: Stream, venue: str) -> None:
        self.headers: Mapping[str, str] = {**_forwarded_headers(reply.headers), "content-type": "text/event-stream"}
        self._reply = reply
        self._stream = stream
        self._venue = venue

    @property
    def body(self) -> AsyncIterator[bytes]:
        return self._parts()

    async def _parts(self) -> AsyncIterator[bytes]:
        try:
            async for name, data in events(self._reply.body):
                for chunk in self._stream.feed(name, msgspec.json.decode(data, type=Json)):
                    yield event(chunk)
        except msgspec.DecodeError:
            raise BrokenAnswerError("an event is not JSON", venue=self._venue) from None
        except (KeyError, TypeError) as error:
            raise BrokenAnswerError(f"an event violates its API: {error}", venue=self._venue) from None
        except ValueError as error:
            raise BrokenAnswerError(str(error), venue=self._venue) from None
        if not self._stream.ended:
            raise BrokenAnswerError("the answer broke off", venue=self._venue)
        yield DONE

    async def read(self) -> bytes:
        return b"".join([part async for part in self._parts()])

    async def close(self) -> None:
        await self._reply.close()


def _forwarded_headers(headers: Mapping[str, str]) -> dict[str, str]:
    return {name: headers[name] for name in _LIMIT_HEADERS if name in headers}


class TranslatingUpstream:
    """A venue with another API, for chat completions. See `upstream.Upstream`.

    Args:
        endpoint: Its address and headers.
        dialect: Translates to its API.
        models: Its own names of models, by the names that requests use.
        now: Returns the date, for `created`.
    """

    def __init__(
        self, endpoint: Endpoint, dialect: Dialect, *, models: Mapping[str, str], now: Callable[[], dt.datetime]
    ) -> None:
        self.name = endpoint.name
        self._connection = Connection(endpoint)
        self._dialect = dialect
        self._models = models
        self._now = now

    async def send(self, call: Call) -> Reply:
        """Send a chat request in the venue's format, and return the answer in OpenAI's."""
        if call.path != CHAT:
            raise UnsupportedError(f"its API has no {call.path}, only {CHAT}", venue=self.name, param="endpoint")
        body = decode(call.body, venue=self.name)
        model = self._models.get(call.model, call.model)
        options = body.get("stream_options") or {}
        request = self._dialect.envelope(self._dialect.request(body, venue=self.name), model, stream=call.stream)
        reply = await self._connection.post(
            self._dialect.path(model, stream=call.stream),
            msgspec.json.encode(request),
            stream=call.stream,
            headers=(*call.headers, *self._dialect.headers(request)),
            timeout_s=call.timeout_s,
        )
        created_s = int(self._now().timestamp())
        if reply.status != 200:
            return await self._translated_error(reply)
        if call.stream:
            with_usage = bool(options.get("include_usage"))
            stream = self._dialect.stream(model, created_s=created_s, with_usage=with_usage)
            return _TranslatedStream(reply, stream, self.name)
        return await self._whole(reply, created_s)

    async def _whole(self, reply: HttpReply, created_s: int) -> Reply:
        try:
            text = await reply.read()
        finally:
            await reply.close()
        try:
            answer = self._dialect.answer(msgspec.json.decode(text, type=Json), created_s=created_s)
        except msgspec.DecodeError:
            raise BrokenAnswerError("the answer is not JSON", venue=self.name) from None
        except (KeyError, TypeError, ValueError) as error:
            raise BrokenAnswerError(f"the answer violates its API: {error}", venue=self.name) from None
        headers = {**_forwarded_headers(reply.headers), "content-type": "application/json"}
        return _TranslatedReply(200, headers, msgspec.json.encode(answer))

    async def _translated_error(self, reply: HttpReply) -> Reply:
        """Return an error in OpenAI's format."""
        try:
            text = await reply.read()
        finally:
            await reply.close()
        headers = {**_forwarded_headers(reply.headers), "content-type": "application/json"}
        message, code, retry_after_s = parse_error(self._dialect, text)
        if retry_after_s is not None:
            headers.setdefault("retry-after", f"{retry_after_s:g}")
        return _TranslatedReply(reply.status, headers, completions.error_body(message, status=reply.status, code=code))

    async def load(self) -> EngineLoad | None:
        """Return None: providers do not report their load."""
        return None

    async def close(self) -> None:
        """Close the connections to the venue."""
        await self._connection.close()


def parse_error(dialect: Dialect, text: bytes) -> tuple[str, str | None, float | None]:
    """Return message, code and `Retry-After` of an error's body, with defaults if it is malformed."""
    try:
        return dialect.error(msgspec.json.decode(text, type=Json))
    except (msgspec.DecodeError, KeyError, TypeError, ValueError):
        return "the provider gave no reason", None, None


def translate_line(dialect: Dialect, line: BatchLine, model: str, *, venue: str) -> Json:
    """Return the body of a line in the other API.

    Raises:
        UnsupportedError: The API cannot express it.
    """
    if line.path != CHAT:
        raise UnsupportedError(f"its API has no {line.path}, only {CHAT}", venue=venue, param="endpoint")
    return dialect.envelope(dialect.request(decode(line.body, venue=venue), venue=venue), model, stream=False)


def answered_line(dialect: Dialect, custom_id: str, answer: Json, *, created_s: int, venue: str) -> LineResult:
    """Return the result of an answered line.

    Raises:
        BrokenAnswerError: The answer violates the API's contract.
    """
    try:
        body = msgspec.json.encode(dialect.answer(answer, created_s=created_s))
    except (KeyError, TypeError, ValueError) as error:
        raise BrokenAnswerError(f"the answer to {custom_id} violates its API: {error}", venue=venue) from None
    return LineResult(custom_id=custom_id, status_code=200, body=body)


def failed_line(custom_id: str, message: str, *, status: int, code: str | None) -> LineResult:
    """Return the result of a line with an error."""
    body = completions.error_body(message, status=status, code=code)
    return LineResult(custom_id=custom_id, status_code=status, body=body)
