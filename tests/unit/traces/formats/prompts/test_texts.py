"""Files of prompts: texts and images are counted, base64 never is text."""

import base64
import struct
from pathlib import Path

import pytest
from tests.samples.trace_files import LENGTHS, cells, lines, refused, written

from meritorder.traces.read import read_trace
from meritorder.traces.trace import Kind


def test_openai_batch_estimates_tokens(tmp_path: Path) -> None:
    def line(url: str, **body: object) -> dict[str, object]:
        return {"custom_id": "a", "method": "POST", "url": url, "body": {"model": "gpt-x"} | body}

    parts = [
        {"type": "text", "text": "x" * 40},
        {"type": "image_url", "image_url": {"url": "data:" + "y" * 9999}},
    ]
    text = lines(
        line("/v1/chat/completions", messages=[{"role": "user", "content": "x" * 40}], max_tokens=7),
        line("/v1/chat/completions", messages=[{"role": "user", "content": parts}], max_completion_tokens=8),
        line("/v1/responses", input="x" * 40),
        line("/v1/embeddings", input="x"),
        line("/v1/chat/completions", max_tokens=7),
    )
    trace = read_trace([written(tmp_path, text, "batch.jsonl")])
    assert trace.report.format == "openai_batch"
    assert trace.report.estimated_tokens
    # The image, of unknown size, has four tiles: 85 + 4 x 170 = 765.
    expected = [(0.0, 17, 0, 7, "gpt-x"), (0.0, 17 + 765, 0, 8, "gpt-x"), (0.0, 17, 0, 256, "gpt-x")]
    assert cells(trace, *LENGTHS, "model") == expected
    assert trace.span_s == 0
    assert trace.report.set_aside == {Kind.NO_GENERATION: 1}
    assert trace.report.bad == {"no input tokens": 1}
    assert any(
        "1 requests set no limit" in text or "2 requests set no limit" in text for text in trace.report.assumptions
    )


def png(width: int, height: int) -> str:
    head = b"\x89PNG\r\n\x1a\n" + struct.pack(">I4sII", 13, b"IHDR", width, height)
    return "data:image/png;base64," + base64.b64encode(head + bytes(90_000)).decode()


@pytest.mark.parametrize(
    ("part", "tokens"),
    [
        ({"type": "image_url", "image_url": {"url": png(512, 512)}}, 85 + 170),
        ({"type": "image_url", "image_url": {"url": png(512, 512), "detail": "low"}}, 85),
        ({"type": "input_image", "image_url": png(2048, 4096)}, 85 + 6 * 170),
        ({"type": "text", "text": "x" * 8 + png(512, 512)}, 2 + 85 + 170),
    ],
)
def test_images_are_counted_by_size(tmp_path: Path, part: dict[str, object], tokens: int) -> None:
    body = {"model": "gpt-x", "max_tokens": 9, "messages": [{"role": "user", "content": [part]}]}
    record = {"custom_id": "a", "method": "POST", "url": "/v1/chat/completions", "body": body}
    trace = read_trace([written(tmp_path, lines(record), "batch.jsonl")])
    assert trace.requests["input_tokens"].to_list() == [3 + 4 + tokens]
    assert "1 images are counted by the rule of their model's provider" in trace.report.assumptions


@pytest.mark.parametrize(
    "line",
    [
        {"custom_id": "a", "params": {"max_tokens": 50, "messages": [{"role": "user", "content": "x" * 40}]}},
        {"recordId": "a", "modelInput": {"max_tokens": 50, "messages": [{"role": "user", "content": "x" * 40}]}},
        {
            "key": "a",
            "request": {
                "contents": [{"role": "user", "parts": [{"text": "x" * 40}]}],
                "generationConfig": {"maxOutputTokens": 50},
            },
        },
    ],
)
def test_batches_of_other_providers(tmp_path: Path, line: dict[str, object]) -> None:
    trace = read_trace([written(tmp_path, lines(line), "batch.jsonl")])
    assert trace.report.format == "openai_batch"
    assert cells(trace, "input_tokens", "output_tokens") == [(17, 50)]


