"""Responses that go on from earlier ones."""

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest
from tests.samples.service import open_service

from meritorder.gateway.app.service import Service
from meritorder.gateway.lanes.history import EarlierTurns, EchoingReply
from meritorder.gateway.store.responses import conversations, stored_answers
from meritorder.gateway.store.responses.stored_answers import CONVERSATION, RESPONSE, StoredAnswer
from meritorder.gateway.upstreams.upstream import Reply
from meritorder.gateway.wire.errors import ApiError
from meritorder.gateway.wire.events import parse_events

VLLM = [{"name": "v", "kind": "vllm", "url": "http://127.0.0.1:1/v1", "models": ["m"]}]


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    with open_service(tmp_path, venue=VLLM) as opened:
        yield opened


def said(text: str) -> dict[str, Any]:
    part = {"type": "output_text", "text": text, "annotations": []}
    return {"id": f"msg_{text}", "type": "message", "role": "assistant", "status": "completed", "content": [part]}


def keep(service: Service, response_id: str, answer: str, status: str = "completed", **request: object) -> None:
    """Store a response, as the lanes do."""
    stored = StoredAnswer(
        id=response_id,
        kind=RESPONSE,
        tenant="t",
        model="m",
        status=status,
        request=json.dumps({"model": "m", **request}).encode(),
        answer=json.dumps({"id": response_id, "output": [said(answer)]}).encode(),
        created_s=0.0,
    )
    service.context.database.submit(lambda connection: conversations.add_all(connection, [stored])).result()


def start_conversation(service: Service) -> None:
    row = StoredAnswer(
        id="conv_1", kind=CONVERSATION, tenant="t", model=None, status="completed", request=b"{}", created_s=0.0
    )
    service.context.database.submit(lambda connection: stored_answers.add(connection, row)).result()


def expanded(service: Service, tenant: str = "t", **request: object) -> dict[str, Any]:
    body = json.dumps({"model": "m", **request}).encode()
    history = EarlierTurns(service.context, service.venues)
    return json.loads(asyncio.run(history.expanded(tenant, body)))  # type: ignore[no-any-return]


def texts(items: list[dict[str, Any]]) -> list[str]:
    return [item["content"] if isinstance(item["content"], str) else item["content"][0]["text"] for item in items]


def test_chain_of_responses_becomes_input(service: Service) -> None:
    keep(service, "resp_1", "two", input="one", instructions="are not repeated")
    keep(service, "resp_2", "four", input=[{"role": "user", "content": "three"}], previous_response_id="resp_1")
    whole = expanded(service, input="five", previous_response_id="resp_2")
    assert texts(whole["input"]) == ["one", "two", "three", "four", "five"]
    assert whole.keys() == {"model", "input"}


def test_conversation_grows_with_each_response(service: Service) -> None:
    start_conversation(service)
    keep(service, "resp_1", "two", input="one", conversation="conv_1")
    keep(service, "resp_2", "four", "incomplete", input="three", conversation={"id": "conv_1"})
    keep(service, "resp_3", "never", "failed", input="lost", conversation="conv_1")
    assert texts(expanded(service, input="five", conversation="conv_1")["input"]) == [
        "one",
        "two",
        "three",
        "four",
        "five",
    ]
    branch = expanded(service, input="else", previous_response_id="resp_1")
    assert texts(branch["input"]) == ["one", "two", "else"], "what came later is not part of it"


def test_requests_without_history_are_unchanged(service: Service) -> None:
    body = b'{"model": "m", "input": "about a conversation", "previous_response_id": null}'
    assert asyncio.run(EarlierTurns(service.context, service.venues).expanded("t", body)) is body


@pytest.mark.parametrize(
    ("request_fields", "status", "code"),
    [
        ({"previous_response_id": "resp_none"}, 400, "previous_response_not_found"),
        ({"conversation": "conv_none"}, 404, None),
        ({"previous_response_id": 7}, 400, "invalid_type"),
        ({"previous_response_id": "resp_1", "conversation": "conv_1"}, 400, "mutually_exclusive_parameters"),
        ({"conversation": "conv_1", "store": False}, 400, "invalid_value"),
    ],
)
def test_unknown_history_is_refused(
    service: Service, request_fields: dict[str, object], status: int, code: str | None
) -> None:
    keep(service, "resp_1", "two", input="one")
    with pytest.raises(ApiError) as caught:
        expanded(service, input="x", **request_fields)
    assert (caught.value.status, caught.value.code) == (status, code)


def test_history_is_a_tenants_own(service: Service) -> None:
    keep(service, "resp_1", "two", input="one")
    with pytest.raises(ApiError):
        expanded(service, tenant="other", input="x", previous_response_id="resp_1")


def test_provider_may_know_other_responses(tmp_path: Path) -> None:
    with open_service(tmp_path) as service:  # its venue has OpenAI's API
        asked = {"input": "x", "previous_response_id": "resp_theirs"}
        assert expanded(service, **asked) == {"model": "m", **asked}
        keep(service, "resp_1", "two", input="one", previous_response_id="resp_theirs")
        asked = {"input": "x", "previous_response_id": "resp_1"}
        assert expanded(service, **asked) == {"model": "m", **asked}, "only the provider knows what was before"


class _Streamed:
    status, headers = 200, {}

    def __init__(self, *parts: bytes) -> None:
        self._parts = parts

    @property
    async def body(self) -> Any:  # noqa: ANN401 - an asynchronous generator
        for part in self._parts:
            yield part


@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_stream_names_what_it_goes_on_from(end: bytes) -> None:
    created = end.join((b"event: x", b'data: {"type": "response.created", "response": {"id": "r"}}', b"", b""))
    streamed = _Streamed(created, created + created, end.join((b"data: [DONE]", b"", b"")))

    async def read() -> list[bytes]:
        reply = EchoingReply(cast("Reply", streamed), b'{"previous_response_id": "resp_1"}')
        return [part async for part in reply.body]

    first, second, last = [parse_events(part) for part in asyncio.run(read())]
    echoed = {"id": "r", "previous_response_id": "resp_1", "conversation": None}
    assert [(name, json.loads(data)["response"]) for name, data in first + second] == [("x", echoed)] * 3
    assert last == [("", b"[DONE]")]
