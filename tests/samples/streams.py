"""A streamed chat completion, and the functions that build streams."""

import json
from typing import Any

BASE = {"id": "c1", "created": 1, "model": "m", "system_fingerprint": "f"}
USAGE = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5, "prompt_tokens_details": {"cached_tokens": 1}}


def chunk(index: int = 0, finish: str | None = None, **delta: object) -> dict[str, Any]:
    choice = {"index": index, "delta": delta, "finish_reason": finish, "logprobs": None}
    return {**BASE, "object": "chat.completion.chunk", "choices": [choice]}


def stream(*parts: dict[str, Any], done: bool = True) -> bytes:
    events = b"".join(b"data: " + json.dumps(part).encode() + b"\n\n" for part in parts)
    return events + (b"data: [DONE]\n\n" if done else b"")


CHAT = stream(
    chunk(role="assistant", content=""),
    chunk(content="Grüße, "),
    chunk(content="Welt"),
    chunk(finish="stop"),
    {**BASE, "object": "chat.completion.chunk", "choices": [], "usage": USAGE},
)
