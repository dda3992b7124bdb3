"""The depth and the number of values of JSON from clients, bounded before it is decoded."""

from itertools import accumulate
from typing import Final

MAX_DEPTH: Final = 100  # decoders recurse
MAX_VALUES: Final = 1_000_000  # an empty list is two bytes in JSON, and 64 in memory
_NOT_STRUCTURE: Final = bytes(byte for byte in range(256) if byte not in b'"[]{}')
_STEP: Final = {byte: 1 if byte in b"[{" else -1 for byte in b"[]{}"}


def is_too_deep(body: bytes) -> bool:
    """Tell whether arrays and objects are nested deeper than the maximum; whether the body is JSON is not checked."""
    if body.count(b"[") + body.count(b"{") <= MAX_DEPTH:
        return False
    quoted = body.replace(b"\\\\", b"").replace(b'\\"', b"").translate(None, _NOT_STRUCTURE)
    structure = b"".join(quoted.split(b'"')[::2])  # without the strings
    return any(depth > MAX_DEPTH for depth in accumulate(map(_STEP.__getitem__, structure)))


def has_too_many_values(body: bytes) -> bool:
    """Tell whether there may be more values than the maximum; commas within strings count too."""
    return body.count(b",") + body.count(b"[") + body.count(b"{") > MAX_VALUES
