"""Chat requests to Anthropic and Gemini and their answers back, between the official clients on both sides."""

import base64
import datetime as dt
import json
import re
import warnings
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from tests.samples.http_server import Asked, LocalServer, Wire
from tests.samples.providers import AnthropicApi, GeminiApi, a_content, a_message

from meritorder.gateway.errors import BrokenAnswerError, UnsupportedError
from meritorder.gateway.upstreams.dialects import anthropic as anthropic_dialect
from meritorder.gateway.upstreams.dialects import gemini as gemini_dialect
from meritorder.gateway.upstreams.dialects.dialect import TranslatingUpstream
from meritorder.gateway.upstreams.upstream import Call, Upstream

openai = pytest.importorskip("openai")
anthropic = pytest.importorskip("anthropic")
with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of a library that it imports
    genai = pytest.importorskip("google.genai")

NOW = dt.datetime(2026, 11, 24, 3, 0, tzinfo=dt.UTC)
PIXEL = base64.b64encode(b"a picture").decode()
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
TOOL = {"type": "function", "function": {"name": "weather", "description": "Now.", "parameters": SCHEMA}}
CALLED = {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Rome"}'}}
CONVERSATION = [
    {"role": "system", "content": "Be short."},
    {
        "role": "user",
        "content": [
            {"type": "text", "text": "What is this?"},
            {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PIXEL}"}},
        ],
    },
    {"role": "assistant", "content": "I look it up.", "tool_calls": [CALLED]},
    {"role": "tool", "tool_call_id": "call_1", "content": '{"sky": "blue"}'},
]


def anthropic_upstream(url: str, **fields: str) -> Upstream:
    where = anthropic_dialect.endpoint("anthropic", "key", url)
    return TranslatingUpstream(where, anthropic_dialect.Anthropic(), models=fields, now=lambda: NOW)


def gemini_upstream(url: str, **fields: str) -> Upstream:
    where = gemini_dialect.endpoint("gemini", "key", url + "/v1")
    return TranslatingUpstream(where, gemini_dialect.Gemini(), models=fields, now=lambda: NOW)


@asynccontextmanager
async def client_of(upstream: Upstream) -> AsyncIterator[Any]:
    """Put OpenAI's own client before an upstream."""

    async def bridge(asked: Asked, wire: Wire) -> None:
        body = asked.json
        stream = bool(body.get("stream"))
        call = Call(path=asked.path, body=asked.body, stream=stream, model=body["model"])
        reply = await upstream.send(call)
        if stream and reply.status == 200:
            await wire.begin()
            async for part in reply.body:
                await wire.part(part)
            await wire.end()
        else:
            await wire.answer(
                await reply.read(), reply.status, headers={"retry-after": reply.headers.get("retry-after", "")}
            )
        await reply.close()

    async with LocalServer(bridge) as server:
        url = server.url + "/v1"
        async with openai.AsyncOpenAI(api_key="ours", base_url=url, max_retries=0) as client:
            yield client
    await upstream.close()


@pytest.mark.asyncio
async def test_anthropic_request_as_official_client() -> None:
    api = AnthropicApi(answers=[a_message(), a_message()])
    async with api.server as server, client_of(anthropic_upstream(server.url, m="claude-m")) as client:
        await client.chat.completions.create(
            model="m",
            messages=CONVERSATION,
            max_completion_tokens=99,
            stop="END",
            user="u1",
            reasoning_effort="low",
            tools=[TOOL],
            tool_choice="required",
            parallel_tool_calls=False,
            response_format={"type": "json_schema", "json_schema": {"name": "x", "schema": SCHEMA}},
        )
        async with anthropic.AsyncAnthropic(api_key="key", base_url=server.url) as own:
            await own.messages.create(
                model="claude-m",
                max_tokens=99,
                system=[{"type": "text", "text": "Be short."}],
                messages=[
                    {
                        "role": "user",
                        "content": [
                            {"type": "text", "text": "What is this?"},
                            {
                                "type": "image",
                                "source": {"type": "base64", "media_type": "image/png", "data": PIXEL},
                            },
                        ],
                    },
                    {
                        "role": "assistant",
                        "content": [
                            {"type": "text", "text": "I look it up."},
                            {"type": "tool_use", "id": "call_1", "name": "weather", "input": {"city": "Rome"}},
                        ],
                    },
                    {
                        "role": "user",
                        "content": [
                            {
                                "type": "tool_result",
                                "tool_use_id": "call_1",
                                "content": [{"type": "text", "text": '{"sky": "blue"}'}],
                            }
                        ],
                    },
                ],
                stop_sequences=["END"],
                metadata={"user_id": "u1"},
                output_config={"effort": "low", "format": {"type": "json_schema", "schema": SCHEMA}},
                tools=[{"name": "weather", "description": "Now.", "input_schema": SCHEMA}],
                tool_choice={"type": "any", "disable_parallel_tool_use": True},
            )
    ours, theirs = api.messages
    assert ours == theirs


@pytest.mark.asyncio
@pytest.mark.filterwarnings("ignore:Inheritance class AiohttpClientSession:DeprecationWarning")
async def test_gemini_request_as_official_client() -> None:
    api = GeminiApi(answers=[a_content(), a_content()])
    types = genai.types
    async with api.server as server, client_of(gemini_upstream(server.url, m="gemini-m")) as client:
        await client.chat.completions.create(
            model="m",
            messages=CONVERSATION,
            max_completion_tokens=99,
            temperature=0.5,
            top_p=0.9,
            n=2,
            seed=7,
            presence_penalty=0.1,
            stop=["END"],
            tools=[TOOL],
            tool_choice={"type": "function", "function": {"name": "weather"}},
            response_format={"type": "json_schema", "json_schema": {"name": "x", "schema": SCHEMA}},
        )
        call = types.FunctionCall(id="call_1", name="weather", args={"city": "Rome"})
        result = types.FunctionResponse(id="call_1", name="weather", response={"sky": "blue"})
        picture = types.Part.from_bytes(data=b"a picture", mime_type="image/png")
        own = genai.Client(api_key="key", http_options={"base_url": server.url}).aio
        await own.models.generate_content(
            model="gemini-m",
            contents=[
                types.Content(role="user", parts=[types.Part(text="What is this?"), picture]),
                types.Content(role="model", parts=[types.Part(text="I look it up."), types.Part(function_call=call)]),
                types.Content(role="user", parts=[types.Part(function_response=result)]),
            ],
            config=types.GenerateContentConfig(
                system_instruction=types.Content(parts=[types.Part(text="Be short.")]),
                max_output_tokens=99,
                temperature=0.5,
                top_p=0.9,
                candidate_count=2,
                seed=7,
                presence_penalty=0.1,
                stop_sequences=["END"],
                tools=[
                    types.Tool(
                        function_declarations=[
                            types.FunctionDeclaration(name="weather", description="Now.", parameters_json_schema=SCHEMA)
                        ]
                    )
                ],
                tool_config=types.ToolConfig(
                    function_calling_config=types.FunctionCallingConfig(mode="ANY", allowed_function_names=["weather"])
                ),
                response_mime_type="application/json",
                response_json_schema=SCHEMA,
            ),
        )
        await own.aclose()
    ours, theirs = api.asked
    assert ours == camel_case(theirs)  # the API takes both, its client mixes them


def camel_case(value: Any) -> Any:  # noqa: ANN401 - JSON
    if isinstance(value, list):
        return [camel_case(item) for item in value]
    if not isinstance(value, dict):
        return value
    return {re.sub(r"_(\w)", lambda found: found[1].upper(), name): camel_case(each) for name, each in value.items()}


ANTHROPIC_TOOL_MESSAGE = a_message() | {
    "content": [
        {"type": "thinking", "thinking": "Hm.", "signature": "s"},
        {"type": "text", "text": "I look."},
        {"type": "tool_use", "id": "toolu_1", "name": "weather", "input": {"city": "Rome"}},
    ],
    "stop_reason": "tool_use",
}
GEMINI_TOOL_ANSWER = a_content(
    content={
        "role": "model",
        "parts": [
            {"text": "Hm.", "thought": True},
            {"text": "I look."},
            {
                "functionCall": {"name": "weather", "args": {"city": "Rome"}},
                "thoughtSignature": "c2ln",
            },
        ],
    }
)


@pytest.mark.asyncio
async def test_anthropic_answers_are_completions() -> None:
    api = AnthropicApi(answers=[ANTHROPIC_TOOL_MESSAGE])
    async with api.server as server, client_of(anthropic_upstream(server.url)) as client:
        answer = await client.chat.completions.create(model="m", messages=CONVERSATION)
    (choice,) = answer.choices
    assert (choice.finish_reason, choice.message.content) == ("tool_calls", "I look.")
    assert choice.message.reasoning_content == "Hm."
    assert choice.message.tool_calls[0].function.name == "weather"
    assert json.loads(choice.message.tool_calls[0].function.arguments) == {"city": "Rome"}
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens, answer.usage.total_tokens) == (15, 3, 18)
    assert answer.usage.prompt_tokens_details.cached_tokens == 5
    assert (answer.id, answer.created, answer.model) == ("msg_1", int(NOW.timestamp()), "claude-m")


