"""The batch venues against stand-ins for their providers: submitted once, and read to the last line."""

import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any

import pytest
import pytest_asyncio
from tests.samples.http_server import Asked, Wire
from tests.samples.providers import CREATED, AnthropicApi, GeminiApi, OpenAIBatchApi

from meritorder.gateway.errors import BrokenAnswerError, RefusedError, UnavailableError, UnsupportedError
from meritorder.gateway.upstreams.batches.anthropic import AnthropicBatches
from meritorder.gateway.upstreams.batches.gemini import GeminiBatches
from meritorder.gateway.upstreams.batches.openai import OpenAIBatches
from meritorder.gateway.upstreams.batches.venue import BatchLimits, BatchLine, BatchStatus, BatchVenue, LineResult
from meritorder.gateway.upstreams.connection import Endpoint
from meritorder.gateway.upstreams.dialects import anthropic, gemini
from meritorder.gateway.upstreams.upstream import Runtime

WORLD = Runtime(now=lambda: CREATED, draw=lambda: 0.0)
SINCE_S = CREATED.timestamp()
LIMITS = BatchLimits(max_lines=10, max_bytes=10_000)


def a_line(custom_id: str, **fields: object) -> BatchLine:
    body = {"model": "m", "messages": [{"role": "user", "content": f"say {custom_id}"}], "max_tokens": 8} | fields
    return BatchLine(custom_id=custom_id, path="/v1/chat/completions", model="m", body=json.dumps(body).encode())


LINES = [a_line("a"), a_line("b"), a_line("c")]


@dataclass
class Provider:
    """One provider's stand-in and our way to it, so that what holds for all is tested on all."""

    api: Any
    connect: Callable[[], BatchVenue]
    venue: BatchVenue

    @property
    def ids(self) -> list[str]:
        return [batch.get("id") or batch["name"] for batch in self.api.batches]

    def end(self, batch_id: str, **outcome: str) -> None:
        """End a batch: what became of each line: ok, error, expired or cancelled."""
        made = {f"t1-{name}": what for name, what in outcome.items()}
        if isinstance(self.api, OpenAIBatchApi):
            words = {"ok": 200, "error": 400, "expired": "batch_expired", "cancelled": "batch_cancelled"}
            status = next((ending for ending in ("expired", "cancelled") if ending in outcome.values()), "completed")
            self.api.end(batch_id, status, {name: words[what] for name, what in made.items()})
        elif isinstance(self.api, AnthropicApi):
            words = {"ok": "succeeded", "error": "errored", "expired": "expired", "cancelled": "canceled"}
            self.api.end(batch_id, {name: words[what] for name, what in made.items()})
        else:
            status = next((ending for ending in ("expired", "cancelled") if ending in outcome.values()), "succeeded")
            self.api.end(batch_id, f"BATCH_STATE_{status.upper()}", made)

    async def results(self, batch_id: str) -> dict[str, LineResult]:
        results = [result async for result in self.venue.results(batch_id, "t1")]
        assert len({result.custom_id for result in results}) == len(results)
        return {result.custom_id: result for result in results}


@pytest_asyncio.fixture(params=["openai", "anthropic", "gemini"])
async def provider(request: pytest.FixtureRequest) -> AsyncIterator[Provider]:
    api = {"openai": OpenAIBatchApi, "anthropic": AnthropicApi, "gemini": GeminiApi}[request.param]()
    async with api.server as server:
        connect = {
            "openai": lambda: OpenAIBatches(Endpoint(name="p", base_url=server.url), WORLD, limits=LIMITS),
            "anthropic": lambda: AnthropicBatches(anthropic.endpoint("p", "key", server.url), WORLD, limits=LIMITS),
            "gemini": lambda: GeminiBatches(gemini.endpoint("p", "key", server.url + "/v1"), WORLD, limits=LIMITS),
        }[request.param]
        venue = connect()
        yield Provider(api, connect, venue)
        await venue.close()


@pytest.mark.asyncio
async def test_batch_from_submission_to_results(provider: Provider) -> None:
    batch_id = await provider.venue.submit(LINES, "t1", sent_epoch_s=SINCE_S)
    assert provider.ids == [batch_id]
    state = await provider.venue.poll(batch_id)
    assert (state.status, state.total) == (BatchStatus.RUNNING, 3)
    provider.end(batch_id, a="ok", b="error", c="ok")
    state = await provider.venue.poll(batch_id)
    assert (state.status, state.total, state.completed, state.failed) == (BatchStatus.DONE, 3, 2, 1)
    results = await provider.results(batch_id)
    assert {name: result.status_code for name, result in results.items()} == {"a": 200, "b": 400, "c": 200}
    answer = json.loads(results["a"].body)
    assert answer["object"] == "chat.completion"
    assert answer["choices"][0]["finish_reason"] == "stop"
    assert "error" in json.loads(results["b"].body)


