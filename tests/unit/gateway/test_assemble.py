"""A stream put together is the answer that would have come whole."""

import asyncio
import json
from collections.abc import AsyncIterator
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meritorder.gateway.errors import BrokenAnswerError
from meritorder.gateway.wire import usage
from meritorder.gateway.wire.assemble import AnswerAssembler
from meritorder.gateway.wire.replay import to_events

BASE = {"id": "c1", "created": 1, "model": "m", "system_fingerprint": "f"}
USAGE = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5, "prompt_tokens_details": {"cached_tokens": 1}}


def chunk(index: int = 0, finish: str | None = None, **delta: object) -> dict[str, Any]:
    choice = {"index": index, "delta": delta, "finish_reason": finish, "logprobs": None}
    return {**BASE, "object": "chat.completion.chunk", "choices": [choice]}


def stream(*parts: dict[str, Any], done: bool = True) -> bytes:
    events = b"".join(b"data: " + json.dumps(part).encode() + b"\n\n" for part in parts)
    return events + (b"data: [DONE]\n\n" if done else b"")


def assembled(text: bytes, cuts: tuple[int, ...] = ()) -> dict[str, Any]:
    async def chunks() -> AsyncIterator[bytes]:
        places = [0, *sorted(cuts), len(text)]
        for start, end in pairwise(places):
            yield text[start:end]

    return json.loads(asyncio.run(AnswerAssembler("v").read(chunks())))  # type: ignore[no-any-return]


CHAT = stream(
    chunk(role="assistant", content=""),
    chunk(content="Grüße, "),
    chunk(content="Welt"),
    chunk(finish="stop"),
    {**BASE, "object": "chat.completion.chunk", "choices": [], "usage": USAGE},
)


@given(cuts=st.lists(st.integers(0, len(CHAT)), max_size=8).map(tuple))
def test_wherever_it_is_cut_it_is_the_same(cuts: tuple[int, ...]) -> None:
    message = {"role": "assistant", "content": "Grüße, Welt"}
    choice = {"index": 0, "message": message, "finish_reason": "stop", "logprobs": None}
    found = assembled(CHAT, cuts)
    assert found["choices"] == [choice]
    assert found == {**BASE, "object": "chat.completion", "choices": [choice], "usage": USAGE}


def test_tool_calls_and_several_choices_grow_by_their_index() -> None:
    first = [{"index": 0, "id": "call_1", "type": "function", "function": {"name": "look", "arguments": ""}}]
    found = assembled(
        stream(
            chunk(role="assistant", tool_calls=first),
            chunk(tool_calls=[{"index": 0, "function": {"arguments": '{"a"'}}]),
            chunk(index=1, role="assistant", content="other"),
            chunk(tool_calls=[{"index": 0, "function": {"arguments": ": 1}"}}]),
            chunk(finish="tool_calls"),
            chunk(index=1, finish="stop"),
        )
    )
    one, two = found["choices"]
    assert one["message"]["tool_calls"] == [
        {"id": "call_1", "type": "function", "function": {"name": "look", "arguments": '{"a": 1}'}}
    ]
    assert one["message"]["content"] is None
    assert (two["message"]["content"], two["finish_reason"]) == ("other", "stop")


def test_fields_that_nobody_knows_are_kept() -> None:
    found = assembled(
        stream({**chunk(content="a", reasoning_content="think"), "timings": {"n": 1}}, chunk(finish="stop"))
    )
    assert found["timings"] == {"n": 1}
    assert found["choices"][0]["message"]["reasoning_content"] == "think"


def test_completions_are_texts() -> None:
    parts = [
        {**BASE, "object": "text_completion", "choices": [{"index": 0, "text": text, "finish_reason": finish}]}
        for text, finish in (("a", None), ("b", "length"))
    ]
    found = assembled(stream(*parts))
    assert found["object"] == "text_completion"
    assert found["choices"] == [{"index": 0, "text": "ab", "finish_reason": "length"}]


@pytest.mark.parametrize(
    "text",
    [
        stream(chunk(content="a"), done=False),
        b"data: [DONE]\n\n",
        b"data: {broken\n\ndata: [DONE]\n\n",
        stream({"error": {"message": "out of memory"}}),
        b"",
    ],
)
def test_a_stream_that_is_no_answer_is_broken(text: bytes) -> None:
    with pytest.raises(BrokenAnswerError):
        assembled(text)


def test_an_answer_as_events_is_the_answer_again() -> None:
    whole = assembled(CHAT)
    assert assembled(to_events(json.dumps(whole).encode())) == whole


def test_usage_is_read_in_the_words_of_both_endpoints() -> None:
    chat = usage.parse_usage(json.dumps({"usage": USAGE}).encode())
    assert chat == usage.Usage(input_tokens=3, cached_tokens=1, output_tokens=2, counted=True)
    reported = {"input_tokens": 4, "output_tokens": 5, "output_tokens_details": {"reasoning_tokens": 2}}
    said = usage.parse_usage(json.dumps({"usage": reported}).encode())
    assert said == usage.Usage(input_tokens=4, output_tokens=5, reasoning_tokens=2, counted=True)
    assert usage.parse_usage(b"{}") is None
    assert usage.parse_usage(b"not json") is None
    assert usage.parse_usage(b'{"usage": "none"}') is None


@given(cuts=st.lists(st.integers(0, len(CHAT)), max_size=8))
def test_a_stream_that_goes_by_is_metered(cuts: list[int]) -> None:
    meter = usage.StreamMeter()
    places = [0, *sorted(cuts), len(CHAT)]
    for start, end in pairwise(places):
        meter.feed(CHAT[start:end])
    assert meter.usage(99) == usage.Usage(input_tokens=3, cached_tokens=1, output_tokens=2, counted=True)
