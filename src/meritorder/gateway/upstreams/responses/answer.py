"""Translates chat completions, whole and streamed, to responses.

Source: the types of the official client, `openai` 3.57, 2026-11.
"""

import secrets
from dataclasses import dataclass, field
from typing import Any, Final

from meritorder.gateway.upstreams.dialects.fields import Json
from meritorder.gateway.wire.echo import echoed_fields

_INCOMPLETE: Final = {"length": "max_output_tokens", "content_filter": "content_filter"}
_REASONING: Final = ("reasoning_content", "reasoning")  # the names that engines use


def new_id(prefix: str) -> str:
    """Return an id of a response or of one of its items."""
    return prefix + secrets.token_hex(24)


@dataclass(slots=True, kw_only=True)
class ResponseDraft:
    """A response whose output grows.

    Args:
        request: The request, whose fields it repeats.
        created_s: When it was created, epoch seconds.
    """

    request: Json
    created_s: int
    id: str = field(default_factory=lambda: new_id("resp_"))
    model: str | None = None
    output: list[Json] = field(default_factory=list)
    usage: Json | None = None
    finish_reason: str | None = None
    error: Json | None = None

    def to_json(self, status: str) -> Json:
        """Return the response in a state."""
        reason = _INCOMPLETE.get(self.finish_reason or "")
        return {
            **echoed_fields(self.request),
            "id": self.id,
            "object": "response",
            "created_at": self.created_s,
            "status": status,
            "error": self.error,
            "incomplete_details": {"reason": reason} if status == "incomplete" else None,
            "model": self.request.get("model") or self.model,
            "output": list(self.output),
            "usage": self.usage,
        }

    def final_status(self) -> str:
        """Return the status that the end of the answer implies."""
        if self.error is not None:
            return "failed"
        return "incomplete" if self.finish_reason in _INCOMPLETE else "completed"

    def item_status(self) -> str:
        """Return the status of the items that end with the answer."""
        return "incomplete" if self.finish_reason in _INCOMPLETE else "completed"


def to_response(completion: Json, request: Json, *, created_s: int) -> Json:
    """Return a chat completion as a response.

    Raises:
        KeyError, TypeError, IndexError: The completion violates the API's contract.
    """
    choice = completion["choices"][0]
    message = choice["message"]
    draft = ResponseDraft(request=request, created_s=created_s, model=completion.get("model"))
    draft.finish_reason = choice.get("finish_reason")
    draft.usage = to_usage(completion.get("usage"))
    status = draft.item_status()
    thoughts = reasoning_of(message)
    calls = message.get("tool_calls") or []
    if thoughts:
        draft.output.append(reasoning_item(new_id("rs_"), thoughts, status="completed"))
    refusal, text = message.get("refusal"), message.get("content")
    if refusal:
        draft.output.append(message_item(new_id("msg_"), refusal_part(refusal), status=status))
    elif text or not calls:
        logprobs = to_logprobs(choice.get("logprobs"))
        draft.output.append(message_item(new_id("msg_"), text_part(text or "", logprobs), status=status))
    for call in calls:
        function = call["function"]
        item = call_item(new_id("fc_"), call["id"], function["name"], function["arguments"], status="completed")
        draft.output.append(item)
    return draft.to_json(draft.final_status())


def reasoning_of(message: Json) -> str:
    """Return the reasoning in a message or a delta; empty without any."""
    return next((text for name in _REASONING if isinstance(text := message.get(name), str)), "")


def to_usage(usage: Json | None) -> Json | None:
    """Return the usage of a completion as that of a response."""
    if not usage:
        return None
    input_tokens, output_tokens = usage.get("prompt_tokens") or 0, usage.get("completion_tokens") or 0
    cached = (usage.get("prompt_tokens_details") or {}).get("cached_tokens") or 0
    reasoning = (usage.get("completion_tokens_details") or {}).get("reasoning_tokens") or 0
    return {
        "input_tokens": input_tokens,
        "input_tokens_details": {"cached_tokens": cached, "cache_write_tokens": 0},
        "output_tokens": output_tokens,
        "output_tokens_details": {"reasoning_tokens": reasoning},
        "total_tokens": input_tokens + output_tokens,
    }


def to_logprobs(logprobs: Json | None) -> list[Any]:
    """Return the log probabilities of a text."""
    return (logprobs or {}).get("content") or []


def text_part(text: str, logprobs: list[Any]) -> Json:
    """Return a part of a message with text."""
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": logprobs}


def refusal_part(refusal: str) -> Json:
    """Return a part of a message with a refusal."""
    return {"type": "refusal", "refusal": refusal}


def message_item(item_id: str, part: Json | None, *, status: str) -> Json:
    """Return the item of a message."""
    content = [] if part is None else [part]
    return {"id": item_id, "type": "message", "role": "assistant", "status": status, "content": content}


def reasoning_item(item_id: str, text: str, *, status: str) -> Json:
    """Return the item of a chain of thought."""
    content = [{"type": "reasoning_text", "text": text}] if text else []
    return {"id": item_id, "type": "reasoning", "summary": [], "content": content, "status": status}


def call_item(item_id: str, call_id: str, name: str, arguments: str, *, status: str) -> Json:
    """Return the item of a function call."""
    return {
        "id": item_id,
        "type": "function_call",
        "call_id": call_id,
        "name": name,
        "arguments": arguments,
        "status": status,
    }
