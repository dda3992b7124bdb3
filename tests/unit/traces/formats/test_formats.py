"""Which format a file is in."""

from pathlib import Path

import pytest
from tests.samples.trace_files import LENGTHS, cells, lines, refused, written

from meritorder.traces.read import read_trace

OPENAI = {"usage": {"prompt_tokens": 500, "completion_tokens": 90}}
ANTHROPIC = {
    "usage": {"input_tokens": 5, "cache_read_input_tokens": 480, "cache_creation_input_tokens": 15, "output_tokens": 90}
}
GEMINI = {"usageMetadata": {"promptTokenCount": 500, "candidatesTokenCount": 60, "thoughtsTokenCount": 30}}
FLAT = {"input_tokens": 500, "output_tokens": 90}
OTHER = {"prompt_tokens": 500, "completion_tokens": 90}


def test_unknown_format_asks_for_columns(tmp_path: Path) -> None:
    message = refused(written(tmp_path, "a,b\n1,2\n"))
    assert "the columns a, b match no known format; name the columns with --columns arrival=" in message


@pytest.mark.parametrize(
    ("first", "second", "cached"),
    [(OPENAI, ANTHROPIC, 480), (ANTHROPIC, OPENAI, 0), (GEMINI, OPENAI, 0), (FLAT, OTHER, 0)],
)
def test_one_log_mixes_providers(
    tmp_path: Path, first: dict[str, object], second: dict[str, object], cached: int
) -> None:
    """All have 500 tokens of input and 90 of output, each by its provider's rule."""
    log = lines({"ts": "2026-11-02T09:00:00Z"} | first, {"ts": "2026-11-02T09:00:05Z"} | second)
    trace = read_trace([written(tmp_path, log, "log.jsonl")])
    assert cells(trace, *LENGTHS) == [
        (0.0, 500, 480 - cached if ANTHROPIC in (first, second) else 0, 90),
        (5.0, 500, cached, 90),
    ]
    assert trace.report.rows == 2


def test_columns_of_two_libraries_in_a_table(tmp_path: Path) -> None:
    text = "ts,input_tokens,output_tokens,prompt_tokens,completion_tokens\n1000000000,5,3,,\n1000000001,,,7,4\n"
    assert cells(read_trace([written(tmp_path, text)]), *LENGTHS) == [(0.0, 5, 0, 3), (1.0, 7, 0, 4)]


def test_summary_of_a_session_is_not_mixed_in(tmp_path: Path) -> None:
    """The last line of an agent's log has the sums of the others; its type says that it is another kind of row."""
    calls = [
        {"ts": f"2026-11-02T09:00:0{place}Z", "type": "assistant", "message": ANTHROPIC | {"id": str(place)}}
        for place in range(2)
    ]
    result = {
        "ts": "2026-11-02T09:00:09Z",
        "type": "result",
        "usage": {"prompt_tokens": 1000, "completion_tokens": 180},
    }
    trace = read_trace([written(tmp_path, lines(*calls, result), "log.jsonl")])
    assert trace.requests["input_tokens"].to_list() == [500, 500]


def test_columns_of_one_name_must_agree(tmp_path: Path) -> None:
    header = "timestamp,input_tokens,output_tokens,input_tokens\n"
    message = refused(written(tmp_path, f"{header}1000000000,5,3,7\n"))
    assert "two columns are named input_tokens, and their values differ; rename one of them" in message
    assert cells(read_trace([written(tmp_path, f"{header}1000000000,5,3,5\n")]), *LENGTHS) == [(0.0, 5, 0, 3)]


@pytest.mark.parametrize(
    "line",
    [
        '10.0.0.1 - - [02/Nov/2026:09:00:00 +0000] "POST /v1/chat/completions HTTP/1.1" 200 512',
        '[GIN] 2026/11/02 - 09:00:00 | 200 |  1.234s |  127.0.0.1 | POST     "/api/chat"',
        "INFO 11-02 09:00:00 [loggers.py:118] Engine 000: Avg prompt throughput: 100.0 tokens/s, Running: 3 reqs",
        "[2026-11-02 09:00:00] Prefill batch. #new-seq: 1, #new-token: 512, #cached-token: 0",
    ],
)
def test_logs_of_plain_text_are_told(tmp_path: Path, line: str) -> None:
    """nginx, Ollama, vLLM and SGLang."""
    assert "if it is a log of plain text, log requests as JSON or CSV" in refused(
        written(tmp_path, f"{line}\n" * 3, "server.log")
    )
