"""What of an answer is kept, so that it can be retrieved by its id."""

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

_MOST_BYTES: Final = 16 * 1024 * 1024
_DATA: Final = b"data:"


class Keeping:
    """Takes a copy of a stream that goes by.

    Args:
        endpoint: What was called.
    """

    def __init__(self, endpoint: str) -> None:
        self._endpoint = endpoint
        self._parts: list[bytes] = []
        self._bytes = 0

    def see(self, chunk: bytes) -> None:
        """Take a part."""
        self._bytes += len(chunk)
        if self._bytes <= _MOST_BYTES:
            self._parts.append(chunk)

    async def answer(self) -> bytes | None:
        """Return the answer that the stream made; None if it made none, or one that is too long to keep."""
        if self._bytes > _MOST_BYTES:
            return None
        if self._endpoint == "/v1/responses":
            return _last_response(b"".join(self._parts))
        try:
            return await AnswerAssembler("").read(self._again())
        except BrokenAnswerError:
            return None

    async def _again(self) -> AsyncIterator[bytes]:
        for part in self._parts:
            yield part


async def kept_soon(context: Context, tenant: str, kind: str, item_id: str) -> StoredAnswer | None:
    """Return what is kept under an id, also when it is only just to be kept: its client has the answer already."""

    def get(connection: Connection) -> StoredAnswer | None:
        return stored_answers.get(connection, tenant, kind, item_id)

    # The writer makes changes in the order in which they are handed in: behind it, all is there.
    return await context.database.read_soon(get) or await context.database.write_soon(get)


def kept_item(request: Request, answer: bytes) -> StoredAnswer | None:
    """Return what is kept of a request and its answer; None if the answer has no id."""
    try:
        whole = msgspec.json.decode(answer)
        asked = msgspec.json.decode(request.body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    if not isinstance(whole, dict) or not isinstance(whole.get("id"), str) or request.kept_as is None:
        return None
    metadata = asked.get("metadata")
    return StoredAnswer(
        id=whole["id"],
        kind=request.kept_as,
        tenant=request.key.tenant,
        model=request.call.model,
        status="completed",
        request=request.body,
        answer=answer,
        metadata=msgspec.json.encode(metadata).decode() if isinstance(metadata, dict) else None,
        created_s=request.arrived_s,
    )


def _last_response(stream: bytes) -> bytes | None:
    for line in reversed(stream.split(b"\n")):
        if line.startswith(_DATA) and b'"response"' in line:
            try:
                event: dict[str, Any] = msgspec.json.decode(line[len(_DATA) :])
            except (msgspec.DecodeError, UnicodeDecodeError):
                return None
            response = event.get("response")
            return msgspec.json.encode(response) if isinstance(response, dict) else None
    return None
