"""Converts a complete answer into the event stream of a streamed call."""

from collections.abc import Iterator
from typing import Any, Final

import msgspec

from meritorder.gateway.wire.events import DONE, event

JSON = dict[str, Any]

_CHAT: Final = "/v1/chat/completions"
_ENDS: Final = {"completed": "response.completed", "failed": "response.failed"}
_NOT_IN_CHUNKS: Final = frozenset({"choices", "usage", "object"})
_TEXTS: Final = {"output_text": "text", "refusal": "refusal"}


def to_events(body: bytes, endpoint: str, with_usage: bool = True) -> bytes:  # noqa: FBT001, FBT002 - one switch
    """Return an answer as server-sent events.

    Args:
        body: The answer, which has passed the check of its contract.
        endpoint: What was called.
        with_usage: Whether a completion's stream includes usage; a response's always does.
    """
    whole = msgspec.json.decode(body)
    if endpoint == "/v1/responses":
        return b"".join(encode_events([*opening_events(whole), *output_events(whole)]))
    return b"".join(map(event, _chunks(whole, is_chat=endpoint == _CHAT, with_usage=with_usage))) + DONE


def encode_events(events: list[JSON], first: int = 0) -> list[bytes]:
    """Return a response's events as sent, each with its sequence number."""
    return [
        b"event: " + content["type"].encode() + b"\n" + event({**content, "sequence_number": number})
        for number, content in enumerate(events, first)
    ]


def opening_events(response: JSON) -> list[JSON]:
    """Return the opening events of a response; a queued response is announced as such."""
    status = "queued" if response.get("status") == "queued" else "in_progress"
    bare = {**response, "status": status, "output": [], "usage": None}
    return [{"type": kind, "response": bare} for kind in ("response.created", f"response.{status}")]


def output_events(response: JSON) -> list[JSON]:
    """Return the events of a response's output, and its final event."""
    events = [part for index, item in enumerate(response.get("output") or ()) for part in _item_events(index, item)]
    return [
        *events,
        {"type": _ENDS.get(response.get("status") or "completed", "response.incomplete"), "response": response},
    ]


def _item_events(index: int, item: JSON) -> Iterator[JSON]:
    at = {"output_index": index}
    empty: JSON = {"arguments": ""} if "arguments" in item else {"content": []} if "content" in item else {}
    yield {"type": "response.output_item.added", **at, "item": {**item, **empty, "status": "in_progress"}}
    within = {"item_id": item.get("id"), **at}
    for number, part in enumerate(item.get("content") or () if item.get("type") == "message" else ()):
        yield from _part_events({**within, "content_index": number}, part)
    if item.get("type") == "function_call":
        final = {"arguments": item.get("arguments"), "name": item.get("name")}
        yield {"type": "response.function_call_arguments.delta", **within, "delta": item.get("arguments")}
        yield {"type": "response.function_call_arguments.done", **within, **final}
    yield {"type": "response.output_item.done", **at, "item": item}


def _part_events(at: JSON, part: JSON) -> Iterator[JSON]:
    kind = part.get("type", "")
    name = _TEXTS.get(kind)
    yield {"type": "response.content_part.added", **at, "part": {**part, name: ""} if name else part}
    if name:
        more: JSON = {"logprobs": []} if kind == "output_text" else {}
        yield {"type": f"response.{kind}.delta", **at, "delta": part.get(name), **more}
        yield {"type": f"response.{kind}.done", **at, name: part.get(name), **more}
    yield {"type": "response.content_part.done", **at, "part": part}


def _chunks(whole: JSON, *, is_chat: bool, with_usage: bool) -> list[JSON]:
    kind = "chat.completion.chunk" if is_chat else whole.get("object")
    base = {name: value for name, value in whole.items() if name not in _NOT_IN_CHUNKS} | {"object": kind}
    if with_usage:
        base["usage"] = None
    choices = whole.get("choices") or ()
    chunks = [
        {**base, "choices": [_content_choice(choice, is_chat=is_chat) for choice in choices]},
        {**base, "choices": [_final_choice(choice, is_chat=is_chat) for choice in choices]},
    ]
    if with_usage and whole.get("usage") is not None:
        chunks.append({**base, "choices": [], "usage": whole["usage"]})
    return chunks


def _content_choice(choice: JSON, *, is_chat: bool) -> JSON:
    """Return the content of a choice, without its finish reason."""
    content = {**choice, "finish_reason": None}
    if is_chat:
        delta = content["delta"] = dict(content.pop("message"))
        if calls := delta.get("tool_calls"):
            delta["tool_calls"] = [{"index": at, **call} for at, call in enumerate(calls)]
    return content


def _final_choice(choice: JSON, *, is_chat: bool) -> JSON:
    nothing: JSON = {"delta": {}} if is_chat else {"text": ""}
    return {"index": choice.get("index", 0), **nothing, "finish_reason": choice.get("finish_reason"), "logprobs": None}
