"""A streamed answer is assembled into the answer of a call without streaming."""

import asyncio
import json
from collections.abc import AsyncIterator
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.samples.streams import BASE, CHAT, USAGE, chunk, stream

from meritorder.gateway.errors import BrokenAnswerError
from meritorder.gateway.wire.assemble import AnswerAssembler


def assembled(text: bytes, cuts: tuple[int, ...] = ()) -> dict[str, Any]:
    async def chunks() -> AsyncIterator[bytes]:
        places = [0, *sorted(cuts), len(text)]
        for start, end in pairwise(places):
            yield text[start:end]

    return json.loads(asyncio.run(AnswerAssembler("v").read(chunks())))  # type: ignore[no-any-return]


@given(cuts=st.lists(st.integers(0, len(CHAT)), max_size=8).map(tuple))
def test_cuts_do_not_change_answer(cuts: tuple[int, ...]) -> None:
    message = {"role": "assistant", "content": "Grüße, Welt", "refusal": None}
    choice = {"index": 0, "message": message, "finish_reason": "stop", "logprobs": None}
    answer = assembled(CHAT, cuts)
    assert answer["choices"] == [choice]
    assert answer == {**BASE, "object": "chat.completion", "choices": [choice], "usage": USAGE}


def test_tool_calls_merge_by_index() -> None:
    first = [{"index": 0, "id": "call_1", "type": "function", "function": {"name": "look", "arguments": ""}}]
    answer = assembled(
        stream(
            chunk(role="assistant", tool_calls=first),
            chunk(tool_calls=[{"index": 0, "function": {"arguments": '{"a"'}}]),
            chunk(index=1, role="assistant", content="other"),
            chunk(tool_calls=[{"index": 0, "function": {"arguments": ": 1}"}}]),
            chunk(finish="tool_calls"),
            chunk(index=1, finish="stop"),
        )
    )
    first_choice, second_choice = answer["choices"]
    assert first_choice["message"]["tool_calls"] == [
        {"id": "call_1", "type": "function", "function": {"name": "look", "arguments": '{"a": 1}'}}
    ]
    assert first_choice["message"]["content"] is None
    assert (second_choice["message"]["content"], second_choice["finish_reason"]) == ("other", "stop")


def test_unknown_fields_are_preserved() -> None:
    answer = assembled(
        stream({**chunk(content="a", reasoning_content="think"), "timings": {"n": 1}}, chunk(finish="stop"))
    )
    assert answer["timings"] == {"n": 1}
    assert answer["choices"][0]["message"]["reasoning_content"] == "think"


def test_completion_texts_are_joined() -> None:
    parts = [
        {**BASE, "object": "text_completion", "choices": [{"index": 0, "text": text, "finish_reason": finish}]}
        for text, finish in (("a", None), ("b", "length"))
    ]
    answer = assembled(stream(*parts))
    assert answer["object"] == "text_completion"
    assert answer["choices"] == [{"index": 0, "text": "ab", "finish_reason": "length", "logprobs": None}]


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
def test_incomplete_stream_is_broken(text: bytes) -> None:
    with pytest.raises(BrokenAnswerError):
        assembled(text)
