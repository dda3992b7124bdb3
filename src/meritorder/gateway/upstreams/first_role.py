"""Streams of chat completions whose first chunk names no role, as the specification and official clients require."""

from collections.abc import AsyncIterator
from typing import Any, Final

import msgspec

from meritorder.gateway.upstreams.upstream import Reply, Wrapped
from meritorder.gateway.wire.errors import INVALID_JSON
from meritorder.gateway.wire.events import DATA

_ROLE: Final = "assistant"


class FirstRoleReply(Wrapped):
    """A stream in which the first chunk of each choice has a role; everything else is as it arrives.

    Args:
        reply: The engine's reply.
        choices: Number of choices that the request asked for.
    """

    __slots__ = ("_choices", "_seen")

    def __init__(self, reply: Reply, choices: int) -> None:
        super().__init__(reply)
        self._choices = choices
        self._seen: set[int] = set()

    @property
    def body(self) -> AsyncIterator[bytes]:
        """The chunks as they arrive."""
        return self._parts()

    async def _parts(self) -> AsyncIterator[bytes]:
        incomplete = b""
        async for part in self._reply.body:
            if len(self._seen) >= self._choices:
                yield incomplete + part
                incomplete = b""
                continue
            *lines, incomplete = (incomplete + part).split(b"\n")
            if lines:
                yield b"".join(self._with_role(line) + b"\n" for line in lines)
        if incomplete:
            yield incomplete

    def _with_role(self, line: bytes) -> bytes:
        if not line.startswith(DATA) or b'"delta"' not in line:
            return line
        try:
            chunk: Any = msgspec.json.decode(line[len(DATA) :])
            added = [self._add_role(choice) for choice in chunk["choices"]]
        except (*INVALID_JSON, KeyError, TypeError, AttributeError):
            return line  # its reader says what is wrong
        return DATA + b" " + msgspec.json.encode(chunk) if any(added) else line

    def _add_role(self, choice: dict[str, Any]) -> bool:
        """Add the role to the first chunk of a choice; return whether it was missing."""
        index, delta = choice.get("index", 0), choice["delta"]
        if index in self._seen:
            return False
        self._seen.add(index)
        if delta.get("role"):
            return False
        choice["delta"] = {"role": _ROLE, **{name: value for name, value in delta.items() if name != "role"}}
        return True
