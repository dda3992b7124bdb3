"""Usage of token resellers and of coding agents with amounts: tables of columns as in `declared`.

Sources, read 2026-11: OpenRouter, "Activity export" and API reference "Get user activity", openrouter.ai/docs; LiteLLM
schema.prisma, LiteLLM_DailyUserSpend; ccusage, "JSON output", ccusage.com; Cursor, "Usage", cursor.com/docs.
"""

from typing import Final

from meritorder.bills.charges import PurchaseOption
from meritorder.bills.formats.declared import DeclaredFormat

_TOKENS: Final = {"purchase": PurchaseOption.TOKENS, "unit": "tokens", "currency": "USD"}

METERED: Final = (
    DeclaredFormat(
        name="openrouter",
        title="OpenRouter activity",
        recognized_by=(
            frozenset({"generation_id", "cost_total", "model_permaslug"}),
            frozenset({"date", "usage", "model_permaslug", "prompt_tokens"}),
        ),
        columns={
            "period_start": ("created_at", "date"),
            "resource": ("generation_id", "endpoint_id"),
            "sku": ("model_permaslug",),
            "model": ("model_permaslug", "model"),
            "description": ("provider_name",),
            "billed_usd": ("cost_total", "usage"),
            "quantity": ("tokens_prompt+tokens_completion", "prompt_tokens+completion_tokens"),
        },
        constants={"provider": "openrouter", "service": "OpenRouter", **_TOKENS},
        tags={"app": ("app_name",), "api_key": ("api_key_name",), "user": ("user",)},
        identity="generation_id",
    ),
    DeclaredFormat(
        name="litellm-daily",
        title="daily spend of LiteLLM",
        recognized_by=(frozenset({"date", "spend", "api_requests", "prompt_tokens"}),),
        columns={
            "period_start": ("date",),
            "account": ("team_id", "user_id"),
            "sku": ("model",),
            "model": ("model",),
            "resource": ("id",),
            "provider": ("custom_llm_provider",),
            "billed_usd": ("spend",),
            "quantity": ("prompt_tokens+completion_tokens",),
        },
        constants={"service": "LiteLLM", **_TOKENS},
        tags={"user": ("user_id",), "team": ("team_id",), "tag": ("tag",), "api_key": ("api_key",)},
        identity="id",
        invoiced=False,
    ),
    DeclaredFormat(
        name="ccusage",
        title="ccusage, at list prices",
        recognized_by=(frozenset({"inputTokens", "outputTokens", "totalTokens", "totalCost"}),),
        columns={
            "period_start": ("date", "week", "month", "lastActivity"),
            "resource": ("sessionId", "project"),
            "sku": ("modelsUsed",),
            "billed_usd": ("totalCost",),
            "quantity": ("totalTokens",),
        },
        constants={"provider": "anthropic", "service": "Claude Code", **_TOKENS},
        invoiced=False,
    ),
    DeclaredFormat(
        name="cursor",
        title="usage events of Cursor",
        recognized_by=(frozenset({"Date", "Model", "Input (w/ Cache Write)", "Cost"}),),
        columns={
            "period_start": ("Date",),
            "account": ("User",),
            "sku": ("Model",),
            "model": ("Model",),
            "description": ("Kind",),
            "billed_usd": ("Cost",),
            "quantity": ("Total Tokens",),
        },
        constants={"provider": "cursor", "service": "Cursor", **_TOKENS},
        invoiced=False,
    ),
)
"""Formats in the order in which they are tried."""
