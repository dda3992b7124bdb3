import json
from typing import Any

import pytest

from meritorder.gateway.wire import checks
from meritorder.gateway.wire.errors import ApiError


@pytest.mark.parametrize(
    ("value", "code"),
    [
        ({f"key{number}": "v" for number in range(17)}, "object_above_max_properties"),
        ({"k" * 65: "v"}, "string_above_max_length"),
        ({"k": "v" * 513}, "string_above_max_length"),
        ({"k": 1}, "invalid_type"),
        ([], "invalid_type"),
    ],
)
def test_metadata_beyond_bounds(value: object, code: str) -> None:
    with pytest.raises(ApiError) as caught:
        checks.metadata(value)
    assert caught.value.code == code


def test_metadata_at_bounds() -> None:
    value = {f"{number:064}": "v" * 512 for number in range(16)}
    assert json.loads(checks.metadata(value) or "") == value
    assert checks.metadata(None) is None


@pytest.mark.parametrize(
    ("seconds", "code"),
    [(3599, "integer_below_min_value"), (2_592_001, "integer_above_max_value"), (True, "invalid_type")],
)
def test_lifetime_beyond_bounds(seconds: object, code: str) -> None:
    with pytest.raises(ApiError) as caught:
        checks.lifetime_s({"anchor": "created_at", "seconds": seconds}, "expires_after")
    assert (caught.value.code, caught.value.param) == (code, "expires_after.seconds")


def test_lifetime_from_forms() -> None:
    assert checks.lifetime_s({"anchor": "created_at", "seconds": "3600"}, "expires_after") == 3600.0
    assert checks.lifetime_s(None, "expires_after") is None
    with pytest.raises(ApiError, match="created_at"):
        checks.lifetime_s({"anchor": "now", "seconds": 3600}, "expires_after")


@pytest.mark.parametrize(
    ("fields", "code"),
    [({}, "missing_required_parameter"), ({"name": 1}, "invalid_type"), ({"name": "a\0"}, "invalid_value")],
)
def test_required_text_is_checked(fields: dict[str, Any], code: str) -> None:
    with pytest.raises(ApiError) as caught:
        checks.text(fields, "name")
    assert caught.value.code == code


def test_query_limit_is_bounded() -> None:
    assert checks.limit(None, default=20, maximum=100) == 20
    assert checks.limit("100", default=20, maximum=100) == 100
    for value in ("101", "-1", "many"):
        with pytest.raises(ApiError):
            checks.limit(value, default=20, maximum=100)


def test_choice_lists_values() -> None:
    assert checks.choice("order", "asc", ("asc", "desc")) == "asc"
    with pytest.raises(ApiError, match="Supported values are: 'asc', 'desc'") as caught:
        checks.choice("order", "up", ("asc", "desc"))
    assert caught.value.param == "order"


def test_body_must_be_object() -> None:
    assert checks.json_object(b"") == {}
    for body in (b"[]", b"{", b"\xff"):
        with pytest.raises(ApiError):
            checks.json_object(body)


def nested(depth: int, opening: bytes = b"[", closing: bytes = b"]") -> bytes:
    return opening * depth + b"1" + closing * depth


@pytest.mark.parametrize(("opening", "closing"), [(b"[", b"]"), (b'{"a":', b"}")])
def test_depth_is_bounded_exactly(opening: bytes, closing: bytes) -> None:
    assert not checks.is_too_deep(nested(checks.MAX_DEPTH, opening, closing))
    assert checks.is_too_deep(nested(checks.MAX_DEPTH + 1, opening, closing))


def test_width_is_not_depth() -> None:
    assert not checks.is_too_deep(json.dumps([[{"a": []}]] * 10_000).encode())


def test_brackets_in_strings_do_not_count() -> None:
    for text in ("[" * 500, '"' + "{" * 500, "\\" + "[" * 500, '\\"' + "[" * 500):
        assert not checks.is_too_deep(json.dumps({"a": text}).encode())
        assert checks.is_too_deep(json.dumps([text]).encode() + nested(500))


def test_unfinished_nesting_is_found() -> None:
    assert checks.is_too_deep(b"[" * 100_000)
    assert checks.is_too_deep(b'{"a":' * 500)
    assert not checks.is_too_deep(b"]" * 500)
