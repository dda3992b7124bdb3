"""Exports of usage: sums of many requests."""

from pathlib import Path

import pytest
from tests.samples.trace_files import lines, refused, written

from meritorder.traces.read import read_trace
from meritorder.traces.trace import Kind

START = 1_790_000_000


def bucket(place: int) -> dict[str, object]:
    return {
        "input_tokens": 9_000 + place,
        "output_tokens": 1_800,
        "input_cached_tokens": 4_000,
        "num_model_requests": 9,
        "model": "gpt-5.4-mini",
        "project_id": "p",
    }


def export(form: str, count: int = 12) -> str:
    times = [{"start_time": START + 3600 * place, "end_time": START + 3600 * (place + 1)} for place in range(count)]
    if form == "csv":
        rows = [{**times[place], **bucket(place)} for place in range(count)]
        return "\n".join([",".join(rows[0]), *(",".join(map(str, row.values())) for row in rows), ""])
    pages = [{"object": "bucket", **times[place], "results": [bucket(place)]} for place in range(count)]
    return lines({"object": "page", "data": pages})


@pytest.mark.parametrize("form", ["csv", "json"])
def test_openai_usage_is_sums(tmp_path: Path, form: str) -> None:
    path = written(tmp_path, export(form), f"usage.{form}")
    assert "12 rows, 108 calls, 108,066 input and 21,600 output tokens; add --aggregate" in refused(path)
    trace = read_trace([path], aggregate=True)
    assert trace.report.format == "openai_usage"
    assert trace.requests.height == 108
    tokens = trace.requests.select("input_tokens", "output_tokens", "cached_tokens").sum().row(0)
    assert tokens == (108_066, 21_600, 48_000)
    assert 11 * 3600 - 3600 < trace.requests["arrived_s"][-1] < 12 * 3600


def test_images_in_a_usage_export(tmp_path: Path) -> None:
    text = export("csv") + f"{START},{START + 3600},,,,20,gpt-image-2,p\n"
    trace = read_trace([written(tmp_path, text)], aggregate=True)
    assert trace.report.set_aside == {Kind.NO_GENERATION: 1}


def test_anthropic_usage_counts_no_requests(tmp_path: Path) -> None:
    result = {"uncached_input_tokens": 5, "cache_read_input_tokens": 90, "output_tokens": 7, "model": "claude"}
    page = {"data": [{"starting_at": "2026-05-04T00:00:00Z", "ending_at": "2026-05-05T00:00:00Z", "results": [result]}]}
    message = refused(written(tmp_path, lines(page), "usage.json"))
    assert "sums of several requests: 1 row, 95 input and 7 output tokens" in message


METRICS = {"ProcessedPromptTokens": 6_000, "GeneratedTokens": 900, "AzureOpenAIRequests": 6}


def azure_document(*, ids: bool = True) -> str:
    """Return metrics as the API names them, or by the object that the portal's tools keep of it."""

    def metric(name: str, total: int) -> dict[str, object]:
        data = [{"timeStamp": f"2026-05-04T08:{minute:02d}:00Z", "total": total} for minute in range(5)]
        data.append({"timeStamp": "2026-05-04T08:05:00Z"})
        series = [{"metadatavalues": [], "data": data}]
        named = (
            {"id": f"/subscriptions/1/providers/Microsoft.Insights/metrics/{name}"}
            if ids
            else {"name": {"value": name}}
        )
        return named | {"timeseries": series}

    return lines({"cost": 4, "interval": "PT1M", "value": [metric(*item) for item in METRICS.items()]})


def azure_table() -> str:
    rows = [
        f"2026-05-04T08:{minute:02d}:00Z,res,{name},{total}" for minute in range(5) for name, total in METRICS.items()
    ]
    return "\n".join(["TimeGenerated,Resource,MetricName,Total", *rows, ""])


@pytest.mark.parametrize("text", [azure_document(), azure_document(ids=False), azure_table()])
def test_azure_metrics_become_requests(tmp_path: Path, text: str) -> None:
    path = written(tmp_path, text, "metrics")
    assert "5 rows, 30 calls, 30,000 input and 4,500 output tokens" in refused(path)
    trace = read_trace([path], aggregate=True)
    assert trace.report.format == "azure_monitor"
    assert trace.requests.select("input_tokens", "output_tokens").unique().rows() == [(1000, 150)]
    assert 180 < trace.requests["arrived_s"][-1] < 300


