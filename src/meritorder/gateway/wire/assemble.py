"""Assembles a streamed answer into the object of a non-streamed call.

Deferrable requests are streamed from the engine, since only a stream can be preempted at once; their clients asked for
one object.
"""

from collections.abc import AsyncIterator
from typing import Any, Final

import msgspec

from meritorder.gateway.errors import BrokenAnswerError, checked_contract
from meritorder.gateway.wire.events import DATA

_DONE: Final = b"[DONE]"
_MAX_BYTES: Final = 16 * 1024 * 1024
# Fields of a stream chunk that the whole answer lacks, or has in another form.
_CHUNK_ONLY: Final = frozenset({"choices", "usage", "object", "obfuscation"})
_OBJECTS: Final = {"chat.completion.chunk": "chat.completion"}


class AnswerAssembler:
    """A partial answer; unknown fields of a stream chunk are preserved: strings are joined, other values replaced.

    Args:
        venue: Name of the venue, for error messages.
    """

    def __init__(self, venue: str) -> None:
        self.tokens = 0
        self._venue = venue
        self._whole: dict[str, Any] = {}
        self._choices: dict[int, dict[str, Any]] = {}
        self._usage: Any = None
        self._ended = False
        self._rest = b""
        self._bytes = 0

    async def read(self, chunks: AsyncIterator[bytes]) -> bytes:
        """Return the answer of a whole stream.

        Raises:
            BrokenAnswerError: The stream ended early, or violates the API contract.
        """
        with checked_contract(self._venue):
            async for chunk in chunks:
                self._bytes += len(chunk)
                if self._bytes > _MAX_BYTES:
                    raise BrokenAnswerError("the answer is too long", venue=self._venue)
                lines = (self._rest + chunk).split(b"\n")
                self._rest = lines.pop()
                for line in lines:
                    self._read_line(line.strip())
            self._read_line(self._rest.strip())
            if not self._ended or not self._whole:
                raise BrokenAnswerError("the stream ended before the answer was complete", venue=self._venue)
            return msgspec.json.encode(self._answer())

    def _read_line(self, line: bytes) -> None:
        if not line.startswith(DATA):
            return
        data = line[len(DATA) :].strip()
        if data == _DONE:
            self._ended = True
            return
        chunk = msgspec.json.decode(data)
        if not isinstance(chunk, dict) or "error" in chunk:
            raise BrokenAnswerError("the stream ended with an error", venue=self._venue)
        self._add(chunk)

    def _add(self, chunk: dict[str, Any]) -> None:
        if not self._whole:
            self._whole = {"object": _OBJECTS.get(chunk.get("object", ""), chunk.get("object"))}
        self._whole |= {name: value for name, value in chunk.items() if name not in _CHUNK_ONLY}
        if chunk.get("usage") is not None:
            self._usage = chunk["usage"]
        for choice in chunk.get("choices") or ():
            index = choice.get("index", 0)
            whole = self._choices.setdefault(index, {"index": index})
            self.tokens += 1
            self._ended = self._ended or bool(choice.get("finish_reason"))  # some servers omit the end marker
            for name, value in choice.items():
                if name == "delta":
                    _merge(whole.setdefault("message", {}), value or {})
                elif name == "text":
                    whole["text"] = whole.get("text", "") + value
                elif name == "logprobs":
                    whole["logprobs"] = _join_logprobs(whole.get("logprobs"), value)
                else:
                    whole[name] = value if value is not None else whole.get(name)

    def _answer(self) -> dict[str, Any]:
        choices = [self._choices[index] for index in sorted(self._choices)]
        for choice in choices:
            choice.setdefault("finish_reason", None)
            choice.setdefault("logprobs", None)
            if "message" in choice:
                message = choice["message"]
                message.setdefault("role", "assistant")
                message.setdefault("content", None)
                message.setdefault("refusal", None)
                for call in message.get("tool_calls") or ():
                    call.pop("index", None)
        answer = {**self._whole, "choices": choices}
        if self._usage is not None:
            answer["usage"] = self._usage
        return answer


def _merge(whole: dict[str, Any], delta: dict[str, Any]) -> None:
    """Apply a delta: strings are appended, indexed list items merged by index, nulls ignored."""
    for name, value in delta.items():
        current = whole.get(name)
        if value is None:
            whole.setdefault(name, None)
        elif isinstance(value, str) and isinstance(current, str) and name not in {"role", "id", "type", "name"}:
            whole[name] = current + value
        elif isinstance(value, dict) and isinstance(current, dict):
            _merge(current, value)
        elif isinstance(value, list):
            whole[name] = _grow(current or [], value)
        else:
            whole[name] = value


def _grow(whole: list[Any], delta: list[Any]) -> list[Any]:
    for item in delta:
        index = item.get("index") if isinstance(item, dict) else None
        same = next((known for known in whole if isinstance(known, dict) and known.get("index") == index), None)
        if index is None or same is None:
            whole.append(item)
        else:
            _merge(same, {name: value for name, value in item.items() if name != "index"})
    return whole


def _join_logprobs(whole: Any, more: Any) -> Any:  # noqa: ANN401 - either endpoint's form
    if not isinstance(whole, dict) or not isinstance(more, dict):
        return more if more is not None else whole
    return {
        name: (whole.get(name) or []) + (value or []) if isinstance(value, list) else value or whole.get(name)
        for name, value in {**whole, **more}.items()
    }
