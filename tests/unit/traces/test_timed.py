from pathlib import Path

import numpy as np
import pytest

from meritorder.errors import TraceError
from meritorder.traces.timed import read_timed


def test_units_are_read_from_names(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    path.write_text("arrival_ms,prompt_tokens,completion_tokens,ttft_ms,e2e_s\n2000,10,5,100,0.5\n1000,7,1,50,0.05\n")
    (log,) = read_timed([str(path)])
    assert log.arrived_s.tolist() == [0.0, 1.0], "sorted, and from the first"
    assert log.input_tokens.tolist() == [7, 10]
    assert log.ttft_s.tolist() == [0.05, 0.1]
    assert log.tpot_s[1] == pytest.approx(0.1)
    assert np.isnan(log.tpot_s[0]), "one token has no pace"


def test_missing_time_is_derived(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    path.write_text('{"arrival": 0, "input_tokens": 3, "output_tokens": 11, "ttft": 0.2, "tpot_ms": 10}\n')
    (log,) = read_timed([str(path)])
    assert log.e2e_s.tolist() == pytest.approx([0.3])
    assert log.replicas == 1


def test_one_log_a_set_up(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    head = "config,gpu,tp,dp,model,arrival_s,input_tokens,output_tokens,ttft_ms,e2e_ms\n"
    path.write_text(f"{head}a,H100,2,1,m,0,10,5,100,500\nb,H200,1,4,n,0,10,5,100,500\nb,H200,1,4,n,1,10,5,,500\n")
    first, second = read_timed([str(path)])
    assert (first.name, first.gpus, first.replicas, first.hardware, first.model) == ("a", 2, 1, "H100", "m")
    assert (second.name, second.gpus, second.replicas, len(second), second.dropped) == ("b", 1, 4, 1, 1)
    assert read_timed([str(path)], "b")[0].name == "b"
    with pytest.raises(TraceError, match=r"no configuration 'c'.*the log has a, b"):
        read_timed([str(path)], "c")


@pytest.mark.parametrize(
    ("head", "message"),
    [
        (
            "input_tokens,output_tokens,ttft_ms,e2e_ms",
            "match no known format.*--columns arrival=NAME,input=input_tokens,output=output_tokens",
        ),
        (
            "arrival_s,output_tokens,ttft_ms,e2e_ms",
            "match no known format.*--columns arrival=arrival_s,input=NAME,output=output_tokens",
        ),
        ("arrival_s,input_tokens,output_tokens,ttft_ms", "too few times to fit"),
    ],
)
def test_missing_column_is_named(tmp_path: Path, head: str, message: str) -> None:
    path = tmp_path / "log.csv"
    path.write_text(f"{head}\n{','.join('1' * len(head.split(',')))}\n")
    with pytest.raises(TraceError, match=message):
        read_timed([str(path)])


def test_logs_of_bad_rows_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    path.write_text("arrival_s,input_tokens,output_tokens,ttft_ms,e2e_ms\n0,10,5,600,500\n1,0,1,1,1\n")
    with pytest.raises(TraceError, match="none of 2 rows"):
        read_timed([str(path)])
