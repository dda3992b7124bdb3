"""Exports of clouds and of tools that watch them."""

import gzip
import json
from collections.abc import Sequence
from typing import Final

from tests.samples.exports.forms import (
    CALLS_A_ROW,
    EPOCH_NS,
    EPOCH_S,
    GEMINI,
    INPUT,
    ISO,
    OPENAI,
    OUTPUT,
    PLACES,
    REQUESTS,
    SPANS,
    TIMES,
    TOTAL,
    Record,
    counted,
    document,
    lines,
    rows,
    table,
)


def _otlp_columns() -> bytes:
    """Return spans as a query of Log Analytics shows them: attributes are JSON in one column, as strings."""
    return table(
        "timestamp [UTC],name,customDimensions",
        (
            (
                f"{TIMES[place]:%m/%d/%Y, %I:%M:%S}.000 AM",
                "chat",
                json.dumps({k: str(v) for k, v in span["attributes"].items()}),
            )
            for place, span in enumerate(SPANS)
        ),
    )


def _azure_metric(name: str, values: Sequence[int]) -> Record:
    data = [{"timeStamp": time, "total": value} for time, value in zip(ISO, values, strict=True)]
    return {"name": {"value": name}, "timeseries": [{"metadatavalues": [], "data": data}]}


def _cloudwatch_metric(label: str, values: Sequence[int]) -> Record:
    return {"Id": label.lower(), "Label": label, "Timestamps": ISO, "Values": values}


_MANY: Final = [CALLS_A_ROW] * REQUESTS
_TENFOLD: Final = [[CALLS_A_ROW * count for count in counts] for counts in (INPUT, OUTPUT)]

CLOUDS: Final[dict[str, bytes]] = {
    "Application Insights": _otlp_columns(),
    "Azure API Management": table(
        "TimeGenerated,OperationName,ModelName,PromptTokens,CompletionTokens,TotalTokens,CorrelationId",
        rows(ISO, ["x"] * REQUESTS, ["m"] * REQUESTS, INPUT, OUTPUT, [counts["total_tokens"] for counts in TOTAL], ISO),
    ),
    "Azure Monitor": document(
        {
            "interval": "PT1M",
            "value": [
                _azure_metric("ProcessedPromptTokens", _TENFOLD[0]),
                _azure_metric("GeneratedTokens", _TENFOLD[1]),
                _azure_metric("AzureOpenAIRequests", _MANY),
            ],
        }
    ),
    "Azure portal": table(
        "Time,Processed Prompt Tokens (Sum),Generated Tokens (Sum),Azure OpenAI Requests (Sum)",
        rows([f"{time:%m/%d/%Y %I:%M %p}" for time in TIMES], *_TENFOLD, _MANY),
    ),
    "Bedrock |": gzip.compress(
        lines(
            {
                "timestamp": ISO[place],
                "schemaType": "ModelInvocationLog",
                "requestId": f"r{place}",
                "modelId": "m",
                "input": {"inputTokenCount": INPUT[place]},
                "output": {"outputTokenCount": OUTPUT[place]},
            }
            for place in PLACES
        )
    ),
    "CloudWatch": document(
        {
            "MetricDataResults": [
                _cloudwatch_metric("InputTokenCount", _TENFOLD[0]),
                _cloudwatch_metric("OutputTokenCount", _TENFOLD[1]),
                _cloudwatch_metric("Invocations", _MANY),
            ]
        }
    ),
    "Datadog": lines(
        {
            "data": [
                {
                    "id": str(place),
                    "type": "span",
                    "attributes": {
                        "span_kind": "llm",
                        "start_ns": EPOCH_NS[place],
                        "model_name": "m",
                        "metrics": counts,
                        "status": "ok",
                    },
                }
            ]
        }
        for place, counts in enumerate(counted("input_tokens", "output_tokens"))
    ),
    "Databricks": table(
        "account_id,workspace_id,databricks_request_id,requester,status_code,request_time,input_token_count,output_token_count",
        (("a", "w", f"r{place}", "u", 200, ISO[place], INPUT[place], OUTPUT[place]) for place in PLACES),
    ),
    "Elasticsearch": document(
        {
            "hits": {
                "hits": [
                    {
                        "_id": str(place),
                        "_source": {"@timestamp": ISO[place], "llm": {"model": "m", "usage": OPENAI[place]}},
                    }
                    for place in PLACES
                ]
            }
        }
    ),
    "New Relic": document(
        {
            "data": {
                "actor": {
                    "account": {
                        "nrql": {
                            "results": [
                                {"id": f"x{place}", "timestamp": EPOCH_S[place] * 1000}
                                | {f"response.usage.{name}": count for name, count in TOTAL[place].items()}
                                for place in PLACES
                            ]
                        }
                    }
                }
            }
        }
    ),
    "OpenAI, usage export": table(
        "start_time,end_time,project_id,model,batch,input_tokens,output_tokens,input_cached_tokens,num_model_requests",
        (
            (EPOCH_S[p], EPOCH_S[p] + 60, "p", "m", "false", _TENFOLD[0][p], _TENFOLD[1][p], 0, CALLS_A_ROW)
            for p in PLACES
        ),
    ),
    "Snowflake": table(
        "START_TIME,END_TIME,REQUEST_ID,MODEL_NAME,TOKENS,TOKENS_GRANULAR",
        (
            (ISO[place], ISO[place], f"r{place}", "m", sum(counts.values()), json.dumps(counts))
            for place, counts in enumerate(counted("input", "output"))
        ),
    ),
    "Splunk": table(
        "_time,host,model,prompt_tokens,completion_tokens,_raw",
        ((f"{TIMES[p]:%Y-%m-%dT%H:%M:%S}.000+0000", "h", "m", INPUT[p], OUTPUT[p], "{}") for p in PLACES),
    ),
    "Vertex AI |": lines(
        {"logging_time": ISO[p], "request_id": p, "model": "m", "full_response": {"usageMetadata": GEMINI[p]}}
        for p in PLACES
    ),
}
"""By the beginning of the row of the page."""
