"""Records answers so that clients can retrieve them by id."""

import logging
import re
from collections.abc import AsyncIterator
from typing import Any, Final, NamedTuple

import msgspec
from sqlalchemy.exc import SQLAlchemyError

from meritorder.gateway import decoding
from meritorder.gateway.errors import BrokenAnswerError, StoreUnavailableError
from meritorder.gateway.state.context import Context
from meritorder.gateway.state.request import Request
from meritorder.gateway.store.responses import conversations, stored_answers
from meritorder.gateway.store.responses.stored_answers import RESPONSE, StoredAnswer
from meritorder.gateway.wire import calls
from meritorder.gateway.wire.assemble import AnswerAssembler
from meritorder.gateway.wire.errors import INVALID_JSON, ApiError, unavailable
from meritorder.gateway.wire.events import DATA

_MAX_BYTES: Final = 16 * 1024 * 1024
_MAX_ID: Final = 96  # characters
_RETRY_AFTER_S: Final = 5.0
_NOT_STORED: Final = "The answer was not stored."
_CODE: Final = "answer_not_stored"
_RESPONSES: Final = "/v1/responses"
_LAST_RESPONSE_EVENTS: Final = ("response.completed", "response.incomplete", "response.failed")
_DONE: Final = b"[DONE]"
_DONE_LINE: Final = re.compile(rb"data:[ \t]*\[DONE\][ \t]*(?![^\r\n])")
_ID_PREFIXES: Final = {stored_answers.RESPONSE: "resp_", stored_answers.COMPLETION: "chatcmpl-"}
_log: Final = logging.getLogger(__name__)


class StreamEnd:
    """Holds back the last event of a stream, by which its client knows that the answer is complete.

    Args:
        endpoint: Endpoint of the call.
    """

    __slots__ = ("_incomplete", "_incomplete_bytes", "_is_response", "held", "reached")

    def __init__(self, endpoint: str) -> None:
        self.reached = False
        self.held = b""
        self._is_response = endpoint == _RESPONSES
        self._incomplete: list[bytes] = []
        self._incomplete_bytes = 0

    def feed(self, chunk: bytes) -> bytes:
        """Take a part of the stream; return what may be sent to the client now."""
        if self.reached:
            self.held += chunk
            return b""
        cut = chunk.rfind(b"\n") + 1
        if cut == 0 and self._incomplete_bytes < _MAX_BYTES:
            self._incomplete.append(chunk)
            self._incomplete_bytes += len(chunk)
            return b""
        whole = chunk[:cut] if cut else chunk
        if self._incomplete:
            whole = b"".join(self._incomplete) + whole
            self._incomplete.clear()
            self._incomplete_bytes = 0
        if 0 < cut < len(chunk):
            self._incomplete.append(chunk[cut:])
            self._incomplete_bytes = len(chunk) - cut
        if self._is_response:
            return self._cut_last_event(whole) if b'"response.' in whole or b"event:" in whole else whole
        return self._cut_done(whole) if _DONE in whole else whole

    def rest(self) -> bytes:
        """Return what was not sent yet, when the stream has ended."""
        return self.held + b"".join(self._incomplete)

    def _cut_last_event(self, whole: bytes) -> bytes:
        start = 0
        for line in whole.splitlines(keepends=True):
            if _is_last(line.strip()):
                return self._hold(whole, start)
            start += len(line)
        return whole

    def _cut_done(self, whole: bytes) -> bytes:
        at = whole.find(_DONE)
        while at >= 0:
            start = max(whole.rfind(b"\n", 0, at), whole.rfind(b"\r", 0, at)) + 1
            if _DONE_LINE.match(whole, start):
                return self._hold(whole, start)
            at = whole.find(_DONE, at + 1)
        return whole

    def _hold(self, whole: bytes, start: int) -> bytes:
        self.reached = True
        self.held = whole[start:] + b"".join(self._incomplete)
        self._incomplete.clear()
        return whole[:start]


def _is_last(line: bytes) -> bool:
    """Tell whether a line belongs to the last event of a response."""
    name, _, value = line.partition(b":")
    value = value.strip()
    if name == b"event":
        return value.decode("utf-8", "replace") in _LAST_RESPONSE_EVENTS
    if name != b"data" or not any(kind.encode() in value for kind in _LAST_RESPONSE_EVENTS):
        return False
    try:
        event = msgspec.json.decode(value)
    except INVALID_JSON:
        return False
    return isinstance(event, dict) and event.get("type") in _LAST_RESPONSE_EVENTS


