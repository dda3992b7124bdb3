"""Posts of a job to endpoints: redirects, waits that they ask for, and endpoints that do not respond."""

import pytest
from tests.samples.http_server import Asked, LocalServer, Wire

pytest.importorskip("ray", reason="needs the extra `ray`")

from meritorder.jobs.endpoints import Endpoints

pytestmark = pytest.mark.asyncio


async def test_redirect_is_followed_with_the_body() -> None:
    async def move(asked: Asked, wire: Wire) -> None:
        if asked.path == "/v1/moved":
            await wire.answer(asked.body)
        else:
            await wire.answer(b"", status=308, headers={"location": "/v1/moved"})

    async with LocalServer(move) as server:
        endpoints = Endpoints((f"{server.url}/v1",), "secret", None)
        reply = await endpoints.post("/v1/chat/completions", b'{"model": "m"}')
        await endpoints.close()
    assert (reply.status, reply.body) == (200, b'{"model": "m"}')
    assert {asked.headers["authorization"] for asked in server.asked} == {"Bearer secret"}


async def test_wait_is_that_of_the_endpoint() -> None:
    async def refuse(_: Asked, wire: Wire) -> None:
        await wire.answer(b"busy", status=429, headers={"Retry-After": "7"})

    async with LocalServer(refuse) as server:
        endpoints = Endpoints((f"{server.url}/v1",), "", None)
        reply = await endpoints.post("/v1/chat/completions", b"{}")
        await endpoints.close()
    assert (reply.status, reply.retry_after_s, reply.message) == (429, 7.0, "HTTP 429: busy")


@pytest.mark.parametrize("answer", [b"", b"no HTTP\r\n\r\n", b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf"])
async def test_broken_answer_is_no_response(answer: bytes) -> None:
    async def break_off(_: Asked, wire: Wire) -> None:
        await wire.send(answer)
        await wire.hang_up()

    async with LocalServer(break_off) as server:
        endpoints = Endpoints((f"{server.url}/v1",), "", None)
        reply = await endpoints.post("/v1/chat/completions", b"{}")
        await endpoints.close()
    assert reply.status == 0
    assert server.url in reply.message


async def test_other_endpoint_answers_for_one_that_is_down() -> None:
    async def echo(asked: Asked, wire: Wire) -> None:
        await wire.answer(asked.body)

    async with LocalServer(echo) as gone:
        pass
    async with LocalServer(echo) as server:
        endpoints = Endpoints((f"{gone.url}/v1", f"{server.url}/v1"), "", None)
        replies = [await endpoints.post("/v1/x", b"%d" % number) for number in range(3)]
        await endpoints.close()
    assert [reply.body for reply in replies if reply.status] == [b"1", b"2"]
