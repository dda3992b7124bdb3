"""Messages as chat completions."""

from typing import Any

import pytest

from meritorder.gateway.errors import UnsupportedError
from meritorder.gateway.routes.messages.request import to_chat

USER = {"role": "user", "content": "hi"}


def chat(**body: Any) -> dict[str, Any]:  # noqa: ANN401 - JSON
    return to_chat({"model": "m", "max_tokens": 5, "messages": [USER], **body})


def test_plain_message_is_a_completion() -> None:
    sent = chat(
        system=[{"type": "text", "text": "be brief", "cache_control": {"type": "ephemeral"}}],
        stop_sequences=["."],
        temperature=0.5,
        top_k=3,
        metadata={"user_id": "u"},
        output_config={"effort": "low"},
        stream=True,
    )
    assert sent == {
        "model": "m",
        "max_tokens": 5,
        "messages": [{"role": "system", "content": "be brief"}, USER],
        "stop": ["."],
        "temperature": 0.5,
        "top_k": 3,
        "user": "u",
        "reasoning_effort": "low",
        "stream": True,
        "stream_options": {"include_usage": True},
    }


def test_tool_turns_keep_their_order() -> None:
    used = {"type": "tool_use", "id": "t1", "name": "look", "input": {"at": 1}}
    thought = {"type": "thinking", "thinking": "hm", "signature": "x"}
    result = {
        "type": "tool_result",
        "tool_use_id": "t1",
        "content": [{"type": "text", "text": "sun"}],
        "is_error": True,
    }
    messages = chat(
        messages=[
            USER,
            {"role": "assistant", "content": [thought, {"type": "text", "text": "wait"}, used]},
            {"role": "user", "content": [result, {"type": "text", "text": "and now?"}]},
        ]
    )["messages"]
    assert messages[1:] == [
        {
            "role": "assistant",
            "content": "wait",
            "tool_calls": [{"id": "t1", "type": "function", "function": {"name": "look", "arguments": '{"at":1}'}}],
        },
        {"role": "tool", "tool_call_id": "t1", "content": "Error: sun"},
        {"role": "user", "content": "and now?"},
    ]


def test_images_become_urls() -> None:
    source = {"type": "base64", "media_type": "image/png", "data": "AA"}
    (message,) = chat(messages=[{"role": "user", "content": [{"type": "image", "source": source}]}])["messages"]
    assert message["content"] == [{"type": "image_url", "image_url": {"url": "data:image/png;base64,AA"}}]


@pytest.mark.parametrize(
    ("choice", "sent"),
    [
        ({"type": "auto"}, "auto"),
        ({"type": "any"}, "required"),
        ({"type": "none"}, "none"),
        ({"type": "tool", "name": "look"}, {"type": "function", "function": {"name": "look"}}),
    ],
)
def test_tools_and_choice_are_translated(choice: dict[str, Any], sent: object) -> None:
    tool = {"name": "look", "description": "d", "input_schema": {"type": "object"}}
    body = chat(tools=[tool], tool_choice=choice)
    assert body["tool_choice"] == sent
    assert body["tools"][0]["function"]["parameters"] == {"type": "object"}


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"max_tokens": None}, "max_tokens"),
        ({"model": None}, "model"),
        ({"thinking": {"type": "enabled", "budget_tokens": 1024}}, "thinking"),
        ({"tools": [{"type": "bash_20250124", "name": "bash"}]}, "tools[0].type"),
        ({"messages": [{"role": "user", "content": [{"type": "search_result"}]}]}, "messages[0].content[0].type"),
        ({"messages": [{"role": "robot", "content": "x"}]}, "messages[0].role"),
        ({"mcp_servers": [{"url": "x"}]}, "mcp_servers"),
        ({"service_tier": "priority"}, "service_tier"),
        ({"messages": "hi"}, "messages"),
    ],
)
def test_what_has_no_equivalent_is_refused(body: dict[str, Any], param: str) -> None:
    with pytest.raises(UnsupportedError) as caught:
        chat(**body)
    assert caught.value.param == param


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"temperature": {}}, "temperature"),
        ({"service_tier": {}}, "service_tier"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"stop_sequences": "."}, "stop_sequences"),
        ({"messages": [{"role": "user", "content": None}]}, "messages[0].content"),
        ({"messages": [{"role": "assistant", "content": [{"type": {}, "text": "x"}]}]}, "body"),
    ],
)
def test_wrong_types_are_refused(body: dict[str, Any], param: str) -> None:
    with pytest.raises(UnsupportedError) as caught:
        chat(**body)
    assert caught.value.param == param
