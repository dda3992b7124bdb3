"""Venues with another API than OpenAI's: one upstream, and lines of batches, translated through a dialect."""

import datetime as dt
from collections.abc import AsyncIterator, Callable, Mapping
from functools import partial
from typing import Final, NamedTuple, Protocol

import msgspec
from multidict import CIMultiDict

from meritorder.gateway import decoding
from meritorder.gateway.errors import BrokenAnswerError, UnsupportedError, checked_contract, checked_request
from meritorder.gateway.upstreams.batches.venue import BatchLine, LineResult
from meritorder.gateway.upstreams.connection import ConnectionPool, Endpoint
from meritorder.gateway.upstreams.dialects import completions
from meritorder.gateway.upstreams.dialects.fields import Json, decode
from meritorder.gateway.upstreams.upstream import Call, EngineLoad, Reply, WholeReply, Wrapped
from meritorder.gateway.wire.events import DONE, event, parse_events

CHAT: Final = "/v1/chat/completions"


class Stream(Protocol):
    """The translation of one streamed answer."""

    def feed(self, name: str, data: Json) -> list[Json]:
        """Return the stream chunks that an event becomes; raise any exception if it reports or is a failure."""

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
        """Return an answer as a chat completion; raise any exception if it violates the other API's contract."""

    def stream(self, model: str, *, created_s: int, with_usage: bool) -> Stream:
        """Return the translation of a streamed answer."""

    def error(self, error: Json) -> tuple[str, str | None, float | None]:
        """Return message, code and `Retry-After` of an error's body."""


class _TranslatedStream(Wrapped):
    """A streamed answer whose events are translated as they arrive."""

    __slots__ = ("_stream", "_venue")

    def __init__(self, reply: Reply, stream: Stream, venue: str) -> None:
        super().__init__(reply)
        self._stream = stream
        self._venue = venue

    @property
    def body(self) -> AsyncIterator[bytes]:
        return self._parts()

    async def _parts(self) -> AsyncIterator[bytes]:
        with checked_contract(self._venue):
            async for part in self._reply.body:
                for name, data in parse_events(part):
                    for chunk in self._stream.feed(name, msgspec.json.decode(data, type=Json)):
                        yield event(chunk)
        if not self._stream.ended:
            raise BrokenAnswerError("the answer broke off", venue=self._venue)
        yield DONE


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
        self._pool = ConnectionPool(endpoint)
        self._dialect = dialect
        self._models = models
        self._now = now

    async def send(self, call: Call) -> Reply:
        """Send a chat request in the venue's format, and return the answer in OpenAI's."""
        if call.path != CHAT:
            raise UnsupportedError(f"its API has no {call.path}, only {CHAT}", venue=self.name, param="endpoint")
        model = self._models.get(call.model, call.model)
        with checked_request(self.name):
            translate = partial(_translated, self._dialect, model, stream=call.stream, venue=self.name)
            request = await decoding.run(translate, call.body)
        reply = await self._pool.post(
            self._dialect.path(model, stream=call.stream),
            request.body,
            stream=call.stream,
            headers=(*call.headers, *request.headers),
            timeout_s=call.timeout_s,
        )
        created_s = int(self._now().timestamp())
        if reply.status != 200:
            return await self._translated_error(reply)
        if call.stream:
            stream = self._dialect.stream(model, created_s=created_s, with_usage=request.with_usage)
            return _TranslatedStream(reply, stream, self.name)
        return await self._whole(reply, created_s)

    async def _whole(self, reply: Reply, created_s: int) -> Reply:
        with checked_contract(self.name):
            answer = await decoding.run(partial(_answered, self._dialect, created_s=created_s), await reply.read())
        return WholeReply(200, reply.headers, answer)

    async def _translated_error(self, reply: Reply) -> Reply:
        """Return an error in OpenAI's format."""
        message, code, retry_after_s = parse_error(self._dialect, await reply.read(), self.name)
        headers = CIMultiDict(reply.headers)
        if retry_after_s is not None:
            headers.setdefault("Retry-After", f"{retry_after_s:g}")
        return WholeReply(reply.status, headers, completions.error_body(message, status=reply.status, code=code))

    async def load(self) -> EngineLoad | None:
        """Return None: providers do not report their load."""
        return None

    async def close(self) -> None:
        """Close the connections to the venue."""
        await self._pool.close()


class _Translated(NamedTuple):
    """A request in the other API, and whether its stream ends with the usage."""

    body: bytes
    headers: tuple[tuple[str, str], ...]
    with_usage: bool


def _translated(dialect: Dialect, model: str, body: bytes, *, stream: bool, venue: str) -> _Translated:
    """Return a chat request in the other API.

    Raises:
        UnsupportedError: The API cannot express it.
    """
    fields = decode(body, venue=venue)
    with_usage = bool((fields.get("stream_options") or {}).get("include_usage"))
    request = dialect.envelope(dialect.request(fields, venue=venue), model, stream=stream)
    return _Translated(msgspec.json.encode(request), dialect.headers(request), with_usage)


def _answered(dialect: Dialect, answer: bytes, *, created_s: int) -> bytes:
    """Return an answer of the other API as a chat completion."""
    return msgspec.json.encode(dialect.answer(msgspec.json.decode(answer, type=Json), created_s=created_s))


def parse_error(dialect: Dialect, text: bytes, venue: str) -> tuple[str, str | None, float | None]:
    """Return message, code and `Retry-After` of an error's body, with defaults if it is malformed."""
    try:
        with checked_contract(venue):
            return dialect.error(msgspec.json.decode(text, type=Json))
    except BrokenAnswerError:
        return "the provider gave no reason", None, None


def translate_line(dialect: Dialect, line: BatchLine, model: str, *, venue: str) -> Json:
    """Return the body of a line in the other API.

    Raises:
        UnsupportedError: The API cannot express it.
    """
    if line.path != CHAT:
        raise UnsupportedError(f"its API has no {line.path}, only {CHAT}", venue=venue, param="endpoint")
    with checked_request(venue):
        return dialect.envelope(dialect.request(decode(line.body, venue=venue), venue=venue), model, stream=False)


def answered_line(dialect: Dialect, custom_id: str, answer: Json, *, created_s: int, venue: str) -> LineResult:
    """Return the result of an answered line.

    Raises:
        BrokenAnswerError: The answer violates the API's contract.
    """
    with checked_contract(venue):
        body = msgspec.json.encode(dialect.answer(answer, created_s=created_s))
    return LineResult(custom_id=custom_id, status_code=200, body=body)


def failed_line(custom_id: str, message: str, *, status: int, code: str | None) -> LineResult:
    """Return the result of a line with an error."""
    body = completions.error_body(message, status=status, code=code)
    return LineResult(custom_id=custom_id, status_code=status, body=body)
