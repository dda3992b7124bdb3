"""A call that may wait, its answer, and how a key identifies it."""

import hashlib
import json
from dataclasses import dataclass
from typing import Any, Final

MESSAGES: Final = "/messages"
ENDPOINTS: Final = ("/chat/completions", "/completions", "/embeddings", "/responses", MESSAGES)
DEADLINE_HEADER: Final = "meritorder-deadline"
KEY_HEADER: Final = "meritorder-key"
MAX_USD_HEADER: Final = "meritorder-max-usd"


@dataclass(frozen=True, slots=True, kw_only=True)
class Promise:
    """What the calls of one batch have in common.

    Args:
        endpoint: Path of the API, without `/v1`.
        model: The model.
        deadline: The deadline, as given.
        max_usd: The most that a call may be quoted, on average over its batch; None without a quote.
    """

    endpoint: str
    model: str
    deadline: str
    max_usd: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """A call that may wait.

    Args:
        key: Identifies the call; the same key is asked once.
        digest: Hash of the endpoint and the body.
        body: The body, as JSON.
        promise: What it was promised.
    """

    key: str
    digest: str
    body: bytes
    promise: Promise

    @property
    def line(self) -> bytes:
        """The call as a line of a batch."""
        head = {"custom_id": line_id(self.key), "method": "POST", "url": f"/v1{self.promise.endpoint}"}
        return json.dumps(head).encode()[:-1] + b', "body": ' + self.body + b"}\n"


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer to a call: an HTTP status and a body."""

    status: int
    body: bytes

    @property
    def succeeded(self) -> bool:
        """Whether it is a result; other answers are not kept, so that the call may be made again."""
        return 200 <= self.status < 300


def make_call(body: bytes, promise: Promise, key: str = "") -> Call:
    """Return a call; without a key, its body identifies it, in whichever order the fields are."""
    fields = json.loads(body)
    canonical = json.dumps(fields, sort_keys=True, separators=(",", ":"))
    digest = hashlib.sha256(f"{promise.endpoint}\n{canonical}".encode()).hexdigest()
    compact = json.dumps(fields, separators=(",", ":")).encode()  # a line of a batch has no line breaks
    return Call(key=f"key:{key}" if key else f"body:{digest}", digest=digest, body=compact, promise=promise)


def line_id(key: str) -> str:
    """Return the id of a call within its batch."""
    return hashlib.sha256(key.encode()).hexdigest()[:32]


def in_anthropic_form(failed: Answer) -> Answer:
    """Return an error of OpenAI's form in Anthropic's; one of Anthropic's as it is."""
    body = json.loads(failed.body)
    if body.get("type") == "error":
        return failed
    error = {"type": body["error"]["type"], "message": body["error"]["message"]}
    return Answer(failed.status, json.dumps({"type": "error", "error": error}).encode())


def failure(status: int, message: str, *, code: str, param: str | None = None) -> Answer:
    """Return an answer with an error of OpenAI's form."""
    kind = "invalid_request_error" if status < 500 else "server_error"
    error: dict[str, Any] = {"message": message, "type": kind, "param": param, "code": code}
    return Answer(status, json.dumps({"error": error}).encode())
