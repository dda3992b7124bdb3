"""Logs of calls: of APIs, libraries, gateways and tracers."""

import io
import json
from collections.abc import Sequence
from typing import Final

import polars as pl
from tests.samples.exports.forms import (
    CALLS_A_ROW,
    CHAT,
    EPOCH_S,
    GEMINI,
    INPUT,
    ISO,
    OPENAI,
    OUTPUT,
    PLACES,
    SPANS,
    TIMES,
    TOTAL,
    Record,
    counted,
    document,
    lines,
    rows,
    table,
)


def _parquet(records: Sequence[Record]) -> bytes:
    content = io.BytesIO()
    pl.DataFrame(records).write_parquet(content)
    return content.getvalue()


def _log(**usage: Sequence[Record]) -> bytes:
    """Return a log of the usage of calls, with a time and a model."""
    return lines(
        {"timestamp": time, "model": "m"} | {name: records[place] for name, records in usage.items()}
        for place, time in enumerate(ISO)
    )


_ANTHROPIC: Final = [
    {
        "input_tokens": count - 300,
        "cache_read_input_tokens": 200,
        "cache_creation_input_tokens": 100,
        "output_tokens": out,
    }
    for count, out in zip(INPUT, OUTPUT, strict=True)
]


def _claude_code(place: int) -> Record:
    message = {"id": f"m{place}", "role": "assistant", "model": "m", "usage": _ANTHROPIC[place], "content": []}
    return {"type": "assistant", "uuid": f"u{place}", "sessionId": "s", "timestamp": ISO[place], "message": message}


def _codex(place: int) -> Record:
    last = {"input_tokens": INPUT[place], "output_tokens": OUTPUT[place]}
    total = {"input_tokens": sum(INPUT[: place + 1]), "output_tokens": sum(OUTPUT[: place + 1])}
    info = {"total_token_usage": total, "last_token_usage": last}
    return {"timestamp": ISO[place], "type": "event_msg", "payload": {"type": "token_count", "info": info}}


def _opencode(place: int) -> Record:
    usage = _ANTHROPIC[place]
    cache = {"read": usage["cache_read_input_tokens"], "write": usage["cache_creation_input_tokens"]}
    tokens = {"input": usage["input_tokens"], "output": OUTPUT[place] - 10, "reasoning": 10, "cache": cache}
    return {"id": f"m{place}", "role": "assistant", "time": {"created": EPOCH_S[place] * 1000}, "tokens": tokens}


def _gemini_cli(place: int) -> Record:
    tokens = {"input": INPUT[place] - 20, "output": OUTPUT[place] - 10, "cached": 5, "thoughts": 10, "tool": 20}
    return {"id": f"m{place}", "timestamp": ISO[place], "type": "gemini", "model": "m", "tokens": tokens}


def _open_webui(place: int) -> Record:
    return {"id": f"m{place}", "role": "assistant", "model": "m", "timestamp": EPOCH_S[place], "usage": OPENAI[place]}


def _agent_event(place: int) -> Record:
    usage = _ANTHROPIC[place]
    counts = {
        "event.name": "api_request",
        "model": "m",
        "input_tokens": usage["input_tokens"],
        "cache_read_tokens": usage["cache_read_input_tokens"],
        "cache_creation_tokens": usage["cache_creation_input_tokens"],
        "output_tokens": OUTPUT[place],
    }
    attributes = [{"key": key, "value": {"stringValue": str(value)}} for key, value in counts.items()]
    tool = [{"key": "event.name", "value": {"stringValue": "tool_result"}}]
    records = [{"timeUnixNano": str(EPOCH_S[place] * 10**9), "attributes": found} for found in (attributes, tool)]
    return {"resourceLogs": [{"resource": {"attributes": []}, "scopeLogs": [{"logRecords": records}]}]}


