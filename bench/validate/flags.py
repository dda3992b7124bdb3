"""Steps that the servers of InferenceMAX were told to wait before they take up a request.

The sample does not state an engine's flags, but its rows from InferenceMAX (those that are not of NVIDIA's own gap
analysis) were made by published scripts (SemiAnalysisAI/InferenceX, `benchmarks`, 2025-10 to 2026-04), which do:

- TensorRT-LLM, Llama 3.1 70B, 1,024 tokens in and out on fewer than 8 GPUs: `batch_wait_timeout_iters: 20`, and
  `batch_wait_max_tokens_ratio: 0.9` of 16,384 tokens; DeepSeek in fp8 on B200, the same lengths, 64 clients or more: 40
  and 0.8 of 8,192. Prompts wait so many steps for others, or until there are so many tokens.
- TensorRT-LLM with data-parallel attention: `enable_balance`, `timeout_iters: 60` (gpt-oss: 50, the default). A prompt
  waits until every rank has one, and so many steps at most.
- SGLang on B200 and B300: `scheduler_recv_interval` 30 from 16 clients, else 10. Qwen3.5 in fp4 and fp8 on B200: 30
  from 8 clients; Qwen3.5 in fp8 on B300, and DeepSeek in fp8 on 4 GPUs: 10. The engine looks for requests once in so
  many steps. On H200 the scripts leave it at 1.

None of these numbers is fitted, and no measured time decides which rows they are of; scripts change, and a row may
have been made by an earlier one. Which share of such steps a request waits, half of an interval if it comes at any
moment and all of it if it comes just after a look, is one number of a correction, `told_share`.
"""

from collections.abc import Mapping
from typing import Any, Final

Row = Mapping[str, Any]

# Lengths are drawn evenly from [0.8, 1] of the nominal.
_MEAN_LENGTH: Final = 0.9
_SHORT: Final = 1024
_EIGHT: Final = 8
_MANY_CLIENTS: Final = 64
_OFTEN, _SELDOM = 10, 30
_FEW_CLIENTS, _FEWER_CLIENTS = 16, 8
_BLACKWELL: Final = frozenset({"b200_sxm", "b300_sxm"})


def told_steps(row: Row) -> float:
    """Return the steps that a request of this row may wait, because the server was told so.

    Args:
        row: A row of the sample with its labels mended, `concurrency` that of all ranks.
    """
    if "auto-gap-analysis" in row["silicon_data_source"]:
        return 0.0
    if row["backend"] == "sglang":
        return float(_interval(row))
    if row["backend"] == "trtllm":
        return _gathering(row)
    return 0.0


def _interval(row: Row) -> int:
    if row["system"] not in _BLACKWELL:
        return 0
    here, clients = (row["system"], row["precision"]), row["concurrency"]
    if "Qwen3.5" in row["model_path"]:
        if here == ("b300_sxm", "fp8"):
            return _OFTEN
        from_clients = _FEWER_CLIENTS if here in {("b200_sxm", "fp4"), ("b200_sxm", "fp8")} else _FEW_CLIENTS
        return _SELDOM if clients >= from_clients else _OFTEN
    if row["precision"] == "fp8" and row["tp_size"] < _EIGHT:
        return _OFTEN
    return _SELDOM if clients >= _FEW_CLIENTS else _OFTEN


def _gathering(row: Row) -> float:
    arrivals_per_step = row["concurrency"] / (row["osl"] * _MEAN_LENGTH)
    ranks, deepseek = row["attention_dp_size"] or 1, "DeepSeek" in row["model_path"]
    if ranks > 1:
        # Until each of k ranks has one: H_k mean gaps of a rank.
        complete = sum(1 / rank for rank in range(1, ranks + 1)) * ranks / arrivals_per_step
        return _mean_wait(min(60 if deepseek else 50, complete), arrivals_per_step)
    if not row["isl"] == row["osl"] == _SHORT:
        return 0.0
    if "Llama-3.1-70B" in row["model_path"] and row["tp_size"] < _EIGHT:
        steps, tokens = 20, 0.9 * 16_384
    elif deepseek and (row["system"], row["precision"]) == ("b200_sxm", "fp8") and row["concurrency"] >= _MANY_CLIENTS:
        steps, tokens = 40, 0.8 * 8192
    else:
        return 0.0
    return _mean_wait(min(steps, tokens / (row["isl"] * _MEAN_LENGTH * arrivals_per_step)), arrivals_per_step)


def _mean_wait(window: float, arrivals_per_step: float) -> float:
    """Return the mean wait of the request that opens a window, and of those that come, evenly, while it is open."""
    others = arrivals_per_step * window
    return window * (1 + others / 2) / (1 + others)
