"""Errors in OpenAI's format: a status and `{"error": {"message", "type", "param", "code"}}`."""

import re
from typing import Any, Final

import msgspec

INVALID_JSON: Final = (msgspec.DecodeError, ValueError, RecursionError, OverflowError)
"""Exceptions of msgspec for a body that is not JSON, not UTF-8, nested too deeply, or has numbers too large to hold."""

_TYPES: Final = {
    400: "invalid_request_error",
    401: "invalid_request_error",
    403: "invalid_request_error",
    404: "invalid_request_error",
    405: "invalid_request_error",
    409: "invalid_request_error",
    413: "invalid_request_error",
    415: "invalid_request_error",
    422: "invalid_request_error",
    429: "rate_limit_error",
}
_SERVER_ERROR: Final = "server_error"
_ANTHROPIC_TYPES: Final = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    422: "invalid_request_error",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
    529: "overloaded_error",
}
_RESPONSES: Final = "/v1/responses"
_MESSAGES: Final = "/v1/messages"
_NO_MESSAGE: Final = "The model's server answered with an error."
_ACCESS: Final = frozenset({401, 402, 403, 407})
_MAX_MESSAGE: Final = 1000  # a message may quote what the client sent
_MAX_CODE: Final = 100
# URLs of hosts that are not public, other such hosts, IP addresses, file paths, keys, and what follows a traceback.
_PRIVATE: Final = re.compile(
    r"\w+://(?![\w-]+(?:\.[\w-]+)*\.(?:com|org|net|ai|io|dev|co)(?:[/\s.,)]|$))\S+"
    r"|\b[\w-]+(?:\.[\w-]+)*\.(?:internal|local|lan|corp|intranet|svc|cluster)\b[\w.:/-]*"
    r"|\b[\w.-]+:\d{2,5}\b|\b(?:\d{1,3}\.){3}\d{1,3}\b"
    r"|(?<![\w.])/(?:app|data|etc|home|mnt|opt|root|srv|tmp|usr|var|workspace)\b\S*"
    r"|\b(?:sk|key|pk)-\S{6,}|\bBearer \S+|Traceback \(most.*",
    re.DOTALL,
)


class ApiError(Exception):
    """A request that is answered with an error.

    Args:
        status: HTTP status.
        message: What is wrong and how to fix it.
        kind: OpenAI's `type`; by default from the status.
        param: The invalid field.
        code: OpenAI's machine-readable code.
        headers: Additional response headers.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        kind: str | None = None,
        param: str | None = None,
        code: str | None = None,
        headers: tuple[tuple[str, str], ...] = (),
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message if len(message) <= _MAX_MESSAGE else f"{message[:_MAX_MESSAGE]}…"
        self.kind = kind or _TYPES.get(status, _SERVER_ERROR)
        self.param = param
        self.code = code
        self.headers = headers

    def body(self) -> bytes:
        """Return the error object, always with all four keys."""
        error = {"message": self.message, "type": self.kind, "param": self.param, "code": self.code}
        return msgspec.json.encode({"error": error})

    def body_of(self, path: str, request_id: str) -> bytes:
        """Return the error object in the form of the API that a path belongs to."""
        if path.startswith(_MESSAGES):
            return msgspec.json.encode(anthropic_error(self.status, self.message, request_id))
        return self.body()

    def event(self, path: str) -> bytes:
        """Return the error as the last event of a stream that has begun."""
        if path.startswith(_RESPONSES):
            fields = {"type": "error", "code": self.code, "message": self.message, "param": self.param}
        elif path.startswith(_MESSAGES):
            fields = anthropic_error(self.status, self.message)
        else:
            return b"data: " + self.body() + b"\n\n"
        return b"event: error\ndata: " + msgspec.json.encode(fields) + b"\n\n"


def anthropic_error(status: int, message: str, request_id: str | None = None) -> dict[str, Any]:
    """Return an error in Anthropic's form."""
    kind = _ANTHROPIC_TYPES.get(status, "invalid_request_error" if status < 500 else "api_error")
    return {"type": "error", "error": {"type": kind, "message": message}, "request_id": request_id}


def invalid_request(message: str, *, param: str | None = None, code: str | None = None) -> ApiError:
    """Return a 400."""
    return ApiError(400, message, param=param, code=code)


def unknown_model(model: str, endpoint: str) -> ApiError:
    """Return OpenAI's answer to a call whose model no venue serves: 400 for responses, else 404."""
    status = 400 if endpoint.startswith("/v1/responses") else 404
    message = f"The model '{model}' does not exist or you do not have access to it."
    return ApiError(status, message, param="model", code="model_not_found")


def internal_error() -> ApiError:
    """Return the 500 of an unexpected exception."""
    return ApiError(500, "Internal error of the gateway.")


def unavailable(message: str, *, retry_after_s: float | None = None, code: str | None = None) -> ApiError:
    """Return a 503: nothing was done, and the client may retry."""
    after = () if retry_after_s is None else (("retry-after", str(max(1, round(retry_after_s)))),)
    return ApiError(503, message, code=code or "service_unavailable", headers=after)


def normalized_error(body: bytes, status: int) -> bytes:
    """Return a venue's error in OpenAI's format, without what is none of the client's business.

    A message about the request is kept, except for addresses, paths and keys in it. What a server says about itself, or
    about the gateway's access to it, is not.
    """
    try:
        whole = msgspec.json.decode(body)
    except INVALID_JSON:
        whole = None
    fields: dict[str, object] = whole if isinstance(whole, dict) else {}
    error = fields.get("error")
    if not isinstance(error, dict):
        error = {"message": error or fields.get("message") or fields.get("detail")}
    message, kind, param, code = (error.get(name) for name in ("message", "type", "param", "code"))
    if status >= 500 or status in _ACCESS or not isinstance(message, str):
        message = _NO_MESSAGE
    public = {
        "message": _PRIVATE.sub("[...]", message[:_MAX_MESSAGE]),
        "type": _text(kind) or _TYPES.get(status, _SERVER_ERROR),
        "param": _text(param),
        "code": _text(code),
    }
    return msgspec.json.encode({"error": public})


def _text(value: object) -> str | None:
    """Return a short text or a number as text; None for anything else."""
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    return value if isinstance(value, str) and len(value) <= _MAX_CODE and not _PRIVATE.search(value) else None
