"""Model calls through the official client, in both lanes."""

import json
import threading
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path

import openai
import pytest
from openai import OpenAI
from sqlalchemy import select

from meritorder.gateway.store.database import Database
from meritorder.gateway.store.schema import LEDGER, REQUESTS

ASKED: dict[str, object] = {"model": "stub", "messages": [{"role": "user", "content": "hello"}], "max_tokens": 6}
SAID = "merit order is the cheapest first"


def entries(folder: Path, count: int, tenant: str) -> list[dict[str, object]]:
    """Wait for a number of ledger rows of a tenant, and return them."""
    database = Database(f"sqlite:///{folder}/gateway.db")
    try:
        query = select(LEDGER).where(LEDGER.c.tenant == tenant).order_by(LEDGER.c.seq)
        for _ in range(100):
            rows = [dict(row._mapping) for row in database.read_now(lambda connection: connection.execute(query).all())]
            if len(rows) >= count:
                return rows
            time.sleep(0.05)
    finally:
        database.close()
    raise AssertionError(rows)


def chat(client: OpenAI, **more: object) -> openai.types.chat.ChatCompletion:
    return client.chat.completions.create(**(ASKED | more))  # type: ignore[call-overload, no-any-return]


def test_answer_passes_into_ledger(make_client: Callable[..., OpenAI], folder: Path) -> None:
    client = make_client("--tenant", "ledger")
    raw = client.chat.completions.with_raw_response.create(**ASKED)  # type: ignore[arg-type]
    assert raw.parse().choices[0].message.content == SAID
    request_id = raw.headers["x-request-id"]
    stream = client.chat.completions.create(**ASKED, stream=True)  # type: ignore[call-overload]
    assert "".join(chunk.choices[0].delta.content or "" for chunk in stream) == SAID
    client.embeddings.create(model="stub", input=["a", "b"])
    client.completions.create(model="stub", prompt="hello", max_tokens=3)
    whole, streamed, embedded, completed = entries(folder, 4, "ledger")
    assert whole["request_id"] == request_id
    assert (whole["lane"], whole["venue"], whole["model"], whole["status_code"]) == ("realtime", "stub", "stub", 200)
    assert (whole["input_tokens"], whole["output_tokens"], whole["counted"]) == (7, 6, True)
    assert whole["cost_picousd"] == (7 * 1 + 6 * 4) * 10**6
    assert whole["ended_s"] > whole["arrived_s"]  # type: ignore[operator]
    assert 0 < streamed["ttft_s"] < streamed["ended_s"] - streamed["arrived_s"]  # type: ignore[operator]
    assert abs(streamed["output_tokens"] - 6) <= 2  # type: ignore[operator]  # estimated from events: the venue reports none
    assert not streamed["counted"]
    assert embedded["endpoint"] == "/v1/embeddings"
    assert completed["output_tokens"] == 3


def test_stream_is_not_buffered(client: OpenAI) -> None:
    began = time.monotonic()
    arrived = [time.monotonic() for _ in client.chat.completions.create(**(ASKED | {"max_tokens": 60}), stream=True)]  # type: ignore[call-overload]
    assert arrived[0] - began < (arrived[-1] - began) / 2


def test_venue_errors_pass_through(client: OpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match="fault 400"):
        chat(client, messages=[{"role": "user", "content": "fault:400"}])
    with pytest.raises(openai.UnprocessableEntityError):
        chat(client, messages=[{"role": "user", "content": "fault:422"}])


@pytest.mark.parametrize("fault", ["html", "json-once", "reset-once", "503-once"])
def test_venue_faults_are_retried(client: OpenAI, fault: str) -> None:
    asked = [{"role": "user", "content": f"fault:{fault}"}]
    if fault == "html":
        with pytest.raises(openai.InternalServerError) as caught:
            chat(client, messages=asked)
        assert set(caught.value.body) == {"message", "type", "param", "code"}  # type: ignore[arg-type]
    else:
        assert chat(client, messages=asked).choices[0].message.content


