"""URLs, headers and failures of the connections to a venue."""

import asyncio
import gzip

import aiohttp
import pytest
from tests.samples.http_server import Asked, Handler, LocalServer, Wire

from meritorder.gateway.errors import BrokenAnswerError, UnavailableError, UpstreamError, UpstreamTimeoutError
from meritorder.gateway.upstreams import connection
from meritorder.gateway.upstreams.connection import ConnectionPool, Endpoint, classify_error


@pytest.mark.parametrize(
    ("base_url", "url"),
    [
        ("http://host:1", "http://host:1/v1/models"),
        ("http://host:1/", "http://host:1/v1/models"),
        ("http://host:1/v1/", "http://host:1/v1/models"),
        ("http://host:1/openai/v2", "http://host:1/openai/v2/models"),
    ],
)
def test_base_url_replaces_version_prefix(base_url: str, url: str) -> None:
    connection = ConnectionPool(Endpoint(name="v", base_url=base_url))
    assert str(connection.url("/v1/models")) == url
    assert str(connection.root_url("/metrics")) == "http://host:1/metrics"


def test_escaped_paths_stay_escaped() -> None:
    connection = ConnectionPool(Endpoint(name="v", base_url="http://host"))
    assert str(connection.url("/v1/models/a%2Fb")) == "http://host/v1/models/a%2Fb"


def test_paths_with_ids_do_not_accumulate() -> None:
    connection = ConnectionPool(Endpoint(name="v", base_url="http://host"))
    for number in range(1000):
        assert str(connection.url(f"/v1/files/{number}")) == f"http://host/v1/files/{number}"
    assert len(connection._urls) < 100


@pytest.mark.parametrize(
    ("error", "kind", "message"),
    [
        (TimeoutError(), UpstreamTimeoutError, "timed out here"),
        (aiohttp.ServerTimeoutError(), UpstreamTimeoutError, "timed out here"),
        (aiohttp.ConnectionTimeoutError(), UnavailableError, "does not accept connections in time"),
        (aiohttp.ClientPayloadError(), BrokenAnswerError, "the answer broke off"),
        (aiohttp.ServerDisconnectedError(), BrokenAnswerError, "the connection broke"),
        (ConnectionResetError(), BrokenAnswerError, "the connection broke"),
    ],
)
def test_failures_tell_what_may_be_resent(error: Exception, kind: type[UpstreamError], message: str) -> None:
    """Only a request that was never sent leaves no doubt whether the venue has done the work."""
    classified = classify_error(error, "v", "here")
    assert (type(classified), classified.what, classified.venue) == (kind, message, "v")


def test_secrets_are_not_printed() -> None:
    assert "s3cret" not in repr(Endpoint(name="v", base_url="http://host", headers={"Authorization": "s3cret"}))


async def post(handler: Handler, *, stream: bool = False, stall_s: float = 5.0) -> bytes:
    async with LocalServer(handler) as server:
        connected = ConnectionPool(Endpoint(name="v", base_url=server.url, stall_s=stall_s))
        try:
            reply = await connected.post("/v1/x", b"{}", stream=stream, timeout_s=5)
            try:
                return b"".join([part async for part in reply.body])
            finally:
                await reply.close()
        finally:
            await connected.close()


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("stream", "status", "kind", "message"),
    [
        (False, 200, "text/html; charset=utf-8", "answers with text/html where application/json is due"),
        (True, 200, "application/json", "answers with application/json where text/event-stream is due"),
        (False, 302, "text/html", "redirects; correct its base_url"),
        (True, 304, "text/event-stream", "redirects"),
        (False, 204, "application/json", "answers with the status 204"),
        (True, 201, "text/event-stream", "answers with the status 201"),
        (False, 600, "application/json", "answers with the status 600"),
    ],
)
async def test_contract_violation_is_refused(*, stream: bool, status: int, kind: str, message: str) -> None:
    async def handler(_: Asked, wire: Wire) -> None:
        await wire.answer(b"" if status in {204, 304} else b"{}", status=status, kind=kind)

    with pytest.raises(BrokenAnswerError, match=message):
        await post(handler, stream=stream)


@pytest.mark.asyncio
async def test_error_pages_are_answers() -> None:
    """The type of an error answer is not checked: load balancers answer with HTML."""

    async def handler(_: Asked, wire: Wire) -> None:
        await wire.answer(b"<p>busy", status=503, kind="text/html")

    assert await post(handler) == b"<p>busy"


