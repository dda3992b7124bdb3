"""The load that engines report."""

import pytest

from meritorder.gateway.upstreams.engine_load import parse_max_sequences, parse_metrics, parse_slots
from meritorder.gateway.upstreams.upstream import EngineLoad

TWO_RANKS = b"""# HELP vllm:num_requests_running Running requests.
vllm:num_requests_running{engine="0"} 3.0
vllm:num_requests_running{engine="1"} 4.0
vllm:num_requests_waiting{engine="0"} 1.0
vllm:num_requests_waiting{engine="1"} 0.0
vllm:kv_cache_usage_perc{engine="0"} 0.25
vllm:kv_cache_usage_perc{engine="1"} 0.75
"""


def test_ranks_sum_and_memory_is_largest() -> None:
    assert parse_metrics(TWO_RANKS, max_sequences=16) == EngineLoad(
        running=7, waiting=1, kv_cache_share=0.75, max_sequences=16
    )


def test_metrics_of_other_servers_are_none() -> None:
    assert parse_metrics(b"http_requests_total 5\n") is None
    assert parse_metrics(b"vllm:num_requests_running 5\n") is None, "without its queue"


def test_busy_slots_are_running() -> None:
    assert parse_slots(b'[{"is_processing": true}, {"is_processing": false}]') == EngineLoad(
        running=1, waiting=0, max_sequences=2
    )
    assert parse_slots(b"{}") is None
    assert parse_slots(b"[]") is None


def test_sequences_from_properties() -> None:
    assert parse_max_sequences(b'{"total_slots": 4, "model": "m"}') == 4
    assert parse_max_sequences(b"no json") is None


@pytest.mark.parametrize("number", ["-1", "0", "1000000000000000000", "1.5", '"4"', "9" * 5000, "[" * 5000])
def test_implausible_sequences_are_unknown(number: str) -> None:
    assert parse_max_sequences(f'{{"total_slots": {number}}}'.encode()) is None


@pytest.mark.parametrize("number", [b"1e308", b"-1", b"NaN", b"+Inf", b"1_000_000_000", b"9" * 5000, b"many"])
def test_implausible_metrics_are_ignored(number: bytes) -> None:
    metrics = TWO_RANKS + b"vllm:num_requests_running " + number + b"\n"
    assert parse_metrics(metrics, max_sequences=16) == parse_metrics(TWO_RANKS, max_sequences=16)


def test_unclosed_labels_take_linear_time() -> None:
    """A pattern that looks for each brace's end in the lines that follow would take minutes."""
    assert parse_metrics(b"a{\n" * 300_000) is None
