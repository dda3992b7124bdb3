"""Where the header of a CSV is: below titles, and never below the first line of an ordinary table."""

from pathlib import Path

import pytest
from tests.samples.trace_files import refused, written

from meritorder.traces.read import read_trace

ROWS = "2026-11-02T09:00:00Z,500,90\n2026-11-02T09:00:07Z,510,90\n"
HEADER = "timestamp,prompt_tokens,completion_tokens\n"


@pytest.mark.parametrize(
    "title",
    ["", "Usage report,,\n", "Usage report\nGenerated 2026-11-03,,\n\n", "Resource,,\nTokens,,\n", "\n\n"],
)
def test_titles_above_are_skipped(tmp_path: Path, title: str) -> None:
    path = written(tmp_path, title + HEADER + ROWS)
    trace = read_trace([path])
    assert trace.requests["input_tokens"].to_list() == [500, 510]
    assert trace.report.bad_rows == 0


def test_lines_are_counted_with_titles(tmp_path: Path) -> None:
    path = written(tmp_path, f"Usage report,,\n\n{HEADER}{ROWS}soon,1,1\n")
    assert [row.line for row in read_trace([path]).report.first_bad] == [6]


@pytest.mark.parametrize(
    "header", [",timestamp,prompt_tokens,completion_tokens\n", "timestamp,prompt_tokens,,completion_tokens\n"]
)
def test_unnamed_columns_are_no_title(tmp_path: Path, header: str) -> None:
    first, blank = ("0,", "") if header.startswith(",") else ("", "x,")
    row = f"{first}2026-11-02T09:00:00Z,500,{blank}90\n"
    trace = read_trace([written(tmp_path, header + row)])
    assert trace.requests["input_tokens"].to_list() == [500]


def test_stray_carriage_return_is_one_line(tmp_path: Path) -> None:
    """The first line has few cells, as a title has, and a later one is no line of a CSV."""
    message = refused(written(tmp_path, "report,,,\na,b\rc,d,e\n1,2,3,4\n"))
    assert "\n" not in message


def test_control_characters_alone_are_no_text(tmp_path: Path) -> None:
    assert "has no text" in refused(written(tmp_path, "\x1f", "a.csv"))
