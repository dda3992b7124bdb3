"""Calls of `meritorder.client` that wait in batches of a real gateway."""

import asyncio
import json
import socket
import urllib.request
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import openai
import pytest
import pytest_asyncio
from bench import client as killing
from openai import OpenAI as Official

from meritorder.client import AsyncOpenAI, OpenAI
from meritorder.errors import ConfigError

Make = Callable[..., AsyncOpenAI]


@pytest_asyncio.fixture
async def make(client: Official, tmp_path: Path) -> AsyncIterator[Make]:
    """Return clients that share a journal, as do the runs of one program."""
    clients: list[AsyncOpenAI] = []

    def another(**options: object) -> AsyncOpenAI:
        fields = {"base_url": client.base_url, "api_key": client.api_key, "journal": tmp_path / "journal.db"}
        clients.append(AsyncOpenAI(**{**fields, "collect_s": 0.1, "max_retries": 0, **options}))
        return clients[-1]

    yield another
    for made in clients:
        await made.close()


async def ask(client: AsyncOpenAI, content: str, **fields: object) -> str:
    messages = [{"role": "user", "content": content}]
    body = {"model": "stub", "messages": messages, "user": content, "deadline": "1h", "max_tokens": 2, **fields}
    return (await client.chat.completions.create(**body)).id  # type: ignore[call-overload, no-any-return]


def times_asked(engine: str, content: str) -> int:
    with urllib.request.urlopen(f"{engine}/seen") as response:
        seen = json.load(response)["seen"]
    return sum(count for message, count in seen.items() if f"'{content}'" in message)


@pytest.mark.asyncio
async def test_awaiting_calls_become_one_batch(make: Make, client: Official) -> None:
    calls = [f"together {number}" for number in range(40)]
    waiting = make()
    assert await asyncio.gather(*(ask(waiting, call) for call in calls)) == calls
    batch = client.batches.list(limit=1).data[0]
    assert batch.request_counts is not None
    assert batch.request_counts.total == len(calls)
    assert (waiting.progress.asked, waiting.progress.answered, waiting.progress.waiting) == (40, 40, 0)


@pytest.mark.asyncio
async def test_answered_call_is_asked_once(make: Make, engine: str) -> None:
    first, second = make(), make()
    assert await ask(first, "once") == await ask(second, "once") == "once"
    assert times_asked(engine, "once") == 1


@pytest.mark.asyncio
async def test_programs_ask_the_same_once(make: Make, engine: str) -> None:
    programs = [make(), make(), make()]
    assert await asyncio.gather(*(ask(program, "same") for program in programs)) == ["same"] * 3
    assert times_asked(engine, "same") == 1


@pytest.mark.asyncio
async def test_call_attaches_to_running_work(make: Make, engine: str) -> None:
    killed = make()
    task = asyncio.create_task(ask(killed, "running", max_tokens=100))
    while not times_asked(engine, "running"):
        await asyncio.sleep(0.02)
    await killed.close()  # what it has asked goes on, as after a kill
    with pytest.raises(openai.APIConnectionError):
        await task
    assert await ask(make(), "running", max_tokens=100) == "running"
    assert times_asked(engine, "running") == 1


@pytest.mark.asyncio
async def test_bad_call_spoils_no_other(make: Make) -> None:
    waiting = make()
    bad = ask(waiting, "bad", messages=None)
    unknown = ask(waiting, "unknown", model="nowhere")
    good = [ask(waiting, f"good {number}") for number in range(5)]
    outcomes = await asyncio.gather(bad, unknown, *good, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes[:2]] == [openai.BadRequestError, openai.NotFoundError]
    assert "messages" in str(outcomes[0])
    assert outcomes[2:] == [f"good {number}" for number in range(5)]


@pytest.mark.asyncio
async def test_failed_call_may_be_made_again(make: Make, engine: str) -> None:
    waiting, before = make(), times_asked(engine, "fault:400")
    for _ in range(2):
        with pytest.raises(openai.APIStatusError):
            await ask(waiting, "fault:400")
    assert times_asked(engine, "fault:400") == before + 2


@pytest.mark.asyncio
async def test_key_belongs_to_one_body(make: Make, engine: str) -> None:
    waiting = make()
    assert await ask(waiting, "sample", key="a") == "sample"
    assert await ask(waiting, "sample", key="b") == "sample"
    assert times_asked(engine, "sample") == 2
    with pytest.raises(openai.UnprocessableEntityError, match="another body"):
        await ask(waiting, "other", key="a")


