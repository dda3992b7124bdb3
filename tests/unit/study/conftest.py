"""A small trace: one request a second for ten minutes."""

from pathlib import Path

import pytest

from meritorder.traces import Trace
from meritorder.traces.read import read_trace


@pytest.fixture
def small(tmp_path: Path) -> Trace:
    rows = "".join(f"{second},{300 + second % 7},40\n" for second in range(600))
    path = tmp_path / "trace.csv"
    path.write_text(f"time,input_tokens,output_tokens\n{rows}")
    return read_trace([path])
