"""Venues that speak another API than OpenAI's: each a dialect, all behind one upstream."""

import datetime as dt
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any, Final, Protocol

import msgspec

from meritorder.gateway.errors import BrokenAnswerError, UnsupportedError
from meritorder.gateway.upstreams import completions
from meritorder.gateway.upstreams.connection import Connection, Endpoint, HttpReply
from meritorder.gateway.upstreams.fields import Json, decode
from meritorder.gateway.upstreams.upstream import Call, EngineLoad, Reply
from meritorder.gateway.wire.events import DONE, event, events

CHAT: Final = "/v1/chat/completions"
_LIMIT_HEADERS: Final = ("retry-after", "request-id", "x-request-id")


class Stream(Protocol):
    """The translation of one streamed answer."""

    def feed(self, name: str, data: Json) -> list[Json]:
        """Return the chunks that an event turns into.

        Raises:
            ValueError: It says that the answer failed; in words that may be shown.
        """

    @property
    def ended(self) -> bool:
        """Whether the answer was said to be whole."""


class Dialect(Protocol):
    """How requests and answers are turned into another API's and back."""

    def path(self, model: str, *, stream: bool) -> str:
        """Return where a request goes."""

    def request(self, body: Json, *, venue: str) -> Json:
        """Return a chat request in the other API's form, without the model's name and whether it is streamed.

        Raises:
            UnsupportedError: The other API has no word for something in it.
        """

    def envelope(self, request: Json, model: str, *, stream: bool) -> Json:
        """Return a request as it is sent."""

    def headers(self, request: Json) -> tuple[tuple[str, str], ...]:
        """Return the headers that a request needs besides those of the endpoint."""

    def answer(self, answer: Json, *, created_s: int) -> Json:
        """Return an answer as a chat completion.

        Raises:
            KeyError, TypeError, ValueError: It is not of the other API.
        """

    def stream(self, model: str, *, created_s: int, with_usage: bool) -> Stream:
        """Return the translation of a streamed answer."""

    def error(self, error: Json) -> tuple[str, str | None, float | None]:
        """Return message, code and `Retry-After` of an error's body."""


class _Whole:
    """A reply that is there as a whole."""

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


class _Streamed:
    """A reply whose events are translated as they come."""

    status = 200

    def __init__(self, reply: HttpReply, stream: Stream, venue: str) -> None:
        self.headers: Mapping[str, str] = {**_kept(reply.headers), "content-type": "text/event-stream"}
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
            raise BrokenAnswerError(f"an event is not of its API: {error}", venue=self._venue) from None
        except ValueError as error:
            raise BrokenAnswerError(str(error), venue=self._venue) from None
        if not self._stream.ended:
            raise BrokenAnswerError("the answer broke off", venue=self._venue)
        yield DONE

    async def read(self) -> bytes:
        return b"".join([part async for part in self._parts()])

    async def close(self) -> None:
        await self._reply.close()


def _kept(headers: Mapping[str, str]) -> dict[str, str]:
    return {name: headers[name] for name in _LIMIT_HEADERS if name in headers}


class TranslatingUpstream:
    """A venue of another API. See `upstream.Upstream`; it takes chat completions.

    Args:
        endpoint: Where it is.
        dialect: What it speaks.
        models: What it calls the models, where requests call them otherwise.
        now: The date, for `created`.
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
        """Send a chat request in the venue's form, and return the answer in OpenAI's."""
        if call.path != CHAT:
            raise UnsupportedError(f"{call.path} is not in its API: it takes {CHAT}", venue=self.name, param="endpoint")
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
            return await self._refused(reply)
        if call.stream:
            with_usage = bool(options.get("include_usage"))
            stream = self._dialect.stream(model, created_s=created_s, with_usage=with_usage)
            return _Streamed(reply, stream, self.name)
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
            raise BrokenAnswerError(f"the answer is not of its API: {error}", venue=self.name) from None
        headers = {**_kept(reply.headers), "content-type": "application/json"}
        return _Whole(200, headers, msgspec.json.encode(answer))

    async def _refused(self, reply: HttpReply) -> Reply:
        """Return an error in OpenAI's form."""
        try:
            text = await reply.read()
        finally:
            await reply.close()
        headers = {**_kept(reply.headers), "content-type": "application/json"}
        message, code, retry_after_s = error_of(self._dialect, text)
        if retry_after_s is not None:
            headers.setdefault("retry-after", f"{retry_after_s:g}")
        return _Whole(reply.status, headers, completions.error_body(message, status=reply.status, code=code))

    async def load(self) -> EngineLoad | None:
        """Return None: providers do not tell."""
        return None

    async def close(self) -> None:
        """Close what is open towards the venue."""
        await self._connection.close()


def error_of(dialect: Dialect, text: bytes) -> tuple[str, str | None, float | None]:
    """Return message, code and `Retry-After` of an error's body, whatever it is."""
    try:
        found: Any = msgspec.json.decode(text, type=Json)
        return dialect.error(found)
    except (msgspec.DecodeError, KeyError, TypeError, ValueError):
        return "the provider gave no reason", None, None
