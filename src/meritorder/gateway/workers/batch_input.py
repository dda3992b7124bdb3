"""Reads the input file of a batch as a stream, validates every line, and queues the requests."""

from codecs import BOM_UTF8
from collections.abc import Iterable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, Final

import msgspec
from sqlalchemy import Connection

from meritorder.gateway import decoding
from meritorder.gateway.state.context import Context
from meritorder.gateway.store import files
from meritorder.gateway.store.queue import answers, batches, requests
from meritorder.gateway.store.queue.batches import Batch
from meritorder.gateway.store.queue.requests import RequestAnswer
from meritorder.gateway.wire import calls
from meritorder.gateway.wire.errors import INVALID_JSON, ApiError, unknown_model

_INSERT_SIZE: Final = 1000
_MAX_ERRORS: Final = 100


class _LineError(Exception):
    """An invalid line; it becomes an entry of the batch's errors."""

    def __init__(self, code: str, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.code, self.message, self.param = code, message, param


class _ClaimLostError(Exception):
    """The batch was cancelled, or another gateway reads it."""


class _InputState(msgspec.Struct):
    """What was read so far; it is stored with the requests, so that after a kill the reading goes on from there.

    Args:
        end: Position in the file after the last line.
        lines: Number of the last line; blank lines count.
        model: The model of the batch: the first that a venue serves.
        total: Number of lines.
        tokens: Estimated tokens of the queued requests.
        limit_tokens: The most that they may generate.
        unknown: Number of lines whose model no venue serves; each fails alone.
        errors: What makes the batch fail.
        unknown_errors: What makes it fail if no line names a known model.
    """

    end: int = 0
    lines: int = 0
    model: str | None = None
    total: int = 0
    tokens: int = 0
    limit_tokens: int = 0
    unknown: int = 0
    errors: list[dict[str, Any]] = []
    unknown_errors: list[dict[str, Any]] = []

    def add_unknown(self, line: int, error: ApiError) -> None:
        self.unknown += 1
        if len(self.unknown_errors) < _MAX_ERRORS:
            fields = {"code": error.code, "line": line, "message": error.message, "param": "body.model"}
            self.unknown_errors.append(fields)

    def add_error(self, code: str, message: str, *, line: int | None = None, param: str | None = None) -> None:
        self.errors.append({"code": code, "line": line, "message": message, "param": param})


@dataclass(frozen=True, slots=True)
class _Line:
    """A line: its number from 1, its offset in the file, and its text; None if it is too long."""

    number: int
    offset: int
    text: bytes | None

    @property
    def end(self) -> int:
        """Position after the line and the character that ends it."""
        return self.offset + len(self.text or b"") + 1


def ingest(context: Context, batch: Batch) -> None:
    """Read the input of a claimed batch: `validating → in_progress`, or `failed` with the errors found.

    After a kill it goes on where it was. Runs in a thread of its own.

    Raises:
        StoreUnavailableError: The input cannot be read or the requests cannot be stored now; the batch keeps its state.
    """
    blob = context.database.read_now(lambda connection: files.find_blob(connection, batch.tenant, batch.input_file_id))
    stored_state = context.database.read_now(lambda connection: batches.input_state(connection, batch.seq))
    state = _InputState() if stored_state is None else msgspec.json.decode(stored_state, type=_InputState)
    if blob is None:
        state.add_error(
            "file_not_found", f"The file {batch.input_file_id} is not there any more.", param="input_file_id"
        )
    else:
        ids = context.database.read_now(lambda connection: batches.custom_ids(connection, batch.seq))
        try:
            _read(context, batch, context.blobs.read_now(blob, state.end), state, ids)
        except _ClaimLostError:
            return
    if not state.total and not state.errors:
        state.add_error("empty_file", "The input file is empty.", param="input_file_id")
    if state.model is None and not state.errors:
        state.errors = state.unknown_errors
    now_s = context.now_s()
    if state.errors:
        errors = msgspec.json.encode({"object": "list", "data": state.errors}).decode()
        context.database.submit(lambda connection: _fail(context, batch, connection, errors, now_s)).result()
        return
    context.database.submit(
        lambda connection: batches.begin(
            connection,
            context.instance_id,
            batch.seq,
            total=state.total,
            failed=state.unknown,
            tokens=state.tokens,
            limit_tokens=state.limit_tokens,
            model=state.model,
            now_s=now_s,
        )
    ).result()


def _fail(context: Context, batch: Batch, connection: Connection, errors: str, now_s: float) -> None:
    if batches.fail(connection, context.instance_id, batch.seq, errors=errors, now_s=now_s):
        context.webhooks.announce(connection, batch.tenant, "batch.failed", batch.id)


def _read(context: Context, batch: Batch, parts: Iterable[bytes], state: _InputState, ids: set[str]) -> None:
    limits = context.settings.limits
    models = context.models()
    rows: list[dict[str, Any]] = []
    stored: Future[None] | None = None
    for line in _lines(parts, state, max_bytes=limits.line_bytes):
        if len(state.errors) >= _MAX_ERRORS:
            break
        if state.total >= limits.batch_lines:
            state.add_error("too_many_tasks", f"There are more than {limits.batch_lines:,} requests.", line=line.number)
            break
        try:
            rows.append(_row(context, batch, line, state, models=models, ids=ids))
        except _LineError as invalid:
            state.add_error(invalid.code, invalid.message, line=line.number, param=invalid.param)
        except Exception as error:  # noqa: BLE001 - a line that breaks us ends alone
            context.supervisor.record("batch_input", error)
            state.add_error("invalid_request", "This line could not be read.", line=line.number)
        state.total += 1
        state.end, state.lines = line.end, line.number
        if len(rows) >= _INSERT_SIZE:
            if stored is not None:
                stored.result()
            stored = _store(context, batch, rows, state)
            rows = []
    if stored is not None:
        stored.result()
    if rows:
        _store(context, batch, rows, state).result()


def _store(context: Context, batch: Batch, rows: list[dict[str, Any]], state: _InputState) -> "Future[None]":
    """Store the requests of some lines, and how far the input was read; unknown models are answered already.

    Requests are stored after an invalid line too, although the batch will fail: their ids are needed after a kill.
    """
    queued = [row for row in rows if row["state"] == "queued"]
    refused = [(row, _refusal(context, row)) for row in rows if row["state"] == "failed"]
    read_so_far, now_s = msgspec.json.encode(state), context.now_s()

    def add(connection: Connection) -> None:
        if not batches.set_input_state(connection, context.instance_id, batch.seq, read_so_far):
            raise _ClaimLostError
        if queued:
            requests.add(connection, queued)
        if refused:
            answers.add_answered(connection, refused, now_s=now_s)

    return context.database.submit(add)


def _refusal(context: Context, row: dict[str, Any]) -> RequestAnswer:
    error = unknown_model(row["model"], row["endpoint"])
    return RequestAnswer(request_id=context.new_id("req_"), status_code=error.status, body=error.body())


def _row(
    context: Context, batch: Batch, line: _Line, state: _InputState, *, models: frozenset[str], ids: set[str]
) -> dict[str, Any]:
    """Validate a line and return its row: the place of the body in the file instead of the body."""
    if line.text is None:
        raise _LineError("line_too_long", "This line is too long.")
    try:
        fields = decoding.run_now(calls.parse_line, line.text.removeprefix(BOM_UTF8))
    except msgspec.ValidationError as error:
        missing = str(error).partition("required field `")[2].partition("`")[0]
        if missing:
            raise _LineError(
                "missing_required_parameter", f"Missing required parameter: '{missing}'.", missing
            ) from None
        raise _LineError("invalid_request", f"This line is not a request: {error}.") from None
    except INVALID_JSON:
        raise _LineError("invalid_json_line", "This line is not parseable as valid JSON.") from None
    if fields.method != "POST":
        raise _LineError("invalid_method", f"The method {fields.method!r} must be POST.", "method")
    if fields.url != batch.endpoint:
        message = f"The URL {fields.url!r} does not match the endpoint of the batch, {batch.endpoint!r}."
        raise _LineError("mismatched_url", message, "url")
    if "\0" in fields.custom_id:
        raise _LineError("invalid_request", "The custom_id contains a NUL character.", "custom_id")
    if fields.custom_id in ids:
        raise _LineError("duplicate_custom_id", f"The custom_id {fields.custom_id!r} is not unique.", "custom_id")
    ids.add(fields.custom_id)
    body = memoryview(fields.body)
    call = _call(bytes(body), batch.endpoint)
    is_known = call.model in models
    input_tokens = calls.estimate_tokens(len(body))
    if is_known:
        _check_model(call.model, state)
        state.tokens += input_tokens + call.output_tokens
        state.limit_tokens += call.output_tokens
    else:
        state.add_unknown(line.number, unknown_model(call.model or "", batch.endpoint))
    return {
        "batch_seq": batch.seq,
        "line": line.number,
        "tenant": batch.tenant,
        "key_id": batch.key_id,
        "custom_id": fields.custom_id,
        "endpoint": batch.endpoint,
        "model": call.model,
        "body_at": line.offset + line.text.find(body),
        "body_bytes": len(body),
        "input_tokens": input_tokens,
        "output_tokens": call.output_tokens,
        "expected_picousd": context.expected_picousd(batch.endpoint, call, len(body)),
        "prefix": calls.prefix_hash(bytes(body)),
        "arrived_s": batch.created_s,
        "deadline_s": batch.expires_s,
        "trace": batch.trace,
        "state": "queued" if is_known else "failed",
    }


def _call(body: bytes, endpoint: str) -> calls.CallFields:
    try:
        call = decoding.run_now(calls.parse_line_call, body, endpoint)
    except ApiError as problem:
        param = f"body.{problem.param}" if problem.param else "body"
        raise _LineError(problem.code or "invalid_request", problem.message, param) from None
    if "\0" in (call.model or ""):
        raise _LineError("invalid_request", "The model contains a NUL character.", "body.model")
    return call


def _check_model(model: str | None, state: _InputState) -> None:
    """Check that all lines with a known model name the same."""
    if state.model is None:
        state.model = model
    if model != state.model:
        message = f"All requests of a batch must name one model; this names {model!r}, the first {state.model!r}."
        raise _LineError("mismatched_model", message, "body.model")


def _lines(parts: Iterable[bytes], state: _InputState, *, max_bytes: int) -> Iterator[_Line]:
    """Yield the lines that are not blank, after what was read; stop after one that is too long for memory."""
    incomplete, offset, number = b"", state.end, state.lines
    for part in parts:
        pieces = (incomplete + part).split(b"\n")
        incomplete = pieces.pop()
        for piece in pieces:
            number += 1
            if piece.strip():
                yield _Line(number, offset, piece if len(piece) <= max_bytes else None)
            offset += len(piece) + 1
        if len(incomplete) > max_bytes:
            yield _Line(number + 1, offset, None)
            return
    if incomplete.strip():
        yield _Line(number + 1, offset, incomplete)
