"""What an answer in OpenAI's format must have so that clients, and the gateway itself, can read it."""

from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta

from meritorder.gateway.errors import BrokenAnswerError, checked_contract
from meritorder.gateway.wire.errors import INVALID_JSON
from meritorder.gateway.wire.events import parse_events

# Decoding everything finds numbers and texts that clients cannot read, but multiplies the memory of a large answer.
_MAX_DECODED_BYTES: Final = 2**20
_DONE: Final = b"[DONE]"
_FINAL_EVENTS: Final = frozenset({"response.completed", "response.failed", "response.incomplete"})


class _Object(msgspec.Struct, gc=False):
    """Any JSON object."""


class _Message(msgspec.Struct, gc=False):
    tool_calls: list[_Object] | None = None


class _ChatChoice(msgspec.Struct, gc=False):
    message: _Message


class _TextChoice(msgspec.Struct, gc=False):
    text: str


class _ChatCompletion(msgspec.Struct, gc=False):
    choices: Annotated[list[_ChatChoice], Meta(min_length=1)]


class _Completion(msgspec.Struct, gc=False):
    choices: Annotated[list[_TextChoice], Meta(min_length=1)]


class _Embeddings(msgspec.Struct, gc=False):
    data: Annotated[list[_Object], Meta(min_length=1)]


class _Part(msgspec.Struct, gc=False):
    type: str | None = None


class _Item(msgspec.Struct, gc=False):
    type: str | None = None
    content: list[_Part] | None = None


class _Response(msgspec.Struct, gc=False):
    output: list[_Item]
    status: str | None = None


class _ChunkChoice(msgspec.Struct, gc=False):
    finish_reason: str | None = None


class _Event(msgspec.Struct, gc=False):
    error: Any = None
    type: str | None = None
    choices: list[_ChunkChoice] | None = None

    def is_final(self) -> bool:
        """Whether nothing but usage and the end marker, which some servers omit, has to follow."""
        for choice in self.choices or ():
            if choice.finish_reason:
                return True
        return not self.choices and self.type in _FINAL_EVENTS


_ANSWERS: Final[dict[str, msgspec.json.Decoder[Any]]] = {
    "/v1/chat/completions": msgspec.json.Decoder(_ChatCompletion),
    "/v1/completions": msgspec.json.Decoder(_Completion),
    "/v1/embeddings": msgspec.json.Decoder(_Embeddings),
    "/v1/responses": msgspec.json.Decoder(_Response),
}
_ANY_ANSWER: Final[msgspec.json.Decoder[Any]] = msgspec.json.Decoder(_Object)
_EVENT: Final = msgspec.json.Decoder(_Event)


def check_answer(path: str, body: bytes, venue: str) -> None:
    """Check a whole answer.

    Raises:
        BrokenAnswerError: It is not JSON, or not what the endpoint answers with.
    """
    with checked_contract(venue):
        if len(body) <= _MAX_DECODED_BYTES:
            msgspec.json.decode(body)
        _ANSWERS.get(path, _ANY_ANSWER).decode(body)


class StreamCheck:
    """Checks a stream as it passes, in parts of complete events.

    Args:
        venue: Name of the venue, for error messages.
    """

    __slots__ = ("_ended", "_venue")

    def __init__(self, venue: str) -> None:
        self._venue = venue
        self._ended = False

    def feed(self, part: bytes) -> None:
        """Check a part.

        Raises:
            BrokenAnswerError: An event is not JSON or reports an error.
        """
        for _, data in parse_events(part):
            if data == _DONE:
                self._ended = True
            elif data:
                try:
                    event = _EVENT.decode(data)
                except INVALID_JSON:
                    raise BrokenAnswerError("an event is not what a stream consists of", venue=self._venue) from None
                if event.error is not None or event.type == "error":
                    raise BrokenAnswerError("the stream ended with an error", venue=self._venue)
                self._ended = self._ended or event.is_final()

    def end(self) -> None:
        """Check that the answer was complete when the stream ended.

        Raises:
            BrokenAnswerError: It was not.
        """
        if not self._ended:
            raise BrokenAnswerError("the stream ended before the answer was complete", venue=self._venue)
