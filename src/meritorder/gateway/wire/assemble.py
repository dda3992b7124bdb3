"""Puts a streamed answer together into the answer that would have come whole.

Deferrable work goes to an engine as a stream, since only a stream can be called back at once. What a client gets is
what it asked for: one object.
"""

from collections.abc import AsyncIterator
from typing import Any, Final

import msgspec

from meritorder.gateway.errors import BrokenAnswerError

_DATA: Final = b"data:"
_DONE: Final = b"[DONE]"
_MOST_BYTES: Final = 64 * 1024 * 1024
# What a part of a stream has that the whole has not, or has in another form.
_STREAM_ONLY: Final = frozenset({"choices", "usage", "object", "obfuscation"})
_OBJECTS: Final = {"chat.completion.chunk": "chat.completion"}


class Assembly:
    """An answer as far as it has come. Anything unknown in a part is kept: texts are joined, other values replace.

    Args:
        venue: Name of the venue, for errors.
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
        """Read a stream to its end, and return the answer.

        Raises:
            BrokenAnswerError: The stream ended too early, or is not of the contract.
        """
        async for chunk in chunks:
            self._bytes += len(chunk)
            if self._bytes > _MOST_BYTES:
                raise BrokenAnswerError("the answer is too long", venue=self._venue)
            lines = (self._rest + chunk).split(b"\n")
            self._rest = lines.pop()
            for line in lines:
                self._take(line.strip())
        self._take(self._rest.strip())
        if not self._ended or not self._whole:
            raise BrokenAnswerError("the stream ended before its answer did", venue=self._venue)
        return msgspec.json.encode(self._answer())

    def _take(self, line: bytes) -> None:
        if not line.startswith(_DATA):
            return
        data = line[len(_DATA) :].strip()
        if data == _DONE:
            self._ended = True
            return
        try:
            part = msgspec.json.decode(data)
        except (msgspec.DecodeError, UnicodeDecodeError):
            raise BrokenAnswerError("an event of the stream is not JSON", venue=self._venue) from None
        if not isinstance(part, dict) or "error" in part:
            raise BrokenAnswerError("the stream ended in an error", venue=self._venue)
        self._add(part)

    def _add(self, part: dict[str, Any]) -> None:
        if not self._whole:
            self._whole = {"object": _OBJECTS.get(part.get("object", ""), part.get("object"))}
        self._whole |= {name: value for name, value in part.items() if name not in _STREAM_ONLY}
        if part.get("usage") is not None:
            self._usage = part["usage"]
        for choice in part.get("choices") or ():
            index = choice.get("index", 0)
            whole = self._choices.setdefault(index, {"index": index})
            self.tokens += 1
            for name, value in choice.items():
                if name == "delta":
                    _merge(whole.setdefault("message", {}), value or {})
                elif name == "text":
                    whole["text"] = whole.get("text", "") + value
                elif name == "logprobs":
                    whole["logprobs"] = _joined(whole.get("logprobs"), value)
                else:
                    whole[name] = value if value is not None else whole.get(name)

    def _answer(self) -> dict[str, Any]:
        choices = [self._choices[index] for index in sorted(self._choices)]
        for choice in choices:
            choice.setdefault("finish_reason", None)
            if "message" in choice:
                message = choice["message"]
                message.setdefault("role", "assistant")
                message.setdefault("content", None)
                for call in message.get("tool_calls") or ():
                    call.pop("index", None)
        answer = {**self._whole, "choices": choices}
        if self._usage is not None:
            answer["usage"] = self._usage
        return answer


def _merge(whole: dict[str, Any], delta: dict[str, Any]) -> None:
    """Add a delta: texts grow, lists of indexed parts grow by index, what is null says nothing."""
    for name, value in delta.items():
        there = whole.get(name)
        if value is None:
            whole.setdefault(name, None)
        elif isinstance(value, str) and isinstance(there, str) and name not in {"role", "id", "type", "name"}:
            whole[name] = there + value
        elif isinstance(value, dict) and isinstance(there, dict):
            _merge(there, value)
        elif isinstance(value, list):
            whole[name] = _grown(there or [], value)
        else:
            whole[name] = value


def _grown(whole: list[Any], delta: list[Any]) -> list[Any]:
    for item in delta:
        index = item.get("index") if isinstance(item, dict) else None
        same = next((each for each in whole if isinstance(each, dict) and each.get("index") == index), None)
        if index is None or same is None:
            whole.append(item)
        else:
            _merge(same, {name: value for name, value in item.items() if name != "index"})
    return whole


def _joined(whole: Any, more: Any) -> Any:  # noqa: ANN401 - log-probabilities, of either endpoint
    if not isinstance(whole, dict) or not isinstance(more, dict):
        return more if more is not None else whole
    return {
        name: (whole.get(name) or []) + (value or []) if isinstance(value, list) else value or whole.get(name)
        for name, value in {**whole, **more}.items()
    }
