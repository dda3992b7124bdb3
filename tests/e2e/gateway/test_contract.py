"""Conformance to OpenAI's API: every kind of invalid input, by its HTTP status and its error object."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import urllib3
from openai import OpenAI
from tests.e2e.gateway.conftest import Process, configuration, start
from tests.e2e.gateway.test_batches import create, ended, line, results, upload
from tests.samples.stores import fresh_url, store_urls

CHAT, BATCHES, FILES, RESPONSES = "/v1/chat/completions", "/v1/batches", "/v1/files", "/v1/responses"
OK: dict[str, Any] = {"model": "stub", "messages": [{"role": "user", "content": "x"}], "max_tokens": 2}
ERROR_KEYS = {"message", "type", "param", "code"}


@pytest.fixture(scope="module", params=store_urls())
def site(request: pytest.FixtureRequest, engine: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A gateway without keys, on every kind of store."""
    folder = tmp_path_factory.mktemp("contract")
    with fresh_url(request.param, folder, "contract") as url:
        there = _serve(folder, engine, url)
        yield there.url
        there.stop()
    assert "Traceback" not in (folder / "log").read_text()


def _serve(folder: Path, engine: str, url: str) -> Process:
    config = configuration(folder, engine)
    text = config.read_text().replace(f"sqlite:///{folder}/gateway.db", url)
    text = text.replace("port = 0", "port = 0\nrequire_keys = false")
    config.write_text(text.replace("lease =", f'blobs = "file://{folder}/blobs"\nlease ='))
    return start(["-m", "meritorder", "serve", "--config", str(config)], folder / "log")


@pytest.fixture(scope="module")
def asking(site: str) -> Iterator[OpenAI]:
    with OpenAI(base_url=f"{site}/v1", api_key="none", max_retries=0, timeout=30) as made:
        yield made


def ask(site: str, method: str, path: str, body: Any = None, **more: Any) -> urllib3.BaseHTTPResponse:  # noqa: ANN401
    if isinstance(body, dict | list):
        body = json.dumps(body).encode()
    return urllib3.request(method, site + path, body=body, retries=False, redirect=False, timeout=30, **more)


def refused(answer: urllib3.BaseHTTPResponse, status: int) -> dict[str, Any]:
    """Return the error of an answer, and check that it has OpenAI's keys."""
    assert answer.status == status, answer.data
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["x-request-id"].startswith("req_")
    error: dict[str, Any] = json.loads(answer.data)["error"]
    assert set(error) == ERROR_KEYS
    assert error["message"]
    assert error["code"] is None or isinstance(error["code"], str)
    return error


@pytest.mark.parametrize("method", ["GET", "PUT", "PATCH", "DELETE", "OPTIONS"])
@pytest.mark.parametrize("path", ["/v1/completions", "/v1/embeddings", RESPONSES])
def test_other_method_is_405(site: str, method: str, path: str) -> None:
    answer = ask(site, method, path)
    assert refused(answer, 405)["code"] == "method_not_supported"
    assert answer.headers["allow"] == "POST"


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("PUT", CHAT, 405),
        ("POST", "/v1/models", 405),
        ("PATCH", BATCHES, 405),
        ("PUT", FILES, 405),
        ("GET", "/", 404),
        ("GET", "/v1/nope", 404),
        ("GET", f"{BATCHES}/", 404),
        ("GET", f"{BATCHES}/batch_nope/receipt", 404),
        ("POST", f"{BATCHES}/batch_nope/receipt", 405),
        ("GET", "/v1/quotes/quote_nope", 404),
        ("GET", "/v1/receipts/verify", 405),
        ("POST", f"{CHAT}/", 404),
        ("GET", f"{FILES}/file-nope", 404),
        ("GET", f"{FILES}/file-nope/content", 404),
        ("GET", f"{FILES}/a%00b", 404),
        ("GET", f"{FILES}?after=%00", 404),
        ("DELETE", f"{FILES}/file-nope", 404),
        ("GET", f"{BATCHES}/batch_nope", 404),
        ("POST", f"{BATCHES}/batch_nope/cancel", 404),
        ("GET", f"{RESPONSES}/resp_nope", 404),
        ("POST", f"{RESPONSES}/resp_nope/cancel", 404),
        ("GET", f"{RESPONSES}/resp_nope/input_items", 404),
        ("GET", f"{CHAT}/chatcmpl_nope", 404),
        ("GET", "/v1/models/nope", 404),
        ("GET", f"{FILES}?limit=10001", 400),
        ("GET", f"{FILES}?limit=x", 400),
        ("GET", f"{FILES}?order=up", 400),
        ("GET", f"{FILES}?after=file-nope", 400),
        ("GET", f"{BATCHES}?limit=101", 400),
        ("GET", f"{BATCHES}?limit=-1", 400),
        ("GET", f"{BATCHES}?after=batch_nope", 400),
        ("GET", f"{BATCHES}?limit=99999999999999999999", 400),
    ],
)
def test_unknown_path_is_404(site: str, method: str, path: str, status: int) -> None:
    refused(ask(site, method, path), status)


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"{nope", 400),
        (b"", 400),
        (b"[]", 400),
        (b"[" * 100_000, 400),
        (b'{"model":"\xff"}', 400),
        ({**OK, "model": "nope"}, 404),
        ({**OK, "model": "nope\0"}, 404),
        ({**OK, "model": 5}, 400),
        ({**OK, "model": None}, 400),
        ({**OK, "stream": "yes"}, 400),
        ({**OK, "max_tokens": "2"}, 400),
        ({**OK, "service_tier": 3}, 400),
        ({**OK, "background": True}, 400),
        ({**OK, "messages": [{"role": "user", "content": "fault:422"}]}, 422),
        ({**OK, "messages": [{"role": "user", "content": "fault:422"}], "service_tier": "flex"}, 422),
    ],
)
def test_invalid_call_is_400(site: str, body: Any, status: int) -> None:  # noqa: ANN401
    refused(ask(site, "POST", CHAT, body), status)


