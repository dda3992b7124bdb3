"""What holds of every trace: what is written is read; windows, scales and lanes conserve tokens."""

import gzip
import tempfile
from pathlib import Path

import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from meritorder import traces
from meritorder.domain import Slo
from meritorder.errors import TraceError
from meritorder.tables import REQUESTS, check
from meritorder.traces.read import read_trace
from meritorder.traces.trace import cut, scaled
from meritorder.traces.workloads import assign, parse_defer

TOKENS = ["input_tokens", "cached_tokens", "output_tokens"]


@st.composite
def rows(draw: st.DrawFn) -> list[tuple[float, int, int, int, str]]:
    lengths = draw(st.lists(st.integers(1, 2 * 10**6), min_size=1, max_size=40))
    return [
        (
            draw(st.integers(0, 10**9)) / 1000,
            input_tokens,
            draw(st.integers(0, input_tokens)),
            draw(st.integers(1, 10**7)),
            draw(st.sampled_from(["", "a", "b c", 'd "e"', "f,g"])),
        )
        for input_tokens in lengths
    ]


def read(drawn: list[tuple[float, int, int, int, str]], suffix: str = ".csv") -> traces.Trace:
    frame = pl.DataFrame(drawn, schema=["arrived_s", *TOKENS, "session"], orient="row")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"trace{suffix}"
        if suffix == ".csv":
            frame.write_csv(path)
        elif suffix == ".parquet":
            frame.write_parquet(path)
        else:
            frame.write_ndjson(path)
        return read_trace([path], strict=True)


def total(requests: pl.DataFrame) -> tuple[int, ...]:
    return tuple(int(requests[name].cast(pl.Int64).sum()) for name in TOKENS)


@settings(deadline=None, max_examples=60)
@given(drawn=rows(), suffix=st.sampled_from([".csv", ".parquet", ".jsonl"]))
def test_what_is_written_is_read(drawn: list[tuple[float, int, int, int, str]], suffix: str) -> None:
    trace = read(drawn, suffix)
    first = min(row[0] for row in drawn)
    expected = [
        (at - first, given_in, min(cached, given_in - 1), out, session or None)
        for at, given_in, cached, out, session in sorted(drawn, key=lambda row: row[0])
    ]
    found = check(trace.requests, REQUESTS, what="trace").select("arrived_s", *TOKENS, "session").rows()
    assert found == expected
    assert trace.requests["arrived_s"][0] == 0


@settings(deadline=None, max_examples=60)
@given(drawn=rows(), at=st.floats(0, 1))
def test_two_windows_share_all_tokens(drawn: list[tuple[float, int, int, int, str]], at: float) -> None:
    trace = read(drawn)
    split_s = at * (trace.span_s + 1)
    parts = []
    for start, end in ((None, split_s), (split_s, None)):
        try:
            parts.append(cut(trace, start, end).requests)
        except TraceError as error:
            assert "no request arrives in this window" in str(error) or split_s == 0  # noqa: PT017
    assert sum(part.height for part in parts) == trace.requests.height
    assert tuple(map(sum, zip(*map(total, parts), strict=True))) == total(trace.requests)


@settings(deadline=None, max_examples=60)
@given(drawn=rows(), copies=st.integers(2, 5), seed=st.integers(0, 99))
def test_copies_multiply_tokens_within_the_span(
    drawn: list[tuple[float, int, int, int, str]], copies: int, seed: int
) -> None:
    trace = read(drawn)
    more = scaled(trace, copies, seed=seed)
    assert total(more.requests) == tuple(copies * tokens for tokens in total(trace.requests))
    check(more.requests, REQUESTS, what="scaled")
    assert more.requests["arrived_s"].is_sorted()
    assert more.requests["arrived_s"][0] == 0
    assert more.requests["arrived_s"][-1] <= trace.span_s


@settings(deadline=None, max_examples=60)
@given(drawn=rows(), factor=st.floats(0.05, 3))
def test_scaling_multiplies_the_request_count(drawn: list[tuple[float, int, int, int, str]], factor: float) -> None:
    trace = read(drawn)
    whole, part = int(factor), factor - int(factor)
    expected = whole * trace.requests.height + round(part * trace.requests.height)
    try:
        assert scaled(trace, factor, seed=0).requests.height == expected
    except TraceError:
        assert expected == 0


@settings(deadline=None, max_examples=60)
@given(drawn=rows(), percent=st.integers(1, 100))
def test_lanes_change_no_request(drawn: list[tuple[float, int, int, int, str]], percent: int) -> None:
    trace = read(drawn)
    assigned = assign(trace, (), Slo(ttft_s=1, tpot_s=0.1), [parse_defer(f"{percent}%@1h")])
    kept = pl.exclude("workload", "deadline_s")
    assert assigned.requests.select(kept).equals(trace.requests.select(kept))
    waiting = assigned.requests.filter(pl.col("deadline_s").is_not_null())
    assert waiting.height == round(percent / 100 * trace.requests.height)
    assert (waiting["deadline_s"] > waiting["arrived_s"]).all()
    assert assigned.requests["workload"].null_count() == 0


WHOLE = {
    ".csv": b"TIMESTAMP,ContextTokens,GeneratedTokens\n" + b"2023-11-16 18:15:46.6805900,374,44\n" * 9,
    ".jsonl": b'{"timestamp": 3, "input_length": 9, "output_length": 1, "hash_ids": [0, 1]}\n' * 9,
    ".json": b'{"custom_id": "a", "url": "/v1", "body": {"messages": [{"role": "user", "content": "x"}]}}\n' * 3,
    ".gz": gzip.compress(b"time,input_tokens,output_tokens\n1,2,3\n"),
}


@settings(deadline=None, max_examples=200)
@given(
    kind=st.sampled_from(sorted(WHOLE)),
    damage=st.lists(st.tuples(st.floats(0, 0.999), st.integers(0, 255)), max_size=8),
    kept=st.floats(0, 1),
)
def test_damaged_file_fails_in_one_line(kind: str, damage: list[tuple[float, int]], kept: float) -> None:
    content = bytearray(WHOLE[kind])
    for place, byte in damage:
        content[int(place * len(content))] = byte
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "trace"
        path.write_bytes(content[: round(kept * len(content))])
        try:
            trace = read_trace([path])
        except TraceError as error:
            assert "\n" not in str(error)  # noqa: PT017
        else:
            check(trace.requests, REQUESTS, what="trace")
            aside = sum(trace.report.set_aside.values())
            assert trace.requests.height + trace.report.bad_rows + aside == trace.report.rows
