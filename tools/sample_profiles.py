"""Sample the profiles that ship with the package, from NVIDIA's measured operator tables.

    pip install 'meritorder[silicon]'
    python tools/sample_profiles.py src/meritorder/perf/data/profiles.jsonl [MODEL | HARDWARE ...]

Samples the models and hardware that are named, all models or all hardware if none is, and keeps the other profiles. All
take about an hour. What was not measured is left out, and listed at the end with the reason.
"""

import logging
import sys
from collections.abc import Collection, Iterator
from itertools import product
from pathlib import Path

import msgspec
import numpy as np

from meritorder import catalog as facts
from meritorder.domain import Replica
from meritorder.errors import PerformanceError
from meritorder.perf.profile import Profile
from meritorder.perf.silicon import sample_profile

_LLAMA_70B = "meta-llama/Meta-Llama-3.1-70B"
_MAVERICK = "meta-llama/Llama-4-Maverick-17B-128E-Instruct"
_DEEPSEEK = "deepseek-ai/DeepSeek-R1"
_QWEN_CODER = "Qwen/Qwen3-Coder-480B-A35B-Instruct"
# (model, precision, weights that the library knows, are these at the model's native precision?)
MODELS = (
    ("llama-3.1-8b", "bf16", "meta-llama/Meta-Llama-3.1-8B", True),
    ("llama-3.1-8b", "fp8", "meta-llama/Meta-Llama-3.1-8B", False),
    ("llama-3.1-8b", "nvfp4", "meta-llama/Meta-Llama-3.1-8B", False),
    ("llama-3.1-70b", "bf16", _LLAMA_70B, True),
    ("llama-3.1-70b", "fp8", _LLAMA_70B, False),
    ("llama-3.1-70b", "nvfp4", _LLAMA_70B, False),
    ("llama-3.3-70b", "bf16", _LLAMA_70B, True),  # the same architecture
    ("llama-3.3-70b", "fp8", _LLAMA_70B, False),
    ("llama-3.3-70b", "nvfp4", _LLAMA_70B, False),
    ("llama-3.1-405b", "fp8", "meta-llama/Meta-Llama-3.1-405B", False),
    ("llama-3.1-405b", "nvfp4", "meta-llama/Meta-Llama-3.1-405B", False),
    ("llama-4-maverick", "bf16", _MAVERICK, True),
    ("llama-4-maverick", "fp8", _MAVERICK, False),
    ("qwen3-8b", "bf16", "Qwen/Qwen3-8B", True),
    ("qwen3-32b", "bf16", "Qwen/Qwen3-32B", True),
    ("qwen3-32b", "fp8", "Qwen/Qwen3-32B-FP8", True),
    ("qwen3-32b", "nvfp4", "Qwen/Qwen3-32B", False),
    ("qwen3-30b-a3b", "bf16", "Qwen/Qwen3-30B-A3B", True),
    ("qwen3-30b-a3b", "fp8", "Qwen/Qwen3-30B-A3B-FP8", True),
    ("qwen3-30b-a3b", "nvfp4", "Qwen/Qwen3-30B-A3B", False),
    ("qwen3-235b-a22b", "bf16", "Qwen/Qwen3-235B-A22B", True),
    ("qwen3-235b-a22b", "fp8", "Qwen/Qwen3-235B-A22B-FP8", True),
    ("qwen3-235b-a22b", "nvfp4", "nvidia/Qwen3-235B-A22B-NVFP4", True),
    ("qwen3-coder-480b", "bf16", _QWEN_CODER, True),
    ("qwen3-coder-480b", "fp8", _QWEN_CODER, False),
    ("qwen3-vl-4b", "bf16", "Qwen/Qwen3-VL-4B-Instruct", True),
    ("qwen3-vl-8b", "bf16", "Qwen/Qwen3-VL-8B-Instruct", True),
    ("qwen3-vl-32b", "bf16", "Qwen/Qwen3-VL-32B-Instruct", True),
    ("qwen3-vl-30b-a3b", "bf16", "Qwen/Qwen3-VL-30B-A3B-Instruct", True),
    ("qwen3-vl-30b-a3b", "fp8", "Qwen/Qwen3-VL-30B-A3B-Instruct", False),
    ("qwen3-vl-235b-a22b", "bf16", "Qwen/Qwen3-VL-235B-A22B-Instruct", True),
    ("qwen3-vl-235b-a22b", "fp8", "Qwen/Qwen3-VL-235B-A22B-Instruct", False),
    ("qwen3.5-27b", "bf16", "Qwen/Qwen3.5-27B", True),
    ("qwen3.5-27b", "fp8", "Qwen/Qwen3.5-27B", False),
    ("qwen3.5-35b-a3b", "bf16", "Qwen/Qwen3.5-35B-A3B", True),
    ("qwen3.5-122b-a10b", "nvfp4", "nvidia/Qwen3.5-122B-A10B-NVFP4", True),
    ("qwen3.5-397b-a17b", "bf16", "Qwen/Qwen3.5-397B-A17B", True),
    ("qwen3.5-397b-a17b", "fp8", "Qwen/Qwen3.5-397B-A17B", False),
    ("qwen3.5-397b-a17b", "nvfp4", "nvidia/Qwen3.5-397B-A17B-NVFP4", True),
    ("qwen3.6-27b", "bf16", "Qwen/Qwen3.5-27B", True),  # the same architecture
    ("qwen3.6-27b", "fp8", "Qwen/Qwen3.5-27B", False),
    ("qwen3.6-35b-a3b", "bf16", "Qwen/Qwen3.5-35B-A3B", True),
    ("qwen3.6-35b-a3b", "nvfp4", "nvidia/Qwen3.6-35B-A3B-NVFP4", True),
    ("gpt-oss-20b", "mxfp4", "openai/gpt-oss-20b", True),
    ("gpt-oss-120b", "mxfp4", "openai/gpt-oss-120b", True),
    ("deepseek-v3", "fp8", _DEEPSEEK, True),  # the same architecture
    ("deepseek-r1", "fp8", _DEEPSEEK, True),
    ("deepseek-r1", "nvfp4", "nvidia/DeepSeek-V3.1-NVFP4", True),  # the same architecture
    ("deepseek-v3.1", "fp8", _DEEPSEEK, True),
    ("deepseek-v3.1", "nvfp4", "nvidia/DeepSeek-V3.1-NVFP4", True),
    ("deepseek-v3.2", "fp8", "deepseek-ai/DeepSeek-V3.2", True),
    ("deepseek-v3.2", "nvfp4", "nvidia/DeepSeek-V3.2-NVFP4", True),
    ("deepseek-v4-flash", "mxfp4", "deepseek-ai/DeepSeek-V4-Flash", True),
    ("deepseek-v4-flash", "fp8", "sgl-project/DeepSeek-V4-Flash-FP8", True),
    ("deepseek-v4-flash", "nvfp4", "nvidia/DeepSeek-V4-Flash-NVFP4", True),
    ("deepseek-v4-pro", "mxfp4", "deepseek-ai/DeepSeek-V4-Pro", True),
    ("deepseek-v4-pro", "fp8", "sgl-project/DeepSeek-V4-Pro-FP8", True),
    ("deepseek-v4-pro", "nvfp4", "nvidia/DeepSeek-V4-Pro-NVFP4", True),
    ("gemma-4-26b-a4b", "bf16", "google/gemma-4-26B-A4B", True),
    ("glm-5", "fp8", "zai-org/GLM-5-FP8", True),
    ("glm-5", "nvfp4", "nvidia/GLM-5-NVFP4", True),
    ("glm-5.1", "fp8", "zai-org/GLM-5.1-FP8", True),
    ("glm-5.1", "nvfp4", "nvidia/GLM-5.1-NVFP4", True),
    ("glm-5.2", "fp8", "zai-org/GLM-5.2-FP8", True),
    ("glm-5.2", "nvfp4", "nvidia/GLM-5.2-NVFP4", True),
    ("kimi-k2", "fp8", "moonshotai/Kimi-K2.5", False),  # the same architecture
    ("kimi-k2.5", "int4", "moonshotai/Kimi-K2.5", True),
    ("kimi-k2.5", "nvfp4", "nvidia/Kimi-K2.5-NVFP4", True),
    ("kimi-k2.6", "int4", "moonshotai/Kimi-K2.5", True),  # the same architecture
    ("kimi-k2.6", "nvfp4", "nvidia/Kimi-K2.6-NVFP4", True),
    ("kimi-k2.7-code", "int4", "moonshotai/Kimi-K2.5", True),  # the same architecture
    ("kimi-k2.7-code", "nvfp4", "nvidia/Kimi-K2.7-Code-NVFP4", True),
    ("mimo-7b", "bf16", "XiaomiMiMo/MiMo-7B-Base", True),
    ("minimax-m2.5", "fp8", "MiniMaxAI/MiniMax-M2.5", True),
    ("minimax-m2.5", "nvfp4", "nvidia/MiniMax-M2.5-NVFP4", True),
    ("minimax-m2.7", "fp8", "MiniMaxAI/MiniMax-M2.7", True),
    ("minimax-m2.7", "nvfp4", "nvidia/MiniMax-M2.7-NVFP4", True),
    ("minimax-m3", "bf16", "MiniMaxAI/MiniMax-M3", True),
    ("minimax-m3", "nvfp4", "nvidia/MiniMax-M3-NVFP4", True),
)
HARDWARE = ("a100", "l40s", "rtx-pro-6000", "h100", "h200", "b200", "b300", "gb200", "gb300")
# Ampere has no FP8 arithmetic; only Blackwell has FP4.
_WITHOUT = {"fp8": ("a100",), "nvfp4": ("a100", "l40s", "h100", "h200")}
ENGINES = ("vllm", "sglang", "trtllm")
GPUS = (1, 2, 4, 8)
_MOST_SPLIT = 4
# Data-parallel attention is for models that leave little of a GPU for context.
_LEAST_PARAMETERS = 1e11
_MOST_ERROR = 0.26
_DEEPEST_DIP = 0.5
_LEAST_GROWTH = 0.75
_LEAST_STEP_GROWTH = 3
_LONGEST_STEP_S = 60


