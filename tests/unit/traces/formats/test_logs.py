"""Logs of gateways, providers and tracing tools: what their columns mean, which of their rows are no request."""

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from tests.samples.trace_files import LENGTHS, cells, lines, refused, written

from meritorder.traces.read import read_trace
from meritorder.traces.trace import Aside, Kind, Trace

LITELLM = {
    "request_id": "r",
    "call_type": "acompletion",
    "api_key": "k",
    "spend": 0.1,
    "total_tokens": 110,
    "prompt_tokens": 100,
    "completion_tokens": 10,
    "startTime": "2026-01-05T10:00:00.500000Z",
    "endTime": "2026-01-05T10:00:02Z",
    "model": "provider/m",
    "model_group": "m",
    "user": "",
    "team_id": "t1",
    "session_id": "s",
    "cache_hit": "False",
    "status": "success",
    "metadata": {"usage_object": {"prompt_tokens_details": {"cached_tokens": 64}}},
}


LITELLM_ROWS = (
    LITELLM,
    LITELLM | {"startTime": "2026-01-05T10:00:01Z", "team_id": None, "user": "u", "model_group": "", "metadata": {}},
    LITELLM | {"status": "failure", "completion_tokens": 0},
    LITELLM | {"cache_hit": "True"},
    LITELLM | {"call_type": "aembedding", "completion_tokens": 0},
)


@pytest.mark.parametrize("kind", ["csv", "jsonl"])
def test_litellm_spend_logs_are_read(tmp_path: Path, kind: str) -> None:
    if kind == "jsonl":
        path = written(tmp_path, lines(*LITELLM_ROWS), "spend.jsonl")
    else:

        def cell(value: object) -> str:
            text = json.dumps(value) if isinstance(value, dict) else "" if value is None else str(value)
            return '"' + text.replace('"', '""') + '"'

        body = [",".join(map(cell, row.values())) for row in LITELLM_ROWS]
        path = written(tmp_path, "\n".join([",".join(LITELLM), *body, ""]), "spend.csv")
    trace = read_trace([path])
    assert trace.report.format == "litellm"
    assert cells(trace, *LENGTHS, "model", "tenant", "session") == [
        (0.0, 100, 64, 10, "m", "t1", "s"),
        (0.5, 100, 0, 10, "provider/m", "u", "s"),
    ]
    assert trace.report.set_aside == {
        Kind.ERROR: 1,
        Kind.RESPONSE_CACHE: 1,
        Kind.NO_GENERATION: 1,
    }


COUNT = 12


def minute(place: int) -> str:
    return f"2026-05-04T08:{place:02d}:00.{place:03d}Z"


def read(tmp_path: Path, *records: dict[str, object]) -> Trace:
    return read_trace([written(tmp_path, lines(*records), "log.jsonl")])


def spend(request_id: str, call_type: str, input_tokens: int, output_tokens: int) -> dict[str, object]:
    return LITELLM | {
        "request_id": request_id,
        "call_type": call_type,
        "prompt_tokens": input_tokens,
        "completion_tokens": output_tokens,
        "metadata": {},
    }


def test_litellm_batch_calls_are_no_requests(tmp_path: Path) -> None:
    trace = read(
        tmp_path,
        spend("a", "acompletion", 70, 7),
        spend("file", "acreate_file", 0, 0),
        *(spend(f"poll{place}", "aretrieve_batch", 0, 0) for place in range(5)),
        spend("batch_7", "aretrieve_batch", 900_000, 30_000),
        spend("batch_8_batch_cost", "acompletion", 800_000, 20_000),
        spend("e", "aembedding", 55, 0),
        spend("m", "amoderation", 5, 0),
    )
    assert trace.requests["input_tokens"].to_list() == [70]
    assert trace.report.aside == {
        Kind.BATCH_CALL: Aside(rows=6),
        Kind.BATCH_TOTAL: Aside(rows=2, input_tokens=1_700_000, output_tokens=50_000),
        Kind.NO_GENERATION: Aside(rows=2, input_tokens=60),
    }


