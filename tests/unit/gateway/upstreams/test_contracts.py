"""The local stand-ins for providers are held to the contract by the providers' own clients."""

import io
import json
import warnings

import pytest
from tests.samples.providers import AnthropicApi, GeminiApi, OpenAIBatchApi, a_content, a_message, jsonl

openai = pytest.importorskip("openai")
anthropic = pytest.importorskip("anthropic")
with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of a library that it imports
    genai = pytest.importorskip("google.genai")

pytestmark = pytest.mark.asyncio


async def test_openai_client_accepts_stand_in() -> None:
    api = OpenAIBatchApi()
    async with api.server as server, openai.AsyncOpenAI(api_key="key", base_url=server.url + "/v1") as client:
        line = {"custom_id": "a", "method": "POST", "url": "/v1/chat/completions", "body": {"model": "m"}}
        made = []
        for number in range(5):
            file = await client.files.create(file=("in.jsonl", io.BytesIO(jsonl([line]))), purpose="batch")
            made.append(
                await client.batches.create(
                    input_file_id=file.id,
                    endpoint="/v1/chat/completions",
                    completion_window="24h",
                    metadata={"n": str(number)},
                )
            )
        assert [batch.id async for batch in client.batches.list()] == [batch.id for batch in made[::-1]]
        api.end(made[0].id, "completed", {"a": 200})
        batch = await client.batches.retrieve(made[0].id)
        assert (batch.status, batch.request_counts.completed) == ("completed", 1)
        content = await client.files.content(batch.output_file_id)
        found = json.loads(content.text)
        openai.types.chat.ChatCompletion.model_validate(found["response"]["body"])
        assert (await client.batches.cancel(made[1].id)).status == "cancelling"
        with pytest.raises(openai.NotFoundError):
            await client.fine_tuning.jobs.list()


async def test_anthropic_client_accepts_stand_in() -> None:
    api = AnthropicApi(answers=[a_message()])
    async with api.server as server, anthropic.AsyncAnthropic(api_key="key", base_url=server.url) as client:
        message = {"model": "m", "max_tokens": 8, "messages": [{"role": "user", "content": "hi"}]}
        answer = await client.messages.create(**message)
        assert answer.content[0].text == "hi"
        made = [
            await client.messages.batches.create(requests=[{"custom_id": f"c{number}", "params": message}])
            for number in range(5)
        ]
        assert [batch.id async for batch in client.messages.batches.list()] == [batch.id for batch in made[::-1]]
        api.end(made[0].id, {"c0": "succeeded"})
        batch = await client.messages.batches.retrieve(made[0].id)
        assert (batch.processing_status, batch.request_counts.succeeded) == ("ended", 1)
        results = [line async for line in await client.messages.batches.results(made[0].id)]
        assert results[0].result.message.content[0].text == "c0"
        assert (await client.messages.batches.cancel(made[1].id)).processing_status == "canceling"
    async with api.server as server, anthropic.AsyncAnthropic(api_key="wrong", base_url=server.url) as client:
        with pytest.raises(anthropic.AuthenticationError):
            await client.messages.batches.list()


@pytest.mark.filterwarnings("ignore:Inheritance class AiohttpClientSession:DeprecationWarning")
async def test_gemini_client_accepts_stand_in() -> None:
    api = GeminiApi(answers=[a_content()], streams=[[a_content()]])
    async with api.server as server:
        client = genai.Client(api_key="key", http_options={"base_url": server.url}).aio
        answer = await client.models.generate_content(model="m", contents="hi")
        assert answer.text == "hi"
        assert [part.text async for part in await client.models.generate_content_stream(model="m", contents="hi")] == [
            "hi"
        ]
        made = []
        for number in range(5):
            content = io.BytesIO(jsonl([{"key": "a", "request": {"contents": []}}]))
            file = await client.files.upload(file=content, config={"mime_type": "application/jsonl"})
            made.append(await client.batches.create(model="m", src=file.name, config={"display_name": f"tag{number}"}))
        assert [batch.name async for batch in await client.batches.list()] == [batch.name for batch in made[::-1]]
        api.end(made[0].name, "BATCH_STATE_SUCCEEDED", {"a": "ok"})
        batch = await client.batches.get(name=made[0].name)
        assert (batch.state.name, batch.display_name) == ("JOB_STATE_SUCCEEDED", "tag0")
        found = json.loads(await client.files.download(file=batch.dest.file_name))
        assert found["key"] == "a"
        await client.batches.cancel(name=made[1].name)
        assert (await client.batches.get(name=made[1].name)).state.name == "JOB_STATE_CANCELLED"
        await client.aclose()
