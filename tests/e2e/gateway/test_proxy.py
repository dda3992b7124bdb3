"""Programs that wait for a provider's batches through `meritorder proxy`."""

import asyncio
import datetime as dt
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
import pytest_asyncio
from tests.e2e.gateway.conftest import Process, environment, start
from tests.e2e.gateway.test_provider_batches import KINDS, Scene, until
from tests.samples.command import meritorder_in_process
from tests.samples.http_server import LocalServer
from tests.samples.providers import OpenAIBatchApi

from meritorder.client import AsyncOpenAI
from meritorder.client import proxy as client_proxy

KEY = {"Authorization": "Bearer key"}
RunProxy = Callable[..., Awaitable[Process]]
HELLO = [{"role": "user", "content": "hello"}]


@pytest_asyncio.fixture
async def api(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[OpenAIBatchApi]:
    monkeypatch.setenv("OPENAI_API_KEY", "key")
    provider = OpenAIBatchApi(now=lambda: dt.datetime.now(dt.UTC))
    async with provider.server:
        yield provider


@pytest_asyncio.fixture
async def run_proxy(tmp_path: Path) -> AsyncIterator[RunProxy]:
    """Start proxies, none of which outlives the test."""
    proxies: list[Process] = []

    async def run(server: LocalServer, *options: str, provider: str = "openai") -> Process:
        arguments = ["--url", f"{server.url}/v1", "--folder", str(tmp_path), "--port", "0"]
        arguments += ["--collect", "200ms", "--poll", "200ms", *options]
        command = ["-m", "meritorder", "proxy", provider, *arguments]
        proxies.append(await asyncio.to_thread(start, command, tmp_path / "log"))
        return proxies[-1]

    yield run
    for proxy in proxies:
        await kill(proxy)


async def kill(proxy: Process) -> None:
    proxy.process.kill()
    await asyncio.to_thread(proxy.stop)


async def ask(proxy: Process, number: int, fields: dict[str, Any] | None = None, **headers: str) -> httpx2.Response:
    """Make a call as a program in any language does."""
    body: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": f"number {number}"}]}
    body |= {"user": f"{number}"} if fields is None else fields
    async with httpx2.AsyncClient(timeout=60) as client:
        headers = KEY | {"Meritorder-Deadline": "24h"} | headers
        return await client.post(f"{proxy.url}/v1/chat/completions", json=body, headers=headers)


def end(api: OpenAIBatchApi, number: int) -> None:
    batch_id = api.batches[number]["id"]
    api.end(batch_id, "completed", {line["custom_id"]: 200 for line in api.lines(batch_id)})


@pytest.mark.asyncio
async def test_killed_proxy_asks_once(api: OpenAIBatchApi, run_proxy: RunProxy) -> None:
    """Calls of a program that wait become one batch, which the same calls find again after a kill of the proxy."""
    proxy = await run_proxy(api.server)
    lost = [asyncio.create_task(ask(proxy, number)) for number in range(5)]
    await until(lambda: len(api.batches) == 1)
    await kill(proxy)
    assert {type(outcome) for outcome in await asyncio.gather(*lost, return_exceptions=True)} <= {
        httpx2.ReadError,
        httpx2.RemoteProtocolError,
    }
    proxy = await run_proxy(api.server)
    calls = asyncio.gather(*(ask(proxy, number) for number in range(5)))
    end(api, 0)
    answers = await calls
    assert [answer.json()["id"] for answer in answers] == [f"chatcmpl-{number}" for number in range(5)]
    assert (await ask(proxy, 3)).json() == answers[3].json()  # what was answered is not asked again
    assert (len(api.batches), len(api.lines(api.batches[0]["id"])), len(api.calls)) == (1, 5, 0)
    assert (await ask(proxy, 1, Authorization="Bearer other")).status_code == 401
    assert (await ask(proxy, 1, **{"Meritorder-Deadline": "soon"})).status_code == 400


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["anthropic", "gemini"])
@pytest.mark.asyncio
async def test_other_providers_answer(
    kind: str, run_proxy: RunProxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"{kind.upper()}_API_KEY", "key")
    provider: Any = KINDS[kind](now=lambda: dt.datetime.now(dt.UTC))
    async with provider.server as server:
        proxy = await run_proxy(server, "--models", "m", provider=kind)
        calls = [asyncio.create_task(ask(proxy, number, fields={"max_tokens": 8})) for number in range(2)]
        batches = Scene(kind, provider, tmp_path)
        batches.end(await batches.submitted(1), lambda _: "ok")
        answers = await asyncio.gather(*calls)
    assert [answer.status_code for answer in answers] == [200, 200]
    assert all(answer.json()["choices"][0]["message"]["content"] for answer in answers)


@pytest.mark.slow
@pytest.mark.asyncio
async def test_stopping_proxy_lets_calls_go(api: OpenAIBatchApi, run_proxy: RunProxy) -> None:
    """A call that waits is told to come again, a client that went away loses nothing, and an idle proxy ends."""
    proxy = await run_proxy(api.server)
    gone = asyncio.create_task(ask(proxy, 7))
    await until(lambda: len(api.batches) == 1)
    gone.cancel()
    waits = asyncio.create_task(ask(proxy, 7))
    await asyncio.sleep(0.2)
    await asyncio.to_thread(proxy.stop)
    assert (await waits).status_code == 503
    proxy = await run_proxy(api.server, "--idle", "1s")
    end(api, 0)
    assert (await ask(proxy, 7)).json()["id"] == "chatcmpl-7"
    assert await asyncio.to_thread(proxy.process.wait, 30) in {0, -15}
    assert len(api.batches) == 1


@pytest.fixture
def state() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as name:  # pytest's own may be too long for a socket
        yield Path(name)


@pytest.mark.asyncio
async def test_client_starts_one_proxy(api: OpenAIBatchApi, state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Programs that start together share the proxy that one of them has started."""
    monkeypatch.setenv("XDG_STATE_HOME", str(state))
    monkeypatch.setenv("PYTHONPATH", environment()["PYTHONPATH"])
    options: dict[str, Any] = {"base_url": f"{api.server.url}/v1", "api_key": "key", "collect_s": 0.1, "proxy": True}
    clients = [AsyncOpenAI(journal=state / f"{number}.db", **options) for number in range(2)]
    calls = [
        client.chat.completions.create(model="m", messages=HELLO, user=f"{number}", deadline="1h")  # type: ignore[call-overload]
        for number, client in enumerate(clients)
    ]
    try:
        assert [answer.id for answer in await asyncio.gather(*calls)] == ["chatcmpl-0", "chatcmpl-1"]
        assert len(list((state / "meritorder" / "proxy").iterdir())) == 1
        assert sum(process.poll() is None for process in client_proxy._STARTED) == 1
    finally:
        for client in clients:
            await client.close()
        for process in client_proxy._STARTED:
            process.terminate()
            await asyncio.to_thread(process.wait)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["openai", "--api-key-env", "NONE_OF_MINE"], "NONE_OF_MINE is not set"),
        (["mistral"], "the providers are openai, anthropic, gemini"),
        (["openai", "--models", "m", "--idle", "soon"], "'soon' is not a duration"),
    ],
)
def test_proxy_says_what_is_wrong(
    arguments: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "key")
    done = meritorder_in_process(tmp_path, "proxy", *arguments, "--folder", ".")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert message in done.stderr