def test_embeddings_alone_are_named(tmp_path: Path) -> None:
    path = written(tmp_path, lines(*(spend(f"e{place}", "embedding", 55, 0) for place in range(7))), "log.jsonl")
    assert "(embeddings, moderation, reranking): 7 rows, 385 input and 0 output tokens" in refused(path)


def test_litellm_metadata_may_be_text(tmp_path: Path) -> None:
    metadata = json.dumps({"usage_object": {"cache_read_input_tokens": 33}})
    assert read(tmp_path, LITELLM | {"metadata": metadata}).requests["cached_tokens"].to_list() == [33]


def test_streams_without_usage_are_told(tmp_path: Path) -> None:
    records = [spend(f"r{place}", "acompletion", *((0, 0) if place % 3 else (90, 9))) for place in range(COUNT)]
    trace = read(tmp_path, *records)
    assert trace.requests.height == 4
    assert trace.report.unpriced.startswith(
        "66.7% of the traffic is not priced: 8 of 12 calls (8 answered without token"
    )


def observation(place: int, **other: object) -> dict[str, object]:
    return {
        "id": f"o{place}",
        "type": "GENERATION",
        "startTime": minute(place),
        "endTime": minute(place + 1),
        "input": [{"role": "user", "content": "hi"}],
        "output": "hello",
        "usageDetails": {"input": 300 + place, "output": 40, "input_cached_tokens": 50, "output_reasoning_tokens": 6},
        "userId": "u",
    } | other


@pytest.mark.parametrize("totals", [True, False])
def test_langfuse_counts_lie_beside_the_texts(tmp_path: Path, totals: bool) -> None:  # noqa: FBT001
    own = {"inputUsage": 350, "outputUsage": 46} if totals else {}
    span = observation(0, type="SPAN", id="s")
    trace = read(tmp_path, span, *(observation(place, **own) for place in range(COUNT)))
    assert trace.report.format == "langfuse"
    assert trace.requests["input_tokens"].to_list() == [350 if totals else 350 + place for place in range(COUNT)]
    assert set(trace.requests["output_tokens"]) == {46}
    assert set(trace.requests["cached_tokens"]) == {50}
    assert trace.report.set_aside == {Kind.PARENT: 1}


def test_langsmith_chains_repeat_their_calls(tmp_path: Path) -> None:
    def run(place: int, run_type: str, parent: str | None) -> dict[str, object]:
        return {
            "id": f"r{place}",
            "run_type": run_type,
            "parent_run_id": parent,
            "start_time": minute(place),
            "prompt_tokens": 100,
            "completion_tokens": 10,
            "prompt_token_details": {"cache_read": 64},
        }

    chain = run(0, "chain", None) | {"prompt_tokens": 300, "completion_tokens": 30}
    trace = read(tmp_path, chain, *(run(place, "llm", "r0") for place in (1, 2, 3)), run(4, "embedding", "r0"))
    assert trace.report.format == "langsmith"
    assert cells(trace, *LENGTHS[1:]) == [(100, 64, 10)] * 3
    assert trace.report.aside == {
        Kind.PARENT: Aside(rows=1, input_tokens=300, output_tokens=30),
        Kind.NO_GENERATION: Aside(rows=1, input_tokens=100, output_tokens=10),
    }


def test_helicone_failures_are_a_class(tmp_path: Path) -> None:
    text = "request_id,request_created_at,response_status,request_model,prompt_tokens,completion_tokens,delay_ms\n"
    text += "".join(f"h{place},{minute(place)},{500 if place == 2 else 200},m,80,8,900\n" for place in range(5))
    trace = read_trace([written(tmp_path, text)])
    assert (trace.report.format, trace.requests.height) == ("helicone", 4)
    assert trace.report.set_aside == {Kind.ERROR: 1}