@pytest.mark.asyncio
async def test_gemini_answers_keep_thought_signature() -> None:
    api = GeminiApi(answers=[GEMINI_TOOL_ANSWER, a_content()])
    async with api.server as server, client_of(gemini_upstream(server.url)) as client:
        answer = await client.chat.completions.create(model="m", messages=CONVERSATION)
        (choice,) = answer.choices
        assert (choice.finish_reason, choice.message.content) == ("tool_calls", "I look.")
        call = choice.message.tool_calls[0].model_dump()
        result = {"role": "tool", "tool_call_id": call["id"], "content": "blue"}
        said = {"role": "assistant", "tool_calls": [call]}
        await client.chat.completions.create(model="m", messages=[*CONVERSATION[:2], said, result])
    assert answer.usage.total_tokens == 13
    parts = [part for content in api.asked[1]["contents"] for part in content["parts"]]
    assert parts[-2]["thoughtSignature"] == "c2ln"
    assert parts[-1]["functionResponse"]["response"] == {"output": "blue"}


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("reason", "expected"),
    [
        ("end_turn", "stop"),
        ("stop_sequence", "stop"),
        ("max_tokens", "length"),
        ("model_context_window_exceeded", "length"),
        ("refusal", "content_filter"),
        ("a_reason_of_tomorrow", "stop"),
    ],
)
async def test_anthropic_finish_reasons(reason: str, expected: str) -> None:
    api = AnthropicApi(answers=[a_message() | {"stop_reason": reason}])
    async with api.server as server, client_of(anthropic_upstream(server.url)) as client:
        answer = await client.chat.completions.create(model="m", messages=CONVERSATION)
    assert answer.choices[0].finish_reason == expected


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("answer", "expected", "content"),
    [
        (a_content(finishReason="MAX_TOKENS"), "length", "hi"),
        (a_content(finishReason="SAFETY"), "content_filter", "hi"),
        (a_content(finishReason="A_REASON_OF_TOMORROW"), "stop", "hi"),
        (a_content(finishReason="MAX_TOKENS", content={"role": "model"}), "length", None),
        (a_content() | {"candidates": [], "promptFeedback": {"blockReason": "SAFETY"}}, "content_filter", None),
    ],
)
async def test_gemini_finish_reasons(answer: dict[str, Any], expected: str, content: str | None) -> None:
    api = GeminiApi(answers=[answer])
    async with api.server as server, client_of(gemini_upstream(server.url)) as client:
        completion = await client.chat.completions.create(model="m", messages=CONVERSATION)
    assert (completion.choices[0].finish_reason, completion.choices[0].message.content) == (expected, content)


