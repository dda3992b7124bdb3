"""Mooncake and Qwen-Bailian traces, JSON lines with the hashes of each prompt's blocks.

Mooncake: `timestamp` in ms, `input_length, output_length`, `hash_ids` of blocks of 512 tokens. Bailian has
the same fields, `timestamp` in s, blocks of 16 tokens, and is told apart by its `chat_id`. A block's hash
stands for the block and all that is before it, so a prompt's reusable prefix is its longest run of leading
blocks that were seen before:

    cached_tokens = min(block · |longest prefix of hash_ids seen before|, input_tokens - 1)

This is what an unbounded cache shared by all replicas would hold: the most that can be reused.

Source: https://github.com/kvcache-ai/Mooncake, "Open Source Trace";
https://github.com/alibaba-edu/qwen-bailian-usagetraces-anon, as described in
https://github.com/ai-dynamo/aiperf, docs "Bailian traces"; read 2026-11.
"""

from typing import Any, Final

import polars as pl

from meritorder.traces.files import File, Record
from meritorder.traces.intake import Raw
from meritorder.units import MS_PER_S

NEEDS: Final = ("timestamp", "input_length", "output_length", "hash_ids")
_MOONCAKE_BLOCK_TOKENS: Final = 512
_BAILIAN_BLOCK_TOKENS: Final = 16


def recognises(file: File) -> bool:
    """Tell whether the file is of this format."""
    return set(NEEDS) <= set(file.record)


def read(file: File) -> Raw:
    """Read one file; prefixes are shared within a file, hashes of different files mean different blocks."""
    file.require(*NEEDS)
    bailian = "chat_id" in file.record
    block_tokens = _BAILIAN_BLOCK_TOKENS if bailian else _MOONCAKE_BLOCK_TOKENS
    seen: set[Any] = set()
    cached = [_prefix_blocks(record, seen) * block_tokens for _, record in file.records()]
    fields = {"arrival": "timestamp", "input": "input_length", "output": "output_length"}
    table = file.table(fields).with_columns(pl.Series("cached", cached, dtype=pl.Float64))
    text = "prefix reuse is what one unbounded cache shared by all replicas would hold, in the order of the file"
    return Raw(table=table, unit_s=1.0 if bailian else 1 / MS_PER_S, assumptions=(text,))


def _prefix_blocks(record: Record | None, seen: set[Any]) -> int:
    """Count the leading blocks that were seen, and remember all."""
    blocks = record.get("hash_ids") if record else None
    if not isinstance(blocks, list) or not all(isinstance(block, (int, str)) for block in blocks):
        return 0
    reused = next((place for place, block in enumerate(blocks) if block not in seen), len(blocks))
    seen.update(blocks[reused:])
    return reused