def test_interrupted_attempts_are_set_aside(tmp_path: Path) -> None:
    header = "request_id,arrived_s,ended_s,venue,lost_tokens,status_code,input_tokens,output_tokens,outcome"
    rows = [
        "a,1790000000.5,1790000001.5,own,0,,0,0,preempted",
        "a,1790000000.5,1790000001.5,own,0,,0,0,retried",
        "b,1790000000.5,1790000009.5,own,0,200,50,0,superseded",
        "c,1790000000.5,1790000009.5,own,7,200,50,5,answered",
    ]
    trace = read_trace([written(tmp_path, "\n".join([header, *rows, ""]))])
    assert cells(trace, *LENGTHS) == [(0.0, 50, 0, 5)]
    assert trace.report.set_aside == {Kind.REPEATED: 3}


def test_openrouter_reasoning_is_inside(tmp_path: Path) -> None:
    text = "generation_id,created_at,tokens_prompt,tokens_completion,tokens_reasoning,tokens_cached,model_permaslug\n"
    text += "".join(f"g{place},2026-05-04 08:0{place}:00.000,500,90,60,128,m/m\n" for place in range(4))
    trace = read_trace([written(tmp_path, text)])
    assert trace.report.format == "openrouter"
    assert cells(trace, *LENGTHS[1:]) == [(500, 128, 90)] * 4


def test_bedrock_adds_the_cache(tmp_path: Path) -> None:
    def call(place: int, model: str, **counts: int) -> dict[str, object]:
        output = counts.pop("outputTokenCount", 0)
        return {
            "schemaType": "ModelInvocationLog",
            "timestamp": minute(place),
            "requestId": f"b{place}",
            "modelId": model,
            "identity": {"arn": "arn:aws:iam::1:role/web"},
            "input": {"inputContentType": "application/json"} | counts,
            "output": {"outputTokenCount": output} if output else {},
        }

    claude = "anthropic.claude-sonnet"
    trace = read(
        tmp_path,
        call(0, claude, inputTokenCount=12, cacheReadInputTokenCount=4000, outputTokenCount=70),
        call(1, claude, inputTokenCount=30, cacheWriteInputTokenCount=4000, outputTokenCount=71),
        call(2, claude, inputTokenCount=99, outputTokenCount=72),
        call(3, "amazon.titan-embed-text-v2", inputTokenCount=44),
    )
    assert trace.report.format == "bedrock"
    assert cells(trace, *LENGTHS[1:]) == [(4012, 4000, 70), (4030, 0, 71), (99, 0, 72)]
    assert trace.report.aside == {Kind.NO_GENERATION: Aside(rows=1, input_tokens=44)}


def test_keys_of_later_records_count(tmp_path: Path) -> None:
    """The first thousand calls read nothing from the cache, and their records have no key for it."""
    call: dict[str, Any] = {"timestamp": 5, "modelId": "m", "input": {"inputTokenCount": 9}}
    call["output"] = {"outputTokenCount": 3}
    cached = call | {"input": {"inputTokenCount": 9, "cacheReadInputTokenCount": 80}}
    usage = {"timestamp": 5, "input_tokens": 9, "output_tokens": 3, "cache_creation_input_tokens": 1}
    for plain, later, total in ((call, cached, 89), (usage, usage | {"cache_read_input_tokens": 80}, 90)):
        trace = read(tmp_path, *[plain] * 1100, later)
        assert trace.requests["input_tokens"][-1] == total
        assert trace.requests["cached_tokens"].sum() == 80


@pytest.mark.parametrize("column", ["message", "@message"])
def test_bedrock_logs_of_cloudwatch(tmp_path: Path, column: str) -> None:
    call = {
        "timestamp": minute(1),
        "modelId": "anthropic.claude-sonnet",
        "input": {"inputTokenCount": 12, "cacheReadInputTokenCount": 40},
        "output": {"outputTokenCount": 7},
    }
    record = {"@timestamp": minute(2), column: json.dumps(call)}
    table = tmp_path / "insights.csv"
    pl.DataFrame([record]).write_csv(table)
    for trace in (read(tmp_path, record), read_trace([table])):
        assert trace.report.format == "bedrock"
        assert cells(trace, *LENGTHS[1:]) == [(52, 40, 7)]


