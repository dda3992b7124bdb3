"""Results of benchmarks and simulators, with measured times.

A `timestamp` beside `input_length` is in ms (the convention of Mooncake, which AIPerf keeps).

Source: the documentation or the source code of each tool, read 2026-11, at the address beside its row.
"""

from collections.abc import Iterator
from itertools import zip_longest
from typing import Any, Final

from meritorder.traces.formats.declared import AsideRule, TraceFormat
from meritorder.traces.formats.shape import Shape
from meritorder.traces.intake import RawTable
from meritorder.traces.sources import Record, untyped
from meritorder.traces.trace import Kind
from meritorder.units import MS_PER_S

_MS: Final = 1 / MS_PER_S
_NS: Final = MS_PER_S**-3
_RUN_LISTS: Final = ("start_times", "input_lens", "output_lens", "ttfts", "itls", "errors")
_RUN_COLUMNS: Final = ("line", "broken", "arrival", "input", "output", "ttft", "e2e", "error", "model")


def _is_vllm_run(shape: Shape) -> bool:
    return any(isinstance(record.get("input_lens"), list) and "output_lens" in record for record in shape.records)


def _read_vllm_run(shape: Shape) -> RawTable:
    """Read results of `vllm bench serve --save-detailed`: one object a run, with a list for each column."""
    rows = [row for line, record in shape.source.records() for row in _run_rows(line, record)]
    values = {name: [row[place] for row in rows] for place, name in enumerate(_RUN_COLUMNS)}
    old = [record for record in shape.records if "start_times" not in record and "input_lens" in record]
    notes = [
        f"the result has no start_times (vLLM before 0.11): its requests are spread evenly over "
        f"{_seconds(record.get('duration')):g} s"
        for record in old[:1]
    ]
    return RawTable(
        table=untyped(values).lazy(),
        unit_s=1.0,
        units_s={"ttft": 1.0, "e2e": 1.0},
        columns={"arrival": "start_times", "input": "input_lens", "output": "output_lens", "ttft": "ttfts"},
        assumptions=tuple(notes),
    )


def _run_rows(line: int, record: Record | None) -> Iterator[tuple[Any, ...]]:
    """Yield the columns of each request of a run; a missing value is None."""
    if record is None or not isinstance(record.get("input_lens"), list):
        yield line, True, *[None] * (len(_RUN_COLUMNS) - 2)
        return
    lists = {name: value for name in _RUN_LISTS if isinstance(value := record.get(name), list)}
    count = len(lists["input_lens"])
    if "start_times" not in lists:
        gap_s = _seconds(record.get("duration")) / max(1, count)
        lists["start_times"] = [place * gap_s for place in range(count)]
    model = record.get("model_id")
    for request in zip_longest(*(lists.get(name, ()) for name in _RUN_LISTS)):
        start, input_tokens, output_tokens, ttft, itls, error = request
        e2e = _seconds(ttft) + sum(map(_seconds, itls)) if isinstance(itls, list) else None
        yield line, False, start, input_tokens, output_tokens, ttft, e2e, error, model


_FLAT: Final = {
    "arrival": "timestamp | arrival | arrival_time | start_time | start_timestamp",
    "input": "input_length | prompt_len | input_len | isl | input_sequence_length | num_prefill_tokens",
    "output": "output_length | output_len | osl | output_sequence_length | num_decode_tokens",
    "session": "session_id | conversation_id",
    "model": "model",
    "tenant": "tenant | client_id | user_id",
    "cached": "cached_tokens | cached_prefix_tokens",
}


def _seconds(value: object) -> float:
    return float(value) if isinstance(value, int | float) else 0.0


