import json
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st
from tests.samples.streams import CHAT, USAGE

from meritorder.gateway.wire import usage


def test_usage_of_both_endpoints() -> None:
    chat = usage.parse_usage(json.dumps({"usage": USAGE}).encode())
    assert chat == usage.Usage(input_tokens=3, cached_tokens=1, output_tokens=2, counted=True)
    reported = {"input_tokens": 4, "output_tokens": 5, "output_tokens_details": {"reasoning_tokens": 2}}
    response = usage.parse_usage(json.dumps({"usage": reported}).encode())
    assert response == usage.Usage(input_tokens=4, output_tokens=5, reasoning_tokens=2, counted=True)
    assert usage.parse_usage(b"{}") is None
    assert usage.parse_usage(b"not json") is None
    assert usage.parse_usage(b'{"usage": "none"}') is None


@given(cuts=st.lists(st.integers(0, len(CHAT)), max_size=8))
def test_cuts_do_not_change_usage(cuts: list[int]) -> None:
    meter = usage.StreamMeter()
    places = [0, *sorted(cuts), len(CHAT)]
    for start, end in pairwise(places):
        meter.feed(CHAT[start:end])
    assert meter.usage(99) == usage.Usage(input_tokens=3, cached_tokens=1, output_tokens=2, counted=True)


def test_unreported_usage_is_estimated() -> None:
    meter = usage.StreamMeter()
    for event in (b"data: {}\n\n", b"data: {}\n\n", b"data: [DONE]\n\n"):
        meter.feed(event)
    assert meter.usage(7) == usage.Usage(input_tokens=7, output_tokens=2, counted=False)
