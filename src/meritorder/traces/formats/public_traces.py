"""Public research traces: Azure, BurstGPT, Mooncake and Qwen-Bailian.

Azure, 2023 and 2024, CSV: `TIMESTAMP, ContextTokens, GeneratedTokens`; 2023 has 7 digits of a second and no time
zone, 2024 has a zone.

BurstGPT, versions 1 to 3, CSV: `Timestamp` (seconds since the trace began), `Model, Request tokens, Response tokens,
Total tokens, Log Type`, and in later versions `Session ID` and `Elapsed time`. A failed request has zero response
tokens.

Mooncake, JSON lines: `timestamp` in ms, `input_length, output_length`, `hash_ids` of blocks of 512 tokens. Bailian has
the same fields, `timestamp` in s, blocks of 16 tokens, and a `chat_id`. A hash stands for its block and everything
before it, so the reusable prefix of a prompt is its longest run of leading blocks that were seen before:

    cached_tokens = min(block · |longest prefix of hash_ids seen before|, input_tokens - 1)

An unbounded cache shared by all replicas would hold exactly that: it is the most that can be reused.

Source: https://github.com/Azure/AzurePublicDataset, AzureLLMInferenceDataset2023.md and ...2024.md, 2024-05;
https://github.com/HPMLL/BurstGPT, README; https://github.com/kvcache-ai/Mooncake, "Open Source Trace";
https://github.com/alibaba-edu/qwen-bailian-usagetraces-anon, as described in
https://github.com/ai-dynamo/aiperf, docs "Bailian traces"; read 2026-11.
"""

from typing import Any, Final

import polars as pl

from meritorder.traces.formats.declared import TraceFormat
from meritorder.traces.formats.shape import Shape
from meritorder.traces.intake import RawTable
from meritorder.traces.sources import Record
from meritorder.units import MS_PER_S

_MOONCAKE: Final = ("timestamp", "input_length", "output_length", "hash_ids")
_MOONCAKE_BLOCK_TOKENS: Final = 512
_BAILIAN_BLOCK_TOKENS: Final = 16


def read_mooncake(shape: Shape) -> RawTable:
    """Read a Mooncake or Bailian trace; prefixes are shared within a file, never between files."""
    source = shape.source
    source.require(*_MOONCAKE)
    bailian = "chat_id" in source.record
    block_tokens = _BAILIAN_BLOCK_TOKENS if bailian else _MOONCAKE_BLOCK_TOKENS
    seen: set[Any] = set()
    cached = [_prefix_blocks(record, seen) * block_tokens for _, record in source.records()]
    fields = {"arrival": "timestamp", "input": "input_length", "output": "output_length"}
    last = pl.col("input").cast(pl.Float64, strict=False) - 1
    reusable = pl.min_horizontal(pl.Series("cached", cached, dtype=pl.Float64), last)
    table = source.table(fields).with_columns(reusable.alias("cached"))
    text = "prefix reuse is what one unbounded cache shared by all replicas would hold, in the order of the file"
    unit_s = 1.0 if bailian else 1 / MS_PER_S
    return RawTable(table=table, unit_s=unit_s, columns=fields, assumptions=(text,))


def _prefix_blocks(record: Record | None, seen: set[Any]) -> int:
    """Count the leading blocks that were seen before, and add all blocks to those seen."""
    blocks = record.get("hash_ids") if record else None
    if not isinstance(blocks, list) or not all(isinstance(block, (int, str)) for block in blocks):
        return 0
    reused = next((place for place, block in enumerate(blocks) if block not in seen), len(blocks))
    seen.update(blocks[reused:])
    return reused


PUBLIC: Final = (
    TraceFormat(
        name="azure",
        title="Azure LLM inference 2023/2024 CSV",
        requires=("TIMESTAMP", "ContextTokens", "GeneratedTokens"),
        fields={"arrival": "TIMESTAMP", "input": "ContextTokens", "output": "GeneratedTokens"},
    ),
    TraceFormat(name="mooncake", title="Mooncake JSON lines", json=True, requires=_MOONCAKE, read=read_mooncake),
    TraceFormat(
        name="burstgpt",
        title="BurstGPT CSV",
        requires=("Timestamp", "Model", "Request tokens", "Response tokens"),
        fields={
            "arrival": "Timestamp",
            "model": "Model",
            "input": "Request tokens",
            "output": "Response tokens",
            "session": "Session ID",
        },
        unit_s=1.0,
    ),
)
