import asyncio

import pytest

from meritorder.gateway.wire import asgi
from meritorder.gateway.wire.errors import ApiError

PARTS = ({"type": "http.request", "body": b"ab", "more_body": True}, {"type": "http.request", "body": b"c"})


def body(*messages: asgi.Message, max_bytes: int = 3) -> bytes:
    left = list(messages)

    async def receive() -> asgi.Message:
        return left.pop(0)

    bodies = asgi.Bodies(max_bytes, 100)
    try:
        with bodies.reader(receive) as reader:
            return asyncio.run(reader.read())
    finally:
        assert bodies.total_bytes == 0


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


def test_bodies_are_bounded_together() -> None:
    """A body that arrives at once takes no memory that the server did not have before."""

    async def receive() -> asgi.Message:
        return {"type": "http.request", "body": b"x" * 4, "more_body": True}

    async def whole() -> asgi.Message:
        return {"type": "http.request", "body": b"x" * 4}

    bodies = asgi.Bodies(10, 15)
    bodies.total_bytes = 12
    with pytest.raises(ApiError) as caught, bodies.reader(receive) as reader:
        asyncio.run(reader.read())
    assert (caught.value.status, caught.value.headers, bodies.total_bytes) == (503, (("retry-after", "1"),), 12)
    with bodies.reader(whole) as reader:
        assert asyncio.run(reader.read()) == b"xxxx"