def test_batches_sum_up_their_lines(tmp_path: Path) -> None:
    batch = {
        "id": "batch_1",
        "object": "batch",
        "created_at": START,
        "in_progress_at": START + 100,
        "completed_at": START + 500,
        "request_counts": {"total": 8, "completed": 8, "failed": 0},
        "usage": {"input_tokens": 4000, "output_tokens": 400},
    }
    path = written(tmp_path, lines({"object": "list", "data": [batch]}), "batches.json")
    assert "1 row, 8 calls, 4,000 input and 400 output tokens" in refused(path)
    trace = read_trace([path], aggregate=True)
    assert trace.requests.height == 8
    assert trace.requests["arrived_s"][-1] < 400, "while the batch was in progress"


def test_claude_console_counts_no_requests(tmp_path: Path) -> None:
    text = (
        "usage_date_utc,model_version,usage_input_tokens_no_cache,usage_input_tokens_cache_read,usage_output_tokens\n"
    )
    message = refused(written(tmp_path, text + "2026-05-04,claude-opus,5,90,7\n"))
    assert "1 row, 95 input and 7 output tokens" in message


MINUTES = [f"2026-11-02T09:{minute:02d}:00Z" for minute in range(30)]
AZURE = (
    "Processed Prompt Tokens (Sum) my-openai,Generated Completion Tokens (Sum) my-openai,Azure OpenAI Requests (Sum)"
)


def cloudwatch(**values: list[float]) -> str:
    results = [
        {"Id": name.lower(), "Label": name, "Timestamps": MINUTES, "Values": row} for name, row in values.items()
    ]
    return lines({"MetricDataResults": results, "Messages": []})


def console(header: str, dates: str, labels: str = "") -> str:
    rows = "".join(f"{dates.format(minute)},150000,27000,300\n" for minute in range(30))
    return f"{header}\n{labels}{rows}"


WIDE = {
    "cloudwatch": cloudwatch(
        InputTokenCount=[150_000.0] * 30, OutputTokenCount=[27_000.0] * 30, Invocations=[300.0] * 30
    ),
    "portal": console(f"Time,{AZURE}", "11/02/2026 09:{:02d}:00 AM"),
    "portal with title": console(
        f"Resource,my-openai,,\nMetric namespace,Cognitive Services,,\n,,,\nTimestamp,{AZURE}",
        "2026-11-02 09:{:02d}:00",
    ),
    "console": console(
        "Full label,AWS/Bedrock InputTokenCount,AWS/Bedrock OutputTokenCount,AWS/Bedrock Invocations",
        "2026/11/02 09:{:02d}:00",
        "Label,InputTokenCount,OutputTokenCount,Invocations\nPeriod,60,60,60\nStatistic,Sum,Sum,Sum\n",
    ),
}


@pytest.mark.parametrize("name", WIDE)
def test_metrics_of_portals_are_sums(tmp_path: Path, name: str) -> None:
    path = written(tmp_path, WIDE[name], "metrics.csv")
    assert "sums of several requests: 30 rows, 9,000 calls, 4,500,000 input and 810,000 output tokens" in refused(path)
    trace = read_trace([path], aggregate=True)
    assert (trace.requests.height, trace.requests["input_tokens"].sum()) == (9_000, 4_500_000)
    assert trace.span_s == pytest.approx(1800, rel=0.01)


def test_metrics_need_both_token_counts(tmp_path: Path) -> None:
    path = written(tmp_path, cloudwatch(InputTokenCount=[1.0] * 30), "metrics.json")
    assert "has no metric of output tokens; query InputTokenCount" in refused(path)


def test_request_log_is_no_metric(tmp_path: Path) -> None:
    path = written(tmp_path, "Time (UTC),Prompt Tokens,Completion Tokens,Latency (ms)\n2026-11-02T09:00:00Z,5,6,70\n")
    assert read_trace([path]).report.format == "columns"


def test_turns_of_codex_exec_count_no_calls(tmp_path: Path) -> None:
    usage = {"input_tokens": 240_000, "cached_input_tokens": 230_000, "output_tokens": 1_200}
    events = [
        {"type": "thread.started", "thread_id": "t"},
        {"type": "item.completed", "item": {"id": "item_0", "type": "agent_message", "text": "done"}},
        {"type": "turn.completed", "usage": usage},
    ]
    message = refused(written(tmp_path, lines(*events), "events.jsonl"))
    assert "sums of several requests: 1 row, 240,000 input and 1,200 output tokens" in message
    assert "give a log of single calls, or name the count: --columns calls=NAME --aggregate" in message


def test_reports_of_ccusage_count_no_calls(tmp_path: Path) -> None:
    day = {"date": "2026-11-01", "inputTokens": 5, "cacheReadTokens": 90, "cacheCreationTokens": 5, "outputTokens": 7}
    report = {"daily": [day | {"totalTokens": 107, "totalCost": 0.5}], "totals": {"inputTokens": 5}}
    message = refused(written(tmp_path, lines(report), "ccusage.json"))
    assert "sums of several requests: 1 row, 100 input and 7 output tokens" in message
