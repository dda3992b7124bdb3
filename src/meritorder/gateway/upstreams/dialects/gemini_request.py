"""Translates chat requests to Gemini's generateContent."""

from typing import Final

import msgspec

from meritorder.gateway.upstreams.dialects.fields import FieldReader, Json, data_url, without_none

_SYSTEM: Final = frozenset({"system", "developer"})
_AUDIO: Final = {"wav": "audio/wav", "mp3": "audio/mp3"}


def to_contents(body: Json, *, venue: str) -> Json:
    """Return a chat request in Gemini's format.

    Args:
        body: In OpenAI's format.
        venue: Name of the venue, for errors.

    Raises:
        UnsupportedError: A field has no equivalent there.
    """
    fields = FieldReader(body, venue=venue)
    for name in ("model", "stream", "stream_options"):
        fields.take(name)
    system, contents = _contents(fields.each("messages"))
    declarations = [_declaration(tool) for tool in fields.each("tools")]
    request = without_none(
        {
            "systemInstruction": {"parts": system} if system else None,
            "contents": contents,
            "tools": [{"functionDeclarations": declarations}] if declarations else None,
            "toolConfig": _tool_config(fields),
            "generationConfig": _generation_config(fields) or None,
        }
    )
    fields.done()
    return request


def _generation_config(fields: FieldReader) -> Json:
    limit, older_limit = fields.take("max_completion_tokens"), fields.take("max_tokens")
    stop = fields.take("stop")
    config = {
        "temperature": fields.number("temperature"),
        "topP": fields.number("top_p"),
        "topK": fields.number("top_k"),
        "candidateCount": fields.number("n"),
        "maxOutputTokens": limit or older_limit,
        "stopSequences": [stop] if isinstance(stop, str) else stop,
        "presencePenalty": fields.number("presence_penalty"),
        "frequencyPenalty": fields.number("frequency_penalty"),
        "seed": fields.number("seed"),
        **_response_format(fields),
    }
    return without_none(config)


def _response_format(fields: FieldReader) -> Json:
    match fields.take("response_format"):
        case None | {"type": "text"}:
            return {}
        case {"type": "json_object"}:
            return {"responseMimeType": "application/json"}
        case {"type": "json_schema", "json_schema": {"schema": schema}}:
            return {"responseMimeType": "application/json", "responseJsonSchema": schema}
    raise fields.refuse("response_format")


def _declaration(tool: FieldReader) -> Json:
    function = tool.function()
    translated = without_none(
        {
            "name": function.text("name"),
            "description": function.take("description"),
            "parametersJsonSchema": function.take("parameters"),
        }
    )
    if function.take("strict"):
        raise function.refuse("strict")
    function.done()
    tool.done()
    return translated


def _tool_config(fields: FieldReader) -> Json | None:
    if fields.take("parallel_tool_calls") is False:
        raise fields.refuse("parallel_tool_calls", "cannot be disabled in its API")
    match fields.take("tool_choice"):
        case None:
            return None
        case "auto":
            config: Json = {"mode": "AUTO"}
        case "none":
            config = {"mode": "NONE"}
        case "required":
            config = {"mode": "ANY"}
        case {"type": "function", "function": {"name": str(name)}}:
            config = {"mode": "ANY", "allowedFunctionNames": [name]}
        case _:
            raise fields.refuse("tool_choice")
    return {"functionCallingConfig": config}


def _contents(readers: list[FieldReader]) -> tuple[list[Json], list[Json]]:
    """Return the system instruction, which is the leading system messages, and the conversation."""
    system: list[Json] = []
    contents: list[Json] = []
    names: dict[str, str] = {}
    for message in readers:
        role = message.text("role")
        if role in _SYSTEM and not contents:
            system += _texts(message)
        elif role == "user":
            _add(contents, "user", [_user_part(part) for part in message.parts("content")])
        elif role == "assistant":
            _add(contents, "model", _texts(message) + _calls(message, names))
        elif role == "tool":
            _add(contents, "user", [_result(message, names)])
        else:
            where = "after other messages " if role in _SYSTEM else ""
            raise message.refuse("role", f"{role!r} {where}has no equivalent in its API")
        message.done()
    return system, contents


def _add(contents: list[Json], role: str, parts: list[Json]) -> None:
    """Add a turn; consecutive messages of one role are one turn in the API."""
    if contents and contents[-1]["role"] == role:
        contents[-1]["parts"] += parts
    else:
        contents.append({"role": role, "parts": parts})


def _texts(message: FieldReader) -> list[Json]:
    """Return the content of a message that may contain only text."""
    return [_text(part) for part in message.parts("content")]


def _text(part: FieldReader) -> Json:
    kind = part.text("type")
    if kind != "text":
        raise part.refuse("type", f"{kind!r} has no equivalent in its API here")
    translated = {"text": part.text("text")}
    part.done()
    return translated


def _user_part(part: FieldReader) -> Json:
    kind = part.peek("type")
    if kind not in {"image_url", "input_audio", "file"}:
        return _text(part)
    part.take("type")
    inner = part.inside(kind)
    if kind == "image_url":
        if inner.take("detail") not in (None, "auto"):
            raise inner.refuse("detail")
        media = data_url(inner.text("url"))
        field = "url"
    elif kind == "file":
        inner.take("filename")  # a label: the model never sees it
        media = data_url(inner.text("file_data"))
        field = "file_data"
    else:
        field = "format"
        media_type = _AUDIO.get(inner.text("format"))
        media = (media_type, inner.text("data")) if media_type else None
    if media is None:
        raise inner.refuse(field, "must contain the data itself, in a format that its API accepts")
    inner.done()
    part.done()
    return {"inlineData": {"mimeType": media[0], "data": media[1]}}


def _calls(message: FieldReader, names: dict[str, str]) -> list[Json]:
    """Return the tool calls of a message, and record each function by its id: the API names functions in results."""
    parts: list[Json] = []
    for call in message.each("tool_calls"):
        function = call.function()
        call_id, name = call.text("id"), function.text("name")
        names[call_id] = name
        try:
            arguments = msgspec.json.decode(function.text("arguments") or "{}", type=Json)
        except msgspec.DecodeError:
            raise function.refuse("arguments", "is not a JSON object") from None
        part: Json = {"functionCall": {"id": call_id, "name": name, "args": arguments}}
        # The signature of the model's thoughts before the call, which the provider requires back.
        match call.take("extra_content"):
            case None:
                pass
            case {"google": {"thought_signature": str(signature)}}:
                part["thoughtSignature"] = signature
            case _:
                raise call.refuse("extra_content")
        function.done()
        call.done()
        parts.append(part)
    return parts


def _result(message: FieldReader, names: dict[str, str]) -> Json:
    call_id = message.text("tool_call_id")
    if call_id not in names:
        raise message.refuse("tool_call_id", f"{call_id!r} matches no previous tool call")
    text = "".join(part["text"] for part in _texts(message))
    try:
        response = msgspec.json.decode(text, type=Json)
    except msgspec.DecodeError:
        response = {"output": text}  # the API's key for a result that is not an object
    return {"functionResponse": {"id": call_id, "name": names[call_id], "response": response}}