def test_errors_match_openai(client: OpenAI, gateway: str, make_client: Callable[..., OpenAI]) -> None:
    with pytest.raises(openai.NotFoundError) as caught:
        chat(client, model="nobody")
    assert caught.value.code == "model_not_found"
    with pytest.raises(openai.AuthenticationError) as wrong:
        chat(client.with_options(api_key="sk-wrong"))
    assert wrong.value.code == "invalid_api_key"
    with pytest.raises(openai.BadRequestError):
        client.post("/chat/completions", body={"messages": []}, cast_to=object)
    with pytest.raises(openai.NotFoundError):
        client.get("/nothing", cast_to=object)
    with pytest.raises(openai.BadRequestError) as typed:
        client.post("/chat/completions", body={"model": 1}, cast_to=object)
    assert typed.value.param == "model"
    limited = make_client("--requests-per-minute", "1")
    chat(limited)
    with pytest.raises(openai.RateLimitError) as rated:
        chat(limited)
    assert int(rated.value.response.headers["retry-after"]) >= 1
    with urllib.request.urlopen(f"{gateway}/health") as health:
        assert json.load(health) == {"status": "ok"}


def test_budget_stops_calls(make_client: Callable[..., OpenAI]) -> None:
    client = make_client("--budget", "0.00003")
    chat(client)
    with pytest.raises(openai.RateLimitError) as caught:
        chat(client)
    assert caught.value.code == "insufficient_quota"


def test_models_are_listed(client: OpenAI) -> None:
    assert [model.id for model in client.models.list()] == ["other", "stub"]
    assert client.models.retrieve("stub").object == "model"
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("nobody")
    with pytest.raises(openai.PermissionDeniedError):
        client.models.delete("stub")


@pytest.mark.parametrize("way", [{"extra_headers": {"Meritorder-Deadline": "1h"}}, {"service_tier": "flex"}])
def test_deferred_call_answers_open_connection(
    make_client: Callable[..., OpenAI], folder: Path, way: dict[str, object]
) -> None:
    client = make_client("--tenant", f"waits-{next(iter(way))}")
    assert chat(client, **way).choices[0].message.content == SAID
    stream = client.chat.completions.create(**ASKED, **way, stream=True)  # type: ignore[call-overload]
    assert "".join(chunk.choices[0].delta.content or "" for chunk in stream) == SAID
    first, _ = entries(folder, 2, f"waits-{next(iter(way))}")
    assert first["lane"] == "deferrable"
    assert first["deadline_s"] > first["arrived_s"]  # type: ignore[operator]
    assert (first["input_tokens"], first["output_tokens"]) == (7, 6)
    database = Database(f"sqlite:///{folder}/gateway.db")
    query = select(REQUESTS.c.seq).where(REQUESTS.c.tenant == f"waits-{next(iter(way))}")
    for _ in range(50):
        left = database.read_now(lambda connection: connection.execute(query).all())
        if not left:
            break
        time.sleep(0.05)
    database.close()
    assert left == []


def test_key_deadline_defers_calls(make_client: Callable[..., OpenAI], folder: Path) -> None:
    client = make_client("--tenant", "patient", "--deadline", "2h")
    chat(client)
    (entry,) = entries(folder, 1, "patient")
    assert entry["lane"] == "deferrable"
    assert entry["deadline_s"] - entry["arrived_s"] == pytest.approx(7200)  # type: ignore[operator]


@pytest.mark.parametrize("header", ["never", "2020-01-01T00:00:00Z", "2030-01-01T00:00:00", "90d"])
def test_invalid_deadline_is_refused(client: OpenAI, header: str) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        chat(client, extra_headers={"Meritorder-Deadline": header})
    assert caught.value.param == "Meritorder-Deadline"


def test_disconnect_frees_sequence(client: OpenAI, engine: str) -> None:
    def cut() -> int:
        with urllib.request.urlopen(f"{engine}/seen") as seen:
            return int(json.load(seen)["cut"])

    before = cut()
    stream = client.chat.completions.create(**(ASKED | {"max_tokens": 2000}), stream=True)  # type: ignore[call-overload]
    next(iter(stream))
    stream.close()
    for _ in range(100):
        if cut() > before:
            return
        time.sleep(0.05)
    raise AssertionError


def test_many_concurrent_calls(client: OpenAI) -> None:
    said: list[str | None] = []
    threads = [threading.Thread(target=lambda: said.append(chat(client).choices[0].message.content)) for _ in range(40)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert said == [SAID] * 40