def test_images_of_gemini_are_counted(tmp_path: Path) -> None:
    data = png(300, 200).partition(",")[2]
    parts = [{"inlineData": {"mimeType": "image/png", "data": data}}, {"text": "x" * 8}]
    line = {"key": "a", "request": {"model": "gemini-2.5-flash", "contents": [{"parts": parts}]}}
    trace = read_trace([written(tmp_path, lines(line), "batch.jsonl")])
    assert trace.requests["input_tokens"].to_list() == [3 + 4 + 2 + 258]


def test_other_media_are_noted_as_missing(tmp_path: Path) -> None:
    audio = {"type": "input_audio", "input_audio": {"data": "A" * 5000, "format": "wav"}}
    record = {"messages": [{"role": "user", "content": [audio, {"type": "text", "text": "x" * 12}]}]}
    trace = read_trace([written(tmp_path, lines(record), "prompts.jsonl")])
    assert trace.requests["input_tokens"].to_list() == [3 + 4 + 3]
    assert any("1 parts with audio, video or files are not counted" in text for text in trace.report.assumptions)


@pytest.mark.parametrize(
    ("records", "lengths"),
    [
        ([{"id": place, "prompt": "x" * 400} for place in range(3)], (107, 256)),
        ([{"prompt": "x" * 400, "max_tokens": 50}], (107, 50)),
        ([{"question": "x" * 40, "answer": "y" * 80}], (17, 20)),
        (
            [{"messages": [{"role": "user", "content": "x" * 40}, {"role": "assistant", "content": "y" * 80}]}],
            (17, 20),
        ),
        ([{"conversations": [{"from": "human", "value": "x" * 40}, {"from": "gpt", "value": "y" * 80}]}], (17, 20)),
    ],
)
def test_prompts_without_counts_are_estimated(
    tmp_path: Path, records: list[dict[str, object]], lengths: tuple[int, int]
) -> None:
    trace = read_trace([written(tmp_path, lines(*records), "prompts.jsonl")])
    assert trace.report.format == "prompts"
    assert trace.report.estimated_tokens
    assert cells(trace, "input_tokens", "output_tokens") == [lengths] * len(records)


def test_prompts_may_have_times(tmp_path: Path) -> None:
    text = "timestamp,prompt\n2026-05-04T08:00:00Z,hello\n2026-05-04T08:00:05Z,you\n"
    trace = read_trace([written(tmp_path, text)])
    assert cells(trace, "arrived_s", "input_tokens") == [(0.0, 9), (5.0, 8)]


def test_counts_win_over_texts(tmp_path: Path) -> None:
    record = {"timestamp": 5, "prompt": "x" * 400, "prompt_tokens": 77, "completion_tokens": 7}
    trace = read_trace([written(tmp_path, lines(record), "log.jsonl")])
    assert cells(trace, "input_tokens", "output_tokens") == [(77, 7)]


def test_records_without_a_prompt_are_refused(tmp_path: Path) -> None:
    assert "no known format" in refused(written(tmp_path, lines({"id": 1, "prompt": 5}), "x.jsonl"))


def test_conversations_of_data_sets_are_read(tmp_path: Path) -> None:
    """LMSYS-Chat and WildChat: 40 letters are 10 tokens, with 4 a message and 3 for the reply; the answer has 2."""
    talk = [{"role": "user", "content": "x" * 40, "language": "English"}, {"role": "assistant", "content": "y" * 8}]
    text = lines({"model": "m", "conversation": talk}, {"model": "m", "conversation": talk * 2})
    trace = read_trace([written(tmp_path, text, "talks.jsonl")])
    assert cells(trace, *LENGTHS) == [(0.0, 17, 0, 2), (0.0, 3 + 3 * 4 + 10 + 2 + 10, 0, 2)]
    assert any(text.startswith("1 conversations hold several answers") for text in trace.report.assumptions)


@pytest.mark.parametrize(
    "record",
    [
        {"messages": [{"role": "assistant", "text": "hi", "tokens": {"input": 900, "output": 20}}]},
        {"text": '{"request": "hi", "tokensIn": 900, "tokensOut": 20}'},
        {"prompt": "hi", "answer": {"usage": {"prompt_tokens": 900, "completion_tokens": 20}}},
    ],
)
def test_counted_texts_are_not_estimated(tmp_path: Path, record: dict[str, object]) -> None:
    """A file of an unknown tool that counts tokens says what they are; its texts are only a part of them."""
    assert "match no known format" in refused(written(tmp_path, lines(record, record), "log.jsonl"))
