import json

import pytest

from meritorder.gateway.wire.errors import ApiError, normalized_error, unavailable

NO_MESSAGE = "The model's server answered with an error."
KEYS = {"message", "type", "param", "code"}


@pytest.mark.parametrize(
    ("body", "message", "kind"),
    [
        (b'{"error": {"message": "no", "type": "t"}}', "no", "t"),
        (b'{"error": "no"}', "no", "invalid_request_error"),
        (b'{"message": "no"}', "no", "invalid_request_error"),
        (b'{"detail": "no"}', "no", "invalid_request_error"),
        (b'{"error": {"message": {"a": 1}, "type": 5.5, "param": []}}', NO_MESSAGE, "invalid_request_error"),
        (b"[]", NO_MESSAGE, "invalid_request_error"),
        (b"<html><title>nginx", NO_MESSAGE, "invalid_request_error"),
        (b"[" * 5000, NO_MESSAGE, "invalid_request_error"),
        (b"", NO_MESSAGE, "invalid_request_error"),
    ],
)
def test_any_error_becomes_openai(body: bytes, message: str, kind: str) -> None:
    error = json.loads(normalized_error(body, 400))["error"]
    assert set(error) == KEYS
    assert (error["message"], error["type"]) == (message, kind)


def test_numeric_code_becomes_text() -> None:
    body = b'{"error": {"code": 400, "message": "m", "stack": "File /opt/engine.py"}}'
    assert json.loads(normalized_error(body, 404))["error"] == {
        "code": "400",
        "message": "m",
        "type": "invalid_request_error",
        "param": None,
    }


@pytest.mark.parametrize("status", [401, 403, 500, 503, 529])
def test_servers_do_not_talk_about_themselves(status: int) -> None:
    body = b'{"error": {"message": "CUDA out of memory", "type": "server_error"}}'
    assert json.loads(normalized_error(body, status))["error"]["message"] == NO_MESSAGE


@pytest.mark.parametrize(
    "private",
    [
        "http://vllm-7.prod.svc.cluster.local:8000/v1",
        "https://10.0.3.7/v1/models",
        "http://engine/v1",
        "vllm-7:8000",
        "gpu4.internal",
        "10.0.3.7",
        "/opt/vllm/engine.py",
        "sk-proj-abcdef123456",
        'Traceback (most recent call last):\n  File "x.py"',
    ],
)
def test_private_parts_of_messages_are_removed(private: str) -> None:
    body = json.dumps({"error": {"message": f"The prompt is too long. See {private}", "code": private}}).encode()
    error = json.loads(normalized_error(body, 400))["error"]
    assert (error["message"], error["code"]) == ("The prompt is too long. See [...]", None)


@pytest.mark.parametrize(
    "message",
    [
        "See https://platform.openai.com/docs/api-reference.",
        "This model's maximum context length is 8192 tokens. However, you requested 9000 tokens (1:2).",
        "Unknown path /v1/chat/completion",
        "messages[3].content: Input should be a valid string",
    ],
)
def test_messages_about_the_request_are_kept(message: str) -> None:
    body = json.dumps({"error": {"message": message}}).encode()
    assert json.loads(normalized_error(body, 400))["error"]["message"] == message


def test_type_follows_status() -> None:
    for status, kind in ((404, "invalid_request_error"), (429, "rate_limit_error"), (503, "server_error")):
        assert json.loads(ApiError(status, "m").body())["error"]["type"] == kind


def test_retry_after_is_whole_seconds() -> None:
    assert unavailable("m", retry_after_s=0.2).headers == (("retry-after", "1"),)
    assert unavailable("m", retry_after_s=2.6).headers == (("retry-after", "3"),)
    assert unavailable("m").headers == ()
