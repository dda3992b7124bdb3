"""Logs of providers and tracing tools, one row for each call; those of gateways and engines are in `gateways.py`.

Source: the documentation of each tool, read 2026-11, at the address beside its row.
"""

from typing import Final

from meritorder.traces.formats.declared import AsideRule, TraceFormat
from meritorder.traces.trace import Kind

LOGGED: Final = "arrival is when the answer was logged: the file has no time of the request"
# Names of the conventions, of OpenInference, and of OpenLLMetry before it took over those of the conventions.
_USAGE: Final = (
    "@gen_ai.usage.input_tokens | @gen_ai.usage.prompt_tokens | @llm.token_count.prompt | @llm.usage.prompt_tokens"
)

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
        aside=(AsideRule(kind=Kind.REPEATED, column="outcome", pattern="^(preempted|retried|superseded)$"),),
        unit_s=1.0,
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
    # https://docs.datadoghq.com/llm_observability/instrumentation/api: spans, with counts among the metrics.
    *(
        TraceFormat(
            name="datadog",
            title="spans of Datadog LLM Observability",
            requires=(f"{whole}metrics.input_tokens", f"{whole}start_ns"),
            fields={
                "arrival": f"{at}start_ns",
                "input": f"{at}metrics.input_tokens",
                "output": f"{at}metrics.output_tokens",
                "cached": f"{at}metrics.cache_read_input_tokens",
                "model": f"{at}model_name | {at}meta.model_name | {at}meta.metadata.model_name",
                "session": f"{at}session_id",
                "id": "id | span_id",
                "e2e": f"{at}duration",
            },
            aside=(
                AsideRule(kind=Kind.NO_GENERATION, column=f"{at}span_kind", pattern="^(embedding|retrieval)$"),
                AsideRule(kind=Kind.PARENT, column=f"{at}span_kind", pattern="^(agent|workflow|task|tool)$"),
                AsideRule(kind=Kind.NO_GENERATION, column=f"{at}meta.kind", pattern="^(embedding|retrieval)$"),
                AsideRule(kind=Kind.PARENT, column=f"{at}meta.kind", pattern="^(agent|workflow|task|tool)$"),
                AsideRule(kind=Kind.ERROR, column=f"{at}status", pattern="^error$"),
            ),
            nest=nest,
            unit_s=1e-9,
            units_s={"e2e": 1e-9},
        )
        for whole, at, nest in (
            ("data.attributes.", "attributes.", "data[]"),
            ("attributes.", "attributes.", ""),
            ("", "", ""),
        )
    ),
    # https://opentelemetry.io/docs/specs/semconv/gen-ai: input tokens include what was cached. OTLP JSON and flat
    # records.
    *(
        TraceFormat(
            name="otel",
            title="OpenTelemetry spans of generative AI",
            requires=(identified,),
            fields={
                "arrival": "startTimeUnixNano | start_time_unix_nano | start_time | startTime | timestamp"
                " | timestamp [UTC] | TimeGenerated | TimeGenerated [UTC] | @timestamp | _time | time | ts | StartUTC",
                "input": _USAGE.replace("@", at),
                "output": f"{at}gen_ai.usage.output_tokens | {at}gen_ai.usage.completion_tokens"
                f" | {at}llm.token_count.completion | {at}llm.usage.completion_tokens",
                "cached": f"{at}gen_ai.usage.cache_read.input_tokens | {at}gen_ai.usage.cache_read_input_tokens"
                f" | {at}llm.token_count.prompt_details.cache_read",
                "model": f"{at}gen_ai.response.model | {at}gen_ai.request.model | {at}llm.model_name"
                f" | {at}llm.response.model | {at}llm.request.model",
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
                AsideRule(
                    kind=Kind.EVENT,
                    column=f"{at}gen_ai.request.model | {_USAGE.replace('@', at)}",
                    pattern=".",
                    unless=True,
                ),
            ),
            nest=nest,
        )
        for at, nest, identified in (
            *(
                ("attributes.", f"{around}[].scopeSpans[].spans[]", f"{around}.scopeSpans.spans.attributes.key")
                for around in ("resourceSpans", "batches", "trace.resourceSpans")  # the last two as Tempo answers
            ),
            # Jaeger's API: a trace a record.
            ("tags.", "spans[]", "spans.tags.key"),
            ("attributes.", "", _USAGE.replace("@", "attributes.")),
            # Spans in Azure's Application Insights, and the same in a Log Analytics workspace.
            ("customDimensions.", "", _USAGE.replace("@", "customDimensions.")),
            ("Properties.", "", _USAGE.replace("@", "Properties.")),
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
        assumptions=(LOGGED,),
        ids_unique=True,
        ids_everywhere=True,
    ),
    # https://code.claude.com/docs/en/monitoring-usage, https://developers.openai.com/codex/config-advanced and
    # https://geminicli.com/docs/cli/telemetry: events, as OTLP JSON. What is in the cache of Claude is counted apart.
    TraceFormat(
        name="agent_events",
        title="telemetry of Claude Code, Codex or Gemini CLI",
        requires=("resourceLogs.scopeLogs.logRecords.attributes.key",),
        fields={
            "arrival": "timeUnixNano | attributes.event.timestamp | observedTimeUnixNano",
            "input": "attributes.input_tokens + attributes.cache_read_tokens + attributes.cache_creation_tokens"
            " | attributes.input_token_count",
            "output": "attributes.output_tokens | attributes.output_token_count + attributes.thoughts_token_count",
            "cached": "attributes.cache_read_tokens | attributes.cached_token_count"
            " | attributes.cached_content_token_count",
            "model": "attributes.model",
            "session": "attributes.session.id | attributes.conversation.id",
            "tenant": "attributes.user.email | attributes.user.id",
        },
        aside=(
            AsideRule(kind=Kind.ERROR, column="attributes.event.name | body.stringValue", pattern="api_error$"),
            AsideRule(
                kind=Kind.EVENT,
                column="attributes.output_tokens | attributes.output_token_count",
                pattern=".",
                unless=True,
            ),
        ),
        nest="resourceLogs[].scopeLogs[].logRecords[]",
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
        assumptions=(LOGGED,),
        ids_unique=True,
        fill=("model",),
    ),
    # https://opencode.ai/docs/cli: `opencode export`, or the files of messages it stores; parts of a call are apart.
    *(
        TraceFormat(
            name="opencode",
            title="messages of opencode",
            requires=(f"{whole}tokens.cache.read", f"{whole}time.created"),
            fields={
                "arrival": f"{at}time.created",
                "ended": f"{at}time.completed",
                "input": f"{at}tokens.input + {at}tokens.cache.read + {at}tokens.cache.write",
                "output": f"{at}tokens.output + {at}tokens.reasoning",
                "cached": f"{at}tokens.cache.read",
                "model": f"{at}modelID",
                "session": f"{at}sessionID",
                "id": f"{at}id",
                "error": f"{at}error.name",
            },
            aside=(AsideRule(kind=Kind.EVENT, column=f"{at}role", pattern="^assistant$", unless=True),),
            nest=nest,
            ids_unique=True,
            ids_everywhere=True,
        )
        for whole, at, nest in (("messages.info.", "info.", "messages[]"), ("", "", ""))
    ),
    # https://github.com/google-gemini/gemini-cli, files of ~/.gemini/tmp: thoughts and results of tools are apart.
    *(
        TraceFormat(
            name="gemini_cli",
            title="session files of Gemini CLI",
            requires=(f"{at}tokens.input", f"{at}tokens.thoughts", f"{at}timestamp"),
            fields={
                "arrival": "timestamp",
                "input": "tokens.input + tokens.tool",
                "output": "tokens.output + tokens.thoughts",
                "cached": "tokens.cached",
                "model": "model",
                "session": "sessionId",
                "id": "id",
            },
            aside=(AsideRule(kind=Kind.EVENT, column="type", pattern="^gemini$", unless=True),),
            nest=nest,
            assumptions=(LOGGED,),
            ids_unique=True,
            ids_everywhere=True,
        )
        for at, nest in (("messages.", "messages[]"), ("", ""))
    ),
    # https://docs.openwebui.com: exported chats; `history` has all answers, `messages` only those that are shown.
    TraceFormat(
        name="open_webui",
        title="chats exported from Open WebUI",
        requires=("chat.history.messages", "chat.messages.usage | chat.messages.info"),
        fields={
            "arrival": "timestamp",
            "input": "usage.prompt_tokens | usage.input_tokens | usage.prompt_eval_count | info.prompt_tokens"
            " | info.prompt_eval_count",
            "output": "usage.completion_tokens | usage.output_tokens | usage.eval_count | info.completion_tokens"
            " | info.eval_count",
            "cached": "usage.prompt_tokens_details.cached_tokens",
            "model": "model",
            "tenant": "user_id",
            "id": "id",
        },
        aside=(AsideRule(kind=Kind.EVENT, column="role", pattern="^assistant$", unless=True),),
        nest="chat.history.messages.*",
    ),
    # https://cursor.com/docs: usage events of the dashboard, CSV; "w/ Cache Write" are the tokens written to the cache.
    TraceFormat(
        name="cursor",
        title="usage events of Cursor",
        requires=("Date", "Input (w/ Cache Write)", "Input (w/o Cache Write)", "Output Tokens"),
        fields={
            "arrival": "Date",
            "input": "Input (w/o Cache Write) + Input (w/ Cache Write) + Cache Read",
            "output": "Output Tokens",
            "cached": "Cache Read",
            "model": "Model",
            "tenant": "User",
            "total": "Total Tokens",
        },
        aside=(AsideRule(kind=Kind.ERROR, column="Kind", pattern="^(errored|aborted)"),),
    ),
    # https://mlflow.org/docs/latest/genai/tracing: the counts of a trace are JSON text among its metadata.
    TraceFormat(
        name="mlflow",
        title="MLflow traces",
        requires=("request_time | timestamp_ms", "trace_metadata.mlflow.trace.tokenUsage.input_tokens"),
        fields={
            "arrival": "request_time | timestamp_ms",
            "input": "trace_metadata.mlflow.trace.tokenUsage.input_tokens",
            "output": "trace_metadata.mlflow.trace.tokenUsage.output_tokens",
            "session": "trace_metadata.mlflow.trace.session",
            "id": "trace_id | request_id",
        },
        aside=(AsideRule(kind=Kind.ERROR, column="state", pattern="^error$"),),
    ),
)
