"""Exports of the token APIs of OpenAI and Anthropic, and LiteLLM's spend logs.

`bills.files` flattens the JSON pages of their APIs into the same columns as their CSV exports.

Sources, read 2026-11: OpenAI API reference, "Usage" (organization.costs.result and
    organization.usage.completions.result); Anthropic Admin API, "Get cost report" and "Get usage report for
    messages"; LiteLLM schema.prisma, LiteLLM_SpendLogs.
"""

from collections.abc import Mapping
from typing import Final

import polars as pl

from meritorder.bills.charges import PurchaseOption
from meritorder.bills.columns import SourceColumns, mapped
from meritorder.domain import Tier

OPENAI_COSTS: Final = ("amount_value", "amount_currency")
OPENAI_USAGE: Final = ("input_tokens", "num_model_requests")
REQUESTS: Final = "num_model_requests"
ANTHROPIC_COSTS: Final = (("usage_date_utc", "cost_usd"), ("amount_usd", "cost_type"))
ANTHROPIC_USAGE: Final = (
    ("usage_date_utc", "usage_output_tokens"),
    ("uncached_input_tokens", "output_tokens"),
)
LITELLM: Final = (("spend", "startTime"), ("spend", "start_time"))

_TIERS: Final = {
    "default": Tier.STANDARD,
    "standard": Tier.STANDARD,
    "message": Tier.STANDARD,
    "batch": Tier.BATCH,
    "flex": Tier.FLEX,
    "priority": Tier.PRIORITY,
}
_TOKEN_TYPES: Final = {
    "input_tokens": "input",
    "uncached_input_tokens": "input",
    "input_no_cache": "input",
    "usage_input_tokens_no_cache": "input",
    "input_cached_tokens": "cached_input",
    "cache_read_input_tokens": "cached_input",
    "input_cache_read": "cached_input",
    "usage_input_tokens_cache_read": "cached_input",
    "cache_creation_ephemeral_5m_input_tokens": "cache_write",
    "cache_creation_ephemeral_1h_input_tokens": "cache_write",
    "cache_creation.ephemeral_5m_input_tokens": "cache_write",
    "cache_creation.ephemeral_1h_input_tokens": "cache_write",
    "input_cache_write_5m": "cache_write",
    "input_cache_write_1h": "cache_write",
    "usage_input_tokens_cache_write_5m": "cache_write",
    "usage_input_tokens_cache_write_1h": "cache_write",
    "input_audio_tokens": "input_audio",
    "output_audio_tokens": "output_audio",
    "output_tokens": "output",
    "output": "output",
    "usage_output_tokens": "output",
}


def _any_of(alternatives: tuple[tuple[str, str], ...], columns: frozenset[str]) -> bool:
    return any(set(names) <= columns for names in alternatives)


def is_openai_costs(columns: frozenset[str]) -> bool:
    """Return whether these are the columns of OpenAI's costs."""
    return set(OPENAI_COSTS) <= columns


def is_openai_usage(columns: frozenset[str]) -> bool:
    """Return whether these are the columns of OpenAI's usage, which counts tokens and has no amounts."""
    return set(OPENAI_USAGE) <= columns


def is_anthropic_costs(columns: frozenset[str]) -> bool:
    """Return whether these are the columns of Anthropic's costs."""
    return _any_of(ANTHROPIC_COSTS, columns)


def is_anthropic_usage(columns: frozenset[str]) -> bool:
    """Return whether these are the columns of Anthropic's usage, which counts tokens and has no amounts."""
    return _any_of(ANTHROPIC_USAGE, columns)


def is_litellm(columns: frozenset[str]) -> bool:
    """Return whether these are the columns of LiteLLM's spend logs."""
    return _any_of(LITELLM, columns) and "model" in columns


def drop_empty_days(raw: pl.LazyFrame) -> pl.LazyFrame:
    """Drop days without spend, which OpenAI's export lists without an amount."""
    names = [name for name in raw.collect_schema() if name not in ("row", "start_time", "end_time")]
    values = [name for name in names if not name.endswith("_iso")]
    return raw.filter(pl.any_horizontal(pl.col(values).is_not_null()))


