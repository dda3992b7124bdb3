import asyncio

import msgspec
import pytest

from meritorder.gateway.wire.asgi import Message
from meritorder.gateway.wire.errors import ApiError
from meritorder.gateway.wire.exchange import Exchange

ERROR = ApiError(503, "gone", headers=(("Retry-After", "2"),))
STREAM = {"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/event-stream")]}
WHOLE = {"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"application/json")]}
MORE = {"type": "http.response.body", "body": b"data: 1\n\n", "more_body": True}
LAST = {"type": "http.response.body", "body": b"data: 2\n\n"}


def failed_after(*messages: Message, path: str = "/v1/chat/completions") -> list[Message]:
    """What is sent if a request fails after some messages."""
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    async def run() -> None:
        exchange = Exchange(path, send)
        for message in messages:
            await exchange.send(dict(message))
        await exchange.fail(ERROR)

    asyncio.run(run())
    return sent


def test_failure_before_the_answer_is_the_answer() -> None:
    start, body = failed_after()
    headers = dict(start["headers"])
    assert (start["status"], headers[b"retry-after"], headers[b"content-type"]) == (503, b"2", b"application/json")
    assert headers[b"content-length"] == b"%d" % len(body["body"])
    assert headers[b"x-request-id"].startswith(b"req_")
    assert msgspec.json.decode(body["body"])["error"]["message"] == "gone"


def test_headers_are_added_unless_given() -> None:
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    exchange = Exchange("/v1/chat/completions", send)
    exchange.headers = (("content-type", "text/html"), ("x-ratelimit-limit-tokens", "5"))
    asyncio.run(exchange.send(dict(WHOLE)))  # type: ignore[arg-type]
    id_header = (b"x-request-id", exchange.id.encode())
    assert sent[0]["headers"] == [*WHOLE["headers"], id_header, (b"x-ratelimit-limit-tokens", b"5")]  # type: ignore[misc]


@pytest.mark.parametrize(
    ("path", "beginning"),
    [
        ("/v1/chat/completions", b'data: {"error":'),
        ("/v1/responses", b'event: error\ndata: {"type":"error","code"'),
        ("/v1/messages", b'event: error\ndata: {"type":"error","error":{"type":"overloaded_error"'),
    ],
)
def test_broken_stream_ends_with_error_event(path: str, beginning: bytes) -> None:
    *_, last = failed_after(STREAM, MORE, path=path)
    assert last["body"].startswith(beginning)
    assert not last.get("more_body")


def test_whole_answer_is_broken_off() -> None:
    """The server closes the connection, so that the client sees that a part is missing."""
    assert len(failed_after(WHOLE, MORE)) == 2


def test_ended_answer_stays_as_it_is() -> None:
    assert len(failed_after(STREAM, MORE, LAST)) == 3


def test_request_id_is_added_once() -> None:
    ids = [value for name, value in failed_after(WHOLE, LAST)[0]["headers"] if name == b"x-request-id"]
    assert len(ids) == 1
    given = {**WHOLE, "headers": [(b"x-request-id", b"req_1")]}
    assert failed_after(given, LAST)[0]["headers"] == [(b"x-request-id", b"req_1")]


def test_unknown_status_becomes_a_bad_gateway() -> None:
    assert failed_after({**WHOLE, "status": 600}, LAST)[0]["status"] == 502


def test_failure_has_the_form_of_its_api() -> None:
    _, body = failed_after(path="/v1/messages/batches")
    error = msgspec.json.decode(body["body"])
    assert (error["type"], error["error"]) == ("error", {"type": "overloaded_error", "message": "gone"})
    assert error["request_id"].startswith("req_")
