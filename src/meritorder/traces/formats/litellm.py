"""Spend logs of the LiteLLM proxy, CSV or JSON lines of the table LiteLLM_SpendLogs.

The requested model is `model_group` (the name that clients use), else `model`; the tenant is the first non-empty one
of `team_id, user, end_user, api_key`. Cached tokens are those that the provider reports in `metadata.usage_object`.
Failures, responses from the proxy's own cache and embeddings put no load on a model: they are set aside.

Source: https://github.com/BerriAI/litellm, schema.prisma and docs "spend logs", read 2026-11.
"""

from collections.abc import Sequence
from typing import Final

import polars as pl

from meritorder.traces.intake import RawTable
from meritorder.traces.sources import Source
from meritorder.traces.trace import Kind

_REQUIRED: Final = ("startTime", "prompt_tokens", "completion_tokens")
_DISTINCTIVE: Final = ("request_id", "call_type", "api_key", "spend", "completionStartTime", "endTime")
_TENANTS: Final = ("team_id", "user", "end_user", "api_key")
_MODELS: Final = ("model_group", "model")
_USED: Final = ("call_type", "cache_hit", "status", "session_id", "metadata", *_TENANTS, *_MODELS)
_CACHED_PATHS: Final = (
    "$.usage_object.prompt_tokens_details.cached_tokens",
    "$.usage_object.cache_read_input_tokens",
    "$.additional_usage_values.cache_read_input_tokens",
)


def recognizes(source: Source) -> bool:
    """Whether a file is in this format."""
    return set(_REQUIRED) <= set(source.columns) and not set(_DISTINCTIVE).isdisjoint(source.columns)


def read(source: Source) -> RawTable:
    """Read one file."""
    source.require(*_REQUIRED)
    used = [name for name in _USED if name in source.columns]
    fields = {"arrival": "startTime", "input": "prompt_tokens", "output": "completion_tokens"}
    table = source.table(fields | {name: name for name in used})
    texts = table.with_columns(pl.col(used).cast(pl.String))
    return RawTable(
        table=texts.select(
            "line",
            *(["broken"] if "broken" in table.collect_schema().names() else []),
            *fields,
            _cached(used).alias("cached"),
            _first_set(_MODELS, used).alias("model"),
            _first_set(_TENANTS, used).alias("tenant"),
            _first_set(("session_id",), used).alias("session"),
            _aside(used).alias("aside"),
        )
    )


def _first_set(names: tuple[str, ...], used: Sequence[str]) -> pl.Expr:
    present = [pl.when(pl.col(name) != "").then(pl.col(name)) for name in names if name in used]
    return pl.coalesce(present) if present else pl.lit(None, pl.String)


def _cached(used: Sequence[str]) -> pl.Expr:
    if "metadata" not in used:
        return pl.lit(0.0)
    return pl.coalesce(pl.col("metadata").str.json_path_match(path) for path in _CACHED_PATHS).cast(
        pl.Float64, strict=False
    )


def _aside(used: Sequence[str]) -> pl.Expr:
    reasons = {
        "status": (pl.col("status").str.to_lowercase().is_in(["failure", "failed", "error"]), Kind.ERROR),
        "cache_hit": (pl.col("cache_hit").str.to_lowercase() == "true", Kind.RESPONSE_CACHE),
        "call_type": (pl.col("call_type").str.contains("embedding"), Kind.NO_GENERATION),
    }
    present = [pl.when(applies).then(pl.lit(reason)) for name, (applies, reason) in reasons.items() if name in used]
    return pl.coalesce(present) if present else pl.lit(None, pl.String)
