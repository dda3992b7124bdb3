"""Translates requests of the Responses API to chat completions.

Fields that both APIs have, or that neither knows, such as an engine's own, are passed on. A field that only responses
have is translated, or refused; it is never dropped.

Source: the types of the official client, `openai` 3.57, 2026-11.
"""

from typing import Final

from meritorder.gateway.upstreams.dialects.fields import FieldReader, Json, without_none

# For the gateway itself, or without effect on an answer.
_NOT_FOR_VENUES: Final = (
    "background",
    "background_options",
    "include",
    "max_tool_calls",
    "metadata",
    "prompt_cache_key",
    "prompt_cache_options",
    "prompt_cache_retention",
    "safety_identifier",
    "service_tier",
    "store",
    "stream",
    "stream_options",
)
_REFUSED: Final = {
    "context_management": "has no equivalent in chat completions",
    "conversation": "is not known to this gateway",
    "moderation": "has no equivalent in chat completions",
    "previous_response_id": "is not known to this gateway",
    "prompt": "is a template stored at OpenAI",
}
_LOGPROBS: Final = "message.output_text.logprobs"
_SYSTEM: Final = ("system", "developer")
_TEXTS: Final = ("input_text", "output_text", "text")


def to_chat(body: Json, *, venue: str) -> Json:
    """Return a request of the Responses API as a chat completion.

    Args:
        body: The request.
        venue: Name of the venue, for errors.

    Raises:
        UnsupportedError: A field has no equivalent there.
    """
    fields = FieldReader(body, venue=venue)
    for name, reason in _REFUSED.items():
        if fields.take(name) is not None:
            raise fields.refuse(name, reason)
    if fields.take("truncation") not in (None, "disabled"):
        raise fields.refuse("truncation", "must be 'disabled': the venue drops no items")
    include = fields.peek("include")
    wants_logprobs = bool(fields.peek("top_logprobs")) or (isinstance(include, list) and _LOGPROBS in include)
    for name in _NOT_FOR_VENUES:
        fields.take(name)
    tools, tool_choice = _tools(fields)
    translated = without_none(
        {
            "model": fields.take("model"),
            "messages": _messages(fields),
            "max_tokens": fields.take("max_output_tokens"),
            "tools": tools or None,
            "tool_choice": tool_choice,
            "parallel_tool_calls": fields.take("parallel_tool_calls") if tools else None,
            "response_format": _response_format(fields),
            "reasoning_effort": _reasoning_effort(fields),
            "logprobs": True if wants_logprobs else None,
            "top_logprobs": fields.take("top_logprobs") or None,
        }
    )
    fields.take("parallel_tool_calls")
    return {**fields.rest(), **translated}


def _response_format(fields: FieldReader) -> Json | None:
    if fields.peek("text") is None:
        fields.take("text")
        return None
    text = fields.inside("text")
    if text.take("verbosity") not in (None, "medium"):
        raise text.refuse("verbosity", "has no equivalent in chat completions of the venue")
    form = text.inside("format") if text.peek("format") is not None else None
    text.done()
    if form is None:
        return None
    kind = form.text("type")
    if kind == "json_schema":
        schema = {name: form.take(name) for name in ("name", "description", "schema", "strict")}
        form.done()
        if not isinstance(schema["schema"], dict):
            raise form.refuse("schema", "must be an object")
        return {"type": "json_schema", "json_schema": without_none(schema)}
    form.done()
    if kind == "json_object":
        return {"type": "json_object"}
    if kind != "text":
        raise form.refuse("type", f"{kind!r} has no equivalent in chat completions")
    return None


def _reasoning_effort(fields: FieldReader) -> str | None:
    if fields.peek("reasoning") is None:
        fields.take("reasoning")
        return None
    reasoning = fields.inside("reasoning")
    for name in ("summary", "generate_summary"):
        if reasoning.take(name) not in (None, "auto"):
            raise reasoning.refuse(name, "must be 'auto': the venue writes no summaries")
    effort: str | None = reasoning.take("effort")
    reasoning.done()
    return effort