CALLS: Final[dict[str, bytes]] = {
    "AI SDK": _log(usage=counted("inputTokens", "outputTokens")),
    "Anthropic API": _log(usage=_ANTHROPIC),
    "APISIX": lines(
        {
            "start_time": EPOCH_S[place] * 1000,
            "llm_model": "m",
            "llm_prompt_tokens": INPUT[place],
            "llm_completion_tokens": OUTPUT[place],
        }
        for place in PLACES
    ),
    "Bedrock, Converse API": _log(usage=counted("inputTokens", "outputTokens", totalTokens=1)),
    "Braintrust": lines(
        {
            "id": str(place),
            "span_id": f"s{place}",
            "created": ISO[place],
            "metrics": {"start": EPOCH_S[place], "end": EPOCH_S[place] + 2} | OPENAI[place],
            "span_attributes": {"type": "llm"},
        }
        for place in PLACES
    ),
    "Claude Code |": lines(map(_claude_code, PLACES)),
    "Cloudflare": document(
        {
            "success": True,
            "result": [
                {
                    "id": str(place),
                    "created_at": ISO[place],
                    "model": "m",
                    "tokens_in": INPUT[place],
                    "tokens_out": OUTPUT[place],
                }
                for place in PLACES
            ],
        }
    ),
    "Claude Code, Codex, Gemini CLI": lines(map(_agent_event, PLACES)),
    "Codex": lines(map(_codex, PLACES)),
    "Cohere": _log(meta=[{"tokens": counts} for counts in counted("input_tokens", "output_tokens")]),
    "Cursor": table(
        "Date,Kind,Model,Input (w/ Cache Write),Input (w/o Cache Write),Cache Read,Output Tokens",
        ((ISO[place], "Included", "m", 100, INPUT[place] - 300, 200, OUTPUT[place]) for place in PLACES),
    ),
    "Dify": table(
        "id,app_id,model_provider,model_id,conversation_id,message_tokens,answer_tokens,status,created_at",
        (
            (
                f"m{place}",
                "a",
                "openai",
                "m",
                "c",
                INPUT[place],
                OUTPUT[place],
                "normal",
                f"{TIMES[place]:%Y-%m-%d %H:%M:%S}",
            )
            for place in PLACES
        ),
    ),
    "Envoy": lines(
        {"start_time": ISO[place], "response_code": 200, "duration": 1234} | SPANS[place]["attributes"]
        for place in PLACES
    ),
    "Gemini API": _log(usageMetadata=GEMINI),
    "Helicone": table(
        "request_id,request_created_at,model,status,prompt_tokens,completion_tokens,prompt_cache_read_tokens,delay_ms",
        ((f"h{place}", ISO[place], "m", 200, INPUT[place], OUTPUT[place], 0, 900) for place in PLACES),
    ),
    "Kong": lines(
        {
            "started_at": EPOCH_S[place] * 1000,
            "response": {"status": 200},
            "ai": {"ai-proxy": {"meta": {"response_model": "m"}, "usage": TOTAL[place]}},
        }
        for place in PLACES
    ),
    "LangChain": _log(usage_metadata=counted("input_tokens", "output_tokens")),
    "Langfuse": lines(
        {
            "id": f"o{place}",
            "type": "GENERATION",
            "startTime": ISO[place],
            "model": "m",
            "input": CHAT,
            "output": "hi",
            "usageDetails": {"input": INPUT[place] - 100, "input_cached_tokens": 100, "output": OUTPUT[place]},
            "inputUsage": INPUT[place],
            "outputUsage": OUTPUT[place],
        }
        for place in PLACES
    ),
    "LangSmith": _parquet(
        [
            {
                "id": f"r{place}",
                "run_type": "llm",
                "start_time": TIMES[place],
                "end_time": TIMES[place],
                **OPENAI[place],
            }
            for place in PLACES
        ]
    ),
    "LiteLLM, daily": table(
        "id,user_id,date,model,prompt_tokens,completion_tokens,cache_read_input_tokens,spend,api_requests,created_at",
        (
            (
                p,
                "u",
                f"2026-11-{p + 1:02}",
                "m",
                CALLS_A_ROW * INPUT[p],
                CALLS_A_ROW * OUTPUT[p],
                0,
                1,
                CALLS_A_ROW,
                ISO[0],
            )
            for p in PLACES
        ),
    ),
    "LiteLLM |": table(
        "request_id,call_type,api_key,spend,prompt_tokens,completion_tokens,startTime,endTime,model",
        ((f"r{p}", "acompletion", "k", 0.01, INPUT[p], OUTPUT[p], ISO[p], ISO[p], "m") for p in PLACES),
    ),
    "llama.cpp": lines(
        {
            "id": f"c{p}",
            "object": "chat.completion",
            "created": EPOCH_S[p],
            "model": "m",
            "choices": [],
            "usage": TOTAL[p],
        }
        for p in PLACES
    ),
    "MLflow": lines(
        {
            "trace_id": f"t{place}",
            "request_time": EPOCH_S[place] * 1000,
            "state": "OK",
            "trace_metadata": {"mlflow.trace.tokenUsage": json.dumps(counts)},
        }
        for place, counts in enumerate(counted("input_tokens", "output_tokens"))
    ),
    "nginx": lines(
        {"time_local": f"{TIMES[p]:%d/%b/%Y:%H:%M:%S} +0000", "status": "200", "request_time": "1.2"}
        | {name: str(count) for name, count in OPENAI[p].items()}
        for p in PLACES
    ),
    "Ollama": lines(
        {"model": "m", "created_at": ISO[place], "done": True, "total_duration": 2 * 10**9} | counts
        for place, counts in enumerate(counted("prompt_eval_count", "eval_count"))
    ),
    "OpenAI API": _log(usage=TOTAL),
    "OpenRouter |": table(
        "generation_id,created_at,cost_total,tokens_prompt,tokens_completion,tokens_reasoning,tokens_cached,model_permaslug",
        ((f"g{p}", f"{TIMES[p]:%Y-%m-%d %H:%M:%S}.000", 0.001, INPUT[p], OUTPUT[p], 0, 0, "m") for p in PLACES),
    ),
    "OpenRouter, records": lines(
        {"data": {"id": f"g{place}", "created_at": ISO[place], "model": "m", "generation_time": 1200} | counts}
        for place, counts in enumerate(counted("native_tokens_prompt", "native_tokens_completion"))
    ),
    "OpenTelemetry": lines(SPANS),
    "Opik": lines(
        {"id": f"s{p}", "type": "llm", "start_time": ISO[p], "end_time": ISO[p], "model": "m", "usage": TOTAL[p]}
        for p in PLACES
    ),
    "pandas": document(
        {
            name: {str(place): value for place, value in enumerate(values)}
            for name, values in (("timestamp", ISO), ("input_tokens", INPUT), ("output_tokens", OUTPUT))
        }
    ),
    "Portkey": table(
        "id,created_at,ai_model,req_units,res_units,response_status_code,cache_status",
        ((p, ISO[p], "m", INPUT[p], OUTPUT[p], 200, "MISS") for p in PLACES),
    ),
    "SGLang |": lines(
        {
            "timestamp": ISO[place],
            "event": "request.finished",
            "rid": f"r{place}",
            "out": {"text": "x", "meta_info": OPENAI[place] | {"id": f"r{place}", "e2e_latency": 1.5}},
        }
        for place in PLACES
    ),
    "text-generation-inference": lines(
        {"timestamp": ISO[place], "level": "INFO", "message": "Success", "span": {"name": "generate"} | counts}
        for place, counts in enumerate(counted("input_length", "generated_tokens"))
    ),
    "W&B Weave": lines(
        {
            "id": f"b{place}",
            "op_name": "weave:///x/op/openai.chat.completions.create:v1",
            "trace_id": f"t{place}",
            "started_at": ISO[place],
            "ended_at": ISO[place],
            "summary": {"usage": {"m": {"requests": 1} | TOTAL[place]}},
        }
        for place in PLACES
    ),
    "anything else": table("A,B,C", rows(ISO, INPUT, OUTPUT)),
    "Gemini CLI": document({"sessionId": "s", "messages": list(map(_gemini_cli, PLACES))}),
    "opencode": document({"info": {"id": "s"}, "messages": [{"info": _opencode(place)} for place in PLACES]}),
    "Open WebUI": document(
        [
            {
                "chat": {
                    "history": {"messages": {f"m{place}": _open_webui(place) for place in PLACES}},
                    "messages": list(map(_open_webui, PLACES)),
                }
            }
        ]
    ),
}
"""By the beginning of the row of the page."""
