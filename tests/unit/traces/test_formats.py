"""Every reader: on a few literal lines, and on a real file of its format where one is at hand."""

import json
from pathlib import Path

import pytest

from meritorder import traces
from meritorder.traces.trace import FAILED

DATA = Path(__file__).resolve().parents[3] / ".." / "shared" / "data"


def real(name: str) -> Path:
    path = DATA / name
    if not path.exists():
        pytest.skip(f"no real file at {path}: the folder ../shared/data is not beside the project")
    return path


def written(tmp_path: Path, text: str, name: str = "trace.csv") -> Path:
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return path


def lines(*records: dict[str, object]) -> str:
    return "".join(json.dumps(record) + "\n" for record in records)


def rows(trace: traces.Trace, *columns: str) -> list[tuple[object, ...]]:
    return trace.requests.select(columns).rows()


AZURE = "TIMESTAMP,ContextTokens,GeneratedTokens\n"
LENGTHS = ("arrived_s", "input_tokens", "cached_tokens", "output_tokens")


def test_azure_2023_has_seven_digits_of_a_second(tmp_path: Path) -> None:
    text = AZURE + "2023-11-16 18:15:46.6805900,374,44\n2023-11-16 18:15:50.9951690,396,109\n"
    trace = traces.read([written(tmp_path, text)])
    assert trace.report.format == "azure"
    assert trace.epoch_s == pytest.approx(1700158546.68059, abs=1e-6)
    assert trace.requests["arrived_s"].to_list() == pytest.approx([0, 4.314579], abs=1e-6)
    assert rows(trace, *LENGTHS[1:]) == [(374, 0, 44), (396, 0, 109)]
    assert any("UTC" in text for text in trace.report.assumptions)


def test_azure_2024_has_a_zone_and_sometimes_no_fraction(tmp_path: Path) -> None:
    text = AZURE + "2024-05-10 00:00:00+00:00,10,1\n2024-05-10 02:00:00.250000+02:00,20,2\n"
    trace = traces.read([written(tmp_path, text)])
    assert trace.epoch_s == 1715299200
    assert rows(trace, *LENGTHS) == [(0.0, 10, 0, 1), (0.25, 20, 0, 2)]
    assert not any("zone" in text for text in trace.report.assumptions)


@pytest.mark.parametrize(("service", "requests"), [("conv", 19_366), ("code", 8_819)])
def test_azure_2023_real(service: str, requests: int) -> None:
    trace = traces.read([real(f"traces/azure2023/AzureLLMInferenceTrace_{service}.csv")], strict=True)
    assert trace.requests.height == requests
    assert trace.report.rows == requests
    assert 3400 < trace.span_s < 3600


def test_mooncake_reuses_the_longest_prefix_seen_before(tmp_path: Path) -> None:
    text = lines(
        {"timestamp": 0, "input_length": 1500, "output_length": 5, "hash_ids": [1, 2, 3]},
        {"timestamp": 3000, "input_length": 2000, "output_length": 6, "hash_ids": [1, 2, 9, 3]},
        {"timestamp": 6000, "input_length": 1024, "output_length": 7, "hash_ids": [1, 2]},
    )
    trace = traces.read([written(tmp_path, text, "trace.jsonl")])
    assert trace.report.format == "mooncake"
    assert rows(trace, *LENGTHS) == [(0.0, 1500, 0, 5), (3.0, 2000, 1024, 6), (6.0, 1024, 1023, 7)]


def test_bailian_is_told_apart_by_its_chats(tmp_path: Path) -> None:
    chat = {"chat_id": 1, "parent_chat_id": -1, "type": "text", "turn": 1}
    text = lines(
        chat | {"timestamp": 10.0, "input_length": 40, "output_length": 5, "hash_ids": [1, 2, 3]},
        chat | {"timestamp": 61.5, "input_length": 50, "output_length": 6, "hash_ids": [1, 2, 4]},
    )
    trace = traces.read([written(tmp_path, text, "trace.jsonl")])
    assert rows(trace, *LENGTHS) == [(0.0, 40, 0, 5), (51.5, 50, 32, 6)]


def test_mooncake_real() -> None:
    trace = traces.read([real("traces/mooncake/conversation_first30min.jsonl")], strict=True)
    assert trace.requests.height == 5_719
    assert 1750 < trace.span_s < 1850
    assert (trace.requests["cached_tokens"] < trace.requests["input_tokens"]).all()
    assert trace.requests["cached_tokens"].sum() > 0