def span(place: int, operation: str, parent: str, **more: object) -> dict[str, Any]:
    attributes: dict[str, object] = {
        "gen_ai.operation.name": operation,
        "gen_ai.request.model": "m",
        "gen_ai.usage.input_tokens": 200 + place,
        "gen_ai.usage.output_tokens": 20,
        "gen_ai.usage.cache_read.input_tokens": 64,
    }
    return {
        "spanId": f"s{place}",
        "parentSpanId": parent,
        "startTimeUnixNano": str(1_790_000_000_000_000_000 + place * 1_000_000_000),
        "attributes": attributes | more,
    }


SPANS = [
    span(0, "invoke_agent", ""),
    *(span(place, "chat", "s0") for place in range(1, 6)),
    span(6, "chat", "s0", **{"error.type": "timeout"}),
    span(7, "embeddings", "s0"),
]


def dotted() -> list[dict[str, Any]]:
    """Return the spans with their attributes as columns."""
    return [
        {name: value for name, value in record.items() if name != "attributes"} | record["attributes"]
        for record in SPANS
    ]


def otlp() -> list[dict[str, Any]]:
    """Return the spans as an exporter writes them: attributes as lists of pairs, whole numbers as text."""
    spans = [
        record
        | {
            "attributes": [
                {"key": key, "value": {"intValue": str(value)} if isinstance(value, int) else {"stringValue": value}}
                for key, value in record["attributes"].items()
            ]
        }
        for record in SPANS
    ]
    return [{"resourceSpans": [{"resource": {}, "scopeSpans": [{"spans": spans[:4]}, {"spans": spans[4:]}]}]}]


def tempo() -> list[dict[str, Any]]:
    return [{"batches": otlp()[0]["resourceSpans"]}]


def jaeger() -> list[dict[str, Any]]:
    """Return a trace as Jaeger's API does: attributes are tags, and times microseconds."""
    spans = [
        {
            "spanID": record["spanId"],
            "startTime": int(record["startTimeUnixNano"]) // 1000,
            "tags": [{"key": key, "type": "string", "value": value} for key, value in record["attributes"].items()],
        }
        for record in SPANS
    ]
    return [{"data": [{"traceID": "t", "spans": spans, "processes": {}}]}]


@pytest.mark.parametrize("form", ["flat", "otlp", "dotted", "tempo", "jaeger"])
def test_spans_of_models_are_requests(tmp_path: Path, form: str) -> None:
    forms = {"flat": SPANS, "dotted": dotted(), "otlp": otlp(), "tempo": tempo(), "jaeger": jaeger()}
    trace = read(tmp_path, *forms[form])
    assert trace.report.format == "otel"
    assert cells(trace, *LENGTHS) == [(place - 1.0, 200 + place, 64, 20) for place in range(1, 6)]
    assert trace.report.set_aside == {Kind.PARENT: 1, Kind.ERROR: 1, Kind.NO_GENERATION: 1}


def test_claude_code_repeats_its_answers(tmp_path: Path) -> None:
    def answer(place: int, name: str, output: int) -> dict[str, object]:
        usage = {
            "input_tokens": 4,
            "cache_read_input_tokens": 9000,
            "cache_creation_input_tokens": 500,
            "output_tokens": output,
        }
        message = {"id": name, "model": "claude-opus", "usage": usage}
        return {"type": "assistant", "sessionId": "s", "timestamp": minute(place), "message": message}

    user = {"type": "user", "sessionId": "s", "timestamp": minute(0), "message": {"role": "user", "content": "hi"}}
    trace = read(tmp_path, user, answer(1, "m1", 1), answer(2, "m1", 80), user, answer(3, "m2", 33))
    assert trace.report.format == "claude_code"
    assert cells(trace, *LENGTHS[1:], "session") == [(9504, 9000, 80, "s"), (9504, 9000, 33, "s")]
    assert trace.report.aside == {
        Kind.EVENT: Aside(rows=2),
        Kind.REPEATED: Aside(rows=1, input_tokens=9504, output_tokens=1),
    }