def anthropic_stream() -> list[tuple[str, dict[str, Any]]]:
    begun = a_message() | {"content": [], "stop_reason": None}
    begun["usage"] = {"input_tokens": 10, "cache_read_input_tokens": 5, "output_tokens": 1}
    tool = {"type": "tool_use", "id": "toolu_1", "name": "weather", "input": {}}
    return [
        ("message_start", {"message": begun}),
        ("content_block_start", {"index": 0, "content_block": {"type": "text", "text": ""}}),
        ("ping", {}),
        ("content_block_delta", {"index": 0, "delta": {"type": "text_delta", "text": "I "}}),
        ("content_block_delta", {"index": 0, "delta": {"type": "text_delta", "text": "look."}}),
        ("content_block_stop", {"index": 0}),
        ("content_block_start", {"index": 1, "content_block": tool}),
        ("content_block_delta", {"index": 1, "delta": {"type": "input_json_delta", "partial_json": '{"city":'}}),
        ("content_block_delta", {"index": 1, "delta": {"type": "input_json_delta", "partial_json": '"Rome"}'}}),
        ("content_block_stop", {"index": 1}),
        ("message_delta", {"delta": {"stop_reason": "tool_use", "stop_sequence": None}, "usage": {"output_tokens": 9}}),
        ("message_stop", {}),
    ]


