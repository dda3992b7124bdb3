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


@pytest.mark.parametrize(("unit", "per_s"), [("ms", 1e3), ("\u00b5s", 1e6), ("ns", 1e9)])
def test_units_follow_from_time_per_token(tmp_path: Path, unit: str, per_s: float) -> None:
    path = tmp_path / "log.csv"
    rows = "".join(f"{place},100,11,{0.1 * per_s},{0.3 * per_s}\n" for place in range(3))
    path.write_text(f"arrival,input_tokens,output_tokens,ttft,e2e\n{rows}")
    (log,) = read_timed([str(path)])
    assert log.ttft_s.tolist() == pytest.approx([0.1] * 3)
    assert log.e2e_s.tolist() == pytest.approx([0.3] * 3)
    assert any(f"are taken as {unit}" in text for text in log.notes)


def test_seconds_need_no_suffix(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    path.write_text("arrival,input_tokens,output_tokens,ttft,e2e\n0,100,11,0.1,0.3\n")
    (log,) = read_timed([str(path)])
    assert (log.ttft_s.tolist(), log.e2e_s.tolist()) == ([0.1], [0.3])
    assert not any("taken as" in text and "ttft" in text for text in log.notes)


def test_instants_are_times(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    path.write_text(
        '{"start_time": "2026-05-04T08:00:00Z", "first_token_time": "2026-05-04T08:00:00.250Z", '
        '"end_time": "2026-05-04T08:00:01.250Z", "input_tokens": 5, "output_tokens": 11}\n'
    )
    (log,) = read_timed([str(path)])
    assert (log.ttft_s.tolist(), log.e2e_s.tolist()) == ([0.25], [1.25])
    assert log.tpot_s.tolist() == pytest.approx([0.1])
    assert "first=first_token_time" in log.columns


def test_ledger_counts_from_engine_start(tmp_path: Path) -> None:
    path = tmp_path / "ledger.csv"
    head = "request_id,arrived_s,started_s,ended_s,ttft_s,venue,status_code,input_tokens,output_tokens,lost_tokens\n"
    path.write_text(
        f"{head}a,100,110,112.5,0.5,own,200,50,5,0\nb,101,120,121,,own,200,50,5,0\nc,9,9,9,,own,503,5,0,0\n"
    )
    (log,) = read_timed([str(path)])
    assert (log.ttft_s.tolist(), log.e2e_s.tolist(), log.dropped) == ([0.5], [2.5], 2)


def test_benchmark_result_is_a_log(tmp_path: Path) -> None:
    path = tmp_path / "bench.json"
    path.write_text(
        '{"start_times": [5.0, 6.0], "input_lens": [9, 9], "output_lens": [3, 3], "ttfts": [0.2, 0.3], '
        '"itls": [[0.1, 0.1], [0.1, 0.3]], "model_id": "m"}'
    )
    (log,) = read_timed([str(path)])
    assert log.e2e_s.tolist() == pytest.approx([0.4, 0.7])
    assert log.model == "m"


def test_columns_are_named_by_the_user(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    path.write_text("a,b,c,d_ms,e_ms\n1,9,3,100,300\n")
    named = {"arrival": "a", "input": "b", "output": "c", "ttft": "d_ms", "e2e": "e_ms"}
    (log,) = read_timed([str(path)], columns=named)
    assert (log.ttft_s.tolist(), log.e2e_s.tolist()) == ([0.1], [0.3])


def test_log_survives_a_round_trip(tmp_path: Path) -> None:
    first, second = tmp_path / "a.csv", tmp_path / "b.csv"
    first.write_text("arrival_s,input_tokens,output_tokens,ttft_ms,e2e_ms\n0,10,5,100,500\n1,10,1,100,100\n")
    (log,) = read_timed([str(first)])
    second.write_text(log.to_csv())
    (again,) = read_timed([str(second)])
    for name in ("arrived_s", "input_tokens", "output_tokens", "ttft_s", "tpot_s", "e2e_s"):
        np.testing.assert_allclose(getattr(again, name), getattr(log, name))


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


def test_exchanged_times_are_named(tmp_path: Path) -> None:
    rows = "".join(f"{place},100,10,{5 + place},1\n" for place in range(20))
    path = tmp_path / "log.csv"
    path.write_text("arrived_s,input_tokens,output_tokens,ttft_s,e2e_s\n" + rows)
    with pytest.raises(TraceError, match=r"e2e is shorter than ttft in 20 of 20 rows .*--columns ttft=NAME,e2e=NAME"):
        read_timed([str(path)])
