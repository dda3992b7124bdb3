"""Exports of usage, one row for an interval: sums of many requests, which `--aggregate` spreads.

Source: the documentation of each provider, read 2026-11, at the address beside its row.
"""

import re
from collections.abc import Iterator
from typing import Any, Final

import polars as pl

from meritorder.errors import TraceError
from meritorder.traces.formats.declared import AsideRule, TraceFormat
from meritorder.traces.formats.shape import Shape
from meritorder.traces.intake import RawTable
from meritorder.traces.sources import Record, untyped
from meritorder.traces.trace import Kind

_NO_COUNT: Final = "the export does not count requests"
_INPUT: Final = ("processedprompttokens", "inputtokens", "prompttokencount", "inputtokencount")
_OUTPUT: Final = (
    *("generatedtokens", "generatedcompletiontokens", "outputtokens", "completiontokencount", "outputtokencount"),
)
_CACHED: Final = ("processedcachedprompttokens", "cachedprompttokens", "cachereadinputtokencount")
_CALLS: Final = ("azureopenairequests", "modelrequests", "totalcalls", "successfulcalls", "invocations")
_METRICS: Final = {"input": _INPUT, "output": _OUTPUT, "cached": _CACHED, "calls": _CALLS}

_AGGREGATED: Final = re.compile(r"\((?:sum|total|count)\)|^AWS/", re.IGNORECASE)
_INTERVAL: Final = re.compile(r"time|zeit|full label", re.IGNORECASE)


def _letters(name: str) -> str:
    return re.sub(r"[^a-z]", "", name.lower())


def _metric_columns(shape: Shape) -> dict[str, str]:
    """Return the columns of a table with one column for each metric, as portals export it; empty if it is none."""
    columns = shape.source.columns
    if not columns or not any(map(_AGGREGATED.search, columns)) or not _INTERVAL.search(columns[0]):
        return {}
    found = {
        field: next((column for name in names for column in columns if name in _letters(column)), "")
        for field, names in _METRICS.items()
    }
    if not (found["input"] and found["output"]):
        return {}
    return {"arrival": columns[0], **{field: column for field, column in found.items() if column}}


def _read_metric_columns(shape: Shape) -> RawTable:
    """Read a table with one row for each interval and one column for each metric."""
    columns = _metric_columns(shape)
    table = shape.source.table(columns)
    # Labels, periods and statistics are rows under the header of CloudWatch's console.
    label = pl.col("arrival").cast(pl.String).str.contains(r"^\s*(Label|Period|Statistic|Unit|Id)\s*$")
    idle = pl.col("input").is_null() & pl.col("output").is_null()
    event = pl.when(label.fill_null(value=False) | idle).then(pl.lit(Kind.EVENT.value))
    uncounted = event if "calls" in columns else event.otherwise(pl.lit(Kind.BUCKET.value))
    return RawTable(table=table.with_columns(uncounted.alias("aside")), columns=columns)


def _is_cloudwatch(shape: Shape) -> bool:
    return shape.has("MetricDataResults.Timestamps") and shape.has("MetricDataResults.Values")


def _read_cloudwatch(shape: Shape) -> RawTable:
    """Read the answer of `aws cloudwatch get-metric-data`: a list of times and one of values for each metric."""
    rows: dict[str, dict[str, float]] = {}
    for _, document in shape.source.records():
        for metric in (document or {}).get("MetricDataResults", ()):
            name = _letters(f"{metric.get('Label', '')} {metric.get('Id', '')}")
            field = next((field for field, names in _METRICS.items() if any(text in name for text in names)), None)
            for time, value in zip(metric.get("Timestamps", ()), metric.get("Values", ()), strict=False):
                if field and isinstance(value, int | float):
                    row = rows.setdefault(str(time), {})
                    row[field] = row.get(field, 0.0) + value
    times = sorted(rows)
    fields = [field for field in _METRICS if any(field in row for row in rows.values())]
    missing = [field for field in ("input", "output") if field not in fields]
    if missing:
        raise TraceError(
            f"has no metric of {' or '.join(missing)} tokens",
            where=shape.source.name,
            fix="query InputTokenCount, OutputTokenCount and Invocations of AWS/Bedrock together",
        )
    table = pl.DataFrame(
        {"line": range(1, len(times) + 1), "arrival": times}
        | {field: [rows[time].get(field) for time in times] for field in fields}
    )
    kind = pl.lit(None, pl.String) if "calls" in fields else pl.lit(Kind.BUCKET.value)
    return RawTable(table=table.lazy().with_columns(kind.alias("aside")), columns={field: field for field in fields})