@pytest.mark.parametrize(
    "header",
    [
        "Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type",
        "Timestamp,Session ID,Elapsed time,Model,Request tokens,Response tokens,Total tokens,Log Type",
    ],
)
def test_burstgpt_counts_failures_apart(tmp_path: Path, header: str) -> None:
    known = {
        "Timestamp": "5",
        "Session ID": "s1",
        "Elapsed time": "1.5",
        "Model": "GPT-4",
        "Log Type": "API log",
    }
    sizes = [("472", "18"), ("100", "0"), ("7", "9")]
    body = [
        ",".join(
            (known | {"Request tokens": i, "Response tokens": o, "Total tokens": "0"})[name]
            for name in header.split(",")
        )
        for i, o in sizes
    ]
    trace = traces.read([written(tmp_path, "\n".join([header, *body, ""]))])
    assert trace.report.format == "burstgpt"
    assert rows(trace, "input_tokens", "output_tokens", "model") == [(472, 18, "GPT-4"), (7, 9, "GPT-4")]
    assert (trace.report.failed_rows, trace.report.bad_rows, trace.report.rows) == (1, 0, 3)
    assert trace.requests["session"].null_count() == (0 if "Session ID" in header else 2)


def test_openai_batch_estimates_tokens(tmp_path: Path) -> None:
    def line(url: str, **body: object) -> dict[str, object]:
        return {"custom_id": "a", "method": "POST", "url": url, "body": {"model": "gpt-x"} | body}

    parts = [
        {"type": "text", "text": "x" * 40},
        {"type": "image_url", "image_url": {"url": "data:" + "y" * 9999}},
    ]
    text = lines(
        line("/v1/chat/completions", messages=[{"role": "user", "content": "x" * 40}], max_tokens=7),
        line("/v1/chat/completions", messages=[{"role": "user", "content": parts}], max_completion_tokens=8),
        line("/v1/responses", input="x" * 40),
        line("/v1/embeddings", input="x"),
        line("/v1/chat/completions", max_tokens=7),
    )
    trace = traces.read([written(tmp_path, text, "batch.jsonl")])
    assert trace.report.format == "openai_batch"
    assert trace.report.estimated_tokens
    assert rows(trace, *LENGTHS, "model") == [(0.0, 17, 0, n, "gpt-x") for n in (7, 8, 256)]
    assert trace.span_s == 0
    assert trace.report.set_aside == {"calls that generate no text": 1}
    assert trace.report.bad == {"no input tokens": 1}
    assert any(
        "1 requests set no limit" in text or "2 requests set no limit" in text for text in trace.report.assumptions
    )


LITELLM = {
    "request_id": "r",
    "call_type": "acompletion",
    "api_key": "k",
    "spend": 0.1,
    "total_tokens": 110,
    "prompt_tokens": 100,
    "completion_tokens": 10,
    "startTime": "2026-01-05T10:00:00.500000Z",
    "endTime": "2026-01-05T10:00:02Z",
    "model": "provider/m",
    "model_group": "m",
    "user": "",
    "team_id": "t1",
    "session_id": "s",
    "cache_hit": "False",
    "status": "success",
    "metadata": {"usage_object": {"prompt_tokens_details": {"cached_tokens": 64}}},
}
LITELLM_ROWS = (
    LITELLM,
    LITELLM | {"startTime": "2026-01-05T10:00:01Z", "team_id": None, "user": "u", "model_group": "", "metadata": {}},
    LITELLM | {"status": "failure", "completion_tokens": 0},
    LITELLM | {"cache_hit": "True"},
    LITELLM | {"call_type": "aembedding", "completion_tokens": 0},
)


@pytest.mark.parametrize("kind", ["csv", "jsonl"])
def test_litellm_spend_logs(tmp_path: Path, kind: str) -> None:
    if kind == "jsonl":
        path = written(tmp_path, lines(*LITELLM_ROWS), "spend.jsonl")
    else:

        def cell(value: object) -> str:
            text = json.dumps(value) if isinstance(value, dict) else "" if value is None else str(value)
            return '"' + text.replace('"', '""') + '"'

        body = [",".join(map(cell, row.values())) for row in LITELLM_ROWS]
        path = written(tmp_path, "\n".join([",".join(LITELLM), *body, ""]), "spend.csv")
    trace = traces.read([path])
    assert trace.report.format == "litellm"
    assert rows(trace, *LENGTHS, "model", "tenant", "session") == [
        (0.0, 100, 64, 10, "m", "t1", "s"),
        (0.5, 100, 0, 10, "provider/m", "u", "s"),
    ]
    assert trace.report.set_aside == {
        FAILED: 1,
        "answered from a response cache": 1,
        "calls that generate no text": 1,
    }


