"""The OpenAI-compatible upstream against a server that fails in every way a network has."""

import asyncio
import json

import pytest
from tests.samples.http_server import Asked, Handler, LocalServer, Wire

from meritorder.gateway.errors import BrokenAnswerError, UnavailableError, UpstreamTimeoutError
from meritorder.gateway.upstreams.connection import Endpoint
from meritorder.gateway.upstreams.openai import OpenAIUpstream, OpenAIVenue, Priority
from meritorder.gateway.upstreams.upstream import Call

pytestmark = pytest.mark.asyncio

BODY = b'{"model": "m", "messages": [], "a_field_of_tomorrow": {"x": 1.10}}'
KEEPS_ITS_WORD = {"Keep-Alive": "timeout=60"}
DROPS = {"Keep-Alive": "timeout=5, max=100"}


def a_call(**fields: object) -> Call:
    return Call(**{"path": "/v1/chat/completions", "body": BODY, "stream": False, "model": "m"} | fields)


def upstream(url: str, **fields: object) -> OpenAIUpstream:
    endpoint = {name: fields.pop(name) for name in ("headers", "connect_s", "timeout_s", "stall_s") if name in fields}
    return OpenAIUpstream(OpenAIVenue(endpoint=Endpoint(name="engine", base_url=url, **endpoint), **fields))


async def ask(handler: Handler, call: Call, times: int = 1, **fields: object) -> tuple[list[bytes], LocalServer]:
    """Send a call some times, one after another, and read the answers."""
    async with LocalServer(handler) as server:
        venue = upstream(server.url, **fields)
        answers = []
        try:
            for _ in range(times):
                reply = await venue.send(call)
                try:
                    answers.append(b"".join([part async for part in reply.body]) if call.stream else await reply.read())
                finally:
                    await reply.close()
        finally:
            await venue.close()
    return answers, server


async def test_body_unchanged_with_venue_secret() -> None:
    async def handler(_: Asked, wire: Wire) -> None:
        await wire.answer({"ok": True})

    (answer,), server = await ask(handler, a_call(), headers={"Authorization": "Bearer s3cret"})
    assert json.loads(answer) == {"ok": True}
    assert server.asked[0].body == BODY
    assert server.asked[0].path == "/v1/chat/completions"
    assert server.asked[0].headers["authorization"] == "Bearer s3cret"
    assert server.asked[0].headers["content-type"] == "application/json"


@pytest.mark.parametrize(
    ("base", "path"),
    [
        ("", "/v1/chat/completions"),
        ("/", "/v1/chat/completions"),
        ("/v1", "/v1/chat/completions"),
        ("/v1/", "/v1/chat/completions"),
        ("/openai/v1", "/openai/v1/chat/completions"),
        ("/v1beta/openai", "/v1beta/openai/chat/completions"),
    ],
)
async def test_base_url_as_official_clients(base: str, path: str) -> None:
    async def handler(_: Asked, wire: Wire) -> None:
        await wire.answer({})

    async with LocalServer(handler) as server:
        venue = upstream(server.url + base)
        await (await venue.send(a_call())).close()
        await venue.close()
    assert server.asked[0].path == path


async def test_only_model_and_priority_change() -> None:
    async def handler(_: Asked, wire: Wire) -> None:
        await wire.answer({})

    _, server = await ask(handler, a_call(deferrable=True), models={"m": "org/m"}, priority=Priority.LOWER_FIRST)
    assert server.asked[0].json == json.loads(BODY) | {"model": "org/m", "priority": 100}
    assert b"1.10" in server.asked[0].body
    _, server = await ask(handler, a_call(deferrable=True), priority=Priority.HIGHER_FIRST)
    assert server.asked[0].json["priority"] < 0
    _, server = await ask(handler, a_call(), priority=Priority.HIGHER_FIRST)
    assert server.asked[0].body == BODY


