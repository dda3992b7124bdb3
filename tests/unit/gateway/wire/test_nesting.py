import json

import pytest

from meritorder.gateway.wire.nesting import MAX_DEPTH, is_too_deep


def nested(depth: int, opening: bytes = b"[", closing: bytes = b"]") -> bytes:
    return opening * depth + b"1" + closing * depth


@pytest.mark.parametrize(("opening", "closing"), [(b"[", b"]"), (b'{"a":', b"}")])
def test_depth_is_bounded_exactly(opening: bytes, closing: bytes) -> None:
    assert not is_too_deep(nested(MAX_DEPTH, opening, closing))
    assert is_too_deep(nested(MAX_DEPTH + 1, opening, closing))


def test_width_is_not_depth() -> None:
    assert not is_too_deep(json.dumps([[{"a": []}]] * 10_000).encode())


def test_brackets_in_strings_do_not_count() -> None:
    for text in ("[" * 500, '"' + "{" * 500, "\\" + "[" * 500, '\\"' + "[" * 500):
        assert not is_too_deep(json.dumps({"a": text}).encode())
        assert is_too_deep(json.dumps([text]).encode() + nested(500))


def test_unfinished_nesting_is_found() -> None:
    assert is_too_deep(b"[" * 100_000)
    assert is_too_deep(b'{"a":' * 500)
    assert not is_too_deep(b"]" * 500)
