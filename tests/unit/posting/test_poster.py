"""Posts: their heads, deadlines, and what becomes of their connections."""

import asyncio
import gzip
import zlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import aiohttp
import httptools
import pytest
from tests.samples.http_server import Asked, LocalServer, Wire
from yarl import URL

from meritorder.posting.answers import BUFFER_BYTES
from meritorder.posting.poster import Posted, Poster, PostingConnector

pytestmark = pytest.mark.asyncio


@asynccontextmanager
async def poster(limit: int = 0, **headers: str) -> AsyncIterator[Poster]:
    async with aiohttp.ClientSession(connector=PostingConnector(limit=limit), headers=headers) as session:
        yield Poster(session, connect_s=5.0)


async def echo(asked: Asked, wire: Wire) -> None:
    await wire.answer(asked.body)


async def silent(_: Asked, __: Wire) -> None:
    await asyncio.sleep(5)


async def read(posted: Posted) -> bytes:
    parts = []
    while part := await posted.content.readany():
        parts.append(part)
    return b"".join(parts)


async def test_head_equals_that_of_the_session() -> None:
    async with LocalServer(echo) as server, poster(Authorization="Bearer s") as poster_:
        url = URL(f"{server.url}/v1/a%2Fb?c=d")
        await read(await poster_.post(url, b"{}", timeout_s=5))
        async with poster_.session.post(url, data=b"{}", headers={"Content-Type": "application/json"}) as answer:
            await answer.read()
    ours, theirs = server.asked
    assert (ours.path, ours.headers, ours.body) == (theirs.path, theirs.headers, theirs.body)


async def test_call_headers_replace_the_sessions() -> None:
    async with LocalServer(echo) as server, poster(Version="1") as poster_:
        await read(await poster_.post(URL(server.url), b"{}", (("version", "2%"), ("trace", "t")), timeout_s=5))
        await read(await poster_.post(URL(server.url), b"{}", timeout_s=5))
    first, second = (asked.headers for asked in server.asked)
    assert (first["version"], first["trace"]) == ("2%", "t")
    assert second["version"] == "1"
    assert "trace" not in second


async def test_line_break_in_header_is_refused() -> None:
    async with LocalServer(echo) as server, poster() as poster_:
        with pytest.raises(ValueError, match="line break"):
            await poster_.post(URL(server.url), b"{}", (("a", "b\r\nc: d"),), timeout_s=5)
    assert server.asked == []


async def test_connections_are_used_again() -> None:
    async with LocalServer(echo) as server, poster() as poster_:
        for size in (0, 10, 2**16, 2**20):
            assert await read(await poster_.post(URL(server.url), b"x" * size, timeout_s=5)) == b"x" * size
    assert server.connections == 1


@pytest.mark.parametrize("begins", [False, True])
async def test_deadline_holds_until_the_end(*, begins: bool) -> None:
    """Parts that keep arriving do not prolong it."""

    async def handler(_: Asked, wire: Wire) -> None:
        if begins:
            await wire.begin()
        while True:
            await asyncio.sleep(0.01)
            if begins:
                await wire.part(b"x")

    async with LocalServer(handler) as server, poster(limit=1) as poster_:
        with pytest.raises(TimeoutError):  # noqa: PT012 - either may raise
            posted = await poster_.post(URL(server.url), b"{}", timeout_s=0.1, stall_s=1.0)
            try:
                await read(posted)
            finally:
                posted.close()
        with suppress(TimeoutError):  # the only connection is free again
            (await poster_.post(URL(server.url), b"{}", timeout_s=0.1)).close()
    assert server.connections == 2


async def test_deadline_includes_the_wait_for_a_connection() -> None:
    async with LocalServer(silent) as server, poster(limit=1) as poster_:
        first = asyncio.create_task(poster_.post(URL(server.url), b"{}", timeout_s=5))
        while not server.asked:
            await asyncio.sleep(0.01)
        with pytest.raises(aiohttp.ConnectionTimeoutError):
            await poster_.post(URL(server.url), b"{}", timeout_s=0.02)
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)


async def test_canceled_post_frees_its_connection() -> None:
    async with LocalServer(silent) as server, poster(limit=1) as poster_:
        for count in (1, 2):
            task = asyncio.create_task(poster_.post(URL(server.url), b"{}", timeout_s=5))
            while len(server.asked) < count:
                await asyncio.sleep(0.01)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
    assert server.connections == 2


async def test_unread_answer_closes_its_connection() -> None:
    async def handler(_: Asked, wire: Wire) -> None:
        await wire.begin()
        await asyncio.sleep(5)

    async with LocalServer(handler) as server, poster(limit=1) as poster_:
        for _ in range(2):
            (await poster_.post(URL(server.url), b"{}", timeout_s=5)).close()
    assert server.connections == 2


