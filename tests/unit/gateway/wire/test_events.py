from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meritorder.gateway.wire.events import DONE, EventCutter, event, parse_events

STREAM = b": comment\r\nevent: named\r\ndata: a\r\ndata: b\r\n\r\ndata:c\n\n\ndata: unfinished"


@given(st.lists(st.integers(0, len(STREAM)), max_size=12))
def test_cuts_do_not_change_events(cuts: list[int]) -> None:
    cutter, places = EventCutter(), [0, *sorted(cuts), len(STREAM)]
    parts = [cutter.feed(STREAM[start:end]) for start, end in pairwise(places)]
    assert [event for part in parts for event in parse_events(part)] == [("named", b"a\nb"), ("", b"c")]
    assert all(part.endswith(b"\n") for part in parts if part)
    with pytest.raises(ValueError, match="within an event"):
        cutter.end()


@given(st.lists(st.sampled_from([b"a", b"b\r", b"", b"c\ndata: d", b"\nevent: e\ndata: f", b"data: "]), max_size=5))
def test_usual_form_is_read_like_any_other(parts: list[bytes]) -> None:
    """Events with nothing but data are read faster; after a comment, they are read as all others are."""
    text = b"".join(b"data: " + part + b"\n\n" for part in parts)
    assert parse_events(text) == parse_events(b": comment\n" + text)


def test_end_within_an_event() -> None:
    cutter = EventCutter()
    cutter.feed(b"data: {}\n\ndata: {")
    with pytest.raises(ValueError, match="within an event"):
        cutter.end()


@pytest.mark.parametrize("rest", [b"data: [DONE]", b"data: [DONE]\n", b"data: [DONE]\r\n"])
def test_end_marker_needs_no_blank_line(rest: bytes) -> None:
    cutter = EventCutter()
    assert cutter.feed(rest) == b""
    assert cutter.end() == DONE


def test_event_is_json() -> None:
    assert event({"a": 1}) == b'data: {"a":1}\n\n'
