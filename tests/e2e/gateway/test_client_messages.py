"""Messages of Anthropic's client that wait in batches of a real gateway, and of a stand-in for Anthropic's API."""

import asyncio
import datetime as dt
import tempfile
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import anthropic
import pytest
import pytest_asyncio
from openai import OpenAI as Official
from tests.e2e.gateway.conftest import environment
from tests.e2e.gateway.test_client import times_asked
from tests.e2e.gateway.test_provider_batches import KINDS, Scene

from meritorder.client import Anthropic, AsyncAnthropic, AsyncOpenAI
from meritorder.client import proxy as client_proxy

Make = Callable[..., Any]


@pytest_asyncio.fixture
async def make(client: Official, tmp_path: Path) -> AsyncIterator[Make]:
    """Return clients that share a journal, as do the runs of one program."""
    clients: list[Any] = []

    def another(kind: type[Any] = AsyncAnthropic, **options: object) -> Any:  # noqa: ANN401
        url = str(client.base_url).removesuffix("/v1/" if kind is AsyncAnthropic else "")
        fields = {"base_url": url, "api_key": client.api_key, "journal": tmp_path / "journal.db"}
        clients.append(kind(**{**fields, "collect_s": 0.1, "max_retries": 0, **options}))
        return clients[-1]

    yield another
    for made in clients:
        await made.close()


async def ask(client: AsyncAnthropic, content: str, **fields: object) -> anthropic.types.Message:
    messages = [{"role": "user", "content": content}]
    body: Any = {"model": "stub", "messages": messages, "deadline": "1h", "max_tokens": 2, **fields}
    return await client.messages.create(**body)  # type: ignore[no-any-return]


@pytest.mark.asyncio
async def test_awaiting_messages_become_one_batch(make: Make, client: Official) -> None:
    waiting = make()
    answers = await asyncio.gather(*(ask(waiting, f"letter {number}", max_tokens=number + 1) for number in range(20)))
    assert [answer.usage.output_tokens for answer in answers] == [number + 1 for number in range(20)]
    assert {answer.type for answer in answers} == {"message"}
    batch = client.batches.list(limit=1).data[0]
    assert batch.request_counts is not None
    assert (batch.request_counts.total, batch.completion_window) == (20, "3600s")
    assert (waiting.progress.asked, waiting.progress.answered) == (20, 20)


@pytest.mark.asyncio
async def test_answered_message_is_asked_once(make: Make, engine: str) -> None:
    first, second = await ask(make(), "one letter"), await ask(make(), "one letter")
    assert first == second
    assert times_asked(engine, "one letter") == 1
    await ask(make(), "one letter", key="another sample")
    assert times_asked(engine, "one letter") == 2
    with pytest.raises(anthropic.UnprocessableEntityError, match="another body"):
        await ask(make(), "other letter", key="another sample")


@pytest.mark.asyncio
async def test_message_attaches_to_running_work(make: Make, engine: str) -> None:
    killed = make()
    task = asyncio.create_task(ask(killed, "running letter", max_tokens=100))
    while not times_asked(engine, "running letter"):
        await asyncio.sleep(0.02)
    await killed.close()  # what it has asked goes on, as after a kill
    with pytest.raises(anthropic.APIConnectionError):
        await task
    assert (await ask(make(), "running letter", max_tokens=100)).usage.output_tokens == 100
    assert times_asked(engine, "running letter") == 1


@pytest.mark.asyncio
async def test_bad_message_spoils_no_other(make: Make) -> None:
    """One with a field that has no equivalent, one that a venue refuses, one to an unknown model, one with a stream."""
    waiting = make()
    thinking = ask(waiting, "thought", thinking={"type": "enabled", "budget_tokens": 1024})
    refused = ask(waiting, "fault:400")
    outcomes = await asyncio.gather(
        thinking,
        refused,
        ask(waiting, "nobody", model="nobody"),
        ask(waiting, "flow", stream=True),
        *(ask(waiting, f"good letter {number}") for number in range(3)),
        return_exceptions=True,
    )
    kinds = [anthropic.BadRequestError, anthropic.BadRequestError, anthropic.NotFoundError, anthropic.BadRequestError]
    assert [type(outcome) for outcome in outcomes[:4]] == kinds
    assert [outcome.body["type"] for outcome in outcomes[:4]] == ["error"] * 4  # type: ignore[union-attr,index,call-overload]
    assert "thinking" in str(outcomes[0])
    assert "requests." not in str(outcomes[0])
    assert {type(outcome) for outcome in outcomes[4:]} == {anthropic.types.Message}


@pytest.mark.asyncio
async def test_quote_limits_the_price_of_messages(make: Make, engine: str) -> None:
    """Also of one whose answer is so long that the official client wants a stream, unless it may wait."""
    waiting = make()
    with pytest.raises(anthropic.APIStatusError, match="quote= allows") as refused:
        await ask(waiting, "dear letter", quote=1e-9, max_tokens=32_000)
    assert refused.value.status_code == 402
    assert times_asked(engine, "dear letter") == 0
    assert (await ask(waiting, "cheap letter", quote=1.0)).content


@pytest.mark.asyncio
async def test_both_clients_share_a_journal(make: Make) -> None:
    chat: Any = {"model": "stub", "messages": [{"role": "user", "content": "both"}], "max_tokens": 2, "deadline": "1h"}
    message, completion = await asyncio.gather(ask(make(), "both"), make(AsyncOpenAI).chat.completions.create(**chat))
    assert (message.type, completion.object) == ("message", "chat.completion")


def test_threads_send_messages_together(client: Official, tmp_path: Path) -> None:
    options = {"base_url": str(client.base_url).removesuffix("/v1/"), "api_key": client.api_key}

    def ask_one(number: int) -> str:
        messages = [{"role": "user", "content": f"thread letter {number}"}]
        body: Any = {"model": "stub", "messages": messages, "max_tokens": 3, "deadline": "1h"}
        return blocking.messages.create(**body).type

    with (
        Anthropic(**options, journal=tmp_path / "journal.db", collect_s=0.2) as blocking,
        ThreadPoolExecutor(5) as threads,
    ):  # type: ignore[arg-type]
        assert list(threads.map(ask_one, range(5))) == ["message"] * 5
        now: Any = {"model": "stub", "messages": [{"role": "user", "content": "now"}], "max_tokens": 2}
        assert blocking.messages.create(**now).usage.output_tokens == 2
    batch = client.batches.list(limit=1).data[0]
    assert batch.request_counts is not None
    assert batch.request_counts.total == 5


@pytest.mark.slow
@pytest.mark.asyncio
async def test_provider_is_asked_by_a_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", environment()["PYTHONPATH"])
    provider = KINDS["anthropic"](now=lambda: dt.datetime.now(dt.UTC))
    with tempfile.TemporaryDirectory() as name:  # pytest's own may be too long for a socket
        monkeypatch.setenv("XDG_STATE_HOME", name)
        async with provider.server as server:
            waiting = AsyncAnthropic(base_url=server.url, api_key="key", collect_s=0.1, proxy=True)
            calls = [
                asyncio.create_task(ask(waiting, f"{number}", model="m", deadline="25h", max_tokens=8))
                for number in range(2)
            ]
            batches = Scene("anthropic", provider, Path(name))
            batches.end(await batches.submitted(1), lambda _: "ok")
            answers = await asyncio.gather(*calls)
            await waiting.close()
            for process in client_proxy._STARTED:
                process.terminate()
                await asyncio.to_thread(process.wait)
    assert [answer.type for answer in answers] == ["message"] * 2
    assert all(answer.content for answer in answers)
