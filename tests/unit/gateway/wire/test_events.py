import asyncio
from collections.abc import AsyncIterator

import pytest

from meritorder.gateway.wire import events

STREAM = b": comment\r\nevent: named\r\ndata: a\r\ndata: b\r\n\r\ndata:c\n\n\ndata: unfinished"


def parsed(stream: bytes, size: int) -> list[tuple[str, bytes]]:
    async def parts() -> AsyncIterator[bytes]:
        for start in range(0, len(stream), size):
            yield stream[start : start + size]

    async def collect() -> list[tuple[str, bytes]]:
        return [event async for event in events.events(parts())]

    return asyncio.run(collect())


@pytest.mark.parametrize("size", [3, 7, 1000])
def test_events_by_standard(size: int) -> None:
    assert parsed(STREAM.replace(b"\r\n", b"\n"), size) == [("named", b"a\nb"), ("", b"c")]


def test_windows_line_ends() -> None:
    assert parsed(STREAM, 1000) == [("named", b"a\nb"), ("", b"c")]


def test_endless_event_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "_MAX_EVENT_BYTES", 10)
    with pytest.raises(ValueError, match="does not end"):
        parsed(b"data: " + b"x" * 20, 8)


def test_event_is_json() -> None:
    assert events.event({"a": 1}) == b'data: {"a":1}\n\n'
