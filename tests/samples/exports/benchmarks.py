"""Exports of benchmarks, of published data, of batches and of our own ledger."""

from typing import Final

from tests.samples.exports.forms import (
    CHAT,
    EPOCH_NS,
    EPOCH_S,
    INPUT,
    ISO,
    OUTPUT,
    PLACES,
    REQUESTS,
    TIMES,
    TOTAL,
    Record,
    document,
    lines,
    rows,
    table,
)


def _bench() -> bytes:
    steps = [[0.01] * (count - 1) for count in OUTPUT]
    arrivals = [float(60 * place) for place in PLACES]
    result = {"model_id": "m", "start_times": arrivals, "input_lens": INPUT, "output_lens": OUTPUT, "duration": 1200.0}
    return document(result | {"ttfts": [0.1] * REQUESTS, "itls": steps, "errors": [""] * REQUESTS})


def _e2e_ms(place: int) -> float:
    return 100 + 10.0 * (OUTPUT[place] - 1)


def _aiperf(place: int) -> Record:
    metrics = {
        "input_sequence_length": (INPUT[place], "tokens"),
        "output_sequence_length": (OUTPUT[place], "tokens"),
        "time_to_first_token": (100.0, "ms"),
        "inter_token_latency": (10.0, "ms"),
        "request_latency": (_e2e_ms(place), "ms"),
    }
    return {
        "metadata": {
            "request_start_ns": EPOCH_NS[place],
            "request_end_ns": EPOCH_NS[place] + 10**9,
            "benchmark_phase": "profiling",
        },
        "metrics": {name: {"value": value, "unit": unit} for name, (value, unit) in metrics.items()},
        "error": None,
    }


def _ledger() -> bytes:
    header = (
        "request_id,arrived_s,started_s,ended_s,ttft_s,lane,tenant,key_id,model,endpoint,venue,batch_id,workload,deadline_s,"
        "status_code,input_tokens,cached_tokens,output_tokens,lost_tokens,counted,cost_usd"
    )
    rows = (
        (
            *(
                f"req_{place}",
                EPOCH_S[place],
                EPOCH_S[place],
                EPOCH_S[place] + _e2e_ms(place) / 1000,
                0.1,
                "realtime",
                "a",
                "k",
                "m",
            ),
            *("/v1/chat/completions", "own", "", "", "", 200, INPUT[place], 0, OUTPUT[place], 0, False, 0.0001),
        )
        for place in PLACES
    )
    return table(header, rows)


def _inference_perf(place: int) -> Record:
    began_s = 60.0 * place
    tokens_s = [began_s + 0.1 + 0.01 * number for number in range(OUTPUT[place])]
    info = {"input_tokens": INPUT[place], "output_tokens": OUTPUT[place], "output_token_times": tokens_s}
    return {
        "start_time": began_s,
        "end_time": tokens_s[-1],
        "request": "{}",
        "response": "{}",
        "info": info,
        "error": None,
    }


_TALK: Final = [*CHAT, {"role": "assistant", "content": "It is sunny."}]
BENCHMARKS: Final[dict[str, bytes]] = {
    "AIPerf": lines(map(_aiperf, PLACES)),
    "Azure public traces": table(
        "TIMESTAMP,ContextTokens,GeneratedTokens",
        rows([f"{time:%Y-%m-%d %H:%M:%S}.1234567" for time in TIMES], INPUT, OUTPUT),
    ),
    "batch API, input": lines(
        {
            "custom_id": str(place),
            "method": "POST",
            "url": "/v1/chat/completions",
            "body": {"model": "m", "max_tokens": 20, "messages": CHAT},
        }
        for place in PLACES
    ),
    "batch API, results": lines(
        {
            "id": f"r{place}",
            "custom_id": str(place),
            "error": None,
            "response": {
                "status_code": 200,
                "body": {
                    "created": EPOCH_S[place],
                    "model": "m",
                    "object": "chat.completion",
                    "choices": [],
                    "usage": TOTAL[place],
                },
            },
        }
        for place in PLACES
    ),
    "BLIS": table(
        "request_id,client_id,tenant_id,arrival_time_us,send_time_us,input_tokens,output_tokens,deadline_us",
        (
            (place, "c", "t", 60_000_000 * place, 1_000 * EPOCH_S[place], INPUT[place], OUTPUT[place], 0)
            for place in PLACES
        ),
    ),
    "GuideLLM": document(
        {
            "metadata": {"version": 1},
            "benchmarks": [
                {
                    "requests": {
                        "successful": [
                            {
                                "request_id": f"a{place}",
                                "prompt_tokens": INPUT[place],
                                "output_tokens": OUTPUT[place],
                                "request_start_time": float(EPOCH_S[place]),
                                "request_end_time": EPOCH_S[place] + _e2e_ms(place) / 1000,
                                "time_to_first_token_ms": 100.0,
                                "inter_token_latency_ms": 10.0,
                            }
                            for place in PLACES
                        ]
                    }
                }
            ],
        }
    ),
    "inference-perf": document(list(map(_inference_perf, PLACES))),
    "LLMServingSim": table(
        "instance id,request id,model,input,output,arrival,end_time,latency,queuing_delay,TTFT,TPOT",
        ((0, p, "m", INPUT[p], OUTPUT[p], 60 * p * 10**9, 1, 10**9, 0, 10**8, 10**7) for p in PLACES),
    ),
    "Meritorder": _ledger(),
    "LibreChat": lines(
        {"messages": [{"isCreatedByUser": mine, "text": "Tell me about the weather"} for mine in (True, False)]}
        for _ in PLACES
    ),
    "prompts without": lines({"id": place, "prompt": "Tell me about the weather"} for place in PLACES),
    "vLLM, SGLang": _bench(),
    "WildChat": lines(
        {"conversation_hash": f"c{p}", "model": "m", "timestamp": ISO[p], "conversation": _TALK, "turn": 1}
        for p in PLACES
    ),
}
"""By the beginning of the row of the page."""