BENCHMARKS: Final = (
    # https://github.com/vllm-project/vllm, vllm/benchmarks/serve.py
    TraceFormat(
        name="bench",
        title="result of vllm bench serve --save-detailed",
        recognizes=_is_vllm_run,
        read=_read_vllm_run,
    ),
    # https://github.com/ai-dynamo/aiperf, docs "working with profile exports": profile_export.jsonl
    TraceFormat(
        name="bench",
        title="AIPerf profile export",
        requires=("metadata.request_start_ns", "metrics.input_sequence_length.value"),
        fields={
            "arrival": "metadata.request_start_ns",
            "ended": "metadata.request_end_ns",
            "session": "metadata.conversation_id",
            "input": "metrics.input_sequence_length.value",
            "output": "metrics.output_sequence_length.value",
            "cached": "metrics.usage_prompt_cache_read_tokens.value",
            "ttft": "metrics.time_to_first_token.value",
            "tpot": "metrics.inter_token_latency.value",
            "e2e": "metrics.request_latency.value",
        },
        aside=(
            AsideRule(kind=Kind.FAILED, column="error", pattern="."),
            AsideRule(kind=Kind.EVENT, column="metadata.benchmark_phase", pattern="warmup"),
        ),
        units_s={"ttft": _MS, "tpot": _MS, "e2e": _MS},
    ),
    # https://github.com/vllm-project/guidellm, benchmarks.json, version 0.3 and later
    TraceFormat(
        name="guidellm",
        title="GuideLLM report",
        requires=("benchmarks.requests",),
        fields={
            "arrival": "request_start_time | info.timings.request_start | scheduler_info.request_timings.request_start"
            " | start_time",
            "ended": "request_end_time | info.timings.request_end | scheduler_info.request_timings.request_end"
            " | end_time",
            "input": "prompt_tokens | input_metrics.text_tokens | input_metrics.total_tokens",
            "output": "output_tokens | output_metrics.text_tokens | output_metrics.total_tokens",
            "status": "group",
            "ttft": "time_to_first_token_ms",
            "tpot": "inter_token_latency_ms",
        },
        nest="benchmarks[].requests.*[]",
    ),
    # https://github.com/kubernetes-sigs/inference-perf, per_request_lifecycle_metrics.json
    TraceFormat(
        name="inference_perf",
        title="inference-perf requests",
        requires=("start_time", "end_time", "info.input_tokens | info.request_metrics.text.input_tokens"),
        fields={
            "arrival": "start_time",
            "ended": "end_time",
            "input": "info.input_tokens | info.request_metrics.text.input_tokens",
            "output": "info.output_tokens | info.response_metrics.output_tokens",
            "first": "info.output_token_times[0] | info.response_metrics.output_token_times[0]",
            "error": "error",
        },
        unit_s=1.0,
    ),
    # https://github.com/casys-kaist/LLMServingSim, docs "Reading the output": times in ns
    TraceFormat(
        name="llmservingsim",
        title="LLMServingSim requests",
        requires=("request id", "input", "output", "arrival", "queuing_delay"),
        fields={
            "arrival": "arrival",
            "input": "input",
            "output": "output",
            "model": "model",
            "ttft": "TTFT",
            "e2e": "latency",
        },
        unit_s=_NS,
        units_s={"ttft": _NS, "e2e": _NS},
    ),
    TraceFormat(
        name="llmservingsim",
        title="LLMServingSim workload",
        requires=("input_toks", "output_toks", "arrival_time_ns"),
        fields={"arrival": "arrival_time_ns", "input": "input_toks", "output": "output_toks"},
    ),
    # https://github.com/inference-sim/inference-sim: TraceV2; its deadlines are timeouts of clients.
    TraceFormat(
        name="blis",
        title="BLIS trace",
        requires=("arrival_time_us", "send_time_us", "input_tokens", "output_tokens"),
        fields={
            "arrival": "arrival_time_us",
            "input": "input_tokens",
            "output": "output_tokens",
            "model": "model",
            "tenant": "tenant_id | client_id",
            "session": "session_id",
            "workload": "slo_class",
            "started": "send_time_us",
            "first": "first_chunk_time_us",
            "ended": "last_chunk_time_us",
            "error": "error_message",
            "status": "status",
        },
        assumptions=("deadline_us is a timeout of the client, not a promise: every request is real time",),
    ),
    # AIPerf's inputs and Mooncake without hashes: https://github.com/ai-dynamo/aiperf, docs "trace replay"
    TraceFormat(
        name="bench",
        title="AIPerf trace",
        json=True,
        requires=("timestamp", "input_length", "output_length"),
        fields=_FLAT,
        unit_s=_MS,
    ),
    # ServeGen, https://github.com/alibaba/ServeGen, and flat JSON lines like it
    TraceFormat(
        name="bench",
        title="ServeGen and flat JSON lines",
        json=True,
        requires=(_FLAT["arrival"], _FLAT["input"], _FLAT["output"]),
        fields=_FLAT,
    ),
)