@pytest.mark.parametrize("most", [-5, 0, 2**31, 10**30])
def test_engine_refuses_nonsense_tokens(asking: OpenAI, most: int) -> None:
    """This engine accepts them; the gateway's accounting must, too."""
    lines = [line(0), line(1, max_tokens=most, messages=[{"role": "user", "content": f"fault:400 {most}"}])]
    done = ended(asking, create(asking, upload(asking, lines)))
    assert done.status == "completed"
    (failed,) = results(asking, done.error_file_id).values()
    assert failed["response"]["status_code"] == 400  # type: ignore[index]


def test_negative_tokens_refund_nothing(config: Path, gateway: str) -> None:
    from tests.e2e.gateway.conftest import new_key

    key = new_key(config, "--tokens-per-minute", "1000")
    headers = {"Authorization": f"Bearer {key}"}
    ask(gateway, "POST", CHAT, {**OK, "max_tokens": 900}, headers=headers)
    ask(gateway, "POST", CHAT, {**OK, "max_tokens": -100_000}, headers=headers)
    assert refused(ask(gateway, "POST", CHAT, {**OK, "max_tokens": 900}, headers=headers), 429)["param"] is None


@pytest.mark.parametrize(
    "given",
    [
        b'{"custom_id": "a\\u0000b", "method": "POST", "url": "/v1/chat/completions", "body": {"model": "stub"}}\n',
        b'{"custom_id": "\\ud800", "method": "POST", "url": "/v1/chat/completions", "body": {"model": "stub"}}\n',
        b'{"custom_id": "\xff"}\n',
        b"[]\n5\n",
    ],
)
def test_unstorable_line_fails_batch(asking: OpenAI, given: bytes) -> None:
    done = ended(asking, create(asking, upload(asking, given)))
    assert done.status == "failed"
    assert done.errors is not None
    assert done.errors.data is not None
    assert done.errors.data[0].line == 1


def test_nul_in_filename_is_replaced(site: str) -> None:
    parts = [b'name="purpose"\r\n\r\nbatch', b'name="file"; filename="a\0b.jsonl"\r\n\r\n{}']
    form = b"".join(b"--x\r\ncontent-disposition: form-data; " + part + b"\r\n" for part in parts) + b"--x--\r\n"
    headers = {"Content-Type": "multipart/form-data; boundary=x"}
    answer = urllib3.request("POST", site + FILES, body=form, headers=headers)
    assert answer.status == 200, answer.data
    assert json.loads(answer.data)["filename"] == "a\ufffdb.jsonl"


def test_line_error_has_four_keys(asking: OpenAI, site: str) -> None:
    asked = [{"role": "user", "content": "fault:bare"}]
    done = ended(asking, create(asking, upload(asking, [line(0, messages=asked)])))
    (failed,) = results(asking, done.error_file_id).values()
    error = failed["response"]["body"]["error"]  # type: ignore[index]
    assert (error["code"], set(error)) == ("400", ERROR_KEYS)
    assert refused(ask(site, "POST", CHAT, {**OK, "messages": asked, "service_tier": "flex"}), 400)["code"] == "400"


