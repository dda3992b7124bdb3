"""Server-sent events: parsing and encoding.

Source: the HTML standard, 9.2 Server-sent events.
"""

from collections.abc import AsyncIterator
from typing import Any, Final

import msgspec

# Far longer than the events of any provider; protects our memory.
_MAX_EVENT_BYTES: Final = 64 * 2**20
DATA: Final = b"data:"
"""Start of a line with data."""

DONE: Final = b"data: [DONE]\n\n"


async def events(body: AsyncIterator[bytes]) -> AsyncIterator[tuple[str, bytes]]:
    """Yield the name, empty if it has none, and the data of each event.

    Args:
        body: The stream, in parts of any size.

    Raises:
        ValueError: An event is too long.
    """
    name, rest = "", b""
    data: list[bytes] = []
    async for part in body:
        lines = (rest + part).replace(b"\r\n", b"\n").split(b"\n")
        rest = lines.pop()
        if len(rest) + sum(map(len, data)) > _MAX_EVENT_BYTES:
            raise ValueError("an event does not end")
        for line in lines:
            if not line:
                if data:
                    yield name, b"\n".join(data)
                name, data = "", []
                continue
            field, _, value = line.partition(b":")
            value = value.removeprefix(b" ")
            if field == b"data":
                data.append(value)
            elif field == b"event":
                name = value.decode(errors="replace")


def event(data: Any) -> bytes:  # noqa: ANN401 - JSON
    """Return an event with a JSON payload."""
    return b"data: " + msgspec.json.encode(data) + b"\n\n"
