"""Rows that another measurement of the same configuration contradicts, or those of their kernels alone.

The rules depend on measurements alone, not on simulations, and apply to both halves.

A *configuration* is a system, engine, architecture, precision, split over GPUs, pair of lengths and concurrency. A
*run* is all measurements of one system, engine, architecture and precision on one day with one version.

1. A row is dropped if its TTFT or TPOT is more than twice, or less than half, the median of three or more rows of its
   configuration.
2. Speculative decoding is not stated, and DeepSeek models have a head for it. A run is dropped if its TPOT is, in the
   median over the configurations that it shares with other runs, less than 0.8 of the slowest of these; and of two rows
   of one configuration in one run the faster, if it is faster by as much.
3. A row is dropped if the same run had, with the same split and lengths and at most 8 clients, a TTFT of more than
   1.5 s: without a queue that means that the server was not warm.
4. A row is dropped if its prompts took less than 0.9 of the time that their kernels take alone: in the time of a
   request each client has one prompt. Such a server had prompts in its cache.
"""

import statistics
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Mapping
from typing import Any, Final

import numpy as np

from meritorder.perf.profile import Profile

Row = Mapping[str, Any]

_FAR: Final = 2.0
_ENOUGH: Final = 3
_SPECULATIVE: Final = 0.8
_FEW_CLIENTS: Final = 8
_COLD_MS: Final = 1500.0
_KERNELS_SHARE: Final = 0.9
_SAME: Final = {
    "deepseek-ai/DeepSeek-V3": "deepseek-ai/DeepSeek-R1",
    "nvidia/DeepSeek-R1-NVFP4": "deepseek-ai/DeepSeek-R1",
}
_SPLIT: Final = ("tp_size", "attention_dp_size", "moe_tp_size", "moe_ep_size", "isl", "osl")


def contradicted(rows: Iterable[Row]) -> dict[str, str]:
    """Return the reason for each row that is contradicted, by its id."""
    all_rows = list(rows)
    reasons: dict[str, str] = {}
    for rule in (_far_from_others, _speculative, _cold):
        rest = [row for row in all_rows if row["id"] not in reasons]
        reasons |= rule(rest)
    return reasons


def has_cached_prompts(profile: Profile, clients: int, prompt_tokens: float, request_s: float) -> bool:
    """Return whether a closed loop took less time than the kernels of its prompts do alone.

    Args:
        profile: Measured kernels of its server.
        clients: Requests in flight.
        prompt_tokens: Mean length of a prompt.
        request_s: Mean time of a request.
    """
    token_s = float(np.min(np.array(profile.mixed_base_s) / np.array(profile.step_tokens)))
    prompt_s = prompt_tokens * token_s + prompt_tokens**2 / 2 * profile.prefill_per_pair_s
    return request_s < _KERNELS_SHARE * clients * prompt_s


def _far_from_others(rows: list[Row]) -> dict[str, str]:
    found: dict[str, str] = {}
    for same in _grouped(rows, _configuration).values():
        if len(same) < _ENOUGH:
            continue
        for name in ("silicon_ttft_ms", "silicon_tpot_ms"):
            middle = statistics.median(row[name] for row in same)
            off = [row for row in same if not middle / _FAR <= row[name] <= middle * _FAR]
            found |= {row["id"]: "twice or half the median of its configuration" for row in off}
    return found


def _speculative(rows: list[Row]) -> dict[str, str]:
    deepseek = [row for row in rows if "deepseek" in row["model_path"].lower()]
    slowest = {
        key: max(row["silicon_tpot_ms"] for row in same) for key, same in _grouped(deepseek, _configuration).items()
    }
    measured_in = {key: {_run(row) for row in same} for key, same in _grouped(deepseek, _configuration).items()}
    found: dict[str, str] = {}
    for same in _grouped(deepseek, _run).values():
        shared = [row for row in same if len(measured_in[_configuration(row)]) > 1]
        ratios = [row["silicon_tpot_ms"] / slowest[_configuration(row)] for row in shared]
        if ratios and statistics.median(ratios) < _SPECULATIVE:
            found |= {row["id"]: "a run with speculative decoding" for row in same}
    for same in _grouped(deepseek, lambda row: (_run(row), _configuration(row))).values():
        slowest_ms = max(row["silicon_tpot_ms"] for row in same)
        fast = [row for row in same if row["silicon_tpot_ms"] < _SPECULATIVE * slowest_ms]
        found |= {row["id"]: "the faster of two in one run, by speculative decoding" for row in fast}
    return found


def _cold(rows: list[Row]) -> dict[str, str]:
    found: dict[str, str] = {}
    for same in _grouped(rows, lambda row: (_run(row), *(row[name] for name in _SPLIT))).values():
        if any(row["concurrency"] <= _FEW_CLIENTS and row["silicon_ttft_ms"] > _COLD_MS for row in same):
            found |= {row["id"]: "a server that was not warm" for row in same}
    return found


def _architecture(row: Row) -> str:
    path = str(row["model_path"])
    return _SAME.get(path, path)


def _run(row: Row) -> Hashable:
    day = row["silicon_data_source"].partition("measured=")[2][:10]
    return row["system"], row["backend"], _architecture(row), row["precision"], day, row["backend_version"]


def _configuration(row: Row) -> Hashable:
    names = (row[name] or 1 for name in _SPLIT)
    return row["system"], row["backend"], _architecture(row), row["precision"], *names, row["concurrency"]


def _grouped(rows: Iterable[Row], key: Callable[[Row], Hashable]) -> dict[Hashable, list[Row]]:
    groups: dict[Hashable, list[Row]] = defaultdict(list)
    for row in rows:
        groups[key(row)].append(row)
    return groups
