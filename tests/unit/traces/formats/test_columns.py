"""Tables by their column names."""

from pathlib import Path

import pytest
from tests.samples.trace_files import LENGTHS, cells, real, refused, written

from meritorder.traces.read import read_trace


@pytest.mark.parametrize(
    ("name", "requests", "tenants"),
    [
        ("traces/servegen/servegen_m_large_week1.parquet", 136_570, 108),
        ("traces/vtc_arena/vtc_arena.parquet", 1_500, 27),
        ("measured/vllm_0.19_requests.csv", 600, 0),
    ],
)
def test_well_known_columns_real(name: str, requests: int, tenants: int) -> None:
    trace = read_trace([real(name)], strict=True)
    assert trace.report.format == "columns"
    assert trace.requests.height == requests
    assert trace.requests["tenant"].drop_nulls().n_unique() == tenants
    assert trace.epoch_s is None


def test_columns_are_mapped_by_the_user(tmp_path: Path) -> None:
    text = "when;ein;aus;wer;bis\n2026-01-05 10:00:00;5;6;a;2026-01-05 11:00:00\n2026-01-05 10:00:30;7;8;b;\n"
    mapping = {"arrival": "when", "input": "ein", "output": "aus", "tenant": "wer", "deadline": "bis"}
    trace = read_trace([written(tmp_path, text)], columns=mapping)
    assert cells(trace, *LENGTHS, "tenant", "deadline_s") == [
        (0.0, 5, 0, 6, "a", 3600.0),
        (30.0, 7, 0, 8, "b", None),
    ]


def test_missing_column_is_named(tmp_path: Path) -> None:
    message = refused(written(tmp_path, "arrived_s,prompt_tokens\n1,2\n"), format="columns")
    assert "column for output" in message
    assert "--columns output=NAME" in message
