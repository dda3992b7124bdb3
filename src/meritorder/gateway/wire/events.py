"""Server-sent events, in and out.

Source: the HTML standard, 9.2 Server-sent events.
"""

from collections.abc import AsyncIterator
from typing import Any, Final

import msgspec

# No provider sends an event this long; who does would fill our memory.
_LONGEST_BYTES: Final = 64 * 2**20
DONE: Final = b"data: [DONE]\n\n"


async def events(body: AsyncIterator[bytes]) -> AsyncIterator[tuple[str, bytes]]:
    """Yield name and data of each event; the name is empty where there is none.

    Args:
        body: In parts of any size.

    Raises:
        ValueError: An event does not end.
    """
    name, rest = "", b""
    data: list[bytes] = []
    async for part in body:
        lines = (rest + part).replace(b"\r\n", b"\n").split(b"\n")
        rest = lines.pop()
        if len(rest) + sum(map(len, data)) > _LONGEST_BYTES:
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
    """Return an event with JSON in it."""
    return b"data: " + msgspec.json.encode(data) + b"\n\n"
