"""Connections that fail: proxies between processes, each of which cuts, delays or holds what passes through it."""

import asyncio
import contextlib
import threading
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, Final, Self, TypeVar

T = TypeVar("T")

FAULTS: Final = ("cut", "delay", "partition")
_CHUNK_BYTES: Final = 2**16
_PATIENCE_S: Final = 10.0


class Link:
    """A port of this machine that leads to another, or to the socket of a server.

    Args:
        target: Port or path of the socket that it leads to.
    """

    def __init__(self, target: int | Path) -> None:
        self.port = 0
        self._target = target
        self._passes = asyncio.Event()
        self._passes.set()
        self._delay_s = 0.0
        self._connections: set[asyncio.Task[None]] = set()

    async def open(self) -> None:
        """Listen."""
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        """Listen no more, and cut all connections."""
        self._server.close()
        await self.cut()

    async def cut(self) -> None:
        """Reset all connections; new ones can be made at once."""
        for connection in self._connections:
            connection.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    async def delay(self, delay_s: float, for_s: float) -> None:
        """Delay whatever is sent either way, for a time."""
        self._delay_s = delay_s
        await asyncio.sleep(for_s)
        self._delay_s = 0.0

    async def partition(self, for_s: float) -> None:
        """Hold whatever is sent either way for a time: connections stay open, and new ones get no response."""
        self._passes.clear()
        await asyncio.sleep(for_s)
        self._passes.set()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = asyncio.current_task()
        if connection is None:
            raise RuntimeError("no task runs")
        self._connections.add(connection)
        writers = [writer]
        try:
            await self._passes.wait()
            there, back = await self._connect()
            writers.append(back)
            await asyncio.gather(self._pass_on(reader, back), self._pass_on(there, writer))
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            self._connections.discard(connection)
            for end in writers:
                end.transport.abort()

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if isinstance(self._target, int):
            return await asyncio.open_connection("127.0.0.1", self._target)
        return await asyncio.open_unix_connection(self._target)

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while part := await reader.read(_CHUNK_BYTES):
            await asyncio.sleep(self._delay_s)
            await self._passes.wait()
            writer.write(part)
            await writer.drain()
        writer.write_eof()


class Network:
    """Links in a thread of their own; use as a context manager."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._links: list[Link] = []

    def link(self, target: int | Path) -> Link:
        """Open a link to a port or to a path of a socket."""
        link = Link(target)
        self._run(link.open())
        self._links.append(link)
        return link

    def fail(self, link: Link, fault: str, for_s: float) -> None:
        """Let a link fail in one of the ways of `FAULTS`; return at once, while it goes on."""
        failing: dict[str, Callable[[], Coroutine[Any, Any, None]]] = {
            "cut": link.cut,
            "delay": lambda: link.delay(for_s / 10, for_s),
            "partition": lambda: link.partition(for_s),
        }
        asyncio.run_coroutine_threadsafe(failing[fault](), self._loop)

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(_PATIENCE_S)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        for link in self._links:
            with contextlib.suppress(TimeoutError):
                self._run(link.close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
