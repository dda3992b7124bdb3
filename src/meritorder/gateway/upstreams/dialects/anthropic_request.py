"""Translates chat requests to Anthropic's Messages API."""

from typing import Any, Final

import msgspec

from meritorder.gateway.upstreams.dialects.fields import FieldReader, Json, data_url, without_none

_SYSTEM: Final = frozenset({"system", "developer"})
_EFFORTS: Final = ("low", "medium", "high", "xhigh")


def to_messages(body: Json, *, venue: str, max_tokens: int) -> Json:
    """Return a chat request in Anthropic's format, without model and stream.

    Args:
        body: In OpenAI's format.
        venue: Name of the venue, for errors.
        max_tokens: Limit for a request that sets none.

    Raises:
        UnsupportedError: A field has no equivalent there.
    """
    fields = FieldReader(body, venue=venue)
    for name in ("model", "stream", "stream_options"):
        fields.take(name)
    system, messages = _messages(fields.each("messages"))
    limit, older_limit = fields.take("max_completion_tokens"), fields.take("max_tokens")
    stop = fields.take("stop")
    user = fields.take("user")
    request = without_none(
        {
            "max_tokens": limit or older_limit or max_tokens,
            "system": system or None,
            "messages": messages,
            "temperature": _temperature(fields),
            "top_p": fields.take("top_p"),
            "top_k": fields.take("top_k"),
            "stop_sequences": [stop] if isinstance(stop, str) else stop,
            "metadata": {"user_id": user} if user else None,
            "output_config": _output_config(fields) or None,
            "tools": [_tool(tool) for tool in fields.each("tools")] or None,
            "tool_choice": _tool_choice(fields),
        }
    )
    fields.done()
    return request


def _temperature(fields: FieldReader) -> float | None:
    temperature = fields.number("temperature")
    if temperature is not None and temperature > 1:
        raise fields.refuse("temperature", "is above 1, the maximum of its API")
    return temperature


def _output_config(fields: FieldReader) -> Json:
    config: Json = {}
    effort = fields.take("reasoning_effort")
    if effort is not None:
        if effort not in _EFFORTS:
            raise fields.refuse("reasoning_effort", f"{effort!r} has no equivalent in its API")
        config["effort"] = effort
    form = fields.take("response_format")
    if form is None or form == {"type": "text"}:
        return config
    if not isinstance(form, dict) or form.get("type") != "json_schema":
        raise fields.refuse("response_format", "must be a json_schema in its API")
    schema = form.get("json_schema", {}).get("schema")
    if schema is None:
        raise fields.refuse("response_format.json_schema.schema", "is missing")
    config["format"] = {"type": "json_schema", "schema": schema}
    return config


def _tool(tool: FieldReader) -> Json:
    function = tool.function()
    translated = without_none(
        {
            "name": function.text("name"),
            "description": function.take("description"),
            "input_schema": function.take("parameters") or {"type": "object", "properties": {}},
            "strict": function.take("strict"),
        }
    )
    function.done()
    tool.done()
    return translated


def _tool_choice(fields: FieldReader) -> Json | None:
    choice, parallel = fields.take("tool_choice"), fields.take("parallel_tool_calls")
    translated: Json | None
    match choice:
        case None:
            translated = {"type": "auto"} if parallel is False else None
        case "auto" | "none":
            translated = {"type": choice}
        case "required":
            translated = {"type": "any"}
        case {"type": "function", "function": {"name": str(name)}}:
            translated = {"type": "tool", "name": name}
        case _:
            raise fields.refuse("tool_choice")
    if translated is not None and parallel is False and translated["type"] != "none":
        translated["disable_parallel_tool_use"] = True
    return translated


def _messages(readers: list[FieldReader]) -> tuple[list[Json], list[Json]]:
    """Return the system prompt, which is the leading system messages, and the other messages."""
    system: list[Json] = []
    messages: list[Json] = []
    for message in readers:
        role = message.text("role")
        if role in _SYSTEM and not messages:
            system += _texts(message)
        elif role in _SYSTEM:
            messages.append({"role": "system", "content": _texts(message)})
        elif role == "user":
            messages.append({"role": "user", "content": _user_content(message)})
        elif role == "assistant":
            messages.append({"role": "assistant", "content": _assistant_content(message)})
        elif role == "tool":
            _add_tool_result(messages, message)
        else:
            raise message.refuse("role", f"{role!r} has no equivalent in its API")
        message.done()
    return system, messages


def _texts(message: FieldReader) -> list[Json]:
    """Return the content of a message that may contain only text."""
    return [_text(part) for part in message.parts("content")]


def _text(part: FieldReader) -> Json:
    kind = part.text("type")
    if kind != "text":
        raise part.refuse("type", f"{kind!r} has no equivalent in its API here")
    translated = {"type": "text", "text": part.text("text")}
    part.done()
    return translated


def _user_content(message: FieldReader) -> list[Json]:
    return [_user_part(part) for part in message.parts("content")]


def _user_part(part: FieldReader) -> Json:
    kind = part.peek("type")
    if kind == "image_url":
        part.take("type")
        image = part.inside("image_url")
        source = _image_source(image.text("url"))
        if image.take("detail") not in (None, "auto"):
            raise image.refuse("detail")
        image.done()
        part.done()
        return {"type": "image", "source": source}
    if kind == "file":
        part.take("type")
        file = part.inside("file")
        media = data_url(file.text("file_data"))
        if media is None or media[0] != "application/pdf":
            raise file.refuse("file_data", "must be a PDF as a data URL")
        document = {
            "type": "document",
            "source": {"type": "base64", "media_type": media[0], "data": media[1]},
            "title": file.take("filename"),
        }
        file.done()
        part.done()
        return without_none(document)
    return _text(part)


def _image_source(url: str) -> Json:
    media = data_url(url)
    if media is None:
        return {"type": "url", "url": url}
    return {"type": "base64", "media_type": media[0], "data": media[1]}


def _assistant_content(message: FieldReader) -> list[Json]:
    content = [_text(part) for part in message.parts("content")]
    for call in message.each("tool_calls"):
        function = call.function()
        content.append(
            {
                "type": "tool_use",
                "id": call.text("id"),
                "name": function.text("name"),
                "input": _arguments(function),
            }
        )
        function.done()
        call.done()
    return content


def _arguments(function: FieldReader) -> Any:  # noqa: ANN401 - JSON
    try:
        return msgspec.json.decode(function.text("arguments") or "{}", type=Json)
    except msgspec.DecodeError:
        raise function.refuse("arguments", "is not a JSON object") from None


def _add_tool_result(messages: list[Json], message: FieldReader) -> None:
    """Add a tool result; the API has those of one turn in one message."""
    result = {
        "type": "tool_result",
        "tool_use_id": message.text("tool_call_id"),
        "content": _texts(message),
    }
    last = messages[-1] if messages else None
    if last is not None and last["role"] == "user" and last["content"] and last["content"][-1]["type"] == "tool_result":
        last["content"].append(result)
    else:
        messages.append({"role": "user", "content": [result]})
