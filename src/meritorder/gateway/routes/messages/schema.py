"""Requests of the Messages API as far as they have an equivalent in chat completions."""

from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta

CUSTOM_ID: Final = r"^[a-zA-Z0-9_-]{1,64}$"


class _Block(msgspec.Struct, forbid_unknown_fields=True, tag_field="type", kw_only=True):
    """A part of a message; neither field has an effect on the answer."""

    cache_control: Any = None
    citations: Any = None


class TextBlock(_Block, tag="text"):
    """Text."""

    text: str


class Base64Source(msgspec.Struct, forbid_unknown_fields=True, tag_field="type", tag="base64"):
    """Content in the request itself."""

    media_type: str
    data: str


class UrlSource(msgspec.Struct, forbid_unknown_fields=True, tag_field="type", tag="url"):
    """Content at an address, which the venue fetches."""

    url: str


class TextSource(msgspec.Struct, forbid_unknown_fields=True, tag_field="type", tag="text"):
    """Plain text in the request itself."""

    data: str
    media_type: str = "text/plain"


class ImageBlock(_Block, tag="image"):
    """An image."""

    source: Base64Source | UrlSource


class DocumentBlock(_Block, tag="document"):
    """A document."""

    source: Base64Source | TextSource
    title: str | None = None


class ToolUseBlock(_Block, tag="tool_use"):
    """A call of a tool by the model."""

    id: str
    name: str
    input: dict[str, Any]
    caller: Any = None


class ToolResultBlock(_Block, tag="tool_result"):
    """The result of a tool."""

    tool_use_id: str
    content: str | list[TextBlock] | None = None
    is_error: bool | None = None


class ThinkingBlock(msgspec.Struct, tag_field="type", tag="thinking"):
    """Thoughts of an earlier turn, which are left out, as chat templates do."""


class RedactedThinkingBlock(msgspec.Struct, tag_field="type", tag="redacted_thinking"):
    """Encrypted thoughts of an earlier turn, which are left out."""


class UserMessage(msgspec.Struct, forbid_unknown_fields=True, tag_field="role", tag="user"):
    """What the user says."""

    content: str | list[TextBlock | ImageBlock | DocumentBlock | ToolResultBlock]


class AssistantMessage(msgspec.Struct, forbid_unknown_fields=True, tag_field="role", tag="assistant"):
    """What the model said."""

    content: str | list[TextBlock | ToolUseBlock | ThinkingBlock | RedactedThinkingBlock]


class SystemMessage(msgspec.Struct, forbid_unknown_fields=True, tag_field="role", tag="system"):
    """Instructions within the conversation."""

    content: str | list[TextBlock]


class Tool(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """A tool that the client runs."""

    name: str
    input_schema: dict[str, Any]
    description: str | None = None
    type: Literal["custom"] | None = None
    strict: bool | None = None
    cache_control: Any = None
    citations: Any = None


class _ToolChoice(msgspec.Struct, forbid_unknown_fields=True, tag_field="type", kw_only=True):
    disable_parallel_tool_use: bool | None = None


class AutoToolChoice(_ToolChoice, tag="auto"):
    """The model may call tools."""


class AnyToolChoice(_ToolChoice, tag="any"):
    """The model must call a tool."""


class NoToolChoice(_ToolChoice, tag="none"):
    """The model must not call tools."""


class NamedToolChoice(_ToolChoice, tag="tool"):
    """The model must call this tool."""

    name: str


class JsonSchemaFormat(msgspec.Struct):
    """The schema of the answer."""

    type: Literal["json_schema"]
    schema: dict[str, Any]


class OutputConfig(msgspec.Struct, forbid_unknown_fields=True):
    """The form of the answer, and how much to think."""

    effort: str | None = None
    format: JsonSchemaFormat | None = None


class Metadata(msgspec.Struct):
    """Whom the request is for."""

    user_id: str | None = None


class DisabledThinking(msgspec.Struct, forbid_unknown_fields=True):
    """No thinking; `output_config.effort` says how much otherwise."""

    type: Literal["disabled"]


ToolChoice = AutoToolChoice | AnyToolChoice | NoToolChoice | NamedToolChoice
Message = UserMessage | AssistantMessage | SystemMessage
Share = Annotated[float, Meta(ge=0, le=1)]


class Conversation(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """What the model reads."""

    model: str
    messages: Annotated[list[Message], Meta(min_length=1)]
    system: str | list[TextBlock] | None = None
    tools: list[Tool] | None = None
    tool_choice: ToolChoice | None = None
    thinking: DisabledThinking | None = None
    output_config: OutputConfig | None = None
    cache_control: Any = None


class MessageCreation(Conversation, forbid_unknown_fields=True, kw_only=True):
    """A message in Anthropic's form; a field without an equivalent in a chat completion is refused by name."""

    max_tokens: Annotated[int, Meta(ge=1)]
    stream: bool | None = None
    stop_sequences: list[str] | None = None
    temperature: Share | None = None
    top_p: Share | None = None
    top_k: Annotated[int, Meta(ge=0)] | None = None
    metadata: Metadata | None = None
    service_tier: Literal["auto", "standard_only"] | None = None
    citations: Any = None


class TokenCount(Conversation, forbid_unknown_fields=True, kw_only=True):
    """A message whose input tokens are counted."""


class BatchEntry(msgspec.Struct):
    """One request of a batch of messages."""

    custom_id: Annotated[str, Meta(pattern=CUSTOM_ID)]
    params: MessageCreation


class BatchCreation(msgspec.Struct):
    """A batch of messages to one model."""

    requests: Annotated[list[BatchEntry], Meta(min_length=1)]
