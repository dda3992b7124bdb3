"""Logs of gateways and engines, on lines like those of each tool's documentation: 500 input and 90 output tokens."""

import json
from pathlib import Path
from typing import Any

import pytest
from tests.samples.trace_files import LENGTHS, cells, lines, refused, written

from meritorder.traces.read import read_trace
from meritorder.traces.trace import Kind

FIRST, SECOND = "2026-11-02T09:00:00.000Z", "2026-11-02T09:00:07.000Z"
# The same instants as `date -u -d 2026-11-02T09:00:00 +%s` gives.
FIRST_S, SECOND_S = 1_793_610_000, 1_793_610_007

CLOUDFLARE = {"id": "a", "provider": "openai", "model": "m", "tokens_in": 500, "tokens_out": 90, "duration": 1200}
PORTKEY = {"id": "a", "ai_model": "m", "req_units": 500, "res_units": 90, "total_units": 590, "response_time": 1200}
KONG_USAGE = {"meta": {"response_model": "m"}, "usage": {"prompt_tokens": 500, "completion_tokens": 90}}
OLLAMA = {"model": "m", "done": True, "total_duration": 5_589_157_167, "prompt_eval_count": 500, "eval_count": 90}
TGI = {"level": "INFO", "message": "Success", "span": {"name": "generate", "input_length": 500, "generated_tokens": 90}}
METRICS = {"input_tokens": 500, "output_tokens": 90, "total_tokens": 590}
AI_SDK = {"inputTokens": 500, "outputTokens": 90, "totalTokens": 590, "cachedInputTokens": 400}
VERTEX = {"usageMetadata": {"promptTokenCount": 500, "candidatesTokenCount": 60, "thoughtsTokenCount": 30}}
OPENROUTER = {
    "model": "m",
    "tokens_prompt": 450,
    "tokens_completion": 80,
    "native_tokens_prompt": 500,
    "native_tokens_completion": 90,
    "native_tokens_reasoning": 20,
    "native_tokens_cached": 0,
}
WEAVE = {"summary": {"usage": {"m": {"requests": 1, "prompt_tokens": 500, "completion_tokens": 90}}}}
SNOWFLAKE = {"MODEL_NAME": "m", "TOKENS": 590, "TOKENS_GRANULAR": {"input": 500, "output": 90}}
CONVERSE = {
    "inputTokens": 5,
    "outputTokens": 90,
    "totalTokens": 595,
    "cacheReadInputTokens": 480,
    "cacheWriteInputTokens": 15,
}


def span(start_s: int, kind: str = "llm") -> dict[str, Any]:
    attributes = {"span_kind": kind, "start_ns": start_s * 10**9, "model_name": "m", "metrics": METRICS, "status": "ok"}
    return {"id": f"{kind}{start_s}", "type": "span", "attributes": attributes}


