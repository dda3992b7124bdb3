"""Records of load generators, JSON lines: AIPerf exports and inputs, `vllm bench serve` results, ServeGen.

AIPerf's `profile_export.jsonl`: `{metadata: {request_start_ns, conversation_id}, metrics:
{input_sequence_length: {value}, …}, error}`. `vllm bench serve --save-detailed`: one object a run, holding
lists `start_times` (s), `input_lens`, `output_lens`, `errors`. Flat records, one a request: by name, see
`_NAMES`; a `timestamp` beside `input_length` is in ms (the convention of Mooncake, which AIPerf and Dynamo
keep), any other time in s unless its magnitude is that of an epoch in ms, µs or ns.

Source: https://github.com/ai-dynamo/aiperf, docs "trace replay" and "profile exports", 2026-02;
https://github.com/vllm-project/vllm, benchmarks/serve, 2025-12; https://github.com/alibaba/ServeGen, 2025-06.
"""

from collections.abc import Iterator
from typing import Any, Final

import polars as pl

from meritorder.traces.files import File, Record
from meritorder.traces.intake import Raw
from meritorder.traces.trace import FAILED
from meritorder.units import MS_PER_S

NEEDS: Final = ("timestamp", "input_length", "output_length")
_NAMES: Final = {
    "arrival": ("timestamp", "arrival", "arrival_time", "start_time", "start_timestamp"),
    "input": (
        "input_length",
        "prompt_len",
        "input_len",
        "isl",
        "input_sequence_length",
        "num_prefill_tokens",
    ),
    "output": ("output_length", "output_len", "osl", "output_sequence_length", "num_decode_tokens"),
    "session": ("session_id", "conversation_id"),
    "model": ("model",),
    "tenant": ("tenant", "client_id", "user_id"),
    "cached": ("cached_tokens", "cached_prefix_tokens"),
}
_EXPORT: Final = {
    "arrival": "metadata.request_start_ns",
    "session": "metadata.conversation_id",
    "input": "metrics.input_sequence_length.value",
    "output": "metrics.output_sequence_length.value",
    "error": "error",
}


def recognises(file: File) -> bool:
    """Tell whether the file is of this format."""
    return bool(file.record) and (
        _is_export(file.record) or _is_run(file.record) or len(_flat(file.record, "required")) == 3
    )


def read(file: File) -> Raw:
    """Read one file."""
    if _is_export(file.record):
        failed = pl.when(pl.col("error").is_not_null()).then(pl.lit(FAILED)).alias("aside")
        return Raw(table=file.table(_EXPORT).with_columns(failed).drop("error"))
    if _is_run(file.record):
        schema = {
            "line": pl.UInt32,
            "arrival": pl.Float64,
            "input": pl.Float64,
            "output": pl.Float64,
            "broken": pl.Boolean,
        }
        rows = [row for line, record in file.records() for row in _run_rows(line, record)]
        return Raw(table=pl.DataFrame(rows, schema=schema, orient="row").lazy(), unit_s=1.0)
    if len(_flat(file.record, "required")) < 3:
        file.require(*NEEDS)
    fields = _flat(file.record, "all")
    in_ms = fields["arrival"] == "timestamp" and fields["input"] == "input_length"
    return Raw(table=file.table(fields), unit_s=1 / MS_PER_S if in_ms else None)


def _is_export(record: Record) -> bool:
    return isinstance(record.get("metadata"), dict) and "request_start_ns" in record["metadata"] and "metrics" in record


def _is_run(record: Record) -> bool:
    return all(isinstance(record.get(name), list) for name in ("start_times", "input_lens", "output_lens"))


def _flat(record: Record, which: str) -> dict[str, str]:
    """Find the flat names in a record: the required three, or all that are there."""
    wanted = ("arrival", "input", "output") if which == "required" else tuple(_NAMES)
    found = {field: next((name for name in _NAMES[field] if name in record), None) for field in wanted}
    return {field: name for field, name in found.items() if name is not None}


def _run_rows(line: int, record: Record | None) -> Iterator[tuple[Any, ...]]:
    """Yield line, arrival, input, output, broken of each request of a run."""
    if record is None or not _is_run(record):
        yield line, None, None, None, True
        return
    starts, inputs, outputs = record["start_times"], record["input_lens"], record["output_lens"]
    for start, input_tokens, output_tokens in zip(starts, inputs, outputs, strict=False):
        yield line, start, input_tokens, output_tokens, False
