"""Batches through the official client."""

import json
import time
from collections.abc import Callable

import openai
import pytest
from openai import OpenAI
from openai.types import Batch

FINAL = {"completed", "failed", "expired", "cancelled"}


def line(number: int, **body: object) -> dict[str, object]:
    messages = [{"role": "user", "content": f"question {number}"}]
    fields = {"model": "stub", "messages": messages, "max_tokens": 4, **body}
    return {"custom_id": f"request-{number}", "method": "POST", "url": "/v1/chat/completions", "body": fields}


def upload(client: OpenAI, lines: list[dict[str, object]] | bytes) -> str:
    content = lines if isinstance(lines, bytes) else b"".join(json.dumps(line).encode() + b"\n" for line in lines)
    return client.files.create(file=("input.jsonl", content), purpose="batch").id


def create(client: OpenAI, file_id: str, window: str = "24h", **more: object) -> Batch:
    return client.batches.create(
        input_file_id=file_id,
        endpoint="/v1/chat/completions",
        completion_window=window,  # type: ignore[arg-type]
        **more,  # type: ignore[arg-type]
    )


def ended(client: OpenAI, batch: Batch, within_s: float = 30) -> Batch:
    until = time.monotonic() + within_s
    while time.monotonic() < until:
        now = client.batches.retrieve(batch.id)
        if now.status in FINAL:
            return now
        time.sleep(0.05)
    raise AssertionError(now)


def results(client: OpenAI, file_id: str | None) -> dict[str, dict[str, object]]:
    assert file_id is not None
    lines = [json.loads(line) for line in client.files.content(file_id).text.splitlines()]
    assert len({line["custom_id"] for line in lines}) == len(lines)
    return {line["custom_id"]: line for line in lines}


def test_batch_answers_each_line(client: OpenAI) -> None:
    batch = create(client, upload(client, [line(i) for i in range(50)]), metadata={"for": "test"})
    assert batch.status == "validating"
    assert batch.metadata == {"for": "test"}
    done = ended(client, batch)
    assert done.status == "completed", done
    assert done.model == "stub"
    assert (done.request_counts.total, done.request_counts.completed, done.request_counts.failed) == (50, 50, 0)  # type: ignore[union-attr]
    assert done.usage is not None
    assert (done.usage.input_tokens, done.usage.output_tokens) == (50 * 7, 50 * 4)
    assert done.error_file_id is None
    times = [done.created_at, done.in_progress_at, done.finalizing_at, done.completed_at]
    assert times == sorted(times)  # type: ignore[type-var]
    answers = results(client, done.output_file_id)
    assert set(answers) == {f"request-{i}" for i in range(50)}
    one = answers["request-7"]
    assert set(one) == {"id", "custom_id", "response", "error"}
    assert one["error"] is None
    assert one["response"]["status_code"] == 200  # type: ignore[index]
    body = one["response"]["body"]  # type: ignore[index]
    assert body["object"] == "chat.completion"
    assert body["choices"][0]["message"]["content"] == "merit order is the"
    assert body["choices"][0]["finish_reason"] == "stop"
    assert len({answer["response"]["request_id"] for answer in answers.values()}) == 50  # type: ignore[index]


def test_windows_line_ends(client: OpenAI) -> None:
    content = b"\xef\xbb\xbf" + b"".join(json.dumps(line(i)).encode() + b"\r\n" for i in range(3)) + b"\r\n"
    done = ended(client, create(client, upload(client, content)))
    assert done.status == "completed", done.errors
    assert set(results(client, done.output_file_id)) == {f"request-{i}" for i in range(3)}


def test_http_errors_keep_response(client: OpenAI) -> None:
    fails = line(1) | {"body": {"model": "stub", "messages": [{"role": "user", "content": "fault:400"}]}}
    done = ended(client, create(client, upload(client, [line(0), fails])))
    assert done.status == "completed"
    assert (done.request_counts.completed, done.request_counts.failed) == (1, 1)  # type: ignore[union-attr]
    failed = results(client, done.error_file_id)["request-1"]
    assert failed["error"] is None
    assert failed["response"]["status_code"] == 400  # type: ignore[index]
    assert failed["response"]["body"]["error"]["message"] == "fault 400"  # type: ignore[index]


@pytest.mark.parametrize(
    ("lines", "code", "number"),
    [
        ([line(0), line(0)], "duplicate_custom_id", 2),
        ([line(0), line(1) | {"url": "/v1/embeddings"}], "mismatched_url", 2),
        ([line(0) | {"method": "GET"}], "invalid_method", 1),
        ([line(0, model="nobody")], "model_not_found", 1),
        ([line(0), line(1, model="other")], "mismatched_model", 2),
        (b'{"custom_id": "a"\n', "invalid_json_line", 1),
        (b'{"custom_id": "a", "method": "POST", "url": "/v1/chat/completions"}\n', "missing_required_parameter", 1),
        (b"\n", "empty_file", None),
    ],
)
def test_invalid_input_fails_batch(
    client: OpenAI, lines: list[dict[str, object]] | bytes, code: str, number: int | None
) -> None:
    done = ended(client, create(client, upload(client, lines)))
    assert done.status == "failed"
    assert done.failed_at is not None
    assert done.errors is not None
    assert done.errors.data is not None
    assert (done.errors.data[0].code, done.errors.data[0].line) == (code, number)
    assert done.errors.data[0].message