@pytest.mark.asyncio
async def test_crash_after_submit_submits_once(provider: Provider) -> None:
    for number in range(5):  # others, more than a page of them
        await provider.venue.submit([a_line(f"x{number}")], f"other{number}", sent_epoch_s=SINCE_S)
    provider.api.crash_after_create = True
    with pytest.raises(BrokenAnswerError):
        await provider.venue.submit(LINES, "t1", sent_epoch_s=SINCE_S)
    submitted = provider.ids[-1]
    for number in range(5):
        await provider.venue.submit([a_line(f"y{number}")], f"later{number}", sent_epoch_s=SINCE_S)
    if isinstance(provider.api, AnthropicApi):
        # Nothing tells whose it is before it is done: it is waited for.
        with pytest.raises(UnavailableError, match="may be the one"):
            await provider.venue.submit(LINES, "t1", sent_epoch_s=SINCE_S)
        provider.end(submitted, a="ok", b="ok", c="ok")
    assert await provider.venue.submit(LINES, "t1", sent_epoch_s=SINCE_S) == submitted
    assert len(provider.ids) == 11
    # Known to be another's, it is not taken for ours.
    again = await provider.venue.submit(LINES, "t1", sent_epoch_s=SINCE_S, known_ids=[submitted])
    assert again != submitted


@pytest.mark.asyncio
async def test_unsent_batch_is_not_searched(provider: Provider) -> None:
    """Another gateway on the same account has a batch of as many lines under way."""
    another = provider.connect()
    await another.submit(LINES, "another", sent_epoch_s=None)
    await another.close()
    await provider.venue.submit(LINES, "t1", sent_epoch_s=None)
    assert len(provider.ids) == 2
    assert all(asked.method == "POST" for asked in provider.api.server.asked)


@pytest.mark.asyncio
async def test_older_batches_are_not_searched(provider: Provider) -> None:
    for number in range(9):
        await provider.venue.submit([a_line(f"x{number}")], f"other{number}", sent_epoch_s=SINCE_S)
    before = len(provider.api.server.asked)
    await provider.venue.submit(LINES, "t1", sent_epoch_s=SINCE_S + 86_400)
    looked = [asked for asked in provider.api.server.asked[before:] if asked.method == "GET"]
    assert len(looked) == 1


@pytest.mark.parametrize("way", ["expired", "cancelled"])
@pytest.mark.asyncio
async def test_partial_results_name_unfinished_lines(provider: Provider, way: str) -> None:
    batch_id = await provider.venue.submit(LINES, "t1", sent_epoch_s=SINCE_S)
    await provider.venue.cancel(batch_id)
    provider.end(batch_id, a="ok", b=way, c=way)
    assert (await provider.venue.poll(batch_id)).status == way
    results = await provider.results(batch_id)
    assert results.pop("a").status_code == 200
    # Gemini leaves out what it did not begin; the others name it.
    assert {result.status_code for result in results.values()} <= {None}
    if not isinstance(provider.api, GeminiApi):
        assert {name: result.error_code for name, result in results.items()} == {
            "b": f"batch_{way}",
            "c": f"batch_{way}",
        }


@pytest.mark.asyncio
async def test_refusal_submits_nothing(provider: Provider) -> None:
    async def refuses(_: Asked, wire: Wire) -> None:
        await wire.answer({"error": {"message": "billing hard limit\nreached"}}, 400)

    provider.api.server.handler = refuses
    with pytest.raises(RefusedError, match="HTTP 400: billing hard limit reached") as caught:
        await provider.venue.submit(LINES, "t1", sent_epoch_s=SINCE_S)
    assert caught.value.status == 400


