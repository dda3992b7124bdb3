"""The lines of an input file."""

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from sqlalchemy import Connection
from tests.samples.service import open_service

from meritorder.gateway.state.context import Context
from meritorder.gateway.store import files
from meritorder.gateway.store.blobs import Blobs
from meritorder.gateway.store.files import StoredFile
from meritorder.gateway.store.queue import batches
from meritorder.gateway.store.queue.answers import answers_by_line
from meritorder.gateway.store.queue.batches import Batch
from meritorder.gateway.wire import calls
from meritorder.gateway.workers import batch_input
from meritorder.gateway.workers.batch_input import _InputState, _lines, ingest

CHAT = "/v1/chat/completions"

TEXT = b'{"a": 1}\n\n{"b": 2}\r\nlast'


@pytest.mark.parametrize("size", [1, 3, 7, 100])
def test_offsets_point_into_the_file(size: int) -> None:
    parts = [TEXT[start : start + size] for start in range(0, len(TEXT), size)]
    lines = list(_lines(parts, _InputState(), max_bytes=100))
    assert [line.number for line in lines] == [1, 3, 4]
    for line in lines:
        assert line.text is not None
        assert TEXT[line.offset :].startswith(line.text)


def test_long_line_ends_the_reading() -> None:
    lines = list(_lines([b"short\n", b"x" * 50, b"x" * 50, b"\nnever"], _InputState(), max_bytes=60))
    assert [(line.number, line.text) for line in lines] == [(1, b"short"), (2, None)]


def line(number: int, endpoint: str = CHAT, **body: object) -> dict[str, Any]:
    given = {"model": "m", "messages": [{"role": "user", "content": "hi"}], **body}
    return {"custom_id": f"c{number}", "method": "POST", "url": endpoint, "body": given}


def read_input(
    folder: Path, lines: list[Any], endpoint: str = CHAT, kills: Iterable[int] = ()
) -> tuple[Batch, list[Any]]:
    """Return a batch whose input was read, and its requests with their answers; bytes are lines as they are.

    Args:
        folder: Where everything is.
        lines: The input.
        endpoint: The endpoint of the batch.
        kills: How many groups of lines each reading stores before it is killed.
    """
    content = b"".join((item if isinstance(item, bytes) else msgspec.json.encode(item)) + b"\n" for item in lines)
    with open_service(folder) as service:
        context = service.context
        (folder / "blobs").mkdir(exist_ok=True)
        (folder / "blobs" / "b").write_bytes(content)
        file = StoredFile(id="f", tenant="t", filename="f", purpose="batch", bytes=1, blob="b", created_s=0.0)

        def create(connection: Connection) -> Batch:
            files.add(connection, file)
            batches.add(
                connection,
                id="batch_1",
                tenant="t",
                endpoint=endpoint,
                completion_window="24h",
                input_file_id="f",
                created_s=0.0,
                expires_s=1e12,
            )
            claimed = batches.claim(connection, context.instance_id, "validating")
            assert claimed is not None
            return claimed

        created = context.database.submit(create).result()
        for groups in kills:
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(batch_input, "_store", killed_after(groups))
                with pytest.raises(KeyboardInterrupt):
                    ingest(context, created)
            context.database.submit(lambda _: None).result()  # what was submitted before the kill is stored
        ingest(context, created)
        batch = context.database.read_now(lambda connection: batches.get(connection, "t", "batch_1"))
        assert batch is not None
        answers = context.database.read_now(
            lambda connection: answers_by_line(connection, batch.seq, after_line=0, limit=9)
        )
    return batch, answers


def killed_after(groups: int) -> Callable[..., Any]:
    """Return a way to store groups of lines that ends after some."""
    store, left = batch_input._store, iter(range(groups))

    def store_or_end(*given: Any) -> Any:  # noqa: ANN401
        if next(left, None) is None:
            raise KeyboardInterrupt
        return store(*given)

    return store_or_end


@pytest.mark.parametrize("kills", [(0,), (1,), (2, 1), (3,), (1, 1, 1, 0)], ids=str)
def test_reading_goes_on_after_kill(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kills: tuple[int, ...]) -> None:
    """Two lines are stored at once; of the nine lines the third is blank, and the model of the fourth is unknown."""
    monkeypatch.setattr(batch_input, "_INSERT_SIZE", 2)
    lines: list[Any] = [line(number) for number in range(9)]
    lines[2], lines[3] = b"", line(3, model="nobody")
    starts: list[int] = []
    read_now = Blobs.read_now
    monkeypatch.setattr(Blobs, "read_now", lambda *given: (starts.append(given[2]), read_now(*given))[1])
    batch, answers = read_input(tmp_path, lines, kills=kills)
    assert (batch.status, batch.total, batch.failed, batch.errors) == ("in_progress", 8, 1, None)
    assert [row.line for row in answers] == [1, 2, 4, 5, 6, 7, 8, 9]
    assert [row.custom_id for row in answers] == ["c0", "c1", *(f"c{number}" for number in range(3, 9))]
    assert starts == sorted(starts)
    assert len(set(starts)) == 1 + sum(groups > 0 for groups in kills)