CASES = {
    "cloudflare": json.dumps(
        {
            "success": True,
            "result": [
                CLOUDFLARE | {"created_at": FIRST, "cached": False, "success": True},
                CLOUDFLARE | {"id": "b", "created_at": SECOND, "cached": False, "success": True},
                CLOUDFLARE | {"id": "c", "created_at": SECOND, "cached": True, "success": True},
            ],
        }
    ),
    "portkey": lines(
        PORTKEY | {"created_at": FIRST, "response_status_code": 200},
        PORTKEY | {"id": "b", "created_at": SECOND, "response_status_code": 200},
        PORTKEY | {"id": "c", "created_at": SECOND, "response_status_code": 429, "res_units": 0},
    ),
    "kong": lines(
        {"started_at": FIRST_S * 1000, "response": {"status": 200}, "ai": {"ai-proxy": KONG_USAGE}},
        {"started_at": SECOND_S * 1000, "response": {"status": 200}, "ai": {"ai-proxy": KONG_USAGE}},
        {"started_at": SECOND_S * 1000 + 1, "response": {"status": 500}, "ai": {"ai-proxy": KONG_USAGE}},
    ),
    "ollama": lines(
        OLLAMA | {"created_at": FIRST},
        OLLAMA | {"created_at": SECOND},
        {"model": "m", "created_at": SECOND, "done": False, "response": "he"},
    ),
    "tgi": lines(
        TGI | {"timestamp": FIRST},
        TGI | {"timestamp": SECOND},
        {"timestamp": SECOND, "message": "Connected", "span": {}},
    ),
    "datadog": lines({"data": [span(FIRST_S), span(FIRST_S, "agent")]}, {"data": [span(SECOND_S)]}),
    # The providers' own counts are those that are billed; OpenRouter's are of one tokenizer for all.
    "openrouter": lines(
        {"data": OPENROUTER | {"id": "a", "created_at": FIRST}},
        {"data": OPENROUTER | {"id": "b", "created_at": SECOND}},
    ),
    "weave": lines(
        WEAVE | {"id": "agent", "op_name": "agent", "started_at": FIRST, "parent_id": None},
        WEAVE | {"id": "call", "op_name": "chat", "started_at": FIRST, "parent_id": "agent"},
        WEAVE | {"id": "other", "op_name": "chat", "started_at": SECOND, "parent_id": None},
    ),
    "snowflake": lines(
        SNOWFLAKE | {"START_TIME": "2026-11-02 09:00:00.000 +0000", "REQUEST_ID": "a"},
        SNOWFLAKE | {"START_TIME": "2026-11-02 10:00:07.000 +0100", "REQUEST_ID": "b"},
    ),
    "gemini": lines(
        {"logging_time": FIRST, "request_id": "1", "model": "m", "full_response": VERTEX},
        {"logging_time": SECOND, "request_id": "2", "model": "m", "full_response": VERTEX},
    ),
    "converse": lines(
        {"timestamp": FIRST, "modelId": "m", "usage": CONVERSE},
        {"timestamp": SECOND, "modelId": "m", "usage": CONVERSE},
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_published_lines_are_read(tmp_path: Path, name: str) -> None:
    trace = read_trace([written(tmp_path, CASES[name], "log.json")])
    assert trace.report.format == name
    cached = 480 if name == "converse" else 0
    assert cells(trace, *LENGTHS, "model") == [
        (0.0, 500, cached, 90, None if name == "tgi" else "m"),
        (7.0, 500, cached, 90, None if name == "tgi" else "m"),
    ]
    assert trace.epoch_s == FIRST_S
    assert trace.report.bad_rows == 0


def test_other_rows_are_set_aside(tmp_path: Path) -> None:
    kinds = {"cloudflare": Kind.RESPONSE_CACHE, "kong": Kind.ERROR, "tgi": Kind.EVENT, "datadog": Kind.PARENT}
    kinds["weave"] = Kind.PARENT
    for name, kind in kinds.items():
        report = read_trace([written(tmp_path, CASES[name], f"{name}.json")]).report
        assert {found: aside.rows for found, aside in report.aside.items()} == {kind: 1}, name


def test_unknown_columns_are_proposed(tmp_path: Path) -> None:
    message = refused(written(tmp_path, f"timestamp,prompt_tokens,total_tokens\n{FIRST},500,590\n"))
    assert "match no known format; if this is right" in message
    # A total is no count of the answer.
    assert "--columns arrival=timestamp,input=prompt_tokens,output=NAME" in message


def test_ai_sdk_input_includes_its_cache(tmp_path: Path) -> None:
    """The AI SDK names its counts as Bedrock's Converse API does, which leaves the cache out."""
    path = written(tmp_path, lines({"timestamp": FIRST, "model": "m", "usage": AI_SDK}), "log.jsonl")
    assert cells(read_trace([path]), *LENGTHS) == [(0.0, 500, 400, 90)]


def test_braintrust_tasks_are_set_aside(tmp_path: Path) -> None:
    counts = {"prompt_tokens": 500, "completion_tokens": 90, "prompt_cached_tokens": 100}
    spans = [
        {"id": kind, "created": FIRST, "metrics": {"start": FIRST_S, **counts}, "span_attributes": {"type": kind}}
        for kind in ("llm", "task")
    ]
    trace = read_trace([written(tmp_path, lines(*spans), "spans.jsonl")])
    assert cells(trace, *LENGTHS) == [(0.0, 500, 100, 90)]
    assert trace.report.set_aside == {Kind.PARENT: 1}


def test_spans_of_application_insights_are_read(tmp_path: Path) -> None:
    """Log Analytics exports attributes as JSON text in a cell, whose keys have dots."""
    attributes = {"gen_ai.usage.input_tokens": "500", "gen_ai.usage.output_tokens": "90", "gen_ai.request.model": "m"}
    cell = json.dumps(attributes).replace('"', '""')
    text = f'timestamp [UTC],name,customDimensions\n"11/2/2026, 9:00:00.000 AM",chat,"{cell}"\n'
    trace = read_trace([written(tmp_path, text)])
    assert cells(trace, *LENGTHS) == [(0.0, 500, 0, 90)]
    assert trace.epoch_s == FIRST_S


def test_weave_counts_each_model_by_its_rule(tmp_path: Path) -> None:
    """OpenAI's prompt includes the cache, and Anthropic's leaves it out: both have 500 tokens of input."""
    usages = (
        {"m": {"prompt_tokens": 500, "completion_tokens": 90}},
        {
            "n": {
                "input_tokens": 5,
                "cache_read_input_tokens": 480,
                "cache_creation_input_tokens": 15,
                "output_tokens": 90,
            }
        },
    )
    calls = [
        {"id": str(place), "op_name": "chat", "started_at": FIRST, "summary": {"usage": usage}}
        for place, usage in enumerate(usages)
    ]
    trace = read_trace([written(tmp_path, lines(*calls), "calls.jsonl")])
    assert cells(trace, *LENGTHS, "model") == [(0.0, 500, 0, 90, "m"), (0.0, 500, 480, 90, "n")]