def unpivot_token_types(raw: pl.LazyFrame) -> pl.LazyFrame:
    """Turn the columns of token types into rows with `token_type` and `tokens`.

    OpenAI's `input_tokens` include the cached ones; these are subtracted, so that no token is counted twice. Rows
    without any tokens, as of images, become their number of requests.
    """
    names = raw.collect_schema().names()
    counted = [name for name in names if name in _TOKEN_TYPES]
    fields = SourceColumns(raw.collect_schema(), table=raw, whole=True)
    counts = raw.with_columns(fields.count(name).alias(name) for name in counted)
    if {"input_tokens", "input_cached_tokens"} <= set(names):
        counts = counts.with_columns(input_tokens=pl.col("input_tokens") - pl.col("input_cached_tokens").fill_null(0))
    index = [name for name in names if name not in counted]
    tokens = counts.unpivot(counted, index=index, variable_name="token_type", value_name="tokens").filter(
        pl.col("tokens") > 0
    )
    if REQUESTS not in names:
        return tokens
    uncounted = (
        counts.filter(~pl.any_horizontal([(pl.col(name) > 0).fill_null(value=False) for name in counted]))
        .drop(counted)
        .with_columns(token_type=pl.lit(REQUESTS), tokens=pl.col(REQUESTS).cast(pl.Float64, strict=False))
        .filter(pl.col("tokens") > 0)
    )
    return pl.concat([tokens, uncounted], how="diagonal")


def openai_costs(fields: SourceColumns) -> Mapping[str, pl.Expr]:
    """Return the columns of CHARGES for OpenAI's costs, which reconcile to the invoice."""
    item = fields.text("line_item")
    return {
        "period_start": fields.time("start_time", "start_time_iso"),
        "period_end": fields.time("end_time", "end_time_iso"),
        "provider": pl.lit("openai"),
        "payer": fields.text("organization_id"),
        "account": fields.text("project_id"),
        "service": pl.lit("OpenAI API"),
        "sku": item,
        "purchase": pl.lit(PurchaseOption.TOKENS),
        "quantity": fields.number("quantity"),
        "billed_usd": fields.money("amount_value"),
        "amortised_usd": fields.money("amount_value"),
        "list_usd": fields.money("amount_value"),
        "tags": _tags(project=fields.text("project_name", "project_id"), user=fields.text("user_id", "user_email")),
        "currency": fields.text("amount_currency"),
        "tier": pl.when(item.str.contains(r"(?i)\bbatch\b")).then(pl.lit(Tier.BATCH)),
    }


def openai_usage(fields: SourceColumns) -> Mapping[str, pl.Expr]:
    """Return the columns of CHARGES for OpenAI's usage: tokens without a price."""
    batch = fields.text("batch").str.to_lowercase() == "true"
    tier = _tier(fields.text("service_tier"))
    return _usage("openai", "OpenAI API", fields) | {
        "period_start": fields.time("start_time", "start_time_iso"),
        "period_end": fields.time("end_time", "end_time_iso"),
        "account": fields.text("project_id"),
        "tags": _tags(
            project=fields.text("project_id"), user=fields.text("user_id"), api_key=fields.text("api_key_id")
        ),
        "tier": pl.when(batch).then(pl.lit(Tier.BATCH)).otherwise(pl.coalesce(tier, pl.lit(Tier.STANDARD))),
    }