async def test_answer_before_the_request_ends_its_connection() -> None:
    """A server that refuses a body without reading it would take its rest for the next request."""

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 413 Large\r\ncontent-length: 0\r\n\r\n")
        await answered.wait()
        size = 0
        with suppress(ConnectionError):
            while part := await reader.read(2**16):
                size += len(part)
        writer.close()
        received.set_result(size)

    answered, received = asyncio.Event(), asyncio.get_running_loop().create_future()
    server = await asyncio.start_server(refuse, "127.0.0.1", 0)
    async with server, poster() as poster_:
        url = URL(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
        posted = await poster_.post(url, b"x" * 2**26, timeout_s=5)
        assert posted.status == 413
        assert not posted._handler.is_connected()
        answered.set()
        assert await received < 2**26


async def test_announcements_precede_the_answer() -> None:
    async def handler(_: Asked, wire: Wire) -> None:
        await wire.send(b"HTTP/1.1 103 Early Hints\r\n\r\n")
        await wire.answer(b"{}")

    async with LocalServer(handler) as server, poster() as poster_:
        posted = await poster_.post(URL(server.url), b"{}", timeout_s=5)
        assert (posted.status, await read(posted)) == (200, b"{}")


@pytest.mark.parametrize("compressed", [False, True])
async def test_long_answers_wait_for_their_reader(*, compressed: bool) -> None:
    """What is read ahead of the reader is bounded, before and after decompression."""
    whole = b"0123456789abcdef" * 2**18
    kind = {"content-encoding": "gzip"} if compressed else {}

    async def handler(_: Asked, wire: Wire) -> None:
        await wire.answer(gzip.compress(whole) if compressed else whole, headers=kind)

    async with LocalServer(handler) as server, poster() as poster_:
        posted = await poster_.post(URL(server.url), b"{}", timeout_s=5)
        await asyncio.sleep(0.05)
        assert posted.content.size_bytes < 3 * BUFFER_BYTES
        size = 0
        while part := await posted.content.readany():
            assert len(part) < 3 * BUFFER_BYTES
            size += len(part)
        assert size == len(whole)
        await read(await poster_.post(URL(server.url), b"{}", timeout_s=5))
    assert server.connections == 1


async def test_compressed_streams_are_read_as_they_are_decoded() -> None:
    """A thousandth of what is decoded arrives; it must not pile up before its decoder."""
    compressor = zlib.compressobj(wbits=31)
    blocks = [compressor.compress(bytes(2**20)) + compressor.flush(zlib.Z_FULL_FLUSH) for _ in range(2)]

    async def handler(_: Asked, wire: Wire) -> None:
        await wire.begin(headers={"content-encoding": "gzip"})
        await wire.part(blocks[0])
        while True:
            await wire.part(blocks[1] * 256)

    async with LocalServer(handler) as server, poster() as poster_:
        posted = await poster_.post(URL(server.url), b"{}", timeout_s=20)
        for _ in range(40):
            assert 0 < len(await posted.content.readany()) <= BUFFER_BYTES
            await asyncio.sleep(0)
        decoder = posted.content._decoder
        assert decoder is not None
        assert len(decoder.unconsumed_tail) + posted.content.size_bytes < 6 * BUFFER_BYTES
        posted.close()


@pytest.mark.parametrize(
    ("answer", "body"),
    [
        (b"HTTP/1.1 200 OK\r\n\r\n{}", b"{}"),
        (b"HTTP/1.1 200 OK\ncontent-length: 2\n\n{}", b"{}"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}SSH-2.0\r\n", b"{}"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\n{}", None),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{}\r\n", None),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-encoding: zip\r\n\r\n{}", None),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-encoding: gzip\r\n\r\n{}", None),
        (b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\n\r\n" + gzip.compress(b"{}", mtime=0)[:-9], None),
        (b"HTTP/1.1 200 OK\r\na: " + b"b" * 2**17, None),
        (b"HTTP/1.1 101 Switch\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n{}", None),
        (b"SSH-2.0\r\n", None),
        (b"", None),
    ],
)
async def test_answers_end_as_they_announce(answer: bytes, body: bytes | None) -> None:
    async def handler(_: Asked, wire: Wire) -> None:
        await wire.send(answer)
        await wire.hang_up()

    async with LocalServer(handler) as server, poster() as poster_:
        if body is None:
            with pytest.raises((aiohttp.ClientError, httptools.HttpParserError, httptools.HttpParserUpgrade)):
                await read(await poster_.post(URL(server.url), b"{}", timeout_s=5))
        else:
            assert await read(await poster_.post(URL(server.url), b"{}", timeout_s=5)) == body


@pytest.mark.parametrize(
    "endless", [b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n"]
)
async def test_endless_heads_and_trailers_are_refused(endless: bytes) -> None:
    async def handler(_: Asked, wire: Wire) -> None:
        await wire.send(endless)
        for _ in range(2**20):
            await wire.send(endless if b"100" in endless else b"name: value\r\n" * 100)

    async with LocalServer(handler) as server, poster() as poster_:
        with pytest.raises(aiohttp.ServerDisconnectedError):
            await read(await poster_.post(URL(server.url), b"{}", timeout_s=20))


async def test_unasked_answers_close_their_connection() -> None:
    """Else the next post would take them for its own."""

    async def handler(_: Asked, wire: Wire) -> None:
        await wire.send(b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\n1HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\n2")

    async with LocalServer(handler) as server, poster() as poster_:
        for _ in range(2):
            assert await read(await poster_.post(URL(server.url), b"{}", timeout_s=5)) == b"1"
    assert server.connections == 2


async def test_answers_outlive_their_turn_on_a_connection() -> None:
    """A connection is used again before whoever waits for an answer on it has run."""
    async with LocalServer(echo) as server, poster(limit=1) as poster_:
        url = URL(server.url)
        texts = [b"%d" % number for number in range(20)]
        posted = await asyncio.gather(*(poster_.post(url, text, timeout_s=5) for text in texts))
        assert [await read(answer) for answer in posted] == texts
    assert server.connections == 1
