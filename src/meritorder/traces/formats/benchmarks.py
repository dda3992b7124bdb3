"""Records of benchmark tools, JSON lines: AIPerf exports and inputs, `vllm bench serve` results, ServeGen.

- AIPerf's `profile_export.jsonl`: `{metadata: {request_start_ns, conversation_id}, metrics:
  {input_sequence_length: {value}, …}, error}`.
- `vllm bench serve --save-detailed`: one object for each run, with lists `start_times` (s), `input_lens` and
  `output_lens`.
- Flat records, one for each request, by the names in `_NAMES`; a `timestamp` beside `input_length` is in ms (the
  convention of Mooncake, which AIPerf keeps), any other time in s unless it has the magnitude of an epoch in
  ms, µs or ns.

Source: https://github.com/ai-dynamo/aiperf, docs "trace replay" and "working with profile exports";
https://github.com/vllm-project/vllm, vllm/benchmarks/serve.py; https://github.com/alibaba/ServeGen; read
2026-11.
"""

from collections.abc import Iterator
from itertools import zip_longest
from typing import Any, Final

import polars as pl

from meritorder.traces.intake import RawTable
from meritorder.traces.sources import Record, Source, untyped
from meritorder.traces.trace import Kind
from meritorder.units import MS_PER_S

_REQUIRED: Final = ("timestamp", "input_length", "output_length")
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


def recognizes(source: Source) -> bool:
    """Whether a file is in this format."""
    return bool(source.record) and (
        _is_export(source.record) or _is_run(source.record) or len(_flat(source.record, "required")) == 3
    )


def read(source: Source) -> RawTable:
    """Read one file."""
    if _is_export(source.record):
        failed = pl.when(pl.col("error").is_not_null()).then(pl.lit(Kind.FAILED)).alias("aside")
        return RawTable(table=source.table(_EXPORT).with_columns(failed).drop("error"))
    if _is_run(source.record):
        rows = [row for line, record in source.records() for row in _run_rows(line, record)]
        names = ("line", "broken", "arrival", "input", "output")
        values = {name: [row[place] for row in rows] for place, name in enumerate(names)}
        return RawTable(table=untyped(values).lazy(), unit_s=1.0)
    if len(_flat(source.record, "required")) < 3:
        source.require(*_REQUIRED)
    fields = _flat(source.record, "all")
    in_ms = fields["arrival"] == "timestamp" and fields["input"] == "input_length"
    return RawTable(table=source.table(fields), unit_s=1 / MS_PER_S if in_ms else None)


def _is_export(record: Record) -> bool:
    return isinstance(record.get("metadata"), dict) and "request_start_ns" in record["metadata"] and "metrics" in record


def _is_run(record: Record) -> bool:
    return all(isinstance(record.get(name), list) for name in ("start_times", "input_lens", "output_lens"))


def _flat(record: Record, which: str) -> dict[str, str]:
    """Return field to name in a flat record: the three required fields, or all that are present."""
    wanted = ("arrival", "input", "output") if which == "required" else tuple(_NAMES)
    names = {field: next((name for name in _NAMES[field] if name in record), None) for field in wanted}
    return {field: name for field, name in names.items() if name is not None}


def _run_rows(line: int, record: Record | None) -> Iterator[tuple[Any, ...]]:
    """Yield line, broken, arrival, input, output of each request of a run; a missing value is None."""
    if record is None or not _is_run(record):
        yield line, True, None, None, None
        return
    for request in zip_longest(record["start_times"], record["input_lens"], record["output_lens"]):
        yield line, False, *request