@pytest.mark.asyncio
async def test_reads_retry_transient_failures(provider: Provider) -> None:
    batch_id = await provider.venue.submit(LINES, "t1", sent_epoch_s=SINCE_S)
    failures = ["reset", "429", "503"]
    inner = provider.api.server.handler

    async def flaky(asked: Asked, wire: Wire) -> None:
        match failures.pop() if failures else "":
            case "reset":
                await wire.reset()
            case "":
                await inner(asked, wire)
            case status:
                await wire.answer(b"<html>", int(status), kind="text/html", headers={"Retry-After": "0"})

    provider.api.server.handler = flaky
    assert (await provider.venue.poll(batch_id)).status is BatchStatus.RUNNING


@pytest.mark.parametrize("page", [b"<html>", b"[]", b"{}", b'{"data": 7}', b'{"metadata": 7, "request_counts": 7}'])
@pytest.mark.asyncio
async def test_malformed_answers_are_broken(provider: Provider, page: bytes) -> None:
    async def nonsense(_: Asked, wire: Wire) -> None:
        await wire.answer(page)

    provider.api.server.handler = nonsense
    with pytest.raises(BrokenAnswerError):
        await provider.venue.poll("b1")
    with pytest.raises(BrokenAnswerError):
        await provider.venue.submit(LINES, "t1", sent_epoch_s=SINCE_S)


@pytest.mark.asyncio
async def test_truncated_result_file_is_broken(provider: Provider) -> None:
    batch_id = await provider.venue.submit(LINES, "t1", sent_epoch_s=SINCE_S)
    provider.end(batch_id, a="ok", b="ok", c="ok")
    inner = provider.api.server.handler

    async def breaks_off(asked: Asked, wire: Wire) -> None:
        if asked.path.endswith(("content", "results", "alt=media")):
            await wire.begin("application/jsonl")
            await wire.part(b'{"custom_id": "t1-a", "key": "t1-a"')
            await wire.reset()
        else:
            await inner(asked, wire)

    provider.api.server.handler = breaks_off
    with pytest.raises(BrokenAnswerError):
        await provider.results(batch_id)


@pytest.mark.asyncio
async def test_lines_of_others_are_skipped(provider: Provider) -> None:
    """The same ids are in use at another gateway on the account, whose lines are in our result file."""
    batch_id = await provider.venue.submit(LINES, "t1", sent_epoch_s=SINCE_S)
    provider.end(batch_id, a="ok", b="ok", c="ok")
    assert [result async for result in provider.venue.results(batch_id, "t2")] == []
    assert len(await provider.results(batch_id)) == 3


