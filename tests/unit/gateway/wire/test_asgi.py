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