@pytest.mark.parametrize(
    ("records", "arrivals"),
    [
        (
            [{"timestamp": t, "input_length": 9, "output_length": 3, "session_id": "s"} for t in (0, 1500)],
            [0, 1.5],
        ),
        ([{"start_time": t, "prompt_len": 9, "output_len": 3} for t in (7.0, 8.5)], [0, 1.5]),
        ([{"arrival": t, "isl": 9, "osl": 3} for t in (1.7e12, 1.7e12 + 1500)], [0, 1.5]),
        (
            [{"start_times": [3.0, 4.5], "input_lens": [9, 9], "output_lens": [3, 3], "errors": ["", ""]}],
            [0, 1.5],
        ),
        (
            [
                {
                    "metadata": {"request_start_ns": 1_700_000_000_000_000_000 + t, "conversation_id": "s"},
                    "metrics": {
                        "input_sequence_length": {"value": 9, "unit": "tokens"},
                        "output_sequence_length": {"value": 3, "unit": "tokens"},
                    },
                    "error": None,
                }
                for t in (0, 1_500_000_000)
            ],
            [0, 1.5],
        ),
    ],
)
def test_load_generators(tmp_path: Path, records: list[dict[str, object]], arrivals: list[float]) -> None:
    trace = traces.read([written(tmp_path, lines(*records), "bench.jsonl")])
    assert trace.report.format == "bench"
    assert trace.requests["arrived_s"].to_list() == pytest.approx(arrivals, abs=1e-5)
    assert rows(trace, *LENGTHS[1:]) == [(9, 0, 3), (9, 0, 3)]


def test_a_run_whose_lists_differ_has_bad_rows(tmp_path: Path) -> None:
    run = {"start_times": [3.0, 4.5], "input_lens": [9], "output_lens": [3, 3]}
    trace = traces.read([written(tmp_path, lines(run), "run.json")])
    assert (trace.requests.height, trace.report.bad) == (1, {"no input tokens": 1})


def test_an_export_counts_errors_as_failures(tmp_path: Path) -> None:
    metrics = {"input_sequence_length": {"value": 9}, "output_sequence_length": {"value": 3}}
    good = {"metadata": {"request_start_ns": 1_000_000_000}, "metrics": metrics, "error": None}
    failed = {"metadata": {"request_start_ns": 2_000_000_000}, "metrics": {}, "error": {"code": 500}}
    trace = traces.read([written(tmp_path, lines(good, failed), "profile_export.jsonl")])
    assert (trace.requests.height, trace.report.failed_rows, trace.report.bad_rows) == (1, 1, 0)


@pytest.mark.parametrize(
    ("name", "requests", "tenants"),
    [
        ("traces/servegen/servegen_m_large_week1.parquet", 136_570, 108),
        ("traces/vtc_arena/vtc_arena.parquet", 1_500, 27),
        ("measured/vllm_0.19_requests.csv", 600, 0),
    ],
)
def test_well_known_columns_real(name: str, requests: int, tenants: int) -> None:
    trace = traces.read([real(name)], strict=True)
    assert trace.report.format == "columns"
    assert trace.requests.height == requests
    assert trace.requests["tenant"].drop_nulls().n_unique() == tenants
    assert trace.epoch_s is None


def test_times_relative_to_sessions_are_said_real() -> None:
    trace = traces.read([real("traces/weka_claude_code/weka_sessions_0001_0370.parquet")])
    assert trace.requests.height + trace.report.failed_rows == 21_041
    assert trace.report.session_clock
    assert any("relative to each session" in text for text in trace.report.assumptions)


def test_columns_are_mapped_by_the_user(tmp_path: Path) -> None:
    text = "when;ein;aus;wer;bis\n2026-01-05 10:00:00;5;6;a;2026-01-05 11:00:00\n2026-01-05 10:00:30;7;8;b;\n"
    mapping = {"arrival": "when", "input": "ein", "output": "aus", "tenant": "wer", "deadline": "bis"}
    trace = traces.read([written(tmp_path, text)], columns=mapping)
    assert rows(trace, *LENGTHS, "tenant", "deadline_s") == [
        (0.0, 5, 0, 6, "a", 3600.0),
        (30.0, 7, 0, 8, "b", None),
    ]


@pytest.mark.parametrize(
    ("column", "values", "epoch_s"),
    [
        ("timestamp", ("1767571200", "1767571201"), 1767571200),
        ("timestamp", ("1767571200000", "1767571201000"), 1767571200),
        ("arrival_ms", ("5000", "6000"), None),
        ("time", ("2026-01-05T00:00:00Z", "2026-01-05T00:00:01Z"), 1767571200),
        ("created_at", ("2026-01-05T00:00", "2026-01-05T00:00:01"), 1767571200),
    ],
)
def test_times_are_told_by_what_they_look_like(
    tmp_path: Path, column: str, values: tuple[str, str], epoch_s: float | None
) -> None:
    text = f"{column},input_tokens,output_tokens\n{values[0]},1,1\n{values[1]},1,1\n"
    trace = traces.read([written(tmp_path, text)])
    assert trace.epoch_s == epoch_s
    assert trace.requests["arrived_s"].to_list() == [0, 1]
