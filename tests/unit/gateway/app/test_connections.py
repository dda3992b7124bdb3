"""Clients on real sockets that send too much, too little or nonsense."""

import asyncio
import resource
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest
import uvicorn
from uvicorn.server import ServerState

from meritorder.gateway.app.connections import Connections
from meritorder.gateway.wire.asgi import Receive, Scope, Send, client_of

pytestmark = pytest.mark.asyncio
CLIENT_TIME_S = 30.0
PARTS = 64


class Server:
    """An application on a real socket that reads the body of each request and answers with its size."""

    def __init__(self, *, limit: int = 100) -> None:
        self.connections = Connections(CLIENT_TIME_S, limit)
        self.disconnects = 0
        self.clients: list[asyncio.StreamWriter] = []
        self.left: list[str] = []

    async def app(self, scope: Scope, receive: Receive, send: Send) -> None:
        client_of(scope).on_leaving = lambda: self.left.append(scope["path"])
        size, more = 0, scope["path"] != "/early"
        while more or scope["path"] == "/wait":
            message = await receive()
            if message["type"] == "http.disconnect":
                self.disconnects += 1
                return
            size, more = size + len(message["body"]), message["more_body"]
        body = b"x" * (1 << 20) * PARTS if scope["path"] == "/large" else str(size).encode()
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]})
        await send({"type": "http.response.body", "body": body})

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        config = uvicorn.Config(
            self.app, http=self.connections.protocol, lifespan="off", log_level="error", interface="asgi3"
        )  # type: ignore[arg-type]
        state = ServerState()
        loop = asyncio.get_running_loop()

        def protocol() -> asyncio.Protocol:
            return self.connections.protocol(config=config, server_state=state, app_state={}, _loop=loop)

        listening = await loop.create_server(protocol, "127.0.0.1", 0)
        self.port = listening.sockets[0].getsockname()[1]
        try:
            yield
        finally:
            for writer in self.clients:
                writer.transport.abort()
            listening.close()
            await asyncio.sleep(0.01)

    def stop(self) -> None:
        """Begin to stop, as uvicorn does."""
        for connection in list(self.connections.open):
            connection.shutdown()

    def later(self, seconds: float) -> None:
        """Check the connections as at a later time."""
        for connection in list(self.connections.open):
            connection.check(time.monotonic() + seconds)


class Client:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def send(self, *parts: bytes) -> None:
        for part in parts:
            self.writer.write(part)
            await asyncio.sleep(0.01)

    async def head(self) -> tuple[int, dict[str, str]]:
        lines = (await asyncio.wait_for(self.reader.readuntil(b"\r\n\r\n"), 5)).decode().split("\r\n")
        return int(lines[0].split()[1]), dict(line.split(": ") for line in lines[1:] if line)

    async def error(self) -> tuple[int, dict[str, str], dict[str, Any]]:
        """The error that ends the connection."""
        status, headers = await self.head()
        body = await self.reader.readexactly(int(headers["content-length"]))
        assert await asyncio.wait_for(self.reader.read(), 5) == b""
        assert headers["x-request-id"].startswith("req_")
        return status, headers, msgspec.json.decode(body)["error"]


async def connect(server: Server) -> Client:
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    server.clients.append(writer)
    await asyncio.sleep(0.01)
    return Client(reader, writer)


HEAD = b"POST / HTTP/1.1\r\nhost: x\r\n"


@pytest.mark.parametrize(
    "parts",
    [
        [HEAD, *[b"a: " + b"b" * 30_000] * 3],
        [HEAD, b"a: " + b"b" * 70_000 + b"\r\n\r\n"],
        [HEAD, *[b"".join(b"h%d: 1\r\n" % number for number in range(129)), b"\r\n"]],
        [b"GET /" + b"a" * 70_000 + b" HTTP/1.1\r\n\r\n"],
    ],
)
async def test_large_head_is_refused(parts: list[bytes]) -> None:
    server = Server()
    async with server.open():
        client = await connect(server)
        await client.send(*parts)
        status, _, error = await client.error()
        assert (status, error["code"]) == (431, "request_header_fields_too_large")


@pytest.mark.parametrize(
    "sent", [b"\0\1\2", b"GET / HTTP/9.9\r\n\r\n", HEAD + b"content-length: x\r\n\r\n", HEAD + b"bad header: 1\r\n\r\n"]
)
async def test_unparseable_request_is_openai_error(sent: bytes) -> None:
    server = Server()
    async with server.open():
        client = await connect(server)
        await client.send(sent)
        status, headers, error = await client.error()
        assert (status, error["type"], headers["content-type"]) == (400, "invalid_request_error", "application/json")


async def test_silent_connection_is_closed() -> None:
    """Without an answer, which could be taken for that of a request on its way."""
    server = Server()
    async with server.open():
        client = await connect(server)
        server.later(CLIENT_TIME_S + 1)
        assert await asyncio.wait_for(client.reader.read(), 5) == b""