def test_expired_batch_keeps_answers(client: OpenAI) -> None:
    slow = [line(i, max_tokens=400) for i in range(40)]
    done = ended(client, create(client, upload(client, slow), window="4s"))
    assert done.status == "expired"
    assert done.expired_at is not None
    assert done.completed_at is None
    late = results(client, done.error_file_id)
    there = results(client, done.output_file_id) if done.output_file_id else {}
    assert len(late) + len(there) == 40
    assert late
    one = next(iter(late.values()))
    assert one["response"] is None
    assert one["error"]["code"] == "batch_expired"  # type: ignore[index]


def test_cancelled_batch_keeps_answers(client: OpenAI) -> None:
    slow = [line(i, max_tokens=100) for i in range(60)]
    batch = create(client, upload(client, slow))
    while client.batches.retrieve(batch.id).request_counts.completed < 3:  # type: ignore[union-attr]
        time.sleep(0.02)
    assert client.batches.cancel(batch.id).status == "cancelling"
    done = ended(client, batch)
    assert done.status == "cancelled"
    there, cut = results(client, done.output_file_id), results(client, done.error_file_id)
    assert len(there) >= 3
    assert len(there) + len(cut) == 60
    assert {answer["error"]["code"] for answer in cut.values()} == {"batch_cancelled"}  # type: ignore[index]
    with pytest.raises(openai.ConflictError):
        client.batches.cancel(batch.id)


def test_paused_batch_resumes(client: OpenAI) -> None:
    batch = create(client, upload(client, [line(i, max_tokens=60) for i in range(40)]))
    assert client.post(f"/batches/{batch.id}/pause", cast_to=object)["paused_at"] is not None  # type: ignore[index]
    time.sleep(1.0)
    before = client.batches.retrieve(batch.id).request_counts.completed  # type: ignore[union-attr]
    time.sleep(1.0)
    assert client.batches.retrieve(batch.id).request_counts.completed == before < 40  # type: ignore[union-attr]
    client.post(f"/batches/{batch.id}/resume", cast_to=object)
    assert ended(client, batch).request_counts.completed == 40  # type: ignore[union-attr]


def test_tenants_are_isolated(client: OpenAI, make_client: Callable[..., OpenAI]) -> None:
    file_id = upload(client, [line(0)])
    batch = create(client, file_id)
    other = make_client("--tenant", "other")
    with pytest.raises(openai.NotFoundError):
        other.files.retrieve(file_id)
    with pytest.raises(openai.NotFoundError):
        other.batches.retrieve(batch.id)
    with pytest.raises(openai.BadRequestError):
        create(other, file_id)
    assert other.batches.list().data == []
    assert other.files.list().data == []


def test_lists_are_paged(make_client: Callable[..., OpenAI]) -> None:
    client = make_client("--tenant", "pages")
    made = [upload(client, [line(i)]) for i in range(5)]
    page = client.files.list(limit=2)
    assert [file.id for file in page.data] == made[:2:-1]
    assert page.has_more
    assert [file.id for file in client.files.list(limit=2)] == made[::-1]
    assert [file.id for file in client.files.list(order="asc")] == made
    batches = [create(client, file_id).id for file_id in made]
    assert [batch.id for batch in client.batches.list(limit=2)] == batches[::-1]
    with pytest.raises(openai.BadRequestError):
        client.batches.list(limit=101)


@pytest.mark.parametrize(
    "wrong",
    [
        {"completion_window": "soon"},
        {"endpoint": "/v1/nothing"},
        {"input_file_id": "file-nobody"},
        {"metadata": {f"key {i}": "" for i in range(17)}},
        {"metadata": {"k" * 65: ""}},
        {"metadata": {"k": "v" * 513}},
        {"output_expires_after": {"anchor": "created_at", "seconds": 3599}},
        {"output_expires_after": {"anchor": "last_active_at", "seconds": 3600}},
    ],
)
def test_invalid_field_is_named(client: OpenAI, wrong: dict[str, object]) -> None:
    fields = {
        "input_file_id": upload(client, [line(0)]),
        "endpoint": "/v1/chat/completions",
        "completion_window": "24h",
    }
    with pytest.raises(openai.BadRequestError) as caught:
        client.batches.create(**(fields | wrong))  # type: ignore[arg-type]
    assert str(caught.value.param).startswith(next(iter(wrong)))
    assert set(caught.value.body) == {"message", "type", "param", "code"}  # type: ignore[arg-type]
