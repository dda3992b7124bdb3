"""Reads the input of a batch, checks every line, and queues the requests: a stream, never the file in memory."""

import logging
from codecs import BOM_UTF8
from collections.abc import Iterable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec
from sqlalchemy import Connection

from meritorder.gateway.state.context import Context
from meritorder.gateway.store import batches, files, requests
from meritorder.gateway.store.batches import Batch
from meritorder.gateway.wire import calls
from meritorder.gateway.wire.errors import ApiError

_ROWS_AT_A_TIME: Final = 1000
_ERRORS_SHOWN: Final = 100
_log: Final = logging.getLogger(__name__)


class _Refused(Exception):  # noqa: N818 - of one line; becomes an entry of the batch's errors
    def __init__(self, code: str, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.code, self.message, self.param = code, message, param


@dataclass(slots=True)
class _Reading:
    """What was found so far."""

    model: str | None = None
    total: int = 0
    tokens: int = 0
    ids: set[str] = field(default_factory=set)
    errors: list[dict[str, Any]] = field(default_factory=list)

    def refuse(self, code: str, message: str, *, line: int | None = None, param: str | None = None) -> None:
        self.errors.append({"code": code, "line": line, "message": message, "param": param})


@dataclass(frozen=True, slots=True)
class _Line:
    """A line: its number from 1, where it starts, and what it says; None if that is too long."""

    number: int
    start: int
    text: bytes | None


def ingest(context: Context, batch: Batch) -> None:
    """Read a batch that this gateway has taken over; afterwards it is `in_progress`, or `failed` with its errors.

    Called again after a crash, it starts anew. Runs in a thread of its own.

    Raises:
        StoreUnavailableError: The input cannot be read or the requests not be stored now; nothing is decided.
    """
    while context.database.submit(lambda connection: batches.delete_some_requests(connection, batch.seq)).result():
        pass
    blob = context.database.read_now(lambda connection: files.blob_of(connection, batch.input_file_id))
    reading = _Reading()
    if blob is None:
        reading.refuse(
            "file_not_found", f"The file {batch.input_file_id} is not there any more.", param="input_file_id"
        )
    else:
        _read(context, batch, context.blobs.read_now(blob), reading)
    if not reading.total and not reading.errors:
        reading.refuse("empty_file", "The input file is empty.", param="input_file_id")
    now_s = context.now_s()
    if reading.errors:
        errors = msgspec.json.encode({"object": "list", "data": reading.errors}).decode()
        context.database.submit(lambda connection: _fail(context, batch, connection, errors, now_s)).result()
        return
    context.database.submit(
        lambda connection: batches.begin(
            connection,
            context.me,
            batch.seq,
            total=reading.total,
            tokens=reading.tokens,
            model=reading.model,
            now_s=now_s,
        )
    ).result()


def _fail(context: Context, batch: Batch, connection: Connection, errors: str, now_s: float) -> None:
    if batches.fail(connection, context.me, batch.seq, errors=errors, now_s=now_s):
        context.webhooks.announce(connection, batch.tenant, "batch.failed", batch.id)


def _read(context: Context, batch: Batch, chunks: Iterable[bytes], reading: _Reading) -> None:
    limits = context.settings.limits
    known = context.models()
    rows: list[dict[str, Any]] = []
    stored: Future[None] | None = None
    for line in _lines(chunks, most_bytes=limits.line_bytes):
        if len(reading.errors) >= _ERRORS_SHOWN:
            return
        if reading.total >= limits.batch_lines:
            reading.refuse("too_many_tasks", f"There are more than {limits.batch_lines:,} requests.", line=line.number)
            return
        try:
            rows.append(_row(batch, line, reading, known))
        except _Refused as refused:
            reading.refuse(refused.code, refused.message, line=line.number, param=refused.param)
        reading.total += 1
        if len(rows) >= _ROWS_AT_A_TIME:
            if stored is not None:
                stored.result()
            stored = None if reading.errors else _store(context, rows)
            rows = []
    if stored is not None:
        stored.result()
    if rows and not reading.errors:
        _store(context, rows).result()


def _store(context: Context, rows: list[dict[str, Any]]) -> "Future[None]":
    return context.database.submit(lambda connection: requests.add(connection, rows))


def _row(batch: Batch, line: "_Line", reading: _Reading, known: frozenset[str]) -> dict[str, Any]:
    """Check a line, and return what is queued for it: its place in the file instead of its body."""
    if line.text is None:
        raise _Refused("line_too_long", "This line is too long.")
    try:
        fields = calls.parse_line(line.text.removeprefix(BOM_UTF8))
    except msgspec.ValidationError as error:
        missing = str(error).partition("required field `")[2].partition("`")[0]
        if missing:
            raise _Refused("missing_required_parameter", f"Missing required parameter: '{missing}'.", missing) from None
        raise _Refused("invalid_request", f"This line is not a request: {error}.") from None
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise _Refused("invalid_json_line", "This line is not parseable as valid JSON.") from None
    if fields.method != "POST":
        raise _Refused("invalid_method", f"The method {fields.method!r} must be POST.", "method")
    if fields.url != batch.endpoint:
        message = f"The URL {fields.url!r} does not match the endpoint of the batch, {batch.endpoint!r}."
        raise _Refused("mismatched_url", message, "url")
    if "\0" in fields.custom_id:
        raise _Refused("invalid_request", "The custom_id has a NUL in it, which is no text.", "custom_id")
    if fields.custom_id in reading.ids:
        raise _Refused("duplicate_custom_id", f"The custom_id {fields.custom_id!r} is not unique.", "custom_id")
    reading.ids.add(fields.custom_id)
    body = memoryview(fields.body)
    call = _call(bytes(body), reading, known)
    input_tokens = calls.estimate_tokens(len(body))
    reading.tokens += input_tokens + call.output_tokens
    return {
        "batch_seq": batch.seq,
        "line": line.number,
        "tenant": batch.tenant,
        "key_id": batch.key_id,
        "custom_id": fields.custom_id,
        "endpoint": batch.endpoint,
        "model": call.model,
        "body_at": line.start + line.text.find(body),
        "body_bytes": len(body),
        "input_tokens": input_tokens,
        "output_tokens": call.output_tokens,
        "prefix": calls.prefix_hash(bytes(body)),
        "arrived_s": batch.created_s,
        "deadline_s": batch.expires_s,
        "trace": batch.trace,
        "state": "queued",
    }


def _call(body: bytes, reading: _Reading, known: frozenset[str]) -> calls.CallFields:
    try:
        call = calls.parse_call(body)
    except ApiError as problem:
        raise _Refused(problem.code or "invalid_request", problem.message, problem.param or "body") from None
    if call.model not in known:
        raise _Refused("model_not_found", f"The model {call.model!r} does not exist.", "body.model")
    if reading.model is None:
        reading.model = call.model
    if call.model != reading.model:
        message = (
            f"All requests of a batch must name one model; this names {call.model!r}, the first {reading.model!r}."
        )
        raise _Refused("mismatched_model", message, "body.model")
    return call


def _lines(chunks: Iterable[bytes], *, most_bytes: int) -> Iterator[_Line]:
    """Yield the lines that are not blank; after one that is too long for memory, no more."""
    rest, place, number = b"", 0, 0
    for chunk in chunks:
        pieces = (rest + chunk).split(b"\n")
        rest = pieces.pop()
        for piece in pieces:
            number += 1
            if piece.strip():
                yield _Line(number, place, piece if len(piece) <= most_bytes else None)
            place += len(piece) + 1
        if len(rest) > most_bytes:
            yield _Line(number + 1, place, None)
            return
    if rest.strip():
        yield _Line(number + 1, place, rest)
