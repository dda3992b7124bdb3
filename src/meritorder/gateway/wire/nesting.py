"""The depth and the number of values of JSON from clients, bounded before it is decoded."""

from itertools import accumulate
from typing import Final

MAX_DEPTH: Final = 100  # decoders recurse
MAX_VALUES: Final = 500_000  # an empty list is two bytes in JSON, and 64 in memory
_NOT_STRUCTURE: Final = bytes(byte for byte in range(256) if byte not in b"[]{}")
_STEPS: Final = bytes.maketrans(b"[{]}", b"\x01\x01\xff\xff")  # as signed bytes: one level down, one up


def is_too_deep(body: bytes) -> bool:
    """Tell whether arrays and objects are nested deeper than the maximum; whether the body is JSON is not checked."""
    if body.count(b"[") + body.count(b"{") <= MAX_DEPTH:
        return False
    if b"\\" in body:
        body = body.replace(b"\\\\", b"").replace(b'\\"', b"")
    structure = b"".join(body.split(b'"')[::2]).translate(_STEPS, _NOT_STRUCTURE)  # without the strings
    return max(accumulate(memoryview(structure).cast("b")), default=0) > MAX_DEPTH


def has_too_many_values(body: bytes) -> bool:
    """Tell whether there may be more values than the maximum; commas within strings count too."""
    return body.count(b",") + body.count(b"[") + body.count(b"{") > MAX_VALUES