def _tools(fields: FieldReader) -> tuple[list[Json], Json | str | None]:
    """Return the tools and the choice among them."""
    tools = [_tool(tool) for tool in fields.each("tools")]
    choice = fields.take("tool_choice")
    match choice:
        case None | "auto" | "none" | "required":
            return tools, choice if tools else None
        case {"type": "function", "name": str(name)}:
            return tools, {"type": "function", "function": {"name": name}}
        case {"type": "allowed_tools", "mode": "auto" | "required" as mode, "tools": list(allowed)}:
            names = [tool.get("name") for tool in allowed if isinstance(tool, dict) and tool.get("type") == "function"]
            return [tool for tool in tools if tool["function"]["name"] in names], mode
        case _:
            raise fields.refuse("tool_choice", "must name a function: the venue has no other tools")


def _tool(tool: FieldReader) -> Json:
    kind = tool.text("type")
    if kind != "function":
        raise tool.refuse("type", f"is {kind!r}: the venue has no tools but functions")
    if tool.take("defer_loading"):
        raise tool.refuse("defer_loading", "has no equivalent in chat completions")
    function = {name: tool.take(name) for name in ("name", "description", "parameters", "strict")}
    tool.done()
    return {"type": "function", "function": without_none(function)}


def _messages(fields: FieldReader) -> list[Json]:
    instructions = fields.take("instructions")
    messages: list[Json] = []
    if isinstance(instructions, str):
        messages.append({"role": "system", "content": instructions})
    elif instructions is not None:
        raise fields.refuse("instructions", "must be a string")
    if isinstance(fields.peek("input"), str):
        return [*messages, {"role": "user", "content": fields.take("input")}]
    for item in fields.each("input"):
        _add_item(messages, item)
    if not messages:
        raise fields.refuse("input", "is missing")
    return messages


def _add_item(messages: list[Json], item: FieldReader) -> None:
    kind = item.take("type") or "message"
    item.take("id")
    item.take("status")
    if kind == "message":
        item.take("phase")
        _add_message(messages, item)
    elif kind == "function_call":
        function = {"name": item.text("name"), "arguments": item.text("arguments")}
        call = {"id": item.text("call_id"), "type": "function", "function": function}
        _last_assistant(messages).setdefault("tool_calls", []).append(call)
    elif kind == "function_call_output":
        messages.append({"role": "tool", "tool_call_id": item.text("call_id"), "content": _content(item, "output")})
    elif kind == "reasoning":
        return  # of earlier turns, which chat templates leave out as well
    else:
        raise item.refuse("type", f"{kind!r} has no equivalent in chat completions")
    item.done()


def _add_message(messages: list[Json], item: FieldReader) -> None:
    role = item.text("role")
    content = _content(item, "content")
    if role in _SYSTEM:
        match messages[-1:]:
            case [{"role": "system", "content": str(before)}] if isinstance(content, str):
                messages[-1]["content"] = f"{before}\n\n{content}"  # many chat templates take one system message
            case _:
                messages.append({"role": "system", "content": content})
    elif role in {"user", "assistant"}:
        messages.append({"role": role, "content": content})
    else:
        raise item.refuse("role", f"{role!r} has no equivalent in chat completions")


def _last_assistant(messages: list[Json]) -> Json:
    """Return the assistant's message that calls belong to: the last message, or a new one."""
    if not messages or messages[-1]["role"] != "assistant":
        messages.append({"role": "assistant", "content": None})
    return messages[-1]


def _content(item: FieldReader, name: str) -> str | list[Json]:
    """Return the content of a message: one string if it has only texts."""
    content = item.peek(name)
    if isinstance(content, str):
        item.take(name)
        return content
    parts = [_part(part) for part in item.each(name)]
    if all(part["type"] == "text" for part in parts):
        return "".join(part["text"] for part in parts)
    return parts


def _part(part: FieldReader) -> Json:
    kind = part.text("type")
    translated: Json
    if kind in _TEXTS:
        for name in ("annotations", "logprobs", "prompt_cache_breakpoint"):
            part.take(name)
        translated = {"type": "text", "text": part.text("text")}
    elif kind == "refusal":
        translated = {"type": "text", "text": part.text("refusal")}
    elif kind == "input_image":
        image = {"url": part.text("image_url"), "detail": part.take("detail")}
        translated = {"type": "image_url", "image_url": without_none(image)}
    elif kind == "input_file":
        file = {"file_data": part.text("file_data"), "filename": part.take("filename")}
        translated = {"type": "file", "file": without_none(file)}
    elif kind == "input_audio":
        translated = {"type": "input_audio", "input_audio": part.take("input_audio")}
    else:
        raise part.refuse("type", f"{kind!r} has no equivalent in chat completions")
    part.done()
    return translated