@pytest.mark.parametrize("calls_before", [0, 1])
async def test_request_on_its_way_is_answered_at_stop(calls_before: int) -> None:
    server = Server()
    async with server.open():
        client, idle = await connect(server), await connect(server)
        for _ in range(calls_before):
            await client.send(HEAD + b"content-length: 1\r\n\r\n1")
            _, headers = await client.head()
            assert (await client.reader.readexactly(1), "connection" in headers) == (b"1", False)
        server.stop()
        await client.send(HEAD + b"content-length: 2\r\n\r\n12")
        status, headers = await client.head()
        assert (status, headers["connection"]) == (200, "close")
        assert await asyncio.wait_for(client.reader.read(), 5) == b"2"
        assert await asyncio.wait_for(idle.reader.read(), 5) == b""


@pytest.mark.parametrize("sent", [b"P", b"\r\n", HEAD, HEAD + b"content-length: 9\r\n\r\n1234"])
async def test_half_sent_request_is_closed(sent: bytes) -> None:
    server = Server()
    async with server.open():
        client = await connect(server)
        await client.send(sent)
        server.later(CLIENT_TIME_S - 1)
        assert len(server.connections.open) == 1
        server.later(CLIENT_TIME_S + 1)
        status, _, error = await client.error()
        assert (status, error["code"]) == (408, "timeout")
        assert not server.connections.open
        assert server.disconnects == (1 if b"1234" in sent else 0)


async def test_half_sent_second_request_is_closed() -> None:
    server = Server()
    async with server.open():
        client = await connect(server)
        await client.send(HEAD + b"content-length: 2\r\n\r\n12")
        assert (await client.head())[0] == 200
        await client.reader.readexactly(1)
        server.later(CLIENT_TIME_S + 1)
        assert len(server.connections.open) == 1
        await client.send(b"\r\n")
        server.later(CLIENT_TIME_S + 1)
        assert (await client.error())[0] == 408


async def test_steady_body_may_take_long() -> None:
    """A kilobyte a second is enough: 100 kB may take 100 s more."""
    server = Server()
    async with server.open():
        client = await connect(server)
        await client.send(HEAD + b"content-length: 100001\r\n\r\n" + b"x" * 100_000)
        server.later(CLIENT_TIME_S + 90)
        await client.send(b"x")
        assert (await client.head())[0] == 200
        assert await client.reader.readexactly(6) == b"100001"


async def test_answered_client_may_not_send_for_ever() -> None:
    server = Server()
    async with server.open():
        client = await connect(server)
        await client.send(b"POST /early HTTP/1.1\r\ncontent-length: 10000000\r\n\r\n", b"x" * 1000)
        assert (await client.head())[0] == 200
        server.later(1)
        assert len(server.connections.open) == 1
        server.later(10)
        assert await asyncio.wait_for(client.reader.read(), 5) == b"0"


async def test_client_that_reads_nothing_is_cut_off() -> None:
    server = Server()
    async with server.open():
        client = await connect(server)
        await client.send(b"POST /large HTTP/1.1\r\ncontent-length: 0\r\n\r\n")
        await asyncio.sleep(0.1)
        server.later(0)
        server.later(CLIENT_TIME_S - 1)
        assert len(server.connections.open) == 1
        server.later(CLIENT_TIME_S + 1)
        async with asyncio.timeout(5):
            while server.connections.open:
                await asyncio.sleep(0.01)
        client.writer.close()


async def test_connections_are_limited() -> None:
    server = Server(limit=2)
    async with server.open():
        first, _ = await connect(server), await connect(server)
        status, headers, _ = await (await connect(server)).error()
        assert (status, headers["retry-after"]) == (503, "1")
        first.writer.close()
        async with asyncio.timeout(5):
            while len(server.connections.open) == 2:
                await asyncio.sleep(0.01)
        client = await connect(server)
        await client.send(HEAD + b"content-length: 0\r\n\r\n")
        assert (await client.head())[0] == 200


async def test_pipelined_requests_are_answered_in_order() -> None:
    server = Server()
    async with server.open():
        client = await connect(server)
        await client.send(b"".join(HEAD + b"content-length: %d\r\n\r\n" % size + b"x" * size for size in range(1, 6)))
        for size in range(1, 6):
            assert (await client.head())[0] == 200
            assert await client.reader.readexactly(1) == b"%d" % size


async def test_disconnect_reaches_the_request_that_runs() -> None:
    """Not the one that waits behind it on the same connection."""
    server = Server()
    async with server.open():
        client = await connect(server)
        await client.send(b"GET /wait HTTP/1.1\r\n\r\n" * 3)
        client.writer.transport.abort()
        async with asyncio.timeout(5):
            while not server.disconnects:
                await asyncio.sleep(0.01)
        assert server.left == ["/wait"]


async def test_connections_leave_descriptors_for_venues(monkeypatch: pytest.MonkeyPatch) -> None:
    for limits, connections in (((1024, 4096), 2048), ((1024, 1 << 30), 32_768), ((1 << 20, 1 << 20), 1 << 19)):
        raised: list[tuple[int, int]] = []
        monkeypatch.setattr(resource, "getrlimit", lambda _, limits=limits: limits)
        monkeypatch.setattr(resource, "setrlimit", lambda _, to: raised.append(to))  # noqa: B023 - used at once
        assert Connections(CLIENT_TIME_S, None).limit == connections
        assert raised == ([(2 * connections, limits[1])] if 2 * connections > limits[0] else [])