def replicas(models: Collection[str], systems: Collection[str] = HARDWARE) -> Iterator[tuple[Replica, str, bool]]:
    """List what to sample: the replica, the weights' name, and whether they are at the model's native precision.

    A replica has at most `_MOST_SPLIT` times the GPUs that hold the weights. Large mixtures of experts are sampled with
    data-parallel attention as well.
    """
    catalog = facts.load(())
    for (model, precision, hf_id, native), hardware in product(MODELS, systems):
        if model not in models or hardware in _WITHOUT.get(precision, ()):
            continue
        known = catalog.find_model(model)
        weights_bytes = known.weights_bytes(precision) or 0.0
        large = known.active_parameters < known.parameters and known.parameters >= _LEAST_PARAMETERS
        memory_bytes = catalog.find_hardware(hardware).memory_bytes
        fitting = [gpus for gpus in GPUS if weights_bytes < gpus * memory_bytes]
        for engine, gpus in product(ENGINES, fitting):
            for ranks in (1, gpus) if large and gpus > 1 else (1,):
                if gpus <= _MOST_SPLIT * fitting[0]:
                    replica = Replica(
                        model=model,
                        hardware=hardware,
                        gpus=gpus,
                        engine=engine,
                        precision=precision,
                        attention_ranks=ranks,
                    )
                    yield replica, hf_id, native


