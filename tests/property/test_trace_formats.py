"""Whatever stands in a record of a known format, it is read or refused in one line."""

import copy
import json
import tempfile
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from meritorder.errors import MeritorderError
from meritorder.traces.read import read_trace

AT = "2026-05-04T08:00:00Z"
USAGE = {"prompt_tokens": 70, "completion_tokens": 7}
SPAN = {
    "spanId": "a",
    "startTimeUnixNano": "1790000000000000000",
    "attributes": [
        {"key": "gen_ai.request.model", "value": {"stringValue": "m"}},
        {"key": "gen_ai.usage.input_tokens", "value": {"intValue": "70"}},
        {"key": "gen_ai.usage.output_tokens", "value": {"intValue": "7"}},
    ],
}
CLAUDE = {"id": "m", "usage": {"input_tokens": 5, "cache_read_input_tokens": 60, "output_tokens": 7}}
RUN = {"start_times": [1.0, 2.0], "input_lens": [70, 70], "output_lens": [7, 7], "ttfts": [0.1, 0.1], "itls": [[], []]}
GUIDE = {"request_start_time": 5.0, "prompt_tokens": 70, "output_tokens": 7}
SERIES = [{"data": [{"timeStamp": AT, "total": 70}]}]
IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
DOCUMENTS: list[dict[str, Any]] = [
    {"startTime": AT, "request_id": "r", "call_type": "acompletion", "metadata": {}} | USAGE,
    {"startTime": AT, "type": "GENERATION", "usageDetails": {"input": 70, "output": 7}},
    {"start_time": AT, "run_type": "llm", "id": "a", "parent_run_id": "b"} | USAGE,
    {"timestamp": AT, "modelId": "m", "input": {"inputTokenCount": 70}, "output": {"outputTokenCount": 7}},
    {"resourceSpans": [{"scopeSpans": [{"spans": [SPAN, SPAN]}]}]},
    {"type": "assistant", "sessionId": "s", "timestamp": AT, "message": CLAUDE},
    {"timestamp": AT, "payload": {"info": {"last_token_usage": {"input_tokens": 70, "output_tokens": 7}}}},
    {"custom_id": "c", "response": {"status_code": 200, "body": {"created": 5, "usage": USAGE}}},
    {"timestamp": AT, "usageMetadata": {"promptTokenCount": 70, "candidatesTokenCount": 7}},
    {"data": [{"start_time": 5, "end_time": 65, "results": [{"input_tokens": 70, "num_model_requests": 3}]}]},
    {
        "value": [
            {"id": "x/ProcessedPromptTokens", "timeseries": SERIES},
            {"id": "GeneratedTokens", "timeseries": SERIES},
        ]
    },
    {"duration": 9.0} | RUN,
    {"benchmarks": [{"requests": {"successful": [GUIDE], "errored": [GUIDE]}}]},
    {"start_time": 5.0, "end_time": 6.0, "info": {"input_tokens": 70, "output_tokens": 7, "output_token_times": [5.1]}},
    {
        "custom_id": "c",
        "url": "/v1/chat",
        "body": {"max_tokens": 7, "messages": [{"role": "user", "content": [IMAGE]}]},
    },
    {"id": "p", "prompt": "hello", "max_tokens": 7},
]
VALUES = st.sampled_from(
    [None, "", 0, -1, 1e300, "nan", [], {}, [1], {"a": 1}, True, 2**70, "9999-12-31T00:00:00Z", "\0", "{", "[1", [[]]]
)


def places(value: object, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the paths of everything inside a document."""
    members = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [place for key, member in members for place in [(*path, key), *places(member, (*path, key))]]


@st.composite
def damaged(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Return two records of one format, with values of one of them replaced."""
    whole = draw(st.sampled_from(DOCUMENTS))
    broken = copy.deepcopy(whole)
    for place in draw(st.lists(st.sampled_from(places(whole)), min_size=1, max_size=3)):
        holder: Any = broken
        try:
            for key in place[:-1]:
                holder = holder[key]
            holder[place[-1]] = copy.deepcopy(draw(VALUES))
        except (KeyError, IndexError, TypeError):
            continue  # an outer value was replaced before
    return draw(st.permutations([whole, broken]))


@settings(deadline=None, max_examples=150)
@given(records=damaged(), aggregate=st.booleans())
def test_damaged_records_are_read_or_refused(records: list[dict[str, Any]], aggregate: bool) -> None:  # noqa: FBT001
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "log.jsonl"
        path.write_text("".join(json.dumps(record) + "\n" for record in records))
        message, requests = "", 1
        try:
            requests = read_trace([path], aggregate=aggregate).requests.height
        except MeritorderError as error:
            message = str(error)
    assert "\n" not in message
    assert requests >= 1
