"""Records answers so that clients can retrieve them by id."""

from collections.abc import AsyncIterator
from typing import Any, Final

import msgspec
from sqlalchemy import Connection

from meritorder.gateway.errors import BrokenAnswerError
from meritorder.gateway.state.context import Context
from meritorder.gateway.state.request import Request
from meritorder.gateway.store import stored_answers
from meritorder.gateway.store.stored_answers import StoredAnswer
from meritorder.gateway.wire.assemble import AnswerAssembler
from meritorder.gateway.wire.errors import INVALID_JSON
from meritorder.gateway.wire.events import DATA

_MAX_BYTES: Final = 16 * 1024 * 1024


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

    async def answer(self) -> bytes | None:
        """Return the assembled answer; None if the stream has none, or one that is too long to store."""
        if self._bytes > _MAX_BYTES:
            return None
        if self._endpoint == "/v1/responses":
            return _last_response(b"".join(self._parts))
        try:
            return await AnswerAssembler("").read(self._replay())
        except BrokenAnswerError:
            return None

    async def _replay(self) -> AsyncIterator[bytes]:
        for part in self._parts:
            yield part


def stored_answer(request: Request, answer: bytes) -> StoredAnswer | None:
    """Return the record to store of a request and its answer; None if the answer has no id."""
    try:
        content = msgspec.json.decode(answer)
        fields = msgspec.json.decode(request.body)
    except INVALID_JSON:
        return None
    if not isinstance(content, dict) or not isinstance(content.get("id"), str) or request.stored_as is None:
        return None
    metadata = fields.get("metadata")
    return StoredAnswer(
        id=content["id"],
        kind=request.stored_as,
        tenant=request.key.tenant,
        model=request.call.model,
        status="completed",
        request=request.body,
        answer=answer,
        metadata=msgspec.json.encode(metadata).decode() if isinstance(metadata, dict) else None,
        created_s=request.arrived_s,
    )


async def find_stored(context: Context, tenant: str, kind: str, item_id: str) -> StoredAnswer | None:
    """Return a stored answer, even if its write is still pending: its client may already ask for it."""

    def get(connection: Connection) -> StoredAnswer | None:
        return stored_answers.get(connection, tenant, kind, item_id)

    # Writes are executed in order: a read that queues behind them sees them all.
    return await context.database.read_soon(get) or await context.database.write_soon(get)


def _last_response(stream: bytes) -> bytes | None:
    for line in reversed(stream.split(b"\n")):
        if line.startswith(DATA) and b'"response"' in line:
            try:
                event: dict[str, Any] = msgspec.json.decode(line[len(DATA) :])
            except INVALID_JSON:
                return None
            response = event.get("response")
            return msgspec.json.encode(response) if isinstance(response, dict) else None
    return None
