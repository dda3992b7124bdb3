"""Translates messages to chat completions. What has no equivalent is refused by name.

Source: platform.claude.com/docs and the types of the official client, `anthropic` 2.14, 2026-11.
"""

from typing import Any, Final

import msgspec

from meritorder.gateway.errors import UnsupportedError, checked_request
from meritorder.gateway.routes.messages.schema import MessageCreation
from meritorder.gateway.upstreams.dialects.fields import FieldReader, Json, without_none

_NAME: Final = "/v1/messages"
_CHOICES: Final = {"auto": "auto", "any": "required", "none": "none"}
# Hints without effect on an answer, and values that are the default.
_NEUTRAL: Final = ("cache_control", "citations")


def to_chat(body: Json) -> Json:
    """Return a request of the Messages API as a chat completion.

    Raises:
        UnsupportedError: A field has no equivalent there.
    """
    with checked_request(_NAME):
        chat = _translate(body)
    _check(body)
    return chat


def counted_chat(body: Json) -> Json:
    """Return a request to count tokens, which has no `max_tokens`, as a chat completion.

    Raises:
        UnsupportedError: As `to_chat`.
    """
    if "max_tokens" in body:
        raise UnsupportedError("max_tokens: Extra inputs are not permitted", venue=_NAME, param="max_tokens")
    chat = to_chat({**body, "max_tokens": 1})
    del chat["max_tokens"]
    return chat


def to_response_input(chat: Json) -> Json | None:
    """Return a chat completion as the input of a response; None if it has more than texts and tools."""
    messages = chat["messages"]
    if any(set(message) != {"role", "content"} or not isinstance(message["content"], str) for message in messages):
        return None
    tools = [{"type": "function", **tool["function"]} for tool in chat.get("tools", ())]
    return without_none({"model": chat["model"], "input": messages, "tools": tools or None})


def _translate(body: Json) -> Json:
    fields = FieldReader(body, venue=_NAME)
    thinking = fields.take("thinking")
    if thinking is not None and thinking != {"type": "disabled"}:
        raise fields.refuse("thinking", "must be disabled: say how much to think with output_config.effort")
    for name in _NEUTRAL:
        fields.take(name)
    if fields.peek("service_tier") is not None and fields.text("service_tier") not in {"auto", "standard_only"}:
        raise fields.refuse("service_tier", "must be 'auto' or 'standard_only'")
    messages = _system(fields)
    for message in fields.each("messages"):
        messages += _message(message)
    tools = [_tool(tool) for tool in fields.each("tools")]
    choice, parallel = _tool_choice(fields)
    effort, response_format = _output_config(fields)
    max_tokens = fields.take("max_tokens")
    if not isinstance(max_tokens, int) or isinstance(max_tokens, bool):
        raise fields.unsupported("max_tokens", "is required, an integer")
    user = fields.inside("metadata") if fields.peek("metadata") is not None else None
    stream = bool(fields.take("stream"))
    chat = without_none(
        {
            "model": fields.text("model"),
            "messages": messages,
            "max_tokens": max_tokens,
            "stop": fields.take("stop_sequences"),
            "temperature": fields.take("temperature"),
            "top_p": fields.take("top_p"),
            "top_k": fields.take("top_k"),
            "tools": tools or None,
            "tool_choice": choice if tools else None,
            "parallel_tool_calls": parallel if tools else None,
            "reasoning_effort": effort,
            "response_format": response_format,
            "user": None if user is None else user.take("user_id"),
            "stream": True if stream else None,
            "stream_options": {"include_usage": True} if stream else None,
        }
    )
    fields.done()
    return chat


def _check(body: Json) -> None:
    """Check the types and bounds of a request, beyond those without which it cannot be translated."""
    try:
        msgspec.convert(body, MessageCreation)
    except msgspec.ValidationError as error:
        what, _, path = str(error).partition(" - at `$")
        name = path.strip(".`") or "body"
        raise UnsupportedError(f"{name}: {what}", venue=_NAME, param=name) from None


def _output_config(fields: FieldReader) -> tuple[str | None, Json | None]:
    if fields.peek("output_config") is None:
        return None, None
    config = fields.inside("output_config")
    effort = config.take("effort")
    form = config.take("format")
    config.done()
    if form is None:
        return effort, None
    if not isinstance(form, dict) or form.get("type") != "json_schema":
        raise config.refuse("format", "must be a json_schema")
    return effort, {"type": "json_schema", "json_schema": {"name": "answer", "schema": form.get("schema")}}