class AnswerRecorder:
    """Copies a stream that is passed through, and assembles the answer from it.

    Args:
        endpoint: Endpoint of the call.
    """

    def __init__(self, endpoint: str) -> None:
        self._endpoint = endpoint
        self._parts: list[bytes] = []
        self._bytes = 0

    def feed(self, chunk: bytes) -> None:
        """Copy a part of the stream."""
        self._bytes += len(chunk)
        if self._bytes <= _MAX_BYTES:
            self._parts.append(chunk)

    async def answer(self) -> bytes:
        """Return the assembled answer.

        Raises:
            ApiError: The stream has no complete answer, or one that is too long to store.
        """
        if self._bytes > _MAX_BYTES:
            raise ApiError(502, f"{_NOT_STORED} It is longer than {_MAX_BYTES:,} bytes.", code=_CODE)
        try:
            if self._endpoint == _RESPONSES:
                return await decoding.run(_last_response, b"".join(self._parts))
            return await AnswerAssembler("").read(self._replay())
        except BrokenAnswerError as error:
            raise ApiError(502, f"{_NOT_STORED} It is not complete: {error.what}.", code=_CODE) from error

    async def _replay(self) -> AsyncIterator[bytes]:
        for part in self._parts:
            yield part


async def store_answer(context: Context, request: Request, answer: bytes) -> bytes:
    """Store the answer to a request, and return it with its id: the venue's, or ours if the venue gave none.

    It is on the disk when this returns.

    Raises:
        ApiError: It was not stored, and its client must not take it as stored.
    """
    kind = request.stored_as or RESPONSE
    try:
        fields = await decoding.run(_stored_fields, answer, request.body, context.new_id(_ID_PREFIXES[kind]))
    except INVALID_JSON:
        raise ApiError(502, f"{_NOT_STORED} It is not a JSON object.", code=_CODE) from None
    stored = StoredAnswer(
        id=fields.id,
        kind=kind,
        tenant=request.key.tenant,
        model=request.call.model,
        status="completed",
        request=request.client_body,  # without the earlier turns, which are stored already
        answer=answer if fields.answer is None else fields.answer,
        metadata=fields.metadata,
        created_s=request.arrived_s,
    )
    try:
        await context.database.write_item_soon(conversations.add_all, stored)
    except StoreUnavailableError:
        raise unavailable(_NOT_STORED, retry_after_s=_RETRY_AFTER_S, code=_CODE) from None
    except SQLAlchemyError as error:
        _log.error("an answer was not stored: %s", error)
        raise ApiError(500, _NOT_STORED, code=_CODE) from error
    return stored.answer or answer


class _AnswerFields(msgspec.Struct):
    id: Any = None


class _RequestFields(msgspec.Struct):
    metadata: Any = None


_ANSWER: Final = msgspec.json.Decoder(_AnswerFields)
_REQUEST: Final = msgspec.json.Decoder(_RequestFields)


class _StoredFields(NamedTuple):
    """Id and metadata of an answer, and the answer if the id is not the venue's."""

    id: str
    metadata: str | None
    answer: bytes | None


def _stored_fields(answer: bytes, request: bytes, new_id: str) -> _StoredFields:
    """Return the fields of an answer to be stored; raises one of `INVALID_JSON`."""
    answer_id, metadata = _ANSWER.decode(answer).id, _REQUEST.decode(request).metadata
    text = msgspec.json.encode(metadata).decode() if isinstance(metadata, dict) else None
    if isinstance(answer_id, str) and answer_id.isprintable() and 0 < len(answer_id) <= _MAX_ID:
        return _StoredFields(answer_id, text, None)
    return _StoredFields(new_id, text, calls.with_fields(answer, id=new_id))


def _last_response(stream: bytes) -> bytes:
    for line in reversed(stream.split(b"\n")):
        if line.startswith(DATA) and b'"response"' in line:
            try:
                event: dict[str, Any] = msgspec.json.decode(line[len(DATA) :])
            except INVALID_JSON:
                break
            if isinstance(response := event.get("response"), dict):
                return msgspec.json.encode(response)
            break
    raise BrokenAnswerError("the stream ended before the response was complete", venue="")