@pytest.mark.asyncio
async def test_quote_limits_the_price(make: Make, engine: str, client: Official) -> None:
    waiting = make()
    with pytest.raises(openai.APIStatusError, match="quote= allows") as refused:
        await ask(waiting, "dear", quote=1e-9)
    assert refused.value.status_code == 402
    assert times_asked(engine, "dear") == 0
    assert await ask(waiting, "cheap", quote=1.0) == "cheap"
    assert (client.batches.list(limit=1).data[0].metadata or {})["quote_id"].startswith("quote_")


@pytest.mark.asyncio
async def test_cancelled_batch_stops(make: Make, client: Official, engine: str) -> None:
    waiting = make()
    tasks = [asyncio.create_task(ask(waiting, f"long {number}", max_tokens=15_000)) for number in range(2)]
    while not times_asked(engine, "long 1"):
        await asyncio.sleep(0.02)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    while client.batches.list(limit=1).data[0].status not in {"cancelled", "cancelling"}:
        await asyncio.sleep(0.05)


@pytest.mark.asyncio
async def test_call_cancelled_early_is_not_sent(make: Make, engine: str) -> None:
    waiting = make()
    task = asyncio.create_task(ask(waiting, "withdrawn"))
    await asyncio.sleep(0)
    task.cancel()
    assert await ask(waiting, "stays") == "stays"
    assert times_asked(engine, "withdrawn") == 0


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"stream": True}, "leave out stream"),
        ({"deadline": "soon"}, "not a deadline"),
        ({"deadline": "2001-01-01"}, "has passed"),
        ({"deadline": "900d"}, "longest window"),
        ({"quote": "much"}, "not a number"),
        ({"quote": float("nan")}, "not a number"),
    ],
)
async def test_impossible_call_says_why(make: Make, fields: dict[str, object], message: str) -> None:
    with pytest.raises(openai.BadRequestError, match=message):
        await ask(make(), "impossible", **fields)


@pytest.mark.asyncio
async def test_quote_without_deadline_is_refused(make: Make) -> None:
    with pytest.raises(ConfigError, match="need a deadline"):
        await ask(make(), "x", deadline=None, quote=1.0)


@pytest.mark.asyncio
async def test_call_outlives_an_outage(make: Make) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        away = f"http://127.0.0.1:{closed.getsockname()[1]}/v1"
        with pytest.raises(openai.APIConnectionError):
            await ask(make(base_url=away, max_outage_s=0), "away")


@pytest.mark.asyncio
async def test_other_endpoints_and_copies_wait(make: Make) -> None:
    waiting = make()
    embedded = await waiting.embeddings.create(model="stub", input=["a", "b"], deadline="06:00")  # type: ignore[call-arg]
    assert len(embedded.data) == 2
    assert await ask(waiting.with_options(timeout=1.0), "copied") == "copied"
    assert (await waiting.chat.completions.create(model="stub", messages=[], user="now")).id == "now"  # type: ignore[arg-type]


def test_threads_wait_together(client: Official, tmp_path: Path) -> None:
    options = {"base_url": client.base_url, "api_key": client.api_key, "journal": tmp_path / "journal.db"}

    def ask_one(number: int) -> str:
        messages = [{"role": "user", "content": f"thread {number}"}]
        body = {"model": "stub", "messages": messages, "user": f"thread {number}", "deadline": "1h"}
        return blocking.chat.completions.create(**body).id  # type: ignore[call-overload, no-any-return]

    with OpenAI(**options, collect_s=0.2) as blocking, ThreadPoolExecutor(10) as threads:  # type: ignore[arg-type]
        assert list(threads.map(ask_one, range(10))) == [f"thread {number}" for number in range(10)]
        assert {model.id for model in blocking.models.list()} == {"stub", "other"}
    batch = client.batches.list(limit=1).data[0]
    assert batch.request_counts is not None
    assert batch.request_counts.total == 10


@pytest.mark.slow
def test_kills_lose_and_double_nothing() -> None:
    figures = killing.run(calls=100, kills=4, token_s=0.2)
    assert min(figures["program_kills"], figures["gateway_kills"]) >= 1  # none once no call waits
    assert (figures["lost"], figures["out_of_order"], figures["not_asked"]) == (0, 0, 0)
    assert figures["results_in_ledger"] == figures["calls"]
    assert figures["repeated_by_the_engine"] <= figures["repeated_in_ledger"] <= figures["most_in_flight_at_kills"]
