"""The fields of a response that repeat its request."""

from typing import Any, Final

# Defaults of the specification, for fields that the request leaves out or sets to null.
_ECHOED: Final[dict[str, Any]] = {
    "instructions": None,
    "max_output_tokens": None,
    "metadata": {},
    "model": None,
    "parallel_tool_calls": True,
    "prompt_cache_key": None,
    "reasoning": {"effort": None, "summary": None},
    "safety_identifier": None,
    "service_tier": None,
    "store": True,
    "temperature": 1.0,
    "text": {"format": {"type": "text"}},
    "tool_choice": "auto",
    "tools": [],
    "top_logprobs": 0,
    "top_p": 1.0,
    "truncation": "disabled",
    "user": None,
}


def echoed_fields(request: dict[str, Any]) -> dict[str, Any]:
    """Return the fields of a response that repeat its request, or are null."""
    given = {name: default if request.get(name) is None else request[name] for name, default in _ECHOED.items()}
    return {"background": False, "error": None, "incomplete_details": None, **given, **echoed_history(request)}


def echoed_history(request: dict[str, Any]) -> dict[str, Any]:
    """Return the fields of a response that name what it goes on from."""
    conversation = request.get("conversation")
    return {
        "previous_response_id": request.get("previous_response_id"),
        "conversation": {"id": conversation} if isinstance(conversation, str) else conversation,
    }
