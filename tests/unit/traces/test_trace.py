"""Figures of a whole trace."""

from pathlib import Path

import pytest
from tests.samples.trace_files import HEADER, written

from meritorder import traces


def test_mean_rate_is_requests_over_span(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("arrived_s,input_tokens,output_tokens\n" + "".join(f"{10 * n},1,1\n" for n in range(7)))
    trace = traces.read([path])
    assert trace.span_s == 70
    assert trace.requests.height / trace.span_s == pytest.approx(0.1)


def test_models_are_sorted_and_distinct(tmp_path: Path) -> None:
    path = written(tmp_path, HEADER.replace("\n", ",model\n") + "0,1,1,b\n1,1,1,a\n2,1,1,b\n3,1,1,\n")
    assert traces.read(path).models == ("a", "b")
    assert traces.read(written(tmp_path, HEADER + "0,1,1\n")).models == ()