def test_errors_are_remembered_after_kill(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second line is invalid, and the last repeats the id of the first, which was read before the kill."""
    monkeypatch.setattr(batch_input, "_INSERT_SIZE", 2)
    lines: list[Any] = [line(0), b"{", line(2), line(3), line(4), line(0)]
    batch, _ = read_input(tmp_path, lines, kills=(1,))
    assert batch.status == "failed"
    errors = json.loads(batch.errors or "")["data"]
    assert [(error["code"], error["line"]) for error in errors] == [
        ("invalid_json_line", 2),
        ("duplicate_custom_id", 6),
    ]


def test_cancelled_batch_is_read_no_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch_input, "_INSERT_SIZE", 2)
    store, stored = batch_input._store, list[int]()

    def cancel_then_store(context: Context, batch: Batch, *given: Any) -> Any:  # noqa: ANN401
        stored.append(1)
        context.database.submit(lambda connection: batches.cancel(connection, batch.seq, now_s=1.0)).result()
        return store(context, batch, *given)

    monkeypatch.setattr(batch_input, "_store", cancel_then_store)
    batch, answers = read_input(tmp_path, [line(number) for number in range(20)])
    assert (batch.status, answers) == ("cancelling", [])
    assert len(stored) <= 2


@pytest.mark.parametrize(
    ("endpoint", "body", "param"),
    [
        (CHAT, {"messages": None}, "body.messages"),
        (CHAT, {"messages": []}, "body.messages"),
        (CHAT, {"messages": "hi"}, "body.messages"),
        (CHAT, {"messages": [{"content": "no role"}]}, "body.messages[0]"),
        (CHAT, {"model": None}, "body.model"),
        (CHAT, {"model": 7}, "body.model"),
        (CHAT, {"max_tokens": "many"}, "body.max_tokens"),
        ("/v1/completions", {}, "body.prompt"),
        ("/v1/embeddings", {}, "body.input"),
        ("/v1/responses", {}, "body.input"),
    ],
)
def test_missing_field_is_named(tmp_path: Path, endpoint: str, body: dict[str, Any], param: str) -> None:
    batch, _ = read_input(tmp_path, [line(0, endpoint, **body)], endpoint)
    assert batch.status == "failed"
    (error,) = json.loads(batch.errors or "")["data"]
    assert (error["param"], error["line"]) == (param, 1)


def test_unknown_model_fails_alone(tmp_path: Path) -> None:
    batch, answers = read_input(tmp_path, [line(0, model="nobody"), line(1), line(2, model="nobody")])
    assert (batch.status, batch.model, batch.total, batch.failed) == ("in_progress", "m", 3, 2)
    assert [(row.state, row.status_code) for row in answers] == [("failed", 404), ("queued", None), ("failed", 404)]
    assert json.loads(answers[0].body)["error"]["code"] == "model_not_found"


def test_batch_without_known_model_fails(tmp_path: Path) -> None:
    batch, _ = read_input(tmp_path, [line(number, model="nobody") for number in range(300)])
    assert batch.status == "failed"
    errors = json.loads(batch.errors or "")["data"]
    assert {(error["code"], error["param"]) for error in errors} == {("model_not_found", "body.model")}
    assert len(errors) == 100


HOSTILE = [
    b"[" * 100_000,
    b'{"custom_id": "a", "method": "POST", "url": "/v1/chat/completions", "body": '
    + b'{"a":' * 5000
    + b"1"
    + b"}" * 5001,
    b'{"custom_id": "a\\ud800", "method": "POST", "url": "/v1/chat/completions", "body": {}}',
    b'\xff\xfe{"custom_id": "a"}',
    b'{"custom_id": "a\\u0000", "method": "POST", "url": "/v1/chat/completions", "body": {"model": "m"}}',
    line(0, model="m\0"),
    b"null",
    b"[]",
    b"7",
    {"custom_id": 7, "method": "POST", "url": CHAT, "body": {}},
    {"custom_id": "a", "method": "POST", "url": CHAT, "body": [1]},
    {"custom_id": "a", "method": "POST", "url": CHAT, "body": "text"},
]


@pytest.mark.parametrize("hostile", HOSTILE)
def test_hostile_line_fails_batch_with_reason(tmp_path: Path, hostile: bytes | dict[str, Any]) -> None:
    batch, _ = read_input(tmp_path, [line(1), hostile])
    assert batch.status == "failed"
    (error,) = json.loads(batch.errors or "")["data"]
    assert error["line"] == 2
    assert error["message"]


@pytest.mark.parametrize("error", [RecursionError(), KeyError("x"), OverflowError(), EOFError()])
def test_line_that_breaks_us_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def parse_or_fail(text: bytes) -> calls.LineFields:
        fields = parse_line(text)
        if fields.custom_id == "c2":
            raise error
        return fields

    parse_line = calls.parse_line
    monkeypatch.setattr(calls, "parse_line", parse_or_fail)
    batch, _ = read_input(tmp_path, [line(1), line(2), line(3)])
    assert batch.status == "failed"
    assert [problem["line"] for problem in json.loads(batch.errors or "")["data"]] == [2]


def test_many_bad_lines_end_in_failed_batch(tmp_path: Path) -> None:
    lines = [line(number) for number in range(2000)] + HOSTILE * 20
    batch, _ = read_input(tmp_path, lines)
    assert batch.status == "failed"
    assert len(json.loads(batch.errors or "")["data"]) == 100