def gemini_stream() -> list[dict[str, Any]]:
    def part(made: dict[str, Any], **fields: str) -> dict[str, Any]:
        candidate = {"index": 0, "content": {"role": "model", "parts": [made]}, **fields}
        return {"candidates": [candidate], "modelVersion": "gemini-m", "responseId": "r1"}

    call = {"functionCall": {"name": "weather", "args": {"city": "Rome"}}}
    usage = {"promptTokenCount": 15, "candidatesTokenCount": 4, "thoughtsTokenCount": 5, "cachedContentTokenCount": 5}
    return [part({"text": "I "}), part({"text": "look."}), part(call, finishReason="STOP") | {"usageMetadata": usage}]


@pytest.mark.asyncio
@pytest.mark.parametrize("venue", ["anthropic", "gemini"])
async def test_streams_add_up_to_answer(venue: str) -> None:
    api = AnthropicApi(streams=[anthropic_stream()]) if venue == "anthropic" else GeminiApi(streams=[gemini_stream()])
    made = anthropic_upstream if venue == "anthropic" else gemini_upstream
    async with (
        api.server as server,
        client_of(made(server.url)) as client,
        client.chat.completions.stream(
            model="m", messages=CONVERSATION, stream_options={"include_usage": True}
        ) as stream,
    ):
        kinds = [event.type async for event in stream]
        answer = await stream.get_final_completion()
    assert "tool_calls.function.arguments.done" in kinds
    (choice,) = answer.choices
    assert (choice.message.content, choice.finish_reason) == ("I look.", "tool_calls")
    assert json.loads(choice.message.tool_calls[0].function.arguments) == {"city": "Rome"}
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (15, 9)
    assert answer.usage.prompt_tokens_details.cached_tokens == 5


@pytest.mark.asyncio
@pytest.mark.parametrize("venue", ["anthropic", "gemini"])
async def test_incomplete_stream_is_broken(venue: str) -> None:
    if venue == "anthropic":
        overloaded = ("error", {"error": {"type": "overloaded_error", "message": "Overloaded"}})
        api = AnthropicApi(streams=[anthropic_stream()[:5], [*anthropic_stream()[:5], overloaded]])
        made = anthropic_upstream
    else:
        overloaded = {"error": {"code": 503, "message": "Overloaded", "status": "UNAVAILABLE"}}
        api = GeminiApi(streams=[gemini_stream()[:2], [*gemini_stream()[:2], overloaded]])
        made = gemini_upstream
    body = json.dumps({"model": "m", "messages": [], "stream": True}).encode()
    async with api.server as server:
        upstream = made(server.url)
        for what in ("broke off", "violates its API"):
            reply = await upstream.send(Call(path="/v1/chat/completions", body=body, stream=True, model="m"))
            with pytest.raises(BrokenAnswerError, match=what):
                _ = [part async for part in reply.body]
            await reply.close()
        await upstream.close()


