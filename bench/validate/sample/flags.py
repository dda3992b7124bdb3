"""Settings of the measured servers: steps to wait before a request is scheduled, and the length of a step.

The sample does not state an engine's flags, but its rows from InferenceMAX (those that are not of NVIDIA's own gap
analysis) were made by published scripts (SemiAnalysisAI/InferenceX, `benchmarks`, 2025-10 to 2026-04), which do:

- TensorRT-LLM, Llama 3.1 70B, 1,024 tokens in and out on fewer than 8 GPUs: `batch_wait_timeout_iters: 20`, and
  `batch_wait_max_tokens_ratio: 0.9` of 16,384 tokens; DeepSeek in fp8 on B200, the same lengths, 64 clients or more: 40
  and 0.8 of 8,192. Prompts wait for others up to that many steps, or until that many tokens have gathered.
- TensorRT-LLM with data-parallel attention: `enable_balance`, `timeout_iters: 60` (gpt-oss: 50, the default). A prompt
  waits until every rank has one, up to that many steps.
- SGLang on B200 and B300: `scheduler_recv_interval` 30 from 16 clients, else 10. Qwen3.5 in fp4 and fp8 on B200: 30
  from 8 clients; Qwen3.5 in fp8 on B300, and DeepSeek in fp8 on 4 GPUs: 10. The engine polls for requests once in that
  many steps. On H200 the scripts leave it at 1.

Rows of NVIDIA's own gap analysis are of servers as its configurator sets them up (ai-dynamo/aiconfigurator,
`generator/rule_plugin` and `eval`, 2025-08 to 2026-03), loaded by genai-perf or AIPerf with constant lengths, ten
requests per client:

- A step of vLLM and TensorRT-LLM holds one prompt, a decode token for each client and 1,500 more tokens
  (`max_num_tokens = max_batch_size + isl + 1500`); a step of SGLang holds a prompt and 1,500 (`max_prefill_tokens`).
- The sweep on H100 without a date (1,024 to 4,096 tokens in, TensorRT-LLM 1.0.0rc3 and vLLM 0.12) is older than
  these rules, and no earlier rule is published. Its TTFT is that of three to four prompts at any number of clients, as
  in a closed loop in which every step has one whole prompt; it is read so, without the 1,500 tokens. That choice was
  made by cross-validation on the rows that the corrections are fitted to.

None of these numbers is fitted, and no measured time of a row decides the settings of its server; scripts change, and a
row may have been made by an earlier one. The share of the configured wait that requests really wait (half an interval
if they arrive at random, all of it just after a poll) is one parameter of a correction, `told_share`.
"""

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

Row = Mapping[str, Any]

# Lengths are drawn evenly from [0.8, 1] of the nominal.
_MEAN_LENGTH: Final = 0.9
_SHORT: Final = 1024
_EIGHT: Final = 8
_MANY_CLIENTS: Final = 64
_SHORT_INTERVAL, _LONG_INTERVAL = 10, 30
_FEW_CLIENTS, _FEWER_CLIENTS = 16, 8
_BLACKWELL: Final = frozenset({"b200_sxm", "b300_sxm"})
_EXTRA_TOKENS: Final = 1500


class ServerSettings(NamedTuple):
    """The settings of the server of a row.

    Attributes:
        wait_steps: Steps that a request may wait before it is scheduled.
        step_tokens: Most tokens in a step, 0 if unknown.
        whole_prompts: Whether a step splits no prompt beside others, None for the engine's default.
        fixed_lengths: Whether all requests have the lengths that the row states.
    """

    wait_steps: float = 0.0
    step_tokens: int = 0
    whole_prompts: bool | None = None
    fixed_lengths: bool = False


def server_settings(row: Row) -> ServerSettings:
    """Return the settings of the server of a row.

    Args:
        row: A row of the sample with corrected labels; `concurrency` is that of all ranks.
    """
    if "auto-gap-analysis" in row["silicon_data_source"]:
        return _configured(row)
    if row["backend"] == "sglang":
        return ServerSettings(wait_steps=float(_interval(row)))
    if row["backend"] == "trtllm":
        return ServerSettings(wait_steps=_gathering(row))
    return ServerSettings()


def _configured(row: Row) -> ServerSettings:
    """Return the settings that NVIDIA's configurator gives a server."""
    if row["backend"] == "sglang":
        return ServerSettings(step_tokens=row["isl"] + _EXTRA_TOKENS, fixed_lengths=True)
    one_prompt = row["isl"] + row["batch_size"]
    if row["system"] == "h100_sxm" and "measured=" not in row["silicon_data_source"]:
        return ServerSettings(step_tokens=one_prompt, whole_prompts=True, fixed_lengths=True)
    return ServerSettings(step_tokens=one_prompt + _EXTRA_TOKENS, fixed_lengths=True)


def _interval(row: Row) -> int:
    if row["system"] not in _BLACKWELL:
        return 0
    here, clients = (row["system"], row["precision"]), row["concurrency"]
    if "Qwen3.5" in row["model_path"]:
        if here == ("b300_sxm", "fp8"):
            return _SHORT_INTERVAL
        from_clients = _FEWER_CLIENTS if here in {("b200_sxm", "fp4"), ("b200_sxm", "fp8")} else _FEW_CLIENTS
        return _LONG_INTERVAL if clients >= from_clients else _SHORT_INTERVAL
    if row["precision"] == "fp8" and row["tp_size"] < _EIGHT:
        return _SHORT_INTERVAL
    return _LONG_INTERVAL if clients >= _FEW_CLIENTS else _SHORT_INTERVAL


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
    """Return the mean wait of the request that opens a window, and of those that arrive evenly while it is open."""
    others = arrivals_per_step * window
    return window * (1 + others / 2) / (1 + others)