def test_codex_counts_the_last_call(tmp_path: Path) -> None:
    def count(place: int, total: int, last: int) -> dict[str, object]:
        usage = {"input_tokens": last, "cached_input_tokens": last // 2, "output_tokens": 10}
        info = {"total_token_usage": {"total_tokens": total}, "last_token_usage": usage}
        return {"timestamp": minute(place), "type": "event_msg", "payload": {"type": "token_count", "info": info}}

    turn = {"timestamp": minute(0), "type": "turn_context", "payload": {"model": "gpt-5"}}
    trace = read(tmp_path, turn, count(1, 110, 100), count(2, 110, 100), count(3, 320, 200))
    assert trace.report.format == "codex"
    assert cells(trace, *LENGTHS[1:], "model") == [(100, 50, 10, "gpt-5"), (200, 100, 10, "gpt-5")]
    assert trace.report.set_aside == {Kind.EVENT: 1, Kind.REPEATED: 1}


ASKED: dict[str, Any] = {"id": "q1", "role": "user", "type": "user", "content": "hi", "time": {"created": 0}}
ANSWERED: dict[str, Any] = ASKED | {"id": "a1", "role": "assistant", "model": "m", "modelID": "m"}
STAMP = 1_791_187_200


def opencode(place: int) -> dict[str, object]:
    tokens = {"input": 100 + place, "output": 20, "reasoning": 5, "cache": {"read": 900, "write": 50}}
    return ANSWERED | {"id": f"a{place}", "time": {"created": (STAMP + place) * 1000}, "tokens": tokens}


def gemini_cli(place: int) -> dict[str, object]:
    tokens = {"input": 1000 + place, "output": 20, "cached": 900, "thoughts": 5, "tool": 50, "total": 1075 + place}
    return ANSWERED | {"id": f"a{place}", "type": "gemini", "timestamp": minute(place), "tokens": tokens}


def open_webui(place: int) -> dict[str, object]:
    usage = {
        "prompt_tokens": 1050 + place,
        "completion_tokens": 25,
        "prompt_tokens_details": {"cached_tokens": 900},
    }
    return ANSWERED | {"id": f"a{place}", "timestamp": STAMP + place, "usage": usage}


@pytest.mark.parametrize(
    ("name", "document"),
    [
        ("opencode", {"info": {"id": "s"}, "messages": [{"info": ASKED}, *({"info": opencode(n)} for n in (1, 2))]}),
        ("gemini_cli", {"sessionId": "s", "messages": [ASKED, gemini_cli(1), gemini_cli(2)]}),
        (
            "open_webui",
            {
                "chat": {
                    "history": {"messages": {"q1": ASKED, "a1": open_webui(1), "a2": open_webui(2)}},
                    "messages": [ASKED, open_webui(2)],
                }
            },
        ),
    ],
)
def test_answers_in_chats_are_calls(tmp_path: Path, name: str, document: dict[str, object]) -> None:
    """Two answers, 1,050 tokens and their place asked with 900 of them cached, 25 answered with thoughts."""
    trace = read(tmp_path, document)
    assert trace.report.format == name
    assert cells(trace, *LENGTHS[1:], "model") == [(1051, 900, 25, "m"), (1052, 900, 25, "m")]
    assert trace.report.set_aside == {Kind.EVENT: 1}


def test_cursor_adds_cache_to_input(tmp_path: Path) -> None:
    """A row of the export states the total: 50 + 100 + 900 + 25 = 1,075."""
    header = "Date,Kind,Model,Input (w/ Cache Write),Input (w/o Cache Write),Cache Read,Output Tokens,Total Tokens\n"
    rows = "2026-10-05T08:00:00Z,Included,m,50,100,900,25,1075\n2026-10-05T08:01:00Z,Aborted,m,50,100,900,1,1051\n"
    trace = read_trace([written(tmp_path, header + rows, "usage.csv")])
    assert trace.report.format == "cursor"
    assert cells(trace, *LENGTHS[1:], "model") == [(1050, 900, 25, "m")]
    assert trace.report.set_aside == {Kind.ERROR: 1}


def test_batch_output_is_read(tmp_path: Path) -> None:
    def line(place: int, **response: object) -> dict[str, object]:
        body = {"created": 1_790_000_000 + place, "usage": {"prompt_tokens": 600 + place, "completion_tokens": 30}}
        return {"custom_id": f"c{place}", "response": {"status_code": 200, "body": body} | response, "error": None}

    trace = read(tmp_path, *(line(place) for place in range(COUNT)), line(20, status_code=500))
    assert trace.report.format == "batch_output"
    assert trace.requests["input_tokens"].to_list() == list(range(600, 600 + COUNT))
    assert trace.report.set_aside == {Kind.ERROR: 1}


def test_gemini_thoughts_are_output(tmp_path: Path) -> None:
    usage = {
        "promptTokenCount": 70,
        "toolUsePromptTokenCount": 5,
        "candidatesTokenCount": 9,
        "thoughtsTokenCount": 800,
        "cachedContentTokenCount": 32,
    }
    trace = read(tmp_path, *({"timestamp": minute(place), "usageMetadata": usage} for place in range(3)))
    assert trace.report.format == "gemini"
    assert cells(trace, *LENGTHS[1:]) == [(75, 32, 809)] * 3


@pytest.mark.parametrize("nested", [True, False])
def test_anthropic_leaves_the_cache_out(tmp_path: Path, nested: bool) -> None:  # noqa: FBT001
    counts: dict[str, object] = {
        "input_tokens": 7,
        "cache_creation_input_tokens": 300,
        "cache_read_input_tokens": 5000,
        "output_tokens": 90,
    }
    records = [{"timestamp": minute(place), **({"usage": counts} if nested else counts)} for place in range(3)]
    trace = read(tmp_path, *records)
    assert trace.report.format == "anthropic"
    assert cells(trace, *LENGTHS[1:]) == [(5307, 5000, 90)] * 3


def test_ledger_is_a_trace(tmp_path: Path) -> None:
    header = "request_id,arrived_s,started_s,ended_s,ttft_s,tenant,model,venue,deadline_s,status_code,input_tokens,"
    rows = [
        "a,1790000000.5,1790000000.5,1790000001.5,0.1,t,m,own,,200,50,0,5,0",
        "b,1790000010.5,1790000010.5,1790000011.5,,t,m,own,1790003600,200,60,32,6,0",
        "c,1790000020.5,1790000020.5,1790000021.5,,t,m,own,,503,60,0,0,9",
    ]
    text = "\n".join([header + "cached_tokens,output_tokens,lost_tokens", *rows, ""])
    trace = read_trace([written(tmp_path, text)])
    assert trace.report.format == "ledger"
    assert cells(trace, *LENGTHS, "deadline_s") == [(0.0, 50, 0, 5, None), (10.0, 60, 32, 6, 3599.5)]
    assert trace.report.set_aside == {Kind.ERROR: 1}


@pytest.mark.parametrize("tokens", ["input_tokens", "tokens"])
def test_cache_columns_are_added_to_input(tmp_path: Path, tokens: str) -> None:
    header = f"timestamp,input_tokens,cache_creation_{tokens},cache_read_{tokens},output_tokens\n"
    trace = read_trace([written(tmp_path, header + "2026-11-02T09:00:00Z,5,200,300,90\n")])
    assert trace.report.format == "anthropic"
    assert cells(trace, *LENGTHS) == [(0.0, 505, 300, 90)]


def test_results_of_batches_have_no_times(tmp_path: Path) -> None:
    """Claude's input leaves out the cache; Gemini counts thoughts beside its answer."""
    usage = {"input_tokens": 20, "cache_read_input_tokens": 400, "cache_creation_input_tokens": 80, "output_tokens": 90}
    claude = [
        {"custom_id": kind, "result": {"type": kind, "message": {"model": "m", "usage": usage}}}
        for kind in ("succeeded", "errored")
    ]
    trace = read_trace([written(tmp_path, lines(*claude), "claude.jsonl")])
    assert cells(trace, *LENGTHS) == [(0.0, 500, 400, 90)]
    assert trace.report.set_aside == {Kind.ERROR: 1}
    counts = {"promptTokenCount": 500, "candidatesTokenCount": 60, "thoughtsTokenCount": 30}
    gemini = written(tmp_path, lines({"key": "a", "response": {"usageMetadata": counts}}), "gemini.jsonl")
    assert cells(read_trace([gemini]), *LENGTHS) == [(0.0, 500, 0, 90)]


def test_usage_of_mlflow_is_text_in_its_metadata(tmp_path: Path) -> None:
    usage = json.dumps({"input_tokens": 500, "output_tokens": 90, "total_tokens": 590})
    trace = {
        "trace_id": "tr-1",
        "request_time": 1_793_610_000_000,
        "trace_metadata": {"mlflow.trace.tokenUsage": usage},
    }
    read = read_trace([written(tmp_path, lines(trace), "traces.jsonl")])
    assert (cells(read, *LENGTHS), read.epoch_s) == ([(0.0, 500, 0, 90)], 1_793_610_000)


def test_spans_of_other_conventions_are_calls(tmp_path: Path) -> None:
    """OpenInference and the first OpenLLMetry do not name the model as the conventions do."""
    names = (
        ("llm.token_count.prompt", "llm.token_count.completion"),
        ("llm.usage.prompt_tokens", "llm.usage.completion_tokens"),
    )
    for name, output in names:
        spans = [
            {
                "start_time": "2026-11-02T09:00:00Z",
                "span_id": "a",
                "attributes": {name: 500, output: 90, "llm.model": "m"},
            },
            {"start_time": "2026-11-02T09:00:00Z", "span_id": "b", "attributes": {"http.method": "GET"}},
        ]
        trace = read_trace([written(tmp_path, lines(*spans), "spans.jsonl")])
        assert cells(trace, *LENGTHS) == [(0.0, 500, 0, 90)]
        assert trace.report.set_aside == {Kind.EVENT: 1}


def test_log_with_names_of_the_claude_console(tmp_path: Path) -> None:
    """10 tokens outside of the cache, 1,000 read from it, and 150 written: 1,160 in all."""
    parts = ",".join(f"usage_input_tokens_{part}" for part in ("no_cache", "cache_write_5m", "cache_read"))
    header = f"timestamp,{parts},usage_output_tokens"
    trace = read_trace([written(tmp_path, f"{header}\n2026-11-02T09:00:00Z,10,150,1000,70\n")])
    assert cells(trace, *LENGTHS) == [(0.0, 1160, 1000, 70)]


def test_only_dates_of_a_log_are_arrivals(tmp_path: Path) -> None:
    usage = {"input_tokens": 5, "cache_read_input_tokens": 480, "cache_creation_input_tokens": 15, "output_tokens": 90}
    rows = [{"seen": f"2026-11-02T09:00:0{place}Z", "answer": {"usage": usage}} for place in range(2)]
    trace = read_trace([written(tmp_path, lines(*rows), "log.jsonl")])
    assert cells(trace, *LENGTHS) == [(0.0, 500, 480, 90), (1.0, 500, 480, 90)]


def test_durations_beside_usage_are_no_arrivals(tmp_path: Path) -> None:
    usage = {"input_tokens": 5, "cache_read_input_tokens": 480, "cache_creation_input_tokens": 15, "output_tokens": 90}
    rows = [
        {"time": 1.3 - place % 2 / 10, "created_at": f"2026-11-02T09:0{place}:00Z", "usage": usage}
        for place in range(4)
    ]
    trace = read_trace([written(tmp_path, lines(*rows), "log.jsonl")])
    assert trace.requests["arrived_s"].to_list() == [0.0, 60.0, 120.0, 180.0]
