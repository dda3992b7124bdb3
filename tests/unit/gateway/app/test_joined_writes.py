"""What is written in two turns of the event loop reaches the socket as one piece."""

import asyncio
from typing import Any

import pytest

from meritorder.gateway.app.joined_writes import JoinedWrites

pytestmark = pytest.mark.asyncio


class Recording(asyncio.Transport):
    """Records what is done with it."""

    def __init__(self) -> None:
        super().__init__()
        self.done: list[Any] = []
        self.closing = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.done.append(bytes(data))

    def close(self) -> None:
        self.done.append("closed")
        self.closing = True

    def abort(self) -> None:
        self.done.append("aborted")
        self.closing = True

    def is_closing(self) -> bool:
        return self.closing

    def get_write_buffer_size(self) -> int:
        return 1000


async def turns(count: int) -> None:
    """Let all callbacks that are ready run so often."""
    for _ in range(count):
        await asyncio.sleep(0)


async def test_writes_of_two_turns_are_one() -> None:
    socket = Recording()
    transport = JoinedWrites(socket)
    for part in (b"a", b"b", b"c"):
        transport.write(part)
    assert socket.done == []
    assert transport.get_write_buffer_size() == 1003
    await turns(1)
    transport.write(b"d")
    await turns(1)
    assert socket.done == [b"abcd"]
    transport.write(b"e")
    await turns(2)
    assert socket.done == [b"abcd", b"e"]
    assert transport.get_write_buffer_size() == 1000


async def test_much_is_written_at_once() -> None:
    socket = Recording()
    transport = JoinedWrites(socket)
    transport.write(b"a")
    transport.write(b"b" * 2**16)
    assert socket.done == [b"a" + b"b" * 2**16]
    await turns(3)
    assert len(socket.done) == 1


async def test_close_sends_what_is_held() -> None:
    socket = Recording()
    transport = JoinedWrites(socket)
    transport.write(b"last")
    transport.close()
    assert socket.done == [b"last", "closed"]
    assert transport.is_closing()


async def test_abort_drops_what_is_held() -> None:
    socket = Recording()
    transport = JoinedWrites(socket)
    transport.write(b"last")
    transport.abort()
    await turns(3)
    assert socket.done == ["aborted"]
    assert transport.get_write_buffer_size() == 1000


async def test_lost_connection_gets_nothing() -> None:
    socket = Recording()
    transport = JoinedWrites(socket)
    transport.write(b"last")
    socket.closing = True
    await turns(3)
    assert socket.done == []
