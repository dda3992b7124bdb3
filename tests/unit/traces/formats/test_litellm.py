"""Spend logs of LiteLLM."""

import json
from pathlib import Path

import pytest
from tests.samples.trace_files import LENGTHS, cells, lines, written

from meritorder.traces.read import read_trace
from meritorder.traces.trace import Kind

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
def test_litellm_spend_logs_are_read(tmp_path: Path, kind: str) -> None:
    if kind == "jsonl":
        path = written(tmp_path, lines(*LITELLM_ROWS), "spend.jsonl")
    else:

        def cell(value: object) -> str:
            text = json.dumps(value) if isinstance(value, dict) else "" if value is None else str(value)
            return '"' + text.replace('"', '""') + '"'

        body = [",".join(map(cell, row.values())) for row in LITELLM_ROWS]
        path = written(tmp_path, "\n".join([",".join(LITELLM), *body, ""]), "spend.csv")
    trace = read_trace([path])
    assert trace.report.format == "litellm"
    assert cells(trace, *LENGTHS, "model", "tenant", "session") == [
        (0.0, 100, 64, 10, "m", "t1", "s"),
        (0.5, 100, 0, 10, "provider/m", "u", "s"),
    ]
    assert trace.report.set_aside == {
        Kind.ERROR: 1,
        Kind.RESPONSE_CACHE: 1,
        Kind.NO_GENERATION: 1,
    }
