import asyncio

import pytest

from meritorder.gateway.wire import asgi
from meritorder.gateway.wire.errors import ApiError

PARTS = ({"type": "http.request", "body": b"ab", "more_body": True}, {"type": "http.request", "body": b"c"})


def body(*messages: asgi.Message, max_bytes: int = 3) -> bytes:
    left = list(messages)

    async def receive() -> asgi.Message:
        return left.pop(0)

    return asyncio.run(asgi.read_body(receive, max_bytes=max_bytes))


def test_parts_are_joined() -> None:
    assert body(*PARTS) == b"abc"
    assert body({"type": "http.request"}) == b""


def test_body_over_limit() -> None:
    with pytest.raises(ApiError) as caught:
        body(*PARTS, max_bytes=2)
    assert caught.value.status == 413


def test_disconnect_within_body() -> None:
    with pytest.raises(asgi.ClientDisconnectedError):
        body(PARTS[0], {"type": "http.disconnect"})


def test_error_response_has_request_id() -> None:
    sent: list[asgi.Message] = []

    async def send(message: asgi.Message) -> None:
        sent.append(message)

    error = ApiError(429, "slow down", headers=(("retry-after", "2"),))
    asyncio.run(asgi.respond_error(send, error, b"req_1"))
    headers = dict(sent[0]["headers"])
    assert sent[0]["status"] == 429
    assert (headers[b"x-request-id"], headers[b"retry-after"]) == (b"req_1", b"2")
    assert headers[b"content-length"] == str(len(sent[1]["body"])).encode()
