"""Streams whose first chunk has no role."""

import asyncio
import json
from collections.abc import AsyncIterator
from itertools import pairwise
from typing import Any, cast

from hypothesis import given
from hypothesis import strategies as st

from meritorder.gateway.upstreams.openai import FirstRoleReply
from meritorder.gateway.upstreams.upstream import Reply


def event(*choices: tuple[int, dict[str, Any]]) -> bytes:
    chunk = {"choices": [{"index": index, "delta": delta} for index, delta in choices]}
    return b"data: " + json.dumps(chunk).encode() + b"\n\n"


def passed(stream: bytes, choices: int = 1, cuts: tuple[int, ...] = ()) -> bytes:
    class Sent:
        status, headers = 200, {}

        @property
        async def body(self) -> AsyncIterator[bytes]:
            for start, end in pairwise([0, *sorted(cuts), len(stream)]):
                yield stream[start:end]

    async def read() -> bytes:
        return b"".join([part async for part in FirstRoleReply(cast("Reply", Sent()), choices).body])

    return asyncio.run(read())


STREAM = b": ping\r\n\r\n" + event((0, {"content": "Grüße"})) + event((0, {"content": "!"})) + b"data: [DONE]\n\n"


@given(cuts=st.lists(st.integers(0, len(STREAM)), max_size=6).map(tuple))
def test_first_chunk_gets_a_role(cuts: tuple[int, ...]) -> None:
    lines = passed(STREAM, cuts=cuts).split(b"\n")
    first, second = (json.loads(line[5:])["choices"][0]["delta"] for line in lines if b"delta" in line)
    assert first == {"role": "assistant", "content": "Grüße"}
    assert second == {"content": "!"}
    assert lines[0] == b": ping\r"
    assert lines[-3] == b"data: [DONE]"


def test_each_choice_gets_its_role() -> None:
    stream = event((1, {"content": "a"})) + event((0, {"content": "b"}), (1, {"content": "c"}))
    deltas = [
        choice["delta"] for line in passed(stream, 2).split(b"\n") if line for choice in json.loads(line[5:])["choices"]
    ]
    assert ["role" in delta for delta in deltas] == [True, True, False]


def test_stream_with_roles_is_unchanged() -> None:
    stream = event((0, {"role": "assistant", "content": None})) + event((0, {"content": "a"}))
    assert passed(stream) == stream
    assert passed(b"data: {broken\n\n") == b"data: {broken\n\n"
    assert passed(b'data: {"delta": 1}') == b'data: {"delta": 1}'