def _is_azure(shape: Shape) -> bool:
    return shape.has("value.timeseries.data") or shape.has("timeseries.data") or _is_azure_table(shape)


def _is_azure_table(shape: Shape) -> bool:
    return shape.has("MetricName") and shape.has("TimeGenerated") and shape.has("Total")


def _azure_points(shape: Shape) -> Iterator[dict[str, Any]]:
    """Yield line, metric, time and total of each point; a metric is named by an object, or by its id alone."""
    for line, document in shape.source.records():
        for metric in _objects((document or {}).get("value")) or [document or {}]:
            name = metric.get("name", metric.get("id"))
            text = str(name.get("value") if isinstance(name, dict) else name)
            for series in _objects(metric.get("timeseries")):
                for point in _objects(series.get("data")):
                    yield {"line": line, "metric": text, "arrival": point.get("timeStamp"), "total": point.get("total")}


def _objects(value: object) -> list[Record]:
    return [member for member in value if isinstance(member, dict)] if isinstance(value, list) else []


def _read_azure(shape: Shape) -> RawTable:
    """Read metrics of Azure Monitor: one row for each metric and interval becomes one row for each interval."""
    if _is_azure_table(shape):
        names = {"metric": "MetricName", "arrival": "TimeGenerated", "total": "Total"}
        table = shape.source.table(names | ({"model": "Resource"} if shape.has("Resource") else {}))
    else:
        points = list(_azure_points(shape))
        columns = {name: [point[name] for point in points] for name in ("line", "metric", "arrival", "total")}
        table = untyped(columns).lazy()
    metric = pl.col("metric").cast(pl.String).str.to_lowercase().str.replace_all(r"[^a-z]", "")
    number = pl.col("total").cast(pl.Float64, strict=False)
    keys = [name for name in ("arrival", "model") if name in table.collect_schema()]
    sums = {
        field: pl.coalesce(number.filter(metric.str.ends_with(name)).sum().replace(0.0, None) for name in names).alias(
            field
        )
        for field, names in _METRICS.items()
    }
    wide = table.group_by(keys, maintain_order=True).agg(pl.col("line").first(), *sums.values())
    idle = pl.col("input").is_null() & pl.col("output").is_null()
    kind = pl.when(idle).then(pl.lit(Kind.EVENT.value))
    uncounted = kind.when(pl.col("calls").is_null()).then(pl.lit(Kind.BUCKET.value))
    return RawTable(
        table=wide.with_columns(uncounted.alias("aside")),
        columns={"input": _INPUT[0], "output": _OUTPUT[0], "calls": _CALLS[0]},
    )