@pytest.mark.asyncio
async def test_errors_become_openai_with_retry_after() -> None:
    refused = {"type": "error", "status": 429, "error": {"type": "rate_limit_error", "message": "Slow down."}}
    api = AnthropicApi(answers=[refused])
    async with api.server as server, client_of(anthropic_upstream(server.url)) as client:
        with pytest.raises(openai.RateLimitError) as caught:
            await client.chat.completions.create(model="m", messages=CONVERSATION)
    error = caught.value
    assert (error.body["message"], error.type, error.code) == ("Slow down.", "rate_limit_error", "rate_limit_error")
    assert set(error.body) == {"message", "type", "param", "code"}
    assert error.response.headers["retry-after"] == "3"

    details = [{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "12.5s"}]
    refused = {"error": {"code": 429, "message": "Quota.", "status": "RESOURCE_EXHAUSTED", "details": details}}
    gemini = GeminiApi(answers=[refused])
    async with gemini.server as server, client_of(gemini_upstream(server.url)) as client:
        with pytest.raises(openai.RateLimitError) as caught:
            await client.chat.completions.create(model="m", messages=CONVERSATION)
    assert caught.value.response.headers["retry-after"] == "12.5"


@pytest.mark.asyncio
@pytest.mark.parametrize("made", [anthropic_upstream, gemini_upstream])
@pytest.mark.parametrize("answer", [b"<html>", b"[]", b"{}", b'{"content": 7, "candidates": 7}'])
async def test_malformed_answers_are_broken(made: Callable[[str], Upstream], answer: bytes) -> None:
    async def nonsense(_: Asked, wire: Wire) -> None:
        await wire.answer(answer)

    async with LocalServer(nonsense) as server:
        upstream = made(server.url)
        with pytest.raises(BrokenAnswerError):
            await upstream.send(Call(path="/v1/chat/completions", body=b'{"messages": []}', stream=False, model="m"))
        await upstream.close()


@pytest.mark.asyncio
@pytest.mark.parametrize("made", [anthropic_upstream, gemini_upstream])
async def test_other_endpoints_are_unsupported(made: Callable[[str], Upstream]) -> None:
    upstream = made("http://127.0.0.1:9")
    for path, body in (("/v1/embeddings", b"{}"), ("/v1/chat/completions", b"[]"), ("/v1/chat/completions", b"{")):
        with pytest.raises(UnsupportedError):
            await upstream.send(Call(path=path, body=body, stream=False, model="m"))
    await upstream.close()


@pytest.mark.asyncio
async def test_model_name_is_quoted_in_path() -> None:
    async def echo(asked: Asked, wire: Wire) -> None:
        await wire.answer(a_content(asked.path))

    async with LocalServer(echo) as server:
        upstream = gemini_upstream(server.url)
        call = Call(path="/v1/chat/completions", body=b'{"messages": []}', stream=False, model="../../x?key=1#")
        reply = await upstream.send(call)
        path = json.loads(await reply.read())["choices"][0]["message"]["content"]
        await upstream.close()
    assert path == "/v1/models/..%2F..%2Fx%3Fkey%3D1%23:generateContent"


# Every field that OpenAI's client knows, with a value that says something.
EVERY_FIELD: dict[str, Any] = {
    "audio": {"voice": "alloy", "format": "mp3"},
    "frequency_penalty": 0.25,
    "function_call": {"name": "weather"},
    "functions": [{"name": "weather"}],
    "logit_bias": {"17": 5},
    "logprobs": True,
    "max_completion_tokens": 4711,
    "max_tokens": 4712,
    "metadata": {"k": "v"},
    "modalities": ["text", "audio"],
    "moderation": {"model": "omni-moderation-latest"},
    "n": 2,
    "parallel_tool_calls": False,
    "prediction": {"type": "content", "content": "x"},
    "presence_penalty": 0.26,
    "prompt_cache_key": "key",
    "prompt_cache_options": {"mode": "explicit"},
    "prompt_cache_retention": "24h",
    "reasoning_effort": "high",
    "response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": {"title": "marked"}}},
    "safety_identifier": "who",
    "seed": 4713,
    "stop": ["marked"],
    "store": True,
    "temperature": 0.27,
    "tool_choice": {"type": "function", "function": {"name": "marked"}},
    "tools": [{"type": "function", "function": {"name": "marked"}}],
    "top_logprobs": 3,
    "top_p": 0.28,
    "user": "marked",
    "verbosity": "low",
    "web_search_options": {"search_context_size": "low"},
}
CARRIED = {
    "anthropic": {
        *("max_completion_tokens", "max_tokens", "parallel_tool_calls", "reasoning_effort", "response_format", "stop"),
        *("temperature", "tool_choice", "tools", "top_p", "user"),
    },
    "gemini": {
        *("frequency_penalty", "max_completion_tokens", "max_tokens", "n", "presence_penalty", "response_format"),
        *("seed", "stop", "temperature", "tool_choice", "tools", "top_p"),
    },
}
# The conversation itself, how it is answered, and the lane, which is the gateway's.
OWN = {"messages", "model", "stream", "stream_options", "service_tier"}


