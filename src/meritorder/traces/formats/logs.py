"""Logs of gateways, providers and tracing tools, one row for each call.

Source: the documentation of each tool, read 2026-11, at the address beside its row.
"""

from typing import Final

from meritorder.traces.formats.declared import AsideRule, TraceFormat
from meritorder.traces.trace import Kind

_LOGGED: Final = "arrival is when the answer was logged: the file has no time of the request"
_USAGE: Final = "@gen_ai.usage.input_tokens | @gen_ai.usage.prompt_tokens | @llm.token_count.prompt"

LOGS: Final = (
    # docs/reference/venues.md: the ledger of `meritorder serve`; one row for each attempt.
    TraceFormat(
        name="ledger",
        title="ledger of meritorder serve",
        requires=("request_id", "arrived_s", "ended_s", "venue", "lost_tokens"),
        fields={
            "arrival": "arrived_s",
            "input": "input_tokens",
            "output": "output_tokens",
            "cached": "cached_tokens",
            "model": "model",
            "tenant": "tenant",
            "workload": "workload",
            "deadline": "deadline_s",
            "id": "request_id",
            "status": "status_code",
            "started": "started_s",
            "ended": "ended_s",
            "ttft": "ttft_s",
        },
        unit_s=1.0,
    ),
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
    # https://langfuse.com/docs/observability/features/token-and-cost-tracking: the keys of usageDetails add up; `input`
    # and `output` are texts.
    TraceFormat(
        name="langfuse",
        title="Langfuse observations",
        requires=(
            "startTime | start_time",
            "usageDetails.input | usage_details.input | inputUsage | input_usage | usage.input | promptTokens",
        ),
        fields={
            "arrival": "startTime | start_time",
            "input": "inputUsage | input_usage"
            " | usageDetails.input + usageDetails.input_cached_tokens + usageDetails.input_cache_read"
            " + usageDetails.cache_read_input_tokens + usageDetails.cache_creation_input_tokens"
            " + usageDetails.input_cache_creation + usageDetails.input_audio_tokens + usageDetails.input_image_tokens"
            " | usage_details.input + usage_details.input_cached_tokens + usage_details.input_cache_read"
            " + usage_details.cache_read_input_tokens + usage_details.cache_creation_input_tokens"
            " + usage_details.input_cache_creation + usage_details.input_audio_tokens"
            " | usage.input | promptTokens",
            "output": "outputUsage | output_usage"
            " | usageDetails.output + usageDetails.output_reasoning_tokens + usageDetails.output_reasoning"
            " + usageDetails.output_audio_tokens"
            " | usage_details.output + usage_details.output_reasoning_tokens + usage_details.output_reasoning"
            " + usage_details.output_audio_tokens"
            " | usage.output | completionTokens",
            "cached": "usageDetails.input_cached_tokens | usageDetails.input_cache_read"
            " | usageDetails.cache_read_input_tokens"
            " | usage_details.input_cached_tokens | usage_details.input_cache_read"
            " | usage_details.cache_read_input_tokens",
            "model": "model | providedModelName | provided_model_name",
            "tenant": "userId | user_id",
            "session": "sessionId | session_id",
            "id": "id",
            "parent": "parentObservationId | parent_observation_id",
            "ended": "endTime | end_time",
            "first": "completionStartTime | completion_start_time",
        },
        aside=(
            AsideRule(kind=Kind.NO_GENERATION, column="type", pattern="^embedding$"),
            AsideRule(kind=Kind.PARENT, column="type", pattern="^generation$", unless=True),
            AsideRule(kind=Kind.ERROR, column="level", pattern="^error$"),
        ),
    ),
    # https://docs.langchain.com/langsmith/run-data-format: a chain has the sums of its model calls.
    TraceFormat(
        name="langsmith",
        title="LangSmith runs",
        requires=("run_type", "start_time", "prompt_tokens | usage_metadata.input_tokens"),
        fields={
            "arrival": "start_time",
            "input": "prompt_tokens | usage_metadata.input_tokens",
            "output": "completion_tokens | usage_metadata.output_tokens",
            "cached": "prompt_token_details.cache_read | usage_metadata.input_token_details.cache_read",
            "model": "extra.metadata.ls_model_name | metadata.ls_model_name",
            "tenant": "extra.metadata.user_id | metadata.user_id",
            "session": "extra.metadata.thread_id | metadata.thread_id | thread_id",
            "id": "id",
            "parent": "parent_run_id",
            "error": "error",
            "first": "first_token_time",
            "ended": "end_time",
        },
        aside=(
            AsideRule(kind=Kind.NO_GENERATION, column="run_type", pattern="^(embedding|retriever)$"),
            AsideRule(kind=Kind.PARENT, column="run_type", pattern="^llm$", unless=True),
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
    # https://openrouter.ai/docs: reasoning and cached tokens are parts of the others.
    TraceFormat(
        name="openrouter",
        title="OpenRouter activity",
        requires=("created_at", "tokens_prompt | native_tokens_prompt", "tokens_completion | native_tokens_completion"),
        fields={
            "arrival": "created_at",
            "input": "native_tokens_prompt | tokens_prompt",
            "output": "native_tokens_completion | tokens_completion",
            "cached": "native_tokens_cached | tokens_cached",
            "model": "model_permaslug | model",
            "tenant": "api_key_name | app_name | app_id",
            "id": "generation_id | id",
            "ttft": "time_to_first_token_ms | latency",
            "e2e": "generation_time_ms | generation_time",
        },
        units_s={"ttft": 1e-3, "e2e": 1e-3},
    ),
    # https://docs.aws.amazon.com/bedrock/latest/userguide/model-invocation-logging.html: the input leaves out what was
    # read from or written to the cache.
    *(
        TraceFormat(
            name="bedrock",
            title="Amazon Bedrock model invocation logs",
            requires=(f"{at}modelId", f"{at}input.inputTokenCount | {at}output.outputTokenCount"),
            fields={
                "arrival": "timestamp",
                "input": "input.inputTokenCount + input.cacheReadInputTokenCount + input.cacheWriteInputTokenCount",
                "output": "output.outputTokenCount | output.outputBodyJson.usage.outputTokens",
                "cached": "input.cacheReadInputTokenCount",
                "model": "modelId",
                "tenant": "requestMetadata.team | requestMetadata.tenant | identity.arn",
                "id": "requestId",
                "error": "errorCode",
            },
            aside=(AsideRule(kind=Kind.NO_GENERATION, column="modelId", pattern="embed|rerank"),),
            nest=nest,
            assumptions=("arrival is the time that Bedrock logs for each call",),
        )
        for at, nest in (("", ""), ("message.", "message"), ("@message.", "@message"))
    ),
    # https://opentelemetry.io/docs/specs/semconv/gen-ai: input tokens include what was cached. OTLP JSON and flat
    # records.
    *(
        TraceFormat(
            name="otel",
            title="OpenTelemetry spans of generative AI",
            requires=(identified,),
            fields={
                "arrival": "startTimeUnixNano | start_time_unix_nano | start_time | startTime | timestamp",
                "input": f"{at}gen_ai.usage.input_tokens | {at}gen_ai.usage.prompt_tokens | {at}llm.token_count.prompt",
                "output": f"{at}gen_ai.usage.output_tokens | {at}gen_ai.usage.completion_tokens"
                f" | {at}llm.token_count.completion",
                "cached": f"{at}gen_ai.usage.cache_read.input_tokens | {at}gen_ai.usage.cache_read_input_tokens"
                f" | {at}llm.token_count.prompt_details.cache_read",
                "model": f"{at}gen_ai.response.model | {at}gen_ai.request.model | {at}llm.model_name",
                "tenant": f"{at}user.id | {at}enduser.id | resource.attributes.service.name",
                "session": f"{at}gen_ai.conversation.id | {at}session.id",
                "id": "spanId | span_id | context.span_id",
                "parent": "parentSpanId | parent_span_id | parent_id",
                "error": f"{at}error.type",
                "ended": "endTimeUnixNano | end_time_unix_nano | end_time | endTime",
            },
            aside=(
                AsideRule(
                    kind=Kind.NO_GENERATION, column=f"{at}gen_ai.operation.name", pattern="embedding|retriev|rerank"
                ),
                AsideRule(kind=Kind.PARENT, column=f"{at}gen_ai.operation.name", pattern="agent|tool|workflow"),
                *(
                    AsideRule(kind=kind, column=column, pattern=pattern)
                    for column in (f"{at}openinference.span.kind", "span_kind")
                    for kind, pattern in (
                        (Kind.NO_GENERATION, "^(embedding|reranker)$"),
                        (Kind.PARENT, "^(chain|agent|tool|retriever|evaluator|guardrail)$"),
                    )
                ),
                AsideRule(kind=Kind.ERROR, column="status.code", pattern="^(2|2.0|status_code_error|error)$"),
                AsideRule(kind=Kind.ERROR, column=f"{at}error.type", pattern="."),
                AsideRule(kind=Kind.EVENT, column=f"{at}gen_ai.request.model", pattern=".", unless=True),
            ),
            nest=nest,
        )
        for at, nest, identified in (
            ("attributes.", "resourceSpans[].scopeSpans[].spans[]", "resourceSpans.scopeSpans.spans.attributes.key"),
            ("attributes.", "", _USAGE.replace("@", "attributes.")),
            ("", "", _USAGE.replace("@", "")),
        )
    ),
    # Files of ~/.claude/projects: an answer is logged in several lines with one id; its input leaves out the cache.
    TraceFormat(
        name="claude_code",
        title="session files of Claude Code",
        requires=("sessionId", "message.usage.input_tokens"),
        fields={
            "arrival": "timestamp",
            "input": "message.usage.input_tokens + message.usage.cache_read_input_tokens"
            " + message.usage.cache_creation_input_tokens",
            "output": "message.usage.output_tokens",
            "cached": "message.usage.cache_read_input_tokens",
            "model": "message.model",
            "session": "sessionId",
            "id": "message.id",
        },
        aside=(
            AsideRule(kind=Kind.EVENT, column="type", pattern="^assistant$", unless=True),
            AsideRule(kind=Kind.EVENT, column="message.model", pattern="synthetic"),
        ),
        assumptions=(_LOGGED,),
        ids_unique=True,
        ids_everywhere=True,
    ),
    # Files of ~/.codex/sessions: `last_token_usage` is one call, `total_token_usage` the session so far.
    TraceFormat(
        name="codex",
        title="session files of Codex",
        requires=("timestamp", "payload.info.last_token_usage.input_tokens"),
        fields={
            "arrival": "timestamp",
            "input": "payload.info.last_token_usage.input_tokens",
            "output": "payload.info.last_token_usage.output_tokens",
            "cached": "payload.info.last_token_usage.cached_input_tokens",
            "model": "payload.model",
            "id": "payload.info.total_token_usage.total_tokens",
        },
        aside=(
            AsideRule(kind=Kind.EVENT, column="payload.info.last_token_usage.input_tokens", pattern=".", unless=True),
        ),
        assumptions=(_LOGGED,),
        ids_unique=True,
        fill=("model",),
    ),
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
    # https://ai.google.dev/api/generate-content#UsageMetadata: thoughts and the prompts of tools are counted beside.
    *(
        TraceFormat(
            name="gemini",
            title="Gemini usage",
            requires=(f"{at}{prompt}", f"{at}{candidates}"),
            fields={
                "arrival": "timestamp | createTime | create_time | created_at | time",
                "input": f"{at}{prompt} + {at}{tools}",
                "output": f"{at}{candidates} + {at}{thoughts}",
                "cached": f"{at}{cached}",
                "model": "model | modelVersion | model_version",
                "tenant": "tenant | project | user",
                "id": "responseId | response_id | request_id",
            },
        )
        for at in ("", "usageMetadata.", "usage_metadata.", "response.usageMetadata.")
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
                f"{at}input_tokens",
                f"{at}output_tokens",
                f"{at}cache_read_input_tokens | {at}cache_creation_input_tokens",
            ),
            fields={
                "arrival": "timestamp | created_at | time | arrived_s | arrival | start_time | created | date",
                "input": f"{at}input_tokens + {at}cache_read_input_tokens + {at}cache_creation_input_tokens",
                "output": f"{at}output_tokens",
                "cached": f"{at}cache_read_input_tokens",
                "model": "model | message.model | response.model",
                "tenant": "tenant | workspace | workspace_id | api_key | user_id | user",
                "session": "session | session_id | conversation_id",
                "id": "request_id | message_id | message.id | response.id | id",
                "status": "status_code | status",
                "workload": "workload",
                "deadline": "deadline_s | deadline",
            },
        )
        for at in ("", "usage.", "message.usage.", "response.usage.", "response.body.usage.")
    ),
)
