"""Settings of servers from the published scripts of the benchmark, read from what a row states."""

import pytest
from bench.validate.sample.flags import ServerSettings, server_settings

Row = dict[str, object]


def row(**changes: object) -> Row:
    return {
        "system": "b200_sxm",
        "backend": "sglang",
        "model_path": "deepseek-ai/DeepSeek-R1",
        "precision": "fp8",
        "isl": 1024,
        "osl": 1024,
        "silicon_data_source": "db-dump; silicon_concurrency=64",
        "tp_size": 8,
        "attention_dp_size": 1,
        "concurrency": 64,
        "batch_size": 64,
    } | changes


@pytest.mark.parametrize(
    ("changes", "steps"),
    [
        ({}, 30),
        ({"concurrency": 8}, 10),
        ({"concurrency": 15}, 10),
        ({"concurrency": 16}, 30),
        ({"tp_size": 4}, 10),
        ({"tp_size": 4, "precision": "fp4"}, 30),
        ({"system": "h200_sxm"}, 0),
        ({"model_path": "Qwen/Qwen3.5-397B-A17B", "precision": "fp4", "concurrency": 8}, 30),
        ({"model_path": "Qwen/Qwen3.5-397B-A17B", "precision": "bf16", "concurrency": 8}, 10),
        ({"model_path": "Qwen/Qwen3.5-397B-A17B", "system": "b300_sxm"}, 10),
        ({"backend": "vllm"}, 0),
        ({"silicon_data_source": "aic-auto-gap-analysis/x.csv"}, 0),
    ],
)
def test_sglang_poll_intervals(changes: Row, steps: float) -> None:
    assert server_settings(row(**changes)).wait_steps == steps


LLAMA: Row = {"backend": "trtllm", "model_path": "meta-llama/Llama-3.1-70B", "tp_size": 4}


def test_batching_waits_shrink_with_clients() -> None:
    """Of few clients nearly each waits the whole window of 20 steps; the window is shared by many."""
    waits = [server_settings(row(**LLAMA, concurrency=clients)).wait_steps for clients in (1, 4, 64, 1024)]
    assert 19 < waits[0] < 20
    assert waits == sorted(waits, reverse=True)
    # As many prompts as fill 14,746 tokens end a window: 16 of 922, at 1.11 a step.
    assert waits[-1] == pytest.approx(14.4 * (1 + 8) / (1 + 16), rel=0.01)


@pytest.mark.parametrize("changes", [{"tp_size": 8}, {"osl": 8192}, {"isl": 8192}, {"model_path": "other/Model"}])
def test_other_servers_do_not_wait(changes: Row) -> None:
    assert server_settings(row(**(LLAMA | changes))).wait_steps == 0


def test_ranks_wait_for_a_full_round() -> None:
    ranks: Row = {"backend": "trtllm", "attention_dp_size": 8}
    slow, busy = (server_settings(row(**ranks, concurrency=clients)).wait_steps for clients in (1, 100_000))
    assert 57 < slow < 60
    assert busy < 1
    assert server_settings(row(**ranks, model_path="openai/gpt-oss-120b", concurrency=1)).wait_steps < slow


NVIDIA: Row = {"silicon_data_source": "aic-auto-gap-analysis/x.csv", "isl": 2048, "batch_size": 8}


DATED: Row = {"silicon_data_source": "aic-auto-gap-analysis/x.csv; measured=2026-01-23"}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"backend": "sglang"}, ServerSettings(step_tokens=3548, fixed_lengths=True)),
        ({"backend": "vllm", "system": "h200_sxm"}, ServerSettings(step_tokens=3556, fixed_lengths=True)),
        ({"backend": "trtllm"}, ServerSettings(step_tokens=3556, fixed_lengths=True)),
        ({"backend": "trtllm", "system": "h100_sxm"} | DATED, ServerSettings(step_tokens=3556, fixed_lengths=True)),
        (
            {"backend": "vllm", "system": "h100_sxm"},
            ServerSettings(step_tokens=2056, whole_prompts=True, fixed_lengths=True),
        ),
        (
            {"backend": "trtllm", "system": "h100_sxm"},
            ServerSettings(step_tokens=2056, whole_prompts=True, fixed_lengths=True),
        ),
    ],
)
def test_configurator_step_holds_one_prompt(changes: Row, expected: ServerSettings) -> None:
    assert server_settings(row(**(NVIDIA | changes))) == expected


def test_benchmark_lengths_vary() -> None:
    assert server_settings(row(backend="vllm")) == ServerSettings()
