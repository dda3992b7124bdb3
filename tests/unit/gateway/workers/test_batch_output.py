"""The two files of a batch."""

import asyncio
import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.samples.batches import answer_lines, begin_batch, only_batch
from tests.samples.service import open_service

from meritorder.gateway.errors import StoreUnavailableError
from meritorder.gateway.state.context import Context
from meritorder.gateway.store import files
from meritorder.gateway.store.queue import batches
from meritorder.gateway.store.queue.requests import RequestAnswer
from meritorder.gateway.workers import batch_output

NOW_S = 1e9
ANSWERED = RequestAnswer(request_id="r0", status_code=200, body=b'{\n "n": 1.50\n}')
REFUSED = RequestAnswer(request_id="r1", status_code=400, body=b'{"error": {}}')
UNANSWERED = RequestAnswer(request_id="r2", status_code=None, error_code="upstream_error", error_message="it broke")


@pytest.fixture
def context(tmp_path: Path) -> Iterator[Context]:
    with open_service(tmp_path) as service:
        yield dataclasses.replace(service.context, now_s=lambda: NOW_S)


def finalize(context: Context, ending: str | None = None) -> None:
    """Claim the batch and write its files; with an ending, it ends before all its lines are answered."""
    seq, owner = only_batch(context).seq, context.instance_id

    def claim(connection):  # noqa: ANN001, ANN202
        if ending is not None:
            batches.finalize(connection, seq, ending=ending, now_s=NOW_S)
        return batches.claim(connection, owner, "finalizing")

    batch = context.database.submit(claim).result()
    assert batch is not None
    asyncio.run(batch_output.finalize(context, batch))


def read_lines(context: Context, file_id: str | None) -> list[Any]:
    assert file_id is not None
    file = context.database.read_now(lambda connection: files.get(connection, "t", file_id, now_s=NOW_S))
    assert file is not None
    content = b"".join(context.blobs.read_now(file.blob))
    assert len(content) == file.bytes
    return [json.loads(line) for line in content.splitlines()]


def test_successes_and_errors_are_separated(context: Context) -> None:
    begin_batch(context, lines=3)
    answer_lines(context, ANSWERED, REFUSED, UNANSWERED)
    finalize(context)
    batch = only_batch(context)
    assert (batch.status, batch.done, batch.failed) == ("completed", 1, 2)
    (success,) = read_lines(context, batch.output_file_id)
    assert (success["custom_id"], success["error"]) == ("c0", None)
    assert success["response"] == {"status_code": 200, "request_id": "r0", "body": {"n": 1.5}}
    refused, unanswered = read_lines(context, batch.error_file_id)
    assert (refused["custom_id"], refused["response"]["status_code"], refused["error"]) == ("c1", 400, None)
    assert (unanswered["custom_id"], unanswered["response"]) == ("c2", None)
    assert unanswered["error"] == {"code": "upstream_error", "message": "it broke"}


@pytest.mark.parametrize(("ending", "code"), [("expired", "batch_expired"), ("cancelled", "batch_cancelled")])
def test_lines_not_run_name_the_ending(context: Context, ending: str, code: str) -> None:
    batch = begin_batch(context, lines=2)
    answer_lines(context, ANSWERED)
    if ending == "cancelled":
        context.database.submit(lambda connection: batches.cancel(connection, batch.seq, now_s=NOW_S)).result()
    finalize(context, ending)
    batch = only_batch(context)
    assert batch.status == ending
    assert [line["custom_id"] for line in read_lines(context, batch.output_file_id)] == ["c0"]
    (line,) = read_lines(context, batch.error_file_id)
    assert (line["custom_id"], line["response"], line["error"]["code"]) == ("c1", None, code)


def test_empty_file_is_not_written(context: Context) -> None:
    begin_batch(context, lines=1)
    answer_lines(context, ANSWERED)
    finalize(context)
    batch = only_batch(context)
    assert batch.output_file_id is not None
    assert batch.error_file_id is None


def test_long_output_has_every_line(context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    """Seven lines are read three at a time, and the fourth to sixth have nothing for the output."""
    monkeypatch.setattr(batch_output, "_READ_SIZE", 3)
    begin_batch(context, lines=7)
    answer_lines(context, ANSWERED, ANSWERED, ANSWERED, REFUSED, REFUSED, REFUSED, ANSWERED)
    finalize(context)
    batch = only_batch(context)
    assert [line["custom_id"] for line in read_lines(context, batch.output_file_id)] == ["c0", "c1", "c2", "c6"]
    assert [line["custom_id"] for line in read_lines(context, batch.error_file_id)] == ["c3", "c4", "c5"]


def test_failed_write_leaves_batch_open(context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    begin_batch(context, lines=1)
    answer_lines(context, ANSWERED)

    async def fail(*_: object) -> int:
        raise StoreUnavailableError("the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(type(context.blobs), "write", fail)
        with pytest.raises(StoreUnavailableError):
            finalize(context)
    batch = only_batch(context)
    assert (batch.status, batch.output_file_id) == ("finalizing", None)
    asyncio.run(batch_output.finalize(context, batch))
    assert only_batch(context).status == "completed"