@pytest.mark.asyncio
async def test_endless_list_is_broken(provider: Provider, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("meritorder.gateway.upstreams.batches.provider._MAX_PAGES", 3)
    await provider.venue.submit(LINES, "other", sent_epoch_s=SINCE_S)
    inner = provider.api.server.handler

    async def first_page_only(asked: Asked, wire: Wire) -> None:
        if asked.method == "GET" and provider.api.batches:
            batch = provider.api.batches[0]
            page = {"data": [batch], "operations": [batch], "has_more": True, "last_id": "x", "nextPageToken": "x"}
            await wire.answer(page)
        else:
            await inner(asked, wire)

    provider.api.server.handler = first_page_only
    with pytest.raises((BrokenAnswerError, UnavailableError)):
        await provider.venue.submit(LINES, "t1", sent_epoch_s=SINCE_S)
    assert len(provider.ids) == 1


@pytest.mark.parametrize(("status", "error"), [(429, UnavailableError), (400, RefusedError)])
@pytest.mark.asyncio
async def test_uploaded_file_awaits_next_attempt(status: int, error: type[Exception]) -> None:
    """A submission that may be repeated keeps its file; a refused one deletes it."""
    for api, connect in (
        (OpenAIBatchApi(), lambda url: OpenAIBatches(Endpoint(name="p", base_url=url), WORLD)),
        (GeminiApi(), lambda url: GeminiBatches(gemini.endpoint("p", "key", url + "/v1"), WORLD)),
    ):
        inner, fails = api.server.handler, [True]

        async def first_creation_fails(asked: Asked, wire: Wire, inner: Any = inner, fails: Any = fails) -> None:  # noqa: ANN401
            if asked.path.endswith(("/batches", ":batchGenerateContent")) and asked.method == "POST" and fails:
                fails.clear()
                await wire.answer({"error": {"message": "no"}}, status)
            else:
                await inner(asked, wire)

        api.server.handler = first_creation_fails
        async with api.server as server:
            venue = connect(server.url)
            with pytest.raises(error):
                await venue.submit(LINES, "t1", sent_epoch_s=None)
            await venue.submit(LINES, "t1", sent_epoch_s=SINCE_S)
            await venue.close()
        assert len(api.files) == len(api.batches) == 1


@pytest.mark.parametrize("strange", [None, 7, "", "../files", "batch 1", "b\x00", "b" * 300])
@pytest.mark.asyncio
async def test_strange_batch_ids_are_broken(provider: Provider, strange: object) -> None:
    inner = provider.api.server.handler

    async def answers(asked: Asked, wire: Wire) -> None:
        if asked.path.endswith(("/batches", ":batchGenerateContent")) and asked.method == "POST":
            await wire.answer({"id": strange, "name": strange})
        else:
            await inner(asked, wire)

    provider.api.server.handler = answers
    with pytest.raises(BrokenAnswerError):
        await provider.venue.submit(LINES, "t1", sent_epoch_s=None)


@pytest.mark.asyncio
async def test_unsupported_line_submits_nothing() -> None:
    for api, made in ((AnthropicApi(), AnthropicBatches), (GeminiApi(), GeminiBatches)):
        async with api.server as server:
            where = (
                anthropic.endpoint("p", "key", server.url)
                if made is AnthropicBatches
                else gemini.endpoint("p", "key", server.url + "/v1")
            )
            venue = made(where, WORLD)
            with pytest.raises(UnsupportedError) as caught:
                await venue.submit([a_line("a"), a_line("b", logit_bias={"1": 5})], "t1", sent_epoch_s=None)
            await venue.close()
        assert caught.value.param == "logit_bias"
        assert not api.batches


@pytest.mark.asyncio
async def test_sampling_selects_older_anthropic_version() -> None:
    api = AnthropicApi()
    async with api.server as server:
        venue = AnthropicBatches(anthropic.endpoint("p", "key", server.url), WORLD)
        await venue.submit([a_line("a"), a_line("b", temperature=0.5)], "t1", sent_epoch_s=SINCE_S)
        await venue.close()
    assert api.requests["msgbatch_1"][1]["params"]["temperature"] == 0.5


@pytest.mark.asyncio
async def test_key_never_leaves_the_origin() -> None:
    api = GeminiApi(elsewhere="http://127.0.0.1:9")
    async with api.server as server:
        venue = GeminiBatches(gemini.endpoint("p", "key", server.url + "/v1"), WORLD)
        with pytest.raises(BrokenAnswerError, match="upload URL of another origin"):
            await venue.submit(LINES, "t1", sent_epoch_s=SINCE_S)
        await venue.close()


@pytest.mark.asyncio
async def test_models_use_venue_names() -> None:
    api = OpenAIBatchApi()
    async with api.server as server:
        venue = OpenAIBatches(Endpoint(name="p", base_url=server.url), WORLD, models={"m": "org/m"})
        batch_id = await venue.submit(LINES, "t1", sent_epoch_s=SINCE_S)
        await venue.close()
    assert {line["body"]["model"] for line in api.lines(batch_id)} == {"org/m"}
    assert [line["custom_id"] for line in api.lines(batch_id)] == ["t1-a", "t1-b", "t1-c"]


@pytest.mark.asyncio
async def test_failed_batch_has_reason() -> None:
    api = OpenAIBatchApi()
    async with api.server as server:
        venue = OpenAIBatches(Endpoint(name="p", base_url=server.url), WORLD)
        batch_id = await venue.submit(LINES, "t1", sent_epoch_s=SINCE_S)
        errors = {"object": "list", "data": [{"code": "mismatched_model", "message": "one model", "line": 2}]}
        api.batch(batch_id).update(status="failed", errors=errors)
        state = await venue.poll(batch_id)
        assert [result async for result in venue.results(batch_id, "t1")] == []
        await venue.close()
    assert (state.status, state.message) == (BatchStatus.FAILED, "one model")


@pytest.mark.asyncio
async def test_caller_mistakes_are_errors() -> None:
    venue = OpenAIBatches(Endpoint(name="p", base_url="http://127.0.0.1:9"), WORLD, limits=LIMITS)
    for lines, tag in (
        ([], "t"),
        (LINES, "no-dashes"),
        (LINES * 4, "t"),
        ([a_line("x" * 33)], "t"),
        ([a_line("a b")], "t"),
    ):
        with pytest.raises(ValueError, match=r"lines|tag|custom_id"):
            await venue.submit(lines, tag, sent_epoch_s=None)
    await venue.close()