async def test_stream_parts_arrive_as_sent() -> None:
    seen = asyncio.Event()

    async def handler(_: Asked, wire: Wire) -> None:
        await wire.begin()
        await wire.event({"n": 1})
        await asyncio.wait_for(seen.wait(), 5)  # the second is sent only when the first was read
        await wire.event({"n": 2})
        await wire.end()

    async with LocalServer(handler) as server:
        venue = upstream(server.url)
        reply = await venue.send(a_call(stream=True))
        parts = []
        async for part in reply.body:
            parts.append(part)
            seen.set()
        await reply.close()
        await venue.close()
    assert parts == [b'data: {"n": 1}\n\n', b'data: {"n": 2}\n\n']


async def test_error_status_is_an_answer() -> None:
    async def handler(_: Asked, wire: Wire) -> None:
        await wire.answer({"error": {"message": "slow down"}}, status=429, headers={"Retry-After": "7"})

    async with LocalServer(handler) as server:
        venue = upstream(server.url)
        reply = await venue.send(a_call(stream=True))
        assert reply.status == 429
        assert reply.headers["retry-after"] == "7"
        assert b"slow down" in await reply.read()
        await reply.close()
        await venue.close()


async def test_connections_are_pooled() -> None:
    async def handler(_: Asked, wire: Wire) -> None:
        await wire.answer({}, headers=KEEPS_ITS_WORD)

    _, server = await ask(handler, a_call(), times=5)
    assert server.connections == 1


@pytest.mark.parametrize("stream", [False, True])
async def test_silently_dropped_connections_not_reused(*, stream: bool) -> None:
    async def handler(asked: Asked, wire: Wire) -> None:
        if stream:
            await wire.begin(headers=DROPS)
            await wire.event({})
            await wire.end()
        else:
            await wire.answer({}, headers=DROPS)
        if asked.headers.get("connection") == "close":
            await wire.hang_up()

    answers, server = await ask(handler, a_call(stream=stream), times=5)
    assert len(answers) == 5
    # The first answer tells it.
    assert [asked.headers.get("connection") for asked in server.asked[1:]] == ["close"] * 4


async def test_closing_stream_closes_connection() -> None:
    async def handler(_: Asked, wire: Wire) -> None:
        await wire.begin()
        while True:
            await wire.event({"more": True})
            await asyncio.sleep(0.01)

    async with LocalServer(handler) as server:
        venue = upstream(server.url)
        reply = await venue.send(a_call(stream=True))
        async for _ in reply.body:
            break
        assert server.open_now == 1
        await reply.close()
        async with asyncio.timeout(5):
            while server.open_now:
                await asyncio.sleep(0.01)
        await venue.close()


async def hangs(_: Asked, __: Wire) -> None:
    await asyncio.sleep(60)


async def resets(_: Asked, wire: Wire) -> None:
    await wire.reset()


async def hangs_up(_: Asked, wire: Wire) -> None:
    await wire.hang_up()


async def talks_nonsense(_: Asked, wire: Wire) -> None:
    await wire.send(b"SSH-2.0-OpenSSH_9.9\r\n\r\n")
    await wire.hang_up()


async def shows_a_page(_: Asked, wire: Wire) -> None:
    await wire.answer(b"<html>log in</html>", kind="text/html")


async def redirects(_: Asked, wire: Wire) -> None:
    await wire.answer({}, status=307, headers={"Location": "http://elsewhere.invalid/"})


