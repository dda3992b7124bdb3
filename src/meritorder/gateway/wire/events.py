"""Server-sent events: cutting, parsing and encoding.

Source: the HTML standard, 9.2 Server-sent events.
"""

from typing import Any, Final

import msgspec

DATA: Final = b"data:"
"""Start of a line with data."""

DONE: Final = b"data: [DONE]\n\n"

_BLANK_LINES: Final = (b"\n\n", b"\n\r\n")


class EventCutter:
    """Cuts a stream that arrives in parts of any size at the ends of its events."""

    __slots__ = ("_incomplete",)

    def __init__(self) -> None:
        self._incomplete = bytearray()

    @property
    def incomplete_bytes(self) -> int:
        """Size of the event that has not ended yet."""
        return len(self._incomplete)

    def feed(self, part: bytes) -> bytes:
        """Add a part, and return the events that are now complete."""
        incomplete = self._incomplete
        if not incomplete and part.endswith(b"\n\n"):
            return part
        start = max(0, len(incomplete) - 2)
        incomplete += part
        end = max(_end_of_last(incomplete, blank_line, start) for blank_line in _BLANK_LINES)
        complete = bytes(incomplete[:end])
        del incomplete[:end]
        return complete

    def end(self) -> bytes:
        """Return the end marker if the stream closed without a blank line after it.

        Raises:
            ValueError: The stream ended within an event.
        """
        rest = bytes(self._incomplete).strip()
        if rest == DONE.strip():
            return DONE
        if rest:
            raise ValueError("the stream ended within an event")
        return b""


def _end_of_last(text: bytearray, mark: bytes, start: int) -> int:
    at = text.rfind(mark, start)
    return 0 if at < 0 else at + len(mark)


def parse_events(text: bytes) -> list[tuple[str, bytes]]:
    """Return the name, empty if it has none, and the data of each event in a text of complete events."""
    if text.startswith(b"data: ") and text.endswith(b"\n\n"):  # the most common form
        unnamed = text[6:-2].split(b"\n\ndata: ")
        if text.count(b"\n") == 2 * len(unnamed) and b"\r" not in text:
            return [("", data) for data in unnamed]
    events: list[tuple[str, bytes]] = []
    name = ""
    data: list[bytes] = []
    for line in text.replace(b"\r\n", b"\n").split(b"\n"):
        if not line:
            if data:
                events.append((name, b"\n".join(data)))
            name, data = "", []
            continue
        field, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if field == b"data":
            data.append(value)
        elif field == b"event":
            name = value.decode(errors="replace")
    return events


def event(data: Any) -> bytes:  # noqa: ANN401 - JSON
    """Return an event with a JSON payload."""
    return b"data: " + msgspec.json.encode(data) + b"\n\n"
