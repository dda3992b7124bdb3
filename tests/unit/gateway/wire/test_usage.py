import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.samples.streams import CHAT, USAGE

from meritorder.gateway.wire.events import EventCutter
from meritorder.gateway.wire.usage import Asked, StreamMeter, Usage, measured_usage, parse_usage


def test_usage_of_both_endpoints() -> None:
    completion = parse_usage(json.dumps({"usage": USAGE}).encode())
    assert completion == Usage(input_tokens=3, cached_tokens=1, output_tokens=2, counted=True)
    reported = {"input_tokens": 4, "output_tokens": 5, "output_tokens_details": {"reasoning_tokens": 2}}
    response = parse_usage(json.dumps({"usage": reported}).encode())
    assert response == Usage(input_tokens=4, output_tokens=5, reasoning_tokens=2, counted=True)
    assert parse_usage(b"{}") is None
    assert parse_usage(b"not json") is None
    assert parse_usage(b'{"usage": "none"}') is None


def chat(answer_usage: object, text: str = "Hello, world! " * 10) -> bytes:
    return json.dumps(
        {"choices": [{"message": {"role": "assistant", "content": text}}], "usage": answer_usage}
    ).encode()


def asked(**fields: object) -> Asked:
    body = json.dumps({"model": "m", "messages": [{"role": "user", "content": "x" * 400}], **fields}).encode()
    return Asked(len(body), int(str(fields.get("max_tokens", 512))), body)


TINY = asked(max_tokens=20)


@pytest.mark.parametrize(
    "reported",
    [
        None,
        {},
        "none",
        [],
        {"prompt_tokens": -1_000_000, "completion_tokens": 5},
        {"prompt_tokens": 10, "completion_tokens": -5},
        {"prompt_tokens": 10**18, "completion_tokens": 5},
        {"prompt_tokens": 10, "completion_tokens": 10**30},
        {"prompt_tokens": 10, "completion_tokens": 21},
        {"prompt_tokens": 10, "completion_tokens": None},
        {"prompt_tokens": 0, "completion_tokens": 0},
        {"prompt_tokens": 10.5, "completion_tokens": 5},
        {"prompt_tokens": "10", "completion_tokens": "5"},
        {"prompt_tokens": True, "completion_tokens": 5},
        {"prompt_tokens": 10, "completion_tokens": 5, "prompt_tokens_details": {"cached_tokens": 11}},
        {"prompt_tokens": 10, "completion_tokens": 5, "prompt_tokens_details": {"cached_tokens": -1}},
        {"prompt_tokens": 10, "completion_tokens": 5, "completion_tokens_details": {"reasoning_tokens": 6}},
        {"prompt_tokens": 10_000, "completion_tokens": 5},
    ],
)
def test_implausible_usage_is_estimated(reported: object) -> None:
    """A quarter of the bytes: the whole request, and the message of the answer, which has 170 bytes; 20 at most."""
    estimated = Usage(input_tokens=TINY.body_bytes // 4, output_tokens=20)
    assert measured_usage(chat(reported), TINY) == estimated
    meter = StreamMeter()
    for number in range(30):
        meter.feed(b'data: {"number": %d}\n\n' % number)
    meter.feed(b"data: " + json.dumps({"choices": [], "usage": reported}).encode() + b"\n\n")
    assert meter.usage(TINY) == estimated


@pytest.mark.parametrize(
    ("request_of", "inputs", "outputs"),
    [
        (TINY, 500, 20),
        (asked(max_tokens=20, n=3), 100, 60),
        (asked(max_tokens=20, best_of=2), 100, 40),
        (asked(max_tokens=20, prompt=["a", "b"]), 100, 40),
        (asked(max_tokens=20, prompt=[1, 2]), 100, 20),
        (asked(), 100, 60_000),
        (asked(image_url={"url": "https://example.com/film.mp4"}), 900_000, 10),
        (asked(previous_response_id="resp_1"), 900_000, 10),
        (asked(prompt={"id": "pmpt_1"}), 900_000, 10),
    ],
)
def test_plausible_usage_is_counted(request_of: Asked, inputs: int, outputs: int) -> None:
    reported = {"prompt_tokens": inputs, "completion_tokens": outputs}
    counted = Usage(input_tokens=inputs, output_tokens=outputs, counted=True)
    assert measured_usage(chat(reported), request_of) == counted


@pytest.mark.parametrize(
    ("request_of", "inputs", "outputs"),
    [
        (asked(max_tokens=20, n=3), 100, 61),
        (asked(max_tokens=20, prompt=[1, 2]), 100, 21),
        (asked(), 100, 400_000),
        (asked(image_url={"url": "https://example.com/film.mp4"}), 10**8, 10),
    ],
)
def test_usage_beyond_the_request_is_estimated(request_of: Asked, inputs: int, outputs: int) -> None:
    assert not measured_usage(chat({"prompt_tokens": inputs, "completion_tokens": outputs}), request_of).counted


def test_embeddings_have_no_output() -> None:
    answer = json.dumps({"data": [{"embedding": [0.5] * 100}], "usage": {"prompt_tokens": 7}}).encode()
    assert measured_usage(answer, TINY) == Usage(input_tokens=7, counted=True)


def test_size_alone_bounds_usage() -> None:
    """Of a request whose body is not at hand, only numbers that no model reaches are refused."""
    unread = Asked(500, 512)
    assert measured_usage(chat({"prompt_tokens": 50_000, "completion_tokens": 9_000}), unread).counted
    assert not measured_usage(chat({"prompt_tokens": 10**12, "completion_tokens": 9_000}), unread).counted


def test_usage_of_a_stream() -> None:
    meter, cutter = StreamMeter(), EventCutter()
    for at in range(0, len(CHAT), 7):
        meter.feed(cutter.feed(CHAT[at : at + 7]))
    assert meter.usage(TINY) == Usage(input_tokens=3, cached_tokens=1, output_tokens=2, counted=True)


@given(reported=st.recursive(st.none() | st.integers() | st.floats() | st.text(max_size=5), st.lists))
def test_no_usage_is_negative_or_huge(reported: object) -> None:
    fields = {"prompt_tokens": reported, "completion_tokens": 5, "prompt_tokens_details": {"cached_tokens": reported}}
    for form in (fields, reported, {"completion_tokens": reported}):
        usage = measured_usage(chat(form), TINY)
        assert 0 <= usage.cached_tokens <= usage.input_tokens <= TINY.body_bytes + 4096
        assert 0 <= usage.output_tokens <= 20