USAGE: Final = (
    # https://platform.openai.com/docs/api-reference/usage: cached tokens are a part of the input.
    *(
        TraceFormat(
            name="openai_usage",
            title="usage export of OpenAI",
            requires=(f"{at}input_tokens", f"{at}num_model_requests", "start_time"),
            fields={
                "arrival": "start_time",
                "ended": "end_time",
                "input": "input_tokens",
                "output": "output_tokens",
                "cached": "input_cached_tokens | cached_tokens",
                "calls": "num_model_requests",
                "model": "model",
                "tenant": "project_id | user_id | api_key_id",
            },
            aside=(AsideRule(kind=Kind.NO_GENERATION, column="input_tokens", pattern=".", unless=True),),
            nest=nest,
        )
        for at, nest in (("results.", "results[]"), ("data.results.", "data[].results[]"), ("", ""))
    ),
    # https://platform.openai.com/docs/api-reference/batch/object: the list of batches, each with the sum of its lines.
    TraceFormat(
        name="openai_usage",
        title="list of OpenAI batches",
        requires=("request_counts.total", "usage.input_tokens"),
        fields={
            "arrival": "in_progress_at | created_at",
            "ended": "completed_at",
            "input": "usage.input_tokens",
            "output": "usage.output_tokens",
            "cached": "usage.input_tokens_details.cached_tokens",
            "calls": "request_counts.total",
            "model": "model",
        },
    ),
    # https://platform.claude.com/docs/en/build-with-claude/usage-cost-api: uncached, cache reads and writes add up.
    *(
        TraceFormat(
            name="anthropic_usage",
            title="usage report of Anthropic",
            requires=(f"{at}uncached_input_tokens", f"{at}output_tokens", "starting_at | data.starting_at"),
            fields={
                "arrival": "starting_at",
                "ended": "ending_at",
                "input": "uncached_input_tokens + cache_read_input_tokens + cache_creation.ephemeral_1h_input_tokens"
                " + cache_creation.ephemeral_5m_input_tokens",
                "output": "output_tokens",
                "cached": "cache_read_input_tokens",
                "model": "model",
                "tenant": "workspace_id | api_key_id",
            },
            aside=(AsideRule(kind=Kind.BUCKET, column="uncached_input_tokens", pattern=""),),
            nest=nest,
            assumptions=(_NO_COUNT,),
        )
        for at, nest in (("results.", "results[]"), ("data.results.", "data[].results[]"), ("", ""))
    ),
    TraceFormat(
        name="anthropic_usage",
        title="usage export of the Claude console",
        requires=("usage_date_utc", "usage_input_tokens_no_cache", "usage_output_tokens"),
        fields={
            "arrival": "usage_date_utc",
            "input": "usage_input_tokens_no_cache + usage_input_tokens_cache_read + usage_input_tokens_cache_write_5m"
            " + usage_input_tokens_cache_write_1h",
            "output": "usage_output_tokens",
            "cached": "usage_input_tokens_cache_read",
            "model": "model_version",
            "tenant": "workspace | api_key",
        },
        aside=(AsideRule(kind=Kind.BUCKET, column="usage_date_utc", pattern=""),),
        assumptions=(_NO_COUNT,),
    ),
    # https://docs.litellm.ai/docs/proxy/cost_tracking: tables LiteLLM_DailyUserSpend, -TeamSpend and -TagSpend.
    TraceFormat(
        name="litellm",
        title="daily spend of LiteLLM",
        requires=("date", "api_requests", "prompt_tokens", "completion_tokens"),
        fields={
            "arrival": "date",
            "input": "prompt_tokens",
            "output": "completion_tokens",
            "cached": "cache_read_input_tokens",
            "calls": "api_requests",
            "model": "model",
            "tenant": "team_id | tag | user_id | api_key",
        },
    ),
    # https://ccusage.com/guide/json-output: sums of days, weeks, months or sessions; a block counts its entries.
    *(
        TraceFormat(
            name="ccusage",
            title="report of ccusage",
            requires=(f"{period}.inputTokens", f"{period}.outputTokens", f"{period}.totalCost"),
            fields={
                "arrival": "date | week | month | lastActivity",
                "input": "inputTokens + cacheReadTokens + cacheCreationTokens",
                "output": "outputTokens",
                "cached": "cacheReadTokens",
            },
            aside=(AsideRule(kind=Kind.BUCKET, column="inputTokens", pattern=""),),
            nest=f"{period}[]",
            assumptions=(_NO_COUNT,),
        )
        for period in ("daily", "weekly", "monthly", "sessions")
    ),
    # https://developers.openai.com/codex/noninteractive: `codex exec --json`; a turn has the sum of its calls.
    TraceFormat(
        name="codex",
        title="events of codex exec",
        requires=("thread_id", "type", "usage.cached_input_tokens"),
        fields={
            "input": "usage.input_tokens",
            "output": "usage.output_tokens",
            "cached": "usage.cached_input_tokens",
        },
        json=True,
        aside=(
            AsideRule(kind=Kind.BUCKET, column="type", pattern="^turn[.]completed$"),
            AsideRule(kind=Kind.EVENT, column="type", pattern=""),
        ),
        assumptions=(_NO_COUNT,),
    ),
    # https://docs.aws.amazon.com/bedrock/latest/userguide/monitoring.html: `aws cloudwatch get-metric-data`.
    TraceFormat(
        name="cloudwatch",
        title="token metrics of CloudWatch",
        recognizes=_is_cloudwatch,
        read=_read_cloudwatch,
    ),
    # Tables that the portals of Azure and AWS export from a chart of metrics.
    TraceFormat(
        name="metric_columns",
        title="token metrics exported from the portal of Azure or AWS",
        recognizes=lambda shape: bool(_metric_columns(shape)),
        read=_read_metric_columns,
    ),
    # https://learn.microsoft.com/azure/ai-foundry/openai/monitor-openai-reference: `az monitor metrics list`, and the
    # table AzureMetrics of Log Analytics.
    TraceFormat(
        name="azure_monitor",
        title="token metrics of Azure Monitor",
        recognizes=_is_azure,
        read=_read_azure,
    ),
)