@pytest.mark.asyncio
@pytest.mark.parametrize("stream", [False, True])
async def test_decompressed_size_is_limited(*, stream: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """100,000 zeros are 130 bytes of gzip."""
    monkeypatch.setattr(connection, "MAX_ANSWER_BYTES", 50_000)
    monkeypatch.setattr(connection, "_LARGE_BYTES", 10_000)
    kind = "text/event-stream" if stream else "application/json"

    async def handler(_: Asked, wire: Wire) -> None:
        await wire.answer(gzip.compress(b"0" * 100_000), kind=kind, headers={"content-encoding": "gzip"})

    with pytest.raises(BrokenAnswerError, match="too long"):
        await post(handler, stream=stream)


@pytest.mark.asyncio
async def test_compressed_answers_are_read() -> None:
    async def handler(_: Asked, wire: Wire) -> None:
        await wire.answer(gzip.compress(b"[]"), headers={"content-encoding": "gzip"})

    assert await post(handler) == b"[]"


@pytest.mark.asyncio
async def test_large_answers_take_turns() -> None:
    """Four answers of 3 MiB at one time: at most one is read beyond its first MiB."""
    held: list[int] = []

    async def handler(_: Asked, wire: Wire) -> None:
        await wire.answer(b"0" * (3 * 2**20))

    async with LocalServer(handler) as server:
        connected = ConnectionPool(Endpoint(name="v", base_url=server.url))
        lock = connected.large_answers
        acquire, release = lock.acquire, lock.release
        monitored: list[int] = []

        async def counted() -> bool:
            taken = await acquire()
            held.append(1)
            monitored.append(len(held))
            return taken

        def released() -> None:
            held.pop()
            release()

        lock.acquire, lock.release = counted, released  # type: ignore[method-assign]
        calls = [connected.post("/v1/x", b"{}", stream=False, timeout_s=20) for _ in range(4)]
        replies = await asyncio.gather(*calls)
        assert [len(await reply.read()) for reply in replies] == [3 * 2**20] * 4
        assert (monitored, held) == ([1] * 4, [])
        await connected.close()


@pytest.mark.asyncio
@pytest.mark.parametrize("stream", [False, True])
async def test_silence_within_the_body_times_out(*, stream: bool) -> None:
    async def handler(_: Asked, wire: Wire) -> None:
        await wire.begin("text/event-stream" if stream else "application/json")
        await wire.part(b"{")
        await asyncio.sleep(5)

    with pytest.raises(UpstreamTimeoutError):
        await post(handler, stream=stream, stall_s=0.05)


@pytest.mark.asyncio
async def test_unreadable_error_keeps_its_status() -> None:
    async def handler(_: Asked, wire: Wire) -> None:
        await wire.send(b"HTTP/1.1 429 Slow\r\ncontent-length: 100\r\n\r\n{")
        await wire.reset()

    async with LocalServer(handler) as server:
        connected = ConnectionPool(Endpoint(name="v", base_url=server.url))
        reply = await connected.post("/v1/x", b"{}", stream=False, timeout_s=5)
        assert (reply.status, await reply.read()) == (429, b"")
        await connected.close()


@pytest.mark.asyncio
async def test_streams_are_cut_at_events() -> None:
    async def handler(_: Asked, wire: Wire) -> None:
        await wire.begin()
        for part in (b"data", b": 1\n", b"\ndata: 2\n\nda", b"ta: [DONE]\n"):
            await wire.part(part)
            await asyncio.sleep(0.01)
        await wire.end()

    async with LocalServer(handler) as server:
        connected = ConnectionPool(Endpoint(name="v", base_url=server.url))
        reply = await connected.post("/v1/x", b"{}", stream=True, timeout_s=5)
        parts = [part async for part in reply.body]
        assert b"".join(parts) == b"data: 1\n\ndata: 2\n\ndata: [DONE]\n\n"
        assert all(part.endswith(b"\n\n") for part in parts)
        await reply.close()
        await connected.close()


@pytest.mark.asyncio
async def test_call_timeout_overrides_the_venues() -> None:
    async def handler(_: Asked, __: Wire) -> None:
        await asyncio.sleep(5)

    async with LocalServer(handler) as server:
        connection = ConnectionPool(Endpoint(name="v", base_url=server.url, timeout_s=60))
        with pytest.raises(UpstreamTimeoutError, match="before an answer started"):
            await connection.post("/v1/x", b"{}", stream=False, timeout_s=0.05)
        await connection.close()


@pytest.mark.asyncio
async def test_closed_connection_opens_again() -> None:
    async def handler(_: Asked, wire: Wire) -> None:
        await wire.answer({})

    async with LocalServer(handler) as server:
        connection = ConnectionPool(Endpoint(name="v", base_url=server.url))
        for _ in range(2):
            async with await connection.request("GET", connection.url("/v1/x")) as reply:
                assert await reply.read() == b"{}"
            await connection.close()
        assert server.connections == 2
