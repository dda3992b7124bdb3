"""Spend logs of the LiteLLM proxy, CSV or JSON lines of the table LiteLLM_SpendLogs.

The model asked for is `model_group` (the name that clients use), else `model`; the tenant is the first that
is set of `team_id, user, end_user, api_key`. Cached tokens are those that the provider reports in
`metadata.usage_object`. Failures, answers from the proxy's own cache and embeddings put no load on a model:
they are counted apart.

Source: https://github.com/BerriAI/litellm, schema.prisma and docs "spend logs", read 2026-11.
"""

from collections.abc import Sequence
from typing import Final

import polars as pl

from meritorder.traces.files import File
from meritorder.traces.intake import NO_GENERATION, RESPONSE_CACHE, Raw
from meritorder.traces.trace import FAILED

NEEDS: Final = ("startTime", "prompt_tokens", "completion_tokens")
_TOLD_BY: Final = ("request_id", "call_type", "api_key", "spend", "completionStartTime", "endTime")
_TENANTS: Final = ("team_id", "user", "end_user", "api_key")
_MODELS: Final = ("model_group", "model")
_USED: Final = ("call_type", "cache_hit", "status", "session_id", "metadata", *_TENANTS, *_MODELS)
_CACHED_PATHS: Final = (
    "$.usage_object.prompt_tokens_details.cached_tokens",
    "$.usage_object.cache_read_input_tokens",
    "$.additional_usage_values.cache_read_input_tokens",
)


def recognises(file: File) -> bool:
    """Tell whether the file is of this format."""
    return set(NEEDS) <= set(file.columns) and not set(_TOLD_BY).isdisjoint(file.columns)


def read(file: File) -> Raw:
    """Read one file."""
    file.require(*NEEDS)
    used = [name for name in _USED if name in file.columns]
    fields = {"arrival": "startTime", "input": "prompt_tokens", "output": "completion_tokens"}
    table = file.table(fields | {name: name for name in used})
    texts = table.with_columns(pl.col(used).cast(pl.String))
    return Raw(
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
    there = [pl.when(pl.col(name) != "").then(pl.col(name)) for name in names if name in used]
    return pl.coalesce(there) if there else pl.lit(None, pl.String)


def _cached(used: Sequence[str]) -> pl.Expr:
    if "metadata" not in used:
        return pl.lit(0.0)
    return pl.coalesce(pl.col("metadata").str.json_path_match(path) for path in _CACHED_PATHS).cast(
        pl.Float64, strict=False
    )


def _aside(used: Sequence[str]) -> pl.Expr:
    reasons = {
        "status": (pl.col("status").str.to_lowercase().is_in(["failure", "failed", "error"]), FAILED),
        "cache_hit": (pl.col("cache_hit").str.to_lowercase() == "true", RESPONSE_CACHE),
        "call_type": (pl.col("call_type").str.contains("embedding"), NO_GENERATION),
    }
    there = [pl.when(told).then(pl.lit(reason)) for name, (told, reason) in reasons.items() if name in used]
    return pl.coalesce(there) if there else pl.lit(None, pl.String)