def anthropic_costs(fields: SourceColumns) -> Mapping[str, pl.Expr]:
    """Return the columns of CHARGES for Anthropic's costs."""
    amount = fields.money("cost_usd", "amount_usd")
    return {
        "period_start": fields.time("starting_at", "usage_date_utc"),
        "period_end": fields.time("ending_at"),
        "provider": pl.lit("anthropic"),
        "account": fields.text("workspace_id", "workspace"),
        "service": pl.lit("Claude API"),
        "sku": pl.concat_str(
            fields.text("model"), fields.text("token_type", "cost_type"), separator=", ", ignore_nulls=True
        ),
        "description": fields.text("description"),
        "purchase": pl.lit(PurchaseOption.TOKENS),
        "billed_usd": amount,
        "amortised_usd": amount,
        "list_usd": fields.money("list_price_usd") if fields.has("list_price_usd") else amount,
        "tags": _tags(workspace=fields.text("workspace", "workspace_id"), api_key=fields.text("api_key")),
        "currency": fields.text("currency") if fields.has("currency") else pl.lit("USD"),
        "model": fields.text("model"),
        "tier": _tier(fields.text("service_tier", "usage_type")),
        "token_type": _token_type(fields.text("token_type")),
    }


def anthropic_usage(fields: SourceColumns) -> Mapping[str, pl.Expr]:
    """Return the columns of CHARGES for Anthropic's usage: tokens without a price."""
    return _usage("anthropic", "Claude API", fields) | {
        "period_start": fields.time("starting_at", "usage_date_utc"),
        "period_end": fields.time("ending_at"),
        "account": fields.text("workspace_id", "workspace"),
        "tags": _tags(workspace=fields.text("workspace", "workspace_id"), api_key=fields.text("api_key", "api_key_id")),
        "tier": pl.coalesce(_tier(fields.text("service_tier", "usage_type")), pl.lit(Tier.STANDARD)),
    }


def litellm(fields: SourceColumns) -> Mapping[str, pl.Expr]:
    """Return the columns of CHARGES for LiteLLM's spend logs: one row a request, at the cost that LiteLLM estimates."""
    model = fields.text("model")
    spend = fields.money("spend")
    return {
        "period_start": fields.time("startTime", "start_time"),
        "period_end": fields.time("endTime", "end_time"),
        "provider": pl.coalesce(fields.text("custom_llm_provider"), model.str.extract(r"^([^/]+)/"), pl.lit("litellm")),
        "account": fields.text("team_id"),
        "service": pl.lit("LiteLLM"),
        "sku": fields.text("model_group", "model"),
        "description": fields.text("call_type"),
        "resource": fields.text("request_id"),
        "purchase": pl.lit(PurchaseOption.TOKENS),
        "quantity": fields.number("total_tokens"),
        "unit": pl.lit("tokens"),
        "billed_usd": spend,
        "amortised_usd": spend,
        "list_usd": spend,
        "tags": _tags(
            team=fields.text("team_id"),
            user=fields.text("user"),
            end_user=fields.text("end_user"),
            request_tags=fields.text("request_tags"),
        ),
        "currency": pl.lit("USD"),
        "model": model,
    }


def litellm_identity(fields: SourceColumns) -> list[pl.Expr] | None:
    """Return the column that identifies a request of LiteLLM, None if the log lacks it."""
    return [fields.text("request_id")] if fields.has("request_id") else None


def _usage(provider: str, service: str, fields: SourceColumns) -> dict[str, pl.Expr]:
    model = fields.text("model", "model_version")
    kind = fields.text("token_type")
    return {
        "provider": pl.lit(provider),
        "service": pl.lit(service),
        "sku": pl.concat_str(model, kind, separator=", ", ignore_nulls=True),
        "purchase": pl.lit(PurchaseOption.TOKENS),
        "quantity": fields.number("tokens"),
        "unit": pl.when(kind == REQUESTS).then(pl.lit("requests")).otherwise(pl.lit("tokens")),
        "billed_usd": pl.lit(0),
        "amortised_usd": pl.lit(0),
        "priced": pl.lit(value=False),
        "currency": pl.lit("USD"),
        "model": model,
        "token_type": _token_type(kind),
    }


def _tier(word: pl.Expr) -> pl.Expr:
    return mapped(word.str.to_lowercase(), _TIERS)


def _token_type(word: pl.Expr) -> pl.Expr:
    return mapped(word, _TOKEN_TYPES)


def _tags(**values: pl.Expr) -> pl.Expr:
    return pl.struct(value.alias(name) for name, value in values.items()).struct.json_encode()
