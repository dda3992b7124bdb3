"""Input files of the OpenAI Batch API."""

from pathlib import Path

from tests.samples.trace_files import LENGTHS, cells, lines, written

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
    assert cells(trace, *LENGTHS, "model") == [(0.0, 17, 0, n, "gpt-x") for n in (7, 8, 256)]
    assert trace.span_s == 0
    assert trace.report.set_aside == {Kind.NO_GENERATION: 1}
    assert trace.report.bad == {"no input tokens": 1}
    assert any(
        "1 requests set no limit" in text or "2 requests set no limit" in text for text in trace.report.assumptions
    )
