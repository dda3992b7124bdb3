"""The declared table: fields, sums, alternatives, rows set aside."""

from pathlib import Path

import polars as pl
import pytest
from tests.samples.trace_files import lines, refused, written

from meritorder.traces.formats import FORMATS
from meritorder.traces.formats.columns import FIELDS
from meritorder.traces.formats.declared import AsideRule, unit_by_name
from meritorder.traces.read import read_trace
from meritorder.traces.trace import Kind


def test_every_row_declares_known_fields() -> None:
    for row in FORMATS:
        assert set(row.fields) <= set(FIELDS), row.title
        assert row.read or {"input", "output"} <= set(row.fields), row.title
        assert row.requires or row.recognizes, row.title


def test_at_most_five_readers_exist() -> None:
    readers = {row.read.__module__.rpartition(".")[2] for row in FORMATS if row.read is not None}
    assert readers <= {"public_traces", "texts", "usage", "benchmarks", "columns"}


@pytest.mark.parametrize(("unless", "kept"), [(False, [False, True, True, False]), (True, [True, False, False, True])])
def test_rules_match_without_case(unless: bool, kept: list[bool]) -> None:  # noqa: FBT001
    frame = pl.DataFrame({"kind": ["Poll", "chat", None, "POLLING"]})
    rule = AsideRule(kind=Kind.BATCH_CALL, column="kind", pattern="^poll", unless=unless)
    applies = frame.select(rule.applies(pl.col("kind")))["kind"].to_list()
    assert [not value for value in applies] == kept


def test_rule_on_rows_with_tokens_only() -> None:
    frame = pl.DataFrame({"kind": ["batch", "batch"], "input": ["0", "50"]})
    rule = AsideRule(kind=Kind.BATCH_TOTAL, column="kind", pattern="batch", counted=True)
    assert frame.select(rule.applies(pl.col("kind")))["kind"].to_list() == [False, True]


@pytest.mark.parametrize(
    ("name", "unit_s"), [("ttft_ms", 1e-3), ("x_us", 1e-6), ("x_ns", 1e-9), ("x_s", 1.0), ("status", None)]
)
def test_unit_is_in_the_suffix(name: str, unit_s: float | None) -> None:
    assert unit_by_name(name) == (pytest.approx(unit_s) if unit_s else None)


def test_named_format_tells_what_is_missing(tmp_path: Path) -> None:
    message = refused(written(tmp_path, lines({"startTime": "x"}), "a.jsonl"), format="litellm")
    assert "no column prompt_tokens (input), completion_tokens (output)" in message


def test_named_columns_change_a_known_format(tmp_path: Path) -> None:
    base = {"call_type": "acompletion", "spend": 0.1, "prompt_tokens": 7, "completion_tokens": 9}
    records = [base | {"at": 5, "metadata": {"team": "x"}}, base | {"at": 6, "call_type": "aretrieve_batch"}]
    records = [record | {"startTime": "2026-05-04T08:00:00Z"} for record in records]
    path = written(tmp_path, lines(*records), "a.jsonl")
    trace = read_trace([path], columns={"arrival": "at", "tenant": "metadata.team"})
    assert trace.report.format == "litellm"
    assert trace.requests["tenant"].to_list() == ["x"]
    assert trace.epoch_s is None
    assert trace.report.set_aside == {Kind.BATCH_TOTAL: 1}


def test_sums_named_by_the_user(tmp_path: Path) -> None:
    path = written(tmp_path, "at,a,b,c.d\n5,1,2,3\n")
    trace = read_trace([path], columns={"arrival": "at", "input": "a + b", "output": "c.d"})
    assert trace.requests.select("input_tokens", "output_tokens").row(0) == (3, 3)


def test_columns_taken_are_reported(tmp_path: Path) -> None:
    record = {"timestamp": 5, "usage": {"prompt_tokens": 7, "completion_tokens": 9}}
    trace = read_trace([written(tmp_path, lines(record), "a.jsonl")])
    assert trace.report.columns == ("arrival=timestamp, input=usage.prompt_tokens, output=usage.completion_tokens",)