@pytest.mark.parametrize(
    ("handler", "error", "what"),
    [
        (hangs, UpstreamTimeoutError, "before an answer started"),
        (resets, BrokenAnswerError, "the connection broke"),
        (hangs_up, BrokenAnswerError, "the connection broke"),
        (talks_nonsense, BrokenAnswerError, "broke"),
        (shows_a_page, BrokenAnswerError, "text/html"),
        (redirects, BrokenAnswerError, "base_url"),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
async def test_missing_answer_is_classified(handler: Handler, error: type, what: str, *, stream: bool) -> None:
    with pytest.raises(error, match=what) as caught:
        await ask(handler, a_call(stream=stream, timeout_s=0.3))
    assert str(caught.value).startswith("engine: ")


async def test_nothing_listening_is_unavailable() -> None:
    async with LocalServer(hangs) as server:
        gone = server.url
    venue = upstream(gone)
    with pytest.raises(UnavailableError, match="nothing listens"):
        await venue.send(a_call())
    await venue.close()


async def test_unknown_host_is_unavailable() -> None:
    venue = upstream("http://no-such-host.invalid")
    with pytest.raises(UnavailableError, match="host name"):
        await venue.send(a_call())
    await venue.close()


@pytest.mark.parametrize("stream", [False, True])
async def test_truncated_answer_is_broken(*, stream: bool) -> None:
    async def handler(_: Asked, wire: Wire) -> None:
        if stream:
            await wire.begin()
            await wire.event({"n": 1})
        else:
            await wire.send(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n{")
        await asyncio.sleep(0.05)
        await wire.reset()

    with pytest.raises(BrokenAnswerError):
        await ask(handler, a_call(stream=stream))


async def test_silent_stream_times_out() -> None:
    async def handler(_: Asked, wire: Wire) -> None:
        await wire.begin()
        await wire.event({"n": 1})
        await asyncio.sleep(60)

    with pytest.raises(UpstreamTimeoutError, match="between two parts"):
        await ask(handler, a_call(stream=True), stall_s=0.2)


async def test_slow_bytes_do_not_time_out() -> None:
    async def handler(_: Asked, wire: Wire) -> None:
        for byte in b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}":
            await wire.send(bytes([byte]))
            await asyncio.sleep(0.002)

    (answer,), _ = await ask(handler, a_call())
    assert answer == b"{}"


VLLM = """# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{engine="0",model_name="m"} 3.0
vllm:num_requests_running{engine="1",model_name="m"} 2.0
vllm:num_requests_waiting{engine="0",model_name="m"} 1.0
vllm:num_requests_waiting{engine="1",model_name="m"} 0.0
vllm:kv_cache_usage_perc{engine="0",model_name="m"} 0.25
vllm:kv_cache_usage_perc{engine="1",model_name="m"} 0.5
"""


async def test_load_read_from_server_root() -> None:
    async def handler(_: Asked, wire: Wire) -> None:
        await wire.answer(VLLM.encode(), kind="text/plain")

    async with LocalServer(handler) as server:
        venue = upstream(server.url + "/v1", reads_load=True, max_sequences=16)
        load = await venue.load()
        await venue.close()
    assert server.asked[0].path == "/metrics"
    assert load is not None
    assert (load.running, load.waiting, load.kv_cache_share, load.max_sequences) == (5, 1, 0.5, 16)


async def test_llamacpp_load_from_slots_and_props() -> None:
    metrics = False

    async def handler(asked: Asked, wire: Wire) -> None:
        pages = {"/slots": [{"id": 0, "is_processing": True}, {"id": 1, "is_processing": False}]}
        if metrics:
            text = b"llamacpp:requests_processing 1\nllamacpp:requests_deferred 4\n"
            pages |= {"/metrics": text, "/props": {"total_slots": 8}}
        page = pages.get(asked.path)
        await wire.answer(page or {}, status=200 if page else 501)

    async with LocalServer(handler) as server:
        venue = upstream(server.url, reads_load=True)
        first = await venue.load()
        metrics = True
        second = await venue.load()
        third = await venue.load()
        await venue.close()
    assert first is not None
    assert (first.running, first.waiting, first.max_sequences) == (1, 0, 2)
    assert second is not None
    assert (second.running, second.waiting, second.max_sequences) == (1, 4, 8)
    assert third == second
    assert [asked.path for asked in server.asked].count("/props") == 1


@pytest.mark.parametrize("handler", [resets, shows_a_page, talks_nonsense])
async def test_unreadable_load_is_none(handler: Handler) -> None:
    async with LocalServer(handler) as server:
        venue = upstream(server.url, reads_load=True)
        assert await venue.load() is None
        await venue.close()
