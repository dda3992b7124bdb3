"""Azure, BurstGPT, Mooncake and Bailian: a few literal lines, and the real files where they are present."""

from pathlib import Path

import pytest
from tests.samples.trace_files import LENGTHS, cells, lines, real, written

from meritorder.traces.read import read_trace

AZURE = "TIMESTAMP,ContextTokens,GeneratedTokens\n"


def test_azure_2023_has_seven_digits(tmp_path: Path) -> None:
    text = AZURE + "2023-11-16 18:15:46.6805900,374,44\n2023-11-16 18:15:50.9951690,396,109\n"
    trace = read_trace([written(tmp_path, text)])
    assert trace.report.format == "azure"
    assert trace.epoch_s == pytest.approx(1700158546.68059, abs=1e-6)
    assert trace.requests["arrived_s"].to_list() == pytest.approx([0, 4.314579], abs=1e-6)
    assert cells(trace, *LENGTHS[1:]) == [(374, 0, 44), (396, 0, 109)]
    assert any("UTC" in text for text in trace.report.assumptions)


def test_azure_2024_has_a_zone(tmp_path: Path) -> None:
    text = AZURE + "2024-05-10 00:00:00+00:00,10,1\n2024-05-10 02:00:00.250000+02:00,20,2\n"
    trace = read_trace([written(tmp_path, text)])
    assert trace.epoch_s == 1715299200
    assert cells(trace, *LENGTHS) == [(0.0, 10, 0, 1), (0.25, 20, 0, 2)]
    assert not any("zone" in text for text in trace.report.assumptions)


@pytest.mark.parametrize(("service", "requests"), [("conv", 19_366), ("code", 8_819)])
def test_azure_2023_real(service: str, requests: int) -> None:
    trace = read_trace([real(f"traces/azure2023/AzureLLMInferenceTrace_{service}.csv")], strict=True)
    assert trace.requests.height == requests
    assert trace.report.rows == requests
    assert 3400 < trace.span_s < 3600


def test_mooncake_reuses_the_longest_prefix(tmp_path: Path) -> None:
    text = lines(
        {"timestamp": 0, "input_length": 1500, "output_length": 5, "hash_ids": [1, 2, 3]},
        {"timestamp": 3000, "input_length": 2000, "output_length": 6, "hash_ids": [1, 2, 9, 3]},
        {"timestamp": 6000, "input_length": 1024, "output_length": 7, "hash_ids": [1, 2]},
    )
    trace = read_trace([written(tmp_path, text, "trace.jsonl")])
    assert trace.report.format == "mooncake"
    assert cells(trace, *LENGTHS) == [(0.0, 1500, 0, 5), (3.0, 2000, 1024, 6), (6.0, 1024, 1023, 7)]


def test_bailian_has_chats_and_smaller_blocks(tmp_path: Path) -> None:
    chat = {"chat_id": 1, "parent_chat_id": -1, "type": "text", "turn": 1}
    text = lines(
        chat | {"timestamp": 10.0, "input_length": 40, "output_length": 5, "hash_ids": [1, 2, 3]},
        chat | {"timestamp": 61.5, "input_length": 50, "output_length": 6, "hash_ids": [1, 2, 4]},
    )
    trace = read_trace([written(tmp_path, text, "trace.jsonl")])
    assert cells(trace, *LENGTHS) == [(0.0, 40, 0, 5), (51.5, 50, 32, 6)]


def test_mooncake_reads_real_files() -> None:
    trace = read_trace([real("traces/mooncake/conversation_first30min.jsonl")], strict=True)
    assert trace.requests.height == 5_719
    assert 1750 < trace.span_s < 1850
    assert (trace.requests["cached_tokens"] < trace.requests["input_tokens"]).all()
    assert trace.requests["cached_tokens"].sum() > 0


@pytest.mark.parametrize(
    "header",
    [
        "Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type",
        "Timestamp,Session ID,Elapsed time,Model,Request tokens,Response tokens,Total tokens,Log Type",
    ],
)
def test_burstgpt_counts_failures_separately(tmp_path: Path, header: str) -> None:
    known = {
        "Timestamp": "5",
        "Session ID": "s1",
        "Elapsed time": "1.5",
        "Model": "GPT-4",
        "Log Type": "API log",
    }
    sizes = [("472", "18"), ("100", "0"), ("7", "9")]
    body = [
        ",".join(
            (known | {"Request tokens": i, "Response tokens": o, "Total tokens": "0"})[name]
            for name in header.split(",")
        )
        for i, o in sizes
    ]
    trace = read_trace([written(tmp_path, "\n".join([header, *body, ""]))])
    assert trace.report.format == "burstgpt"
    assert cells(trace, "input_tokens", "output_tokens", "model") == [(472, 18, "GPT-4"), (7, 9, "GPT-4")]
    assert (trace.report.failed_rows, trace.report.bad_rows, trace.report.rows) == (1, 0, 3)
    assert trace.requests["session"].null_count() == (0 if "Session ID" in header else 2)


def test_odd_blocks_and_odd_bytes(tmp_path: Path) -> None:
    line = b'{"timestamp": 1, "input_length": 9, "output_length": 1, "hash_ids": [[1]]}\n'
    trace = read_trace([written(tmp_path, line + line.replace(b"hash", b"h\xffsh"), "t.jsonl")])
    assert trace.requests["cached_tokens"].to_list() == [0]
    assert trace.report.bad == {"not a JSON object": 1}
