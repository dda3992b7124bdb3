"""What providers answer: usage objects under any prefix, results of batches, and histories of usage by call.

Source: the documentation of each provider, read 2026-11, at the address beside its row.
"""

from typing import Final

from meritorder.traces.formats.declared import AsideRule, TraceFormat
from meritorder.traces.formats.names import NAMES
from meritorder.traces.trace import Kind

ARRIVALS: Final = " | ".join((*NAMES["arrival"], "createTime", "create_time", "processed_time", "arrived_s"))

PROVIDERS: Final = (
    # https://docs.vllm.ai, `vllm run-batch`, and the output file of OpenAI's Batch API.
    TraceFormat(
        name="batch_output",
        title="output of vllm run-batch or of an OpenAI batch",
        requires=("custom_id", "response.body.usage"),
        fields={
            "arrival": "response.body.created | response.body.created_at",
            "input": "response.body.usage.prompt_tokens | response.body.usage.input_tokens",
            "output": "response.body.usage.completion_tokens | response.body.usage.output_tokens",
            "cached": "response.body.usage.prompt_tokens_details.cached_tokens"
            " | response.body.usage.input_tokens_details.cached_tokens",
            "model": "response.body.model",
            "status": "response.status_code",
            "error": "error",
        },
        aside=(AsideRule(kind=Kind.NO_GENERATION, column="response.body.object", pattern="^list$|embedding"),),
        assumptions=("arrival is when each answer was made: the lines of a batch are submitted together",),
        unit_s=1.0,
    ),
    # https://platform.claude.com/docs/en/build-with-claude/batch-processing and https://ai.google.dev/gemini-api/docs/batch-api
    TraceFormat(
        name="batch_output",
        title="results of a batch of the Claude API",
        requires=("custom_id", "result.message.usage.input_tokens", "result.message.usage.output_tokens"),
        fields={
            "input": "result.message.usage.input_tokens + result.message.usage.cache_read_input_tokens"
            " + result.message.usage.cache_creation_input_tokens",
            "output": "result.message.usage.output_tokens",
            "cached": "result.message.usage.cache_read_input_tokens",
            "model": "result.message.model",
        },
        aside=(AsideRule(kind=Kind.ERROR, column="result.type", pattern="^(errored|canceled|expired)$"),),
    ),
    TraceFormat(
        name="batch_output",
        title="results of a batch of the Gemini API",
        requires=("key", "response.usageMetadata.promptTokenCount", "response.usageMetadata.candidatesTokenCount"),
        fields={
            "input": "response.usageMetadata.promptTokenCount + response.usageMetadata.toolUsePromptTokenCount",
            "output": "response.usageMetadata.candidatesTokenCount + response.usageMetadata.thoughtsTokenCount",
            "cached": "response.usageMetadata.cachedContentTokenCount",
            "model": "response.modelVersion",
        },
    ),
    # https://docs.aws.amazon.com/bedrock/latest/userguide/batch-inference-results.html: the answer of each model.
    *(
        TraceFormat(
            name="batch_output",
            title="results of a batch of Bedrock",
            requires=("recordId", f"modelOutput.usage.{counts[0]}", f"modelOutput.usage.{counts[1]}"),
            fields={
                "input": " + ".join(f"modelOutput.usage.{name}" for name in (counts[0], *cache)),
                "output": f"modelOutput.usage.{counts[1]}",
                "cached": f"modelOutput.usage.{cache[0]}",
                "model": "modelOutput.model",
                "id": "recordId",
                "error": "error.errorCode",
            },
        )
        for counts, cache in (
            (("input_tokens", "output_tokens"), ("cache_read_input_tokens", "cache_creation_input_tokens")),
            (("inputTokens", "outputTokens"), ("cacheReadInputTokens", "cacheWriteInputTokens")),
        )
    ),
    # https://docs.snowflake.com/en/sql-reference/account-usage/cortex_rest_api_usage_history: a row for each call.
    TraceFormat(
        name="snowflake",
        title="usage history of Snowflake Cortex",
        requires=("START_TIME | USAGE_TIME", "TOKENS_GRANULAR.input", "TOKENS_GRANULAR.output"),
        fields={
            "arrival": "START_TIME | USAGE_TIME",
            "ended": "END_TIME",
            "input": "TOKENS_GRANULAR.input + TOKENS_GRANULAR.cache_read_input + TOKENS_GRANULAR.cache_write_input",
            "output": "TOKENS_GRANULAR.output",
            "cached": "TOKENS_GRANULAR.cache_read_input",
            "model": "MODEL_NAME",
            "tenant": "USER_ID",
            "id": "REQUEST_ID",
            "total": "TOKENS",
        },
    ),
    # https://ai.google.dev/api/generate-content#UsageMetadata, and the request-response logs of Vertex AI,
    # https://cloud.google.com/vertex-ai/generative-ai/docs/multimodal/request-response-logging: thoughts and tools are
    # counted beside.
    *(
        TraceFormat(
            name="gemini",
            title="Gemini usage",
            requires=(f"{{at}}{prompt}", f"{{at}}{candidates}"),
            fields={
                "arrival": ARRIVALS,
                "input": f"{{at}}{prompt} + {{at}}{tools}",
                "output": f"{{at}}{candidates} + {{at}}{thoughts}",
                "cached": f"{{at}}{cached}",
                "model": "model | modelVersion | model_version | response.modelVersion",
                "tenant": "tenant | project | user",
                "id": "responseId | response_id | request_id",
            },
        )
        for prompt, candidates, thoughts, cached, tools in (
            (
                *("prompt_token_count", "candidates_token_count", "thoughts_token_count"),
                *("cached_content_token_count", "tool_use_prompt_token_count"),
            ),
            (
                *("promptTokenCount", "candidatesTokenCount", "thoughtsTokenCount"),
                *("cachedContentTokenCount", "toolUsePromptTokenCount"),
            ),
        )
    ),
    # https://platform.claude.com/docs/en/build-with-claude/prompt-caching: input_tokens leave out the cache.
    *(
        TraceFormat(
            name="anthropic",
            title="Anthropic usage",
            requires=(
                "{at}input_tokens",
                "{at}output_tokens",
                f"{{at}}cache_read_{tokens} | {{at}}cache_creation_{tokens}",
            ),
            fields={
                "arrival": ARRIVALS,
                "input": f"{{at}}input_tokens + {{at}}cache_read_{tokens} + {{at}}cache_creation_{tokens}",
                "output": "{at}output_tokens",
                "cached": f"{{at}}cache_read_{tokens}",
                "model": "model | message.model | response.model",
                "tenant": "tenant | workspace | workspace_id | api_key | user_id | user",
                "session": "session | session_id | conversation_id",
                "id": "request_id | message_id | message.id | response.id | id",
                "status": "status_code | status",
                # The result of a run of Claude Code has the usage of all its turns.
                "calls": "num_turns",
                "workload": "workload",
                "deadline": "deadline_s | deadline",
            },
        )
        for tokens in ("input_tokens", "tokens")
    ),
    # The names of the Claude console's export in a log of single calls.
    TraceFormat(
        name="anthropic",
        title="Anthropic usage",
        requires=("{at}usage_input_tokens_no_cache", "{at}usage_output_tokens"),
        fields={
            "arrival": ARRIVALS,
            "input": "{at}usage_input_tokens_no_cache + {at}usage_input_tokens_cache_read"
            " + {at}usage_input_tokens_cache_write_5m + {at}usage_input_tokens_cache_write_1h",
            "output": "{at}usage_output_tokens",
            "cached": "{at}usage_input_tokens_cache_read",
            "model": "model_version | model",
            "tenant": "workspace | api_key",
        },
    ),
    # https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_TokenUsage.html: input without the cache.
    TraceFormat(
        name="converse",
        title="usage of Bedrock's Converse API",
        requires=("{at}inputTokens", "{at}outputTokens", ARRIVALS),
        fields={
            "arrival": ARRIVALS,
            "input": "{at}inputTokens + {at}cacheReadInputTokens + {at}cacheWriteInputTokens",
            "output": "{at}outputTokens",
            # The AI SDK of Vercel has the same names, and its input includes the cache.
            "cached": "{at}cacheReadInputTokens | {at}cachedInputTokens | {at}inputTokenDetails.cacheReadTokens",
            "model": "modelId | model",
            "tenant": "tenant | team | user",
            "id": "requestId | request_id | ResponseMetadata.RequestId",
        },
    ),
)
