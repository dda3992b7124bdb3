"""URLs, headers and failures of the connections to a venue."""

import asyncio

import aiohttp
import pytest
from tests.samples.http_server import Asked, Handler, LocalServer, Wire

from meritorder.gateway.errors import BrokenAnswerError, UnavailableError, UpstreamError, UpstreamTimeoutError
from meritorder.gateway.upstreams.connection import Connection, Endpoint, classify_error


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
    connection = Connection(Endpoint(name="v", base_url=base_url))
    assert str(connection.url("/v1/models")) == url
    assert str(connection.root_url("/metrics")) == "http://host:1/metrics"


def test_escaped_paths_stay_escaped() -> None:
    connection = Connection(Endpoint(name="v", base_url="http://host"))
    assert str(connection.url("/v1/models/a%2Fb")) == "http://host/v1/models/a%2Fb"


def test_paths_with_ids_do_not_accumulate() -> None:
    connection = Connection(Endpoint(name="v", base_url="http://host"))
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


async def post(handler: Handler, *, stream: bool = False) -> bytes:
    async with LocalServer(handler) as server:
        connection = Connection(Endpoint(name="v", base_url=server.url))
        try:
            async with await connection.post("/v1/x", b"{}", stream=stream, timeout_s=5) as reply:
                return await reply.read()
        finally:
            await connection.close()


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("stream", "status", "kind", "message"),
    [
        (False, 200, "text/html; charset=utf-8", "answers with text/html where application/json is due"),
        (True, 200, "application/json", "answers with application/json where text/event-stream is due"),
        (False, 302, "text/html", "redirects; correct its base_url"),
    ],
)
async def test_contract_violation_is_refused(*, stream: bool, status: int, kind: str, message: str) -> None:
    async def handler(_: Asked, wire: Wire) -> None:
        await wire.answer({}, status=status, kind=kind)

    with pytest.raises(BrokenAnswerError, match=message):
        await post(handler, stream=stream)


@pytest.mark.asyncio
async def test_error_pages_are_answers() -> None:
    """The type of an error answer is not checked: load balancers answer with HTML."""

    async def handler(_: Asked, wire: Wire) -> None:
        await wire.answer(b"<p>busy", status=503, kind="text/html")

    assert await post(handler) == b"<p>busy"


@pytest.mark.asyncio
async def test_call_timeout_overrides_the_venues() -> None:
    async def handler(_: Asked, __: Wire) -> None:
        await asyncio.sleep(5)

    async with LocalServer(handler) as server:
        connection = Connection(Endpoint(name="v", base_url=server.url, timeout_s=60))
        with pytest.raises(UpstreamTimeoutError, match="before an answer started"):
            await connection.post("/v1/x", b"{}", stream=False, timeout_s=0.05)
        await connection.close()


@pytest.mark.asyncio
async def test_closed_connection_opens_again() -> None:
    async def handler(_: Asked, wire: Wire) -> None:
        await wire.answer({})

    async with LocalServer(handler) as server:
        connection = Connection(Endpoint(name="v", base_url=server.url))
        for _ in range(2):
            async with await connection.request("GET", connection.url("/v1/x")) as reply:
                assert await reply.read() == b"{}"
            await connection.close()
        assert server.connections == 2
