from collections.abc import Callable

import msgspec
import pytest

from meritorder.gateway.wire import calls
from meritorder.gateway.wire.calls import CallFields
from meritorder.gateway.wire.errors import INVALID_JSON, ApiError


def test_output_limit_in_any_field() -> None:
    for name in ("max_tokens", "max_completion_tokens", "max_output_tokens"):
        assert calls.parse_call(b'{"model": "m", "%s": 7}' % name.encode()).output_tokens == 7
    assert calls.parse_call(b'{"model": "m"}').output_tokens == 512
    assert calls.parse_call(b'{"model": "m", "max_tokens": -5}').output_tokens == 0


def test_model_is_required_unless_defaulted() -> None:
    assert calls.parse_call(b"{}", "m").model == "m"
    with pytest.raises(ApiError, match="must provide a model"):
        calls.parse_call(b"{}")


@pytest.mark.parametrize(
    ("body", "param"), [(b'{"model": "m", "stream": 1}', "stream"), (b'{"model": 1}', "model"), (b"{", None)]
)
def test_invalid_call_names_field(body: bytes, param: str | None) -> None:
    with pytest.raises(ApiError) as caught:
        calls.parse_call(body)
    assert (caught.value.status, caught.value.param) == (400, param)


@pytest.mark.parametrize("depth", [101, 1200, 100_000])
def test_deep_bodies_are_refused(depth: int) -> None:
    deep = b"[" * depth + b"]" * depth
    with pytest.raises(ApiError, match="nested more than 100 levels"):
        calls.parse_call(b'{"model": "m", "x": %s}' % deep)
    with pytest.raises(INVALID_JSON):
        calls.parse_line(b'{"custom_id": "a", "method": "POST", "url": "/", "body": %s}' % deep)


def test_bodies_of_many_values_are_refused() -> None:
    for value in (b"[]", b"1", b'"a"'):
        many = b"[" + b",".join([value] * 600_000) + b"]"
        with pytest.raises(ApiError, match="more than 500,000 values"):
            calls.parse_call(b'{"model": "m", "x": %s}' % many)
        with pytest.raises(INVALID_JSON):
            calls.parse_line(b'{"custom_id": "a", "method": "POST", "url": "/", "body": %s}' % many)


@pytest.mark.parametrize("digits", [30, 5000])
def test_long_integers_end_as_client_errors(digits: int) -> None:
    number = b"9" * digits
    assert calls.parse_call(b'{"model": "m", "seed": %s}' % number).model == "m"  # not ours: the venue refuses it
    if digits < 1000:
        assert calls.parse_call(b'{"model": "m", "max_tokens": %s}' % number).output_tokens == 10_000_000
    else:
        with pytest.raises(ApiError):
            calls.parse_call(b'{"model": "m", "max_tokens": %s}' % number)


@pytest.mark.parametrize("parse", [calls.parse_call, lambda body: calls.parse_line_call(body, "/v1/completions")])
@pytest.mark.parametrize("prompt", [b"[1e999]", b'["a", [-1e999]]', b"9" * 5000])
def test_prompts_that_cannot_be_counted_are_refused(parse: Callable[[bytes], CallFields], prompt: bytes) -> None:
    with pytest.raises(ApiError) as caught:
        parse(b'{"model": "m", "prompt": %s}' % prompt)
    assert caught.value.status == 400


@pytest.mark.parametrize("value", [b"9" * 5000, b"1e999", b'"\\ud800"', b'"\xff"'], ids=range(4))
def test_body_that_is_kept_can_be_read(value: bytes) -> None:
    with pytest.raises(ApiError) as caught:
        calls.read_call(b'{"model": "m", "x": %s}' % value, "/v1/responses", None)
    assert caught.value.status == 400


def test_fields_are_set_and_removed() -> None:
    body = b'{"a": 1.50, "stream": true}'
    assert calls.with_fields(body, stream=None) == b'{"a":1.50}'
    assert calls.with_fields(body, b="x") == b'{"a":1.50,"stream":true,"b":"x"}'
    assert calls.with_fields(body, absent=None) is body


def test_default_replaces_only_null() -> None:
    assert calls.with_default(b'{"model": "m"}', "model", "d") == b'{"model": "m"}'
    assert calls.with_default(b'{"model": null}', "model", "d") == b'{"model":"d"}'


def test_equal_starts_share_prefix_hash() -> None:
    start = b"x" * 256
    assert calls.prefix_hash(start + b"a") == calls.prefix_hash(start + b"b")
    assert calls.prefix_hash(b"a") != calls.prefix_hash(b"b")


def test_stream_usage_is_opt_in() -> None:
    assert calls.wants_usage(b'{"stream_options": {"include_usage": true}}')
    assert not calls.wants_usage(b'{"stream": true}')
    assert not calls.wants_usage(b'{"stream_options": 3}')


@pytest.mark.parametrize("text", [b"\xff", b"\xed\xa0\x80", b"\\ud800", b"\\uDFFF\\ud800", b"\\uD83D x"])
def test_text_that_is_not_unicode_is_refused(text: bytes) -> None:
    """Engines answer 500 to it, as if they had failed."""
    body = b'{"model": "m", "messages": [{"role": "user", "content": "%b"}]}' % text
    with pytest.raises(ApiError) as caught:
        calls.parse_call(body)
    assert caught.value.status == 400
    with pytest.raises(msgspec.DecodeError):
        calls.parse_line(b'{"custom_id": "a", "method": "POST", "url": "/v1/chat/completions", "body": %b}' % body)


@pytest.mark.parametrize("text", ["\u00e9", "\\ud83d\\ude00", "\U0001f600", "\\\\ud800"])
def test_text_that_is_unicode_is_accepted(text: str) -> None:
    """Also pairs of surrogates, and a backslash before what looks like one."""
    assert calls.parse_call(f'{{"model": "m", "x": "{text}"}}'.encode()).model == "m"
