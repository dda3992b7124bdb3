import asyncio
import os
from collections.abc import Awaitable, Callable

import pytest

from meritorder.gateway import decoding
from meritorder.gateway.errors import DecodingError
from meritorder.gateway.wire import calls
from meritorder.gateway.wire.errors import ApiError

Run = Callable[..., Awaitable[object]]
SMALL = b"__import__('os').getpid()"
LARGE = SMALL + b" " * decoding.LARGE_BYTES  # code that does the same


def test_large_bodies_leave_this_process() -> None:
    assert decoding.run_now(eval, SMALL) == os.getpid() == asyncio.run(decoding.run(eval, SMALL))
    assert decoding.run_now(eval, LARGE) != os.getpid() != asyncio.run(decoding.run(eval, LARGE))


def test_bodies_add_up() -> None:
    half = bytes(decoding.LARGE_BYTES // 2 + 1)
    assert not decoding.is_large(half, "model", 1)
    assert decoding.is_large(half, half)
    assert decoding.is_large([half, half])


def test_errors_cross_processes() -> None:
    """Whatever its constructor takes, an error arrives with all its fields."""
    body = b'{"model": 5, "x": "%s"}' % LARGE
    with pytest.raises(ApiError) as caught:
        decoding.run_now(calls.read_call, body, "/v1/chat/completions", None)
    assert (caught.value.status, caught.value.param, caught.value.code) == (400, "model", "invalid_type")


def test_ended_process_is_replaced() -> None:
    """A body that ends the process, as for lack of memory, is refused alone."""
    with pytest.raises(DecodingError):
        decoding.run_now(eval, LARGE.replace(b"getpid()", b"_exit(1)"))
    assert decoding.run_now(eval, LARGE) != os.getpid()


def test_calls_run_side_by_side() -> None:
    async def run() -> list[object]:
        return await asyncio.gather(*(decoding.run(len, LARGE) for _ in range(5)))

    assert asyncio.run(run()) == [len(LARGE)] * 5