def _system(fields: FieldReader) -> list[Json]:
    texts = [_text(block) for block in fields.parts("system")]
    return [{"role": "system", "content": "\n\n".join(texts)}] if texts else []


def _text(block: FieldReader) -> str:
    if block.text("type") != "text":
        raise block.refuse("type", "must be 'text' here")
    for name in _NEUTRAL:
        block.take(name)
    text = block.text("text")
    block.done()
    return text


def _message(message: FieldReader) -> list[Json]:
    role = message.text("role")
    blocks = message.parts("content")
    message.done()
    if role == "assistant":
        return [_assistant(blocks)]
    if role == "system":
        return [{"role": "system", "content": "\n\n".join(map(_text, blocks))}]
    if role != "user":
        raise message.refuse("role", f"{role!r} is unknown")
    results = [_tool_result(block) for block in blocks if block.peek("type") == "tool_result"]
    parts = [_user_part(block) for block in blocks if block.peek("type") is not None]
    if not parts:
        return results
    if all(part["type"] == "text" for part in parts):
        return [*results, {"role": "user", "content": "\n\n".join(part["text"] for part in parts)}]
    return [*results, {"role": "user", "content": parts}]


def _assistant(blocks: list[FieldReader]) -> Json:
    texts: list[str] = []
    calls: list[Json] = []
    for block in blocks:
        kind = block.peek("type")
        if kind in {"thinking", "redacted_thinking"}:
            continue  # of earlier turns, which chat templates leave out as well
        if kind != "tool_use":
            texts.append(_text(block))
            continue
        block.take("type")
        block.take("caller")
        for name in _NEUTRAL:
            block.take(name)
        arguments = msgspec.json.encode(block.take("input") or {}).decode()
        function = {"name": block.text("name"), "arguments": arguments}
        calls.append({"id": block.text("id"), "type": "function", "function": function})
        block.done()
    return without_none(
        {"role": "assistant", "content": "".join(texts) if texts or not calls else None, "tool_calls": calls or None}
    )


def _tool_result(block: FieldReader) -> Json:
    block.take("type")
    for name in _NEUTRAL:
        block.take(name)
    text = "".join(_text(part) for part in block.parts("content"))
    if block.take("is_error"):
        text = f"Error: {text}"
    result = {"role": "tool", "tool_call_id": block.text("tool_use_id"), "content": text}
    block.done()
    return result


def _user_part(block: FieldReader) -> Json:
    kind = block.peek("type")
    if kind not in {"image", "document"}:
        return {"type": "text", "text": _text(block)}
    block.take("type")
    for name in _NEUTRAL:
        block.take(name)
    source = block.inside("source")
    title = block.take("title")
    block.done()
    source_kind = source.text("type")
    if source_kind == "text":
        source.take("media_type")
        part: Json = {"type": "text", "text": source.text("data")}
    elif source_kind == "url" and kind == "image":
        part = {"type": "image_url", "image_url": {"url": source.text("url")}}
    elif source_kind == "base64":
        url = f"data:{source.text('media_type')};base64,{source.text('data')}"
        file = without_none({"file_data": url, "filename": title})
        part = {"type": "image_url", "image_url": {"url": url}} if kind == "image" else {"type": "file", "file": file}
    else:
        raise source.refuse("type", f"{source_kind!r} has no equivalent")
    source.done()
    return part


def _tool(tool: FieldReader) -> Json:
    if tool.take("type") not in (None, "custom"):
        raise tool.refuse("type", "must be 'custom': the gateway runs no tools")
    for name in _NEUTRAL:
        tool.take(name)
    function = {
        "name": tool.text("name"),
        "description": tool.take("description"),
        "parameters": tool.take("input_schema"),
        "strict": tool.take("strict"),
    }
    tool.done()
    return {"type": "function", "function": without_none(function)}


def _tool_choice(fields: FieldReader) -> tuple[Any, bool | None]:
    """Return the choice among the tools, and whether they may be called in parallel."""
    if fields.peek("tool_choice") is None:
        return None, None
    choice = fields.inside("tool_choice")
    kind, single = choice.text("type"), choice.take("disable_parallel_tool_use")
    translated: Any = _CHOICES.get(kind)
    if kind == "tool":
        translated = {"type": "function", "function": {"name": choice.text("name")}}
    if translated is None:
        raise choice.refuse("type", f"{kind!r} is unknown")
    choice.done()
    return translated, False if single else None