@pytest.mark.parametrize("path", ["/v1/models", FILES, BATCHES, "/health"])
def test_every_answer_has_id(site: str, path: str) -> None:
    first, second = (ask(site, "GET", path).headers["x-request-id"] for _ in range(2))
    assert first != second


def test_finished_batch_cannot_change(asking: OpenAI, site: str) -> None:
    done = ended(asking, create(asking, upload(asking, [line(0)])))
    for what in ("cancel", "pause", "resume"):
        assert done.status in refused(ask(site, "POST", f"{BATCHES}/{done.id}/{what}"), 409)["message"]


def test_answer_is_retrievable_at_once(asking: OpenAI) -> None:
    """Repeated, since it is a race; the engine gives all answers the same id, so each is deleted first."""
    for stream in (False, True) * 10:
        made = asking.responses.create(model="stub", input="x", stream=stream)  # type: ignore[call-overload]
        if stream:
            made = list(made)[-1].response
        assert asking.responses.retrieve(made.id).id == made.id
        asking.responses.delete(made.id)


@pytest.mark.parametrize("more", [{}, {"stream": True}, {"service_tier": "flex"}], ids=str)
def test_stored_completion_is_listed_at_once(asking: OpenAI, more: dict[str, Any]) -> None:
    """Every page after a known completion has the next one as soon as its client has the last byte."""
    ids = [f"{next(iter(more), 'whole')}-{number}" for number in range(10)]
    for number, completion_id in enumerate(ids):
        made = asking.chat.completions.create(**OK, **more, store=True, user=completion_id, metadata={"of": str(more)})
        if "stream" in more:
            list(made)
        assert asking.chat.completions.retrieve(completion_id).id == completion_id
        before = {"after": ids[number - 1]} if number else {}
        listed = asking.chat.completions.list(**before, metadata={"of": str(more)}, limit=100)
        assert [completion.id for completion in listed.data] == [completion_id]
    for completion_id in ids:
        asking.chat.completions.delete(completion_id)


def test_completions_filtered_by_metadata(asking: OpenAI) -> None:
    ids = [f"chatcmpl-{number}" for number in range(5)]
    for number, completion_id in enumerate(ids):
        asking.chat.completions.create(**OK, store=True, user=completion_id, metadata={"odd": str(number % 2)})
    assert [completion.id for completion in asking.chat.completions.list(limit=1)] == ids
    assert [completion.id for completion in asking.chat.completions.list(limit=1, metadata={"odd": "1"})] == ids[1::2]
    page = asking.chat.completions.list(limit=2, metadata={"odd": "1"}, order="desc")
    assert ([completion.id for completion in page.data], page.has_more) == (ids[3:0:-2], False)


def test_background_response_is_streamed(asking: OpenAI) -> None:
    stream = asking.responses.create(model="stub", input="x", background=True, stream=True, max_output_tokens=3)
    events = list(stream)
    kinds = [event.type for event in events]
    assert kinds[:2] == ["response.created", "response.queued"]
    assert kinds[-1] == "response.completed"
    assert "".join(event.delta for event in events if event.type == "response.output_text.delta") == "merit order is"
    assert [event.sequence_number for event in events] == list(range(len(events)))
    made = events[-1].response  # type: ignore[union-attr]
    assert made.status == "completed"
    assert events[0].response.id == made.id  # type: ignore[union-attr]
    assert asking.responses.retrieve(made.id).output_text == "merit order is"
    later = list(asking.responses.retrieve(made.id, stream=True, starting_after=len(events) - 2))
    assert [event.type for event in later] == ["response.completed"]


def test_background_response_survives_disconnect(asking: OpenAI) -> None:
    stream = asking.responses.create(model="stub", input="x", background=True, stream=True, max_output_tokens=100)
    first = next(iter(stream))
    stream.close()
    events = list(asking.responses.retrieve(first.response.id, stream=True))  # type: ignore[union-attr]
    assert events[-1].type == "response.completed"


def test_deferred_call_is_streamed(asking: OpenAI) -> None:
    def chunks(**more: Any) -> list[Any]:  # noqa: ANN401
        return list(asking.chat.completions.create(**OK, stream=True, service_tier="flex", **more))

    bare = chunks()
    assert [chunk.choices[0].finish_reason for chunk in bare] == [None, "stop"]
    assert bare[0].choices[0].delta.role == "assistant"
    assert bare[0].choices[0].delta.content == "merit order"
    assert all(chunk.usage is None for chunk in bare)
    counted = chunks(stream_options={"include_usage": True})
    assert [len(chunk.choices) for chunk in counted] == [1, 1, 0]
    assert counted[-1].usage.completion_tokens == 2
