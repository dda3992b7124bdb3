"""Embeddings in base64, which official clients ask for by default, from engines that answer with numbers only."""

import base64
import struct
from collections.abc import AsyncIterator
from typing import Any, Final

import msgspec

from meritorder.gateway import decoding
from meritorder.gateway.upstreams.upstream import Reply, Wrapped
from meritorder.gateway.wire.errors import INVALID_JSON

_BASE64: Final = "base64"


class _Format(msgspec.Struct):
    encoding_format: str | None = None


def wants_base64(body: bytes) -> bool:
    """Tell whether a request asks for embeddings in base64."""
    if _BASE64.encode() not in body:
        return False
    try:
        return msgspec.json.decode(body, type=_Format).encoding_format == _BASE64
    except INVALID_JSON:
        return False  # the venue rejects it


class Base64Reply(Wrapped):
    """An answer whose embeddings are little-endian 32-bit numbers in base64. See `upstream.Reply`."""

    __slots__ = ("_content",)

    def __init__(self, reply: Reply) -> None:
        super().__init__(reply)
        self._content: bytes | None = None

    @property
    def body(self) -> AsyncIterator[bytes]:
        """The whole answer."""
        return self._parts()

    async def _parts(self) -> AsyncIterator[bytes]:
        yield await self.read()

    async def read(self) -> bytes:
        """Return the answer; embeddings in base64 stay as they are."""
        if self._content is None:
            self._content = await decoding.run(_in_base64, await self._reply.read())
        return self._content


def _in_base64(body: bytes) -> bytes:
    try:
        answer: Any = msgspec.json.decode(body)
        numbers = [item for item in answer["data"] if isinstance(item["embedding"], list)]
        for item in numbers:
            packed = struct.pack(f"<{len(item['embedding'])}f", *item["embedding"])
            item["embedding"] = base64.b64encode(packed).decode()
    except (*INVALID_JSON, KeyError, TypeError, struct.error, OverflowError):
        return body  # its reader says what is wrong
    return msgspec.json.encode(answer) if numbers else body
