"""Logs of gateways in front of models, and of engines, one row for each call.

Source: the documentation of each tool, read 2026-11, at the address beside its row.
"""

from typing import Final

from meritorder.traces.formats.declared import AsideRule, TraceFormat
from meritorder.traces.formats.documents import GROUP
from meritorder.traces.formats.logs import LOGGED
from meritorder.traces.trace import Kind

_KONG: Final = ("ai.ai-proxy", "ai.ai-proxy-advanced", "ai.proxy")

GATEWAYS: Final = (
    # https://docs.litellm.ai/docs/proxy/spend_logs_deletion and schema.prisma, table LiteLLM_SpendLogs: the requested
    # model is model_group, else model; prompt_tokens include what was cached.
    TraceFormat(
        name="litellm",
        title="LiteLLM spend logs",
        requires=(
            "startTime",
            "prompt_tokens",
            "completion_tokens",
            "request_id | call_type | api_key | spend | completionStartTime | endTime",
        ),
        fields={
            "arrival": "startTime",
            "input": "prompt_tokens",
            "output": "completion_tokens",
            "cached": "metadata.usage_object.prompt_tokens_details.cached_tokens"
            " | metadata.usage_object.cache_read_input_tokens"
            " | metadata.additional_usage_values.cache_read_input_tokens",
            "model": "model_group | model",
            "tenant": "team_id | user | end_user | api_key",
            "session": "session_id",
            "id": "request_id",
            "first": "completionStartTime",
            "ended": "endTime",
        },
        aside=(
            AsideRule(kind=Kind.BATCH_TOTAL, column="request_id", pattern="batch_cost$"),
            AsideRule(kind=Kind.BATCH_TOTAL, column="call_type", pattern="batch", counted=True),
            AsideRule(
                kind=Kind.BATCH_CALL,
                column="call_type",
                pattern="batch|_file|file_|list_files|vector_store|fine_tun|assistants|threads",
            ),
            AsideRule(
                kind=Kind.NO_GENERATION,
                column="call_type",
                pattern="embedding|moderation|rerank|image|transcription|speech|ocr|search",
            ),
            AsideRule(kind=Kind.ERROR, column="status", pattern="^(failure|failed|error)$"),
            AsideRule(kind=Kind.RESPONSE_CACHE, column="cache_hit", pattern="^true$"),
        ),
    ),
    # https://docs.helicone.ai/rest/request/post-v1requestquery-clickhouse
    TraceFormat(
        name="helicone",
        title="Helicone requests",
        requires=("request_created_at | request.created_at", "prompt_tokens | response.prompt_tokens"),
        fields={
            "arrival": "request_created_at | request.created_at",
            "input": "prompt_tokens | response.prompt_tokens",
            "output": "completion_tokens | response.completion_tokens",
            "cached": "prompt_cache_read_tokens",
            "model": "response_model | request_model | model",
            "tenant": "request_user_id | user_id",
            "session": "request_properties.Helicone-Session-Id | properties.Helicone-Session-Id",
            "id": "request_id",
            "status": "response_status | status",
            "ttft": "time_to_first_token",
            "e2e": "delay_ms | latency",
        },
        aside=(
            AsideRule(kind=Kind.RESPONSE_CACHE, column="cache_enabled_hit", pattern="^true$"),
            AsideRule(kind=Kind.NO_GENERATION, column="request_path", pattern="embedding|moderation|image"),
        ),
        units_s={"ttft": 1e-3, "e2e": 1e-3},
    ),
    # https://openrouter.ai/docs: reasoning and cached tokens are parts of the others. The answer about one generation
    # holds its record under `data`.
    TraceFormat(
        name="openrouter",
        title="OpenRouter activity",
        requires=(
            "{at}created_at",
            "{at}tokens_prompt | {at}native_tokens_prompt",
            "{at}tokens_completion | {at}native_tokens_completion",
        ),
        fields={
            "arrival": "{at}created_at",
            "input": "{at}native_tokens_prompt | {at}tokens_prompt",
            "output": "{at}native_tokens_completion | {at}tokens_completion",
            "cached": "{at}native_tokens_cached | {at}tokens_cached",
            "model": "{at}model_permaslug | {at}model",
            "tenant": "{at}api_key_name | {at}app_name | {at}app_id",
            "id": "{at}generation_id | {at}id",
            "ttft": "{at}time_to_first_token_ms | {at}latency",
            "e2e": "{at}generation_time_ms | {at}generation_time",
        },
        units_s={"ttft": 1e-3, "e2e": 1e-3},
    ),
    # https://developers.cloudflare.com/api/resources/ai_gateway/subresources/logs
    *(
        TraceFormat(
            name="cloudflare",
            title="logs of Cloudflare's AI Gateway",
            requires=(f"{at}tokens_in", f"{at}tokens_out", f"{at}created_at"),
            fields={
                "arrival": "created_at",
                "input": "tokens_in",
                "output": "tokens_out",
                "model": "model",
                "id": "id",
                "status": "status_code",
                "e2e": "duration",
            },
            aside=(
                AsideRule(kind=Kind.RESPONSE_CACHE, column="cached", pattern="^true$"),
                AsideRule(kind=Kind.ERROR, column="success", pattern="^false$"),
                AsideRule(kind=Kind.NO_GENERATION, column="path", pattern="embedding|moderation|image"),
            ),
            nest=nest,
            units_s={"e2e": 1e-3},
        )
        for at, nest in (("result.", "result[]"), ("", ""))
    ),
    # https://www.braintrust.dev/docs/reference/api: spans of models have counts, with the cache.
    TraceFormat(
        name="braintrust",
        title="Braintrust spans",
        requires=("metrics.prompt_tokens", "metrics.completion_tokens", "metrics.start | created"),
        fields={
            "arrival": "metrics.start | created",
            "input": "metrics.prompt_tokens",
            "output": "metrics.completion_tokens",
            "cached": "metrics.prompt_cached_tokens",
            "model": "metadata.model",
            "id": "span_id | id",
            "parent": "span_parents[0]",
            "error": "error",
            "ended": "metrics.end",
        },
        aside=(
            AsideRule(kind=Kind.PARENT, column="span_attributes.type", pattern="^(task|function|eval|score|tool)$"),
        ),
    ),
    # https://docs.wandb.ai/weave/guides/tracking/querying-calls: usage by model, with that of children.
    TraceFormat(
        name="weave",
        title="calls of Weave",
        requires=("started_at", "op_name", "summary.usage"),
        fields={
            "arrival": "started_at",
            "ended": "ended_at",
            "input": "prompt_tokens | input_tokens + cache_read_input_tokens + cache_creation_input_tokens",
            "output": "completion_tokens | output_tokens",
            "cached": "prompt_tokens_details.cached_tokens | input_tokens_details.cached_tokens"
            " | cache_read_input_tokens",
            "model": GROUP,
            "session": "trace_id",
            "id": "id",
            "parent": "parent_id",
        },
        aside=(AsideRule(kind=Kind.ERROR, column="exception", pattern="."),),
        nest="summary.usage.*",
    ),
    # https://portkey.ai/docs/product/observability/logs-export: units are tokens.
    TraceFormat(
        name="portkey",
        title="Portkey logs",
        requires=("created_at", "req_units", "res_units"),
        fields={
            "arrival": "created_at",
            "input": "req_units",
            "output": "res_units",
            "cached": "cache_read_input_tokens | cached_tokens",
            "model": "ai_model | model",
            "tenant": "metadata._user | workspace_slug | ai_org",
            "session": "trace_id",
            "id": "id",
            "status": "response_status_code",
            "e2e": "response_time",
        },
        aside=(AsideRule(kind=Kind.RESPONSE_CACHE, column="cache_status", pattern="^hit|^semantic hit"),),
        units_s={"e2e": 1e-3},
    ),
    # https://developer.konghq.com/ai-gateway/ai-audit-log-reference: an object for each plugin that called a model.
    *(
        TraceFormat(
            name="kong",
            title="logs of Kong's AI Gateway",
            requires=("started_at", f"{at}.usage.prompt_tokens"),
            fields={
                "arrival": "started_at",
                "input": f"{at}.usage.prompt_tokens",
                "output": f"{at}.usage.completion_tokens",
                "model": f"{at}.meta.response_model | {at}.meta.request_model",
                "tenant": "consumer.username | consumer.custom_id",
                "status": "response.status",
                "e2e": "latencies.request",
            },
            unit_s=1e-3,
            units_s={"e2e": 1e-3},
        )
        for at in _KONG
    ),
    # https://docs.ollama.com/api/generate: the final object of an answer, with durations in nanoseconds.
    TraceFormat(
        name="ollama",
        title="answers of Ollama",
        requires=("created_at", "prompt_eval_count", "eval_count"),
        fields={
            "arrival": "created_at",
            "input": "prompt_eval_count",
            "output": "eval_count",
            "model": "model",
            "e2e": "total_duration",
        },
        aside=(AsideRule(kind=Kind.EVENT, column="done", pattern="^false$"),),
        units_s={"e2e": 1e-9},
        assumptions=(LOGGED,),
    ),
    # https://huggingface.co/docs/text-generation-inference: a line of the router for each finished request.
    TraceFormat(
        name="tgi",
        title="JSON logs of text-generation-inference",
        requires=("timestamp", "span.input_length | input_length", "span.generated_tokens | generated_tokens"),
        fields={
            "arrival": "timestamp",
            "input": "span.input_length | input_length",
            "output": "span.generated_tokens | generated_tokens",
        },
        aside=(AsideRule(kind=Kind.EVENT, column="message", pattern="^success$", unless=True),),
        assumptions=(LOGGED,),
    ),
)