def test_every_official_field_is_covered() -> None:
    from openai.types.chat import completion_create_params

    known = set(completion_create_params.CompletionCreateParamsNonStreaming.__annotations__)
    known |= set(completion_create_params.CompletionCreateParamsBase.__annotations__)
    assert known - OWN == set(EVERY_FIELD)


@pytest.mark.parametrize("venue", ["anthropic", "gemini"])
@pytest.mark.parametrize("name", sorted(EVERY_FIELD))
def test_every_field_translated_or_refused(name: str, venue: str) -> None:
    dialect = anthropic_dialect.Anthropic() if venue == "anthropic" else gemini_dialect.Gemini()
    body = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
    before = json.dumps(dialect.request(dict(body), venue=venue))
    with_field = body | {name: EVERY_FIELD[name]}
    if name in CARRIED[venue]:
        assert json.dumps(dialect.request(with_field, venue=venue)) != before
    else:
        with pytest.raises(UnsupportedError) as caught:
            dialect.request(with_field, venue=venue)
        assert caught.value.param == name


@pytest.mark.parametrize("venue", ["anthropic", "gemini"])
@pytest.mark.parametrize(
    ("message", "param"),
    [
        ({"role": "user", "content": "hi", "name": "Ann"}, "messages[0].name"),
        ({"role": "user", "content": [{"type": "input_video", "url": "x"}]}, "messages[0].content[0].type"),
        ({"role": "user", "content": [{"type": "text", "text": "x", "cache": 1}]}, "messages[0].content[0].cache"),
        ({"role": "user", "content": 7}, "messages[0].content"),
        ({"role": "critic", "content": "hi"}, "messages[0].role"),
        ({"content": "hi"}, "messages[0].role"),
        ("hi", "messages[0]"),
        ({"role": "assistant", "audio": {"id": "a"}}, "messages[0].audio"),
        (
            {"role": "assistant", "tool_calls": [{"id": "c", "type": "custom", "custom": {}}]},
            "messages[0].tool_calls[0].type",
        ),
        (
            {"role": "assistant", "tool_calls": [CALLED | {"function": {"name": "f", "arguments": "{"}}]},
            "messages[0].tool_calls[0].function.arguments",
        ),
        (
            {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x", "detail": "high"}}]},
            "messages[0].content[0].image_url.detail",
        ),
    ],
)
def test_unsupported_message_field_is_named(venue: str, message: object, param: str) -> None:
    dialect = anthropic_dialect.Anthropic() if venue == "anthropic" else gemini_dialect.Gemini()
    with pytest.raises(UnsupportedError) as caught:
        dialect.request({"messages": [message]}, venue=venue)
    assert caught.value.param == param


def test_nulls_and_defaults_are_ignored() -> None:
    neutral = dict.fromkeys(EVERY_FIELD) | {
        "n": 1,
        "store": False,
        "logprobs": False,
        "frequency_penalty": 0,
        "presence_penalty": 0.0,
        "logit_bias": {},
        "metadata": {},
        "modalities": ["text"],
        "service_tier": "flex",
        "tools": [],
    }
    body = {"messages": [{"role": "user", "content": "hi"}]}
    for dialect in (anthropic_dialect.Anthropic(), gemini_dialect.Gemini()):
        said = dialect.request(body | neutral, venue="v")
        assert {"messages", "max_tokens"} >= set(said) or set(said) <= {"contents", "generationConfig"}
