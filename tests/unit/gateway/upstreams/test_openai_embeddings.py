"""Embeddings in the form that was asked for."""

import asyncio
import base64
import json
import struct
from typing import cast

import pytest

from meritorder.gateway.upstreams.openai import Base64Reply, wants_base64
from meritorder.gateway.upstreams.upstream import Reply


def encoded(answer: bytes) -> bytes:
    class Given:
        status, headers = 200, {}

        async def read(self) -> bytes:
            return answer

    return asyncio.run(Base64Reply(cast("Reply", Given())).read())


def test_numbers_become_base64() -> None:
    answer = {"object": "list", "data": [{"index": 0, "embedding": [0.5, -1, 3]}], "model": "m"}
    (item,) = json.loads(encoded(json.dumps(answer).encode()))["data"]
    assert struct.unpack("<3f", base64.b64decode(item["embedding"])) == (0.5, -1.0, 3.0)


@pytest.mark.parametrize(
    "answer", [b'{"data": [{"embedding": "AAAA"}]}', b"broken", b"{}", b'{"data": [{"embedding": ["x"]}]}', b"[1]"]
)
def test_other_answers_stay_as_they_are(answer: bytes) -> None:
    assert encoded(answer) == answer


@pytest.mark.parametrize(
    ("body", "wants"),
    [
        (b'{"encoding_format": "base64"}', True),
        (b'{"encoding_format": "float", "input": "base64"}', False),
        (b'{"input": "base64"}', False),
        (b"base64", False),
        (b"{}", False),
    ],
)
def test_request_decides_the_form(body: bytes, wants: bool) -> None:  # noqa: FBT001
    assert wants_base64(body) is wants
