import json

import pytest

from meritorder.gateway.wire.errors import ApiError, normalized_error, unavailable

KEYS = {"message", "type", "param", "code"}


@pytest.mark.parametrize(
    ("body", "message", "kind"),
    [
        (b'{"error": {"message": "no", "type": "t"}}', "no", "t"),
        (b'{"error": "no"}', "no", "server_error"),
        (b'{"message": "no"}', "no", "server_error"),
        (b'{"detail": "no"}', "no", "server_error"),
        (b"[]", "The model's server answered with an error.", "server_error"),
        (b"<html>", "<html>", "server_error"),
    ],
)
def test_any_error_becomes_openai(body: bytes, message: str, kind: str) -> None:
    error = json.loads(normalized_error(body))["error"]
    assert set(error) == KEYS
    assert (error["message"], error["type"]) == (message, kind)


def test_numeric_code_becomes_text() -> None:
    assert json.loads(normalized_error(b'{"error": {"code": 400, "extra": 1}}'))["error"] == {
        "code": "400",
        "extra": 1,
        "message": None,
        "type": "server_error",
        "param": None,
    }


def test_type_follows_status() -> None:
    for status, kind in ((404, "invalid_request_error"), (429, "rate_limit_error"), (503, "server_error")):
        assert json.loads(ApiError(status, "m").body())["error"]["type"] == kind


def test_retry_after_is_whole_seconds() -> None:
    assert unavailable("m", retry_after_s=0.2).headers == (("retry-after", "1"),)
    assert unavailable("m", retry_after_s=2.6).headers == (("retry-after", "3"),)
    assert unavailable("m").headers == ()
