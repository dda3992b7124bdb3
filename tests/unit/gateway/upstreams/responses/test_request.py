"""Requests of the Responses API as chat completions: every form that official clients send."""

from typing import Any

import pytest

from meritorder.gateway.errors import UnsupportedError
from meritorder.gateway.upstreams.responses.request import to_chat

USER = {"role": "user", "content": "hi"}
CALL = {
    "type": "function_call",
    "call_id": "c1",
    "name": "look",
    "arguments": "{}",
    "id": "fc_1",
    "status": "completed",
}
FUNCTION = {"type": "function", "name": "look", "parameters": {"type": "object"}, "strict": True}


def chat(**body: Any) -> dict[str, Any]:  # noqa: ANN401 - JSON
    return to_chat({"model": "m", "input": "hi", **body}, venue="v")


@pytest.mark.parametrize(
    "item",
    [
        {"role": "assistant", "content": "yes"},
        {"type": "message", "role": "assistant", "content": "yes"},
        {"role": "assistant", "content": [{"type": "input_text", "text": "yes"}]},
        {"role": "assistant", "content": [{"type": "output_text", "text": "yes"}]},
        {
            "id": "msg_1",
            "type": "message",
            "role": "assistant",
            "status": "completed",
            "phase": None,
            "content": [{"type": "output_text", "text": "yes", "annotations": [], "logprobs": []}],
        },
        {"type": "message", "role": "assistant", "content": [{"type": "refusal", "refusal": "yes"}]},
    ],
)
def test_every_assistant_form_is_one_message(item: dict[str, Any]) -> None:
    messages = chat(input=[USER, item, USER])["messages"]
    assert messages == [USER, {"role": "assistant", "content": "yes"}, USER]


def test_system_image_is_no_text_to_go_on() -> None:
    image = {"type": "input_image", "image_url": "https://host/a.png"}
    system = [{"role": "system", "content": [image]}, {"role": "developer", "content": "be kind"}]
    messages = chat(input=system)["messages"]
    shown = {"role": "system", "content": [{"type": "image_url", "image_url": {"url": "https://host/a.png"}}]}
    assert messages == [shown, {"role": "system", "content": "be kind"}]


def test_instructions_and_developer_are_one_system_message() -> None:
    messages = chat(instructions="be brief", input=[{"role": "developer", "content": "be kind"}, USER])["messages"]
    assert messages == [{"role": "system", "content": "be brief\n\nbe kind"}, USER]


def test_calls_join_the_message_before() -> None:
    said = {"role": "assistant", "content": "one moment"}
    result = {"type": "function_call_output", "call_id": "c1", "output": [{"type": "input_text", "text": "sun"}]}
    thought = {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "x"}
    messages = chat(input=[USER, thought, said, CALL, CALL | {"call_id": "c2"}, result])["messages"]
    assert [message["role"] for message in messages] == ["user", "assistant", "tool"]
    assert [call["id"] for call in messages[1]["tool_calls"]] == ["c1", "c2"]
    assert messages[2] == {"role": "tool", "tool_call_id": "c1", "content": "sun"}


def test_images_stay_parts() -> None:
    image = {"type": "input_image", "image_url": "data:image/png;base64,AA", "detail": "low"}
    (message,) = chat(input=[{"role": "user", "content": [{"type": "input_text", "text": "what"}, image]}])["messages"]
    assert message["content"][1] == {
        "type": "image_url",
        "image_url": {"url": "data:image/png;base64,AA", "detail": "low"},
    }


def test_format_and_tools_have_chat_form() -> None:
    schema = {"type": "json_schema", "name": "p", "schema": {"type": "object"}, "strict": True}
    sent = chat(text={"format": schema}, tools=[FUNCTION], tool_choice={"type": "function", "name": "look"})
    assert sent["response_format"] == {
        "type": "json_schema",
        "json_schema": {"name": "p", "schema": {"type": "object"}, "strict": True},
    }
    assert sent["tools"] == [
        {"type": "function", "function": {"name": "look", "parameters": {"type": "object"}, "strict": True}}
    ]
    assert sent["tool_choice"] == {"type": "function", "function": {"name": "look"}}


def test_allowed_tools_limit_the_tools() -> None:
    other = FUNCTION | {"name": "other"}
    choice = {"type": "allowed_tools", "mode": "required", "tools": [{"type": "function", "name": "other"}]}
    sent = chat(tools=[FUNCTION, other], tool_choice=choice)
    assert ([tool["function"]["name"] for tool in sent["tools"]], sent["tool_choice"]) == (["other"], "required")


def test_other_fields_are_passed_on() -> None:
    sent = chat(
        max_output_tokens=5,
        temperature=0.5,
        top_k=3,
        reasoning={"effort": "low", "summary": "auto"},
        metadata={"a": "b"},
        store=True,
        service_tier="flex",
        include=["reasoning.encrypted_content"],
    )
    assert sent == {
        "model": "m",
        "messages": [USER],
        "max_tokens": 5,
        "temperature": 0.5,
        "top_k": 3,
        "reasoning_effort": "low",
    }


def test_null_fields_are_absent() -> None:
    names = (
        "text",
        "tools",
        "tool_choice",
        "reasoning",
        "include",
        "truncation",
        "previous_response_id",
        "top_logprobs",
    )
    assert chat(**dict.fromkeys(names)) == {"model": "m", "messages": [USER]}


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"tools": [{"type": "web_search"}]}, "tools[0].type"),
        ({"tool_choice": {"type": "web_search"}}, "tool_choice"),
        ({"text": {"format": {"type": "grammar"}}}, "text.format.type"),
        ({"text": {"verbosity": "low"}}, "text.verbosity"),
        ({"truncation": "auto"}, "truncation"),
        ({"previous_response_id": "resp_1"}, "previous_response_id"),
        ({"conversation": "conv_1"}, "conversation"),
        ({"prompt": {"id": "p"}}, "prompt"),
        ({"reasoning": {"summary": "detailed"}}, "reasoning.summary"),
        ({"input": [{"type": "item_reference", "id": "x"}]}, "input[0].type"),
        (
            {"input": [{"role": "user", "content": [{"type": "input_file", "file_id": "f"}]}]},
            "input[0].content[0].file_data",
        ),
        ({"input": []}, "input"),
        ({"input": 7}, "input"),
        ({"include": 7, "input": None}, "input"),
    ],
)
def test_what_cannot_be_done_is_refused(body: dict[str, Any], param: str) -> None:
    with pytest.raises(UnsupportedError) as caught:
        chat(**body)
    assert caught.value.param == param