def problem(profile: Profile) -> str:
    """Return why a profile does not ship: its form does not fit its table, or no engine takes such times; else ""."""
    columns = profile.decode_base_s, profile.mixed_base_s
    dips = [np.max(1 - np.array(column) / np.maximum.accumulate(column)) for column in columns]
    decode_s, mixed_s = columns
    reasons = (
        (profile.table_error_p90 > _MOST_ERROR, f"is {profile.table_error_p90:.0%} from its table"),
        (not profile.prefill_per_pair_s or not max(profile.decode_per_kv_token_s), "does not grow with context"),
        (max(dips) > _DEEPEST_DIP, "is far faster for larger steps than for smaller ones"),
        (decode_s[-1] < _LEAST_GROWTH * decode_s[0], "is faster for the largest batch than for one sequence"),
        (
            mixed_s[-1] < _LEAST_STEP_GROWTH * mixed_s[0],
            "takes little longer for 16,384 prompt tokens than for one",
        ),
        (mixed_s[-1] > _LONGEST_STEP_S, "takes more than a minute for 16,384 prompt tokens"),
    )
    return next((reason for holds, reason in reasons if holds), "")


def main(path: Path, *names: str) -> None:
    """Sample models on hardware, all if none is named, and write one profile a line; other profiles stay."""
    logging.disable(logging.WARNING)
    known = {model for model, *_ in MODELS}
    if unknown := set(names) - known - set(HARDWARE):
        sys.exit(f"unknown: {', '.join(sorted(unknown))}; add a line to MODELS or HARDWARE")
    models, systems = known & set(names) or known, set(HARDWARE) & set(names) or set(HARDWARE)
    kept = [(line, msgspec.json.decode(line, type=Profile)) for line in path.read_bytes().splitlines()]
    lines = [line for line, profile in kept if profile.model not in models or profile.hardware not in systems]
    missing: list[str] = []
    for replica, hf_id, native in replicas(models, systems):
        try:
            profile = sample_profile(replica, hf_id, native=native)
        except PerformanceError as error:
            missing.append(str(error)[:160])
        else:
            if why := problem(profile):
                missing.append(f"{replica.label}: {why}")
            else:
                lines.append(msgspec.json.encode(profile))
        sys.stderr.write(f"\r{len(lines)} profiles, {len(missing)} left out")
    path.write_bytes(b"\n".join(sorted(lines)) + b"\n")
    sys.stdout.write("\n" + "\n".join(missing) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
