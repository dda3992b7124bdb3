"""Writes the output and error files of a batch."""

import json
from collections.abc import AsyncIterator
from functools import partial
from typing import Any, Final

from sqlalchemy import Connection

from meritorder.gateway.state.context import Context
from meritorder.gateway.store import files
from meritorder.gateway.store.files import StoredFile
from meritorder.gateway.store.queue import answers, batches
from meritorder.gateway.store.queue.batches import Batch
from meritorder.gateway.wire.objects import batch_output_line
from meritorder.units import SECONDS_PER_DAY

_READ_SIZE: Final = 500
_RETENTION_S: Final = 30 * SECONDS_PER_DAY
_UNANSWERED: Final = {
    "expired": ("batch_expired", "This request could not be executed before the completion window expired."),
    "cancelled": ("batch_cancelled", "This request was not executed, since the batch was cancelled."),
}


async def finalize(context: Context, batch: Batch) -> None:
    """Write the output and error files of a claimed batch: `finalizing → completed | expired | cancelled`.

    After a crash it writes the same files again: their names derive from the batch.

    Raises:
        StoreUnavailableError: The files cannot be written now; the batch stays `finalizing`.
    """
    started = batch.in_progress_s is not None
    output = await _write(context, batch, succeeded=True) if started else None
    errors = await _write(context, batch, succeeded=False) if started else None
    now_s = context.now_s()

    def conclude(connection: Connection) -> None:
        if batches.conclude(
            connection,
            context.instance_id,
            batch,
            output=output.id if output else None,
            error=errors.id if errors else None,
            now_s=now_s,
        ):
            context.webhooks.announce(connection, batch.tenant, f"batch.{batch.ending}", batch.id)
            for file in (output, errors):
                if file is not None:
                    files.add(connection, file)

    await context.database.write(conclude)


async def _write(context: Context, batch: Batch, *, succeeded: bool) -> StoredFile | None:
    """Write one of the two files; return None if it would be empty."""
    kind = "output" if succeeded else "error"
    lines = _lines(context, batch, succeeded=succeeded)
    first = await anext(lines, None)
    if first is None:
        return None
    blob = f"{batch.id}-{kind}"
    size = await context.blobs.write(blob, _chained(first, lines))
    now_s = context.now_s()
    return StoredFile(
        id=context.new_id("file-"),
        tenant=batch.tenant,
        filename=f"{batch.id}_{kind}.jsonl",
        purpose="batch_output",
        bytes=size,
        blob=blob,
        created_s=now_s,
        expires_s=now_s + (batch.output_expires_after_s or _RETENTION_S),
    )


async def _lines(context: Context, batch: Batch, *, succeeded: bool) -> AsyncIterator[bytes]:
    last_line = -1
    while True:
        rows = await context.database.read(
            partial(answers.answers_by_line, batch_seq=batch.seq, after_line=last_line, limit=_READ_SIZE)
        )
        if not rows:
            return
        last_line = rows[-1].line
        lines = b"".join(_line(batch, row) for row in rows if (row.state == "done") == succeeded)
        if lines:
            yield lines


def _line(batch: Batch, row: Any) -> bytes:  # noqa: ANN401 - a row of answers_by_line
    code, message = row.error_code, row.error_message
    if row.request_id is None:
        code, message = _UNANSWERED[batch.ending or "expired"]
        if batch.ending == "expired" and batch.errors is not None:  # the reason why the window closed
            message = json.loads(batch.errors)["data"][0]["message"]
    return batch_output_line(
        f"batch_req_{batch.id.removeprefix('batch_')}_{row.line}",
        row.custom_id,
        status_code=row.status_code,
        request_id=row.request_id,
        body=row.body,
        error_code=code,
        error_message=message,
    )


async def _chained(first: bytes, following: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    yield first
    async for lines in following:
        yield lines
