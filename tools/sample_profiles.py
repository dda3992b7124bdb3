"""Sample the profiles that ship with the package, from NVIDIA's measured operator tables.

    pip install 'meritorder[silicon]'
    python tools/sample_profiles.py src/meritorder/perf/data/profiles.jsonl [MODEL ...]

Samples the models that are named, and keeps the profiles of the others; all of them if none is named, which takes about
five minutes. What was not measured is left out, and listed at the end with the library's reason.
"""

import logging
import sys
from collections.abc import Collection, Iterator
from pathlib import Path

import msgspec

from meritorder.domain import Replica
from meritorder.errors import PerformanceError
from meritorder.perf.profile import Profile
from meritorder.perf.silicon import sample_profile

_LLAMA_70B = "meta-llama/Meta-Llama-3.1-70B"
_DEEPSEEK = "deepseek-ai/DeepSeek-R1"
# (model, precision, weights that the library knows, are these its native weights?)
MODELS = (
    ("llama-3.1-8b", "bf16", "meta-llama/Meta-Llama-3.1-8B", True),
    ("llama-3.1-8b", "fp8", "meta-llama/Meta-Llama-3.1-8B", False),
    ("llama-3.1-70b", "bf16", _LLAMA_70B, True),
    ("llama-3.1-70b", "fp8", _LLAMA_70B, False),
    ("llama-3.3-70b", "bf16", _LLAMA_70B, True),  # the same architecture
    ("llama-3.3-70b", "fp8", _LLAMA_70B, False),
    ("llama-3.1-405b", "fp8", "meta-llama/Meta-Llama-3.1-405B", False),
    ("qwen3-8b", "bf16", "Qwen/Qwen3-8B", True),
    ("qwen3-32b", "bf16", "Qwen/Qwen3-32B", True),
    ("qwen3-32b", "fp8", "Qwen/Qwen3-32B-FP8", True),
    ("qwen3-30b-a3b", "bf16", "Qwen/Qwen3-30B-A3B", True),
    ("qwen3-30b-a3b", "fp8", "Qwen/Qwen3-30B-A3B-FP8", True),
    ("qwen3-235b-a22b", "bf16", "Qwen/Qwen3-235B-A22B", True),
    ("qwen3-235b-a22b", "fp8", "Qwen/Qwen3-235B-A22B-FP8", True),
    ("gpt-oss-20b", "mxfp4", "openai/gpt-oss-20b", True),
    ("gpt-oss-120b", "mxfp4", "openai/gpt-oss-120b", True),
    ("deepseek-v3", "fp8", _DEEPSEEK, True),  # the same architecture
    ("deepseek-r1", "fp8", _DEEPSEEK, True),
)
HARDWARE = ("a100", "l40s", "rtx-pro-6000", "h100", "h200", "b200")
ENGINES = ("vllm", "sglang", "trtllm")
GPUS = (1, 2, 4, 8)


def replicas(models: Collection[str]) -> Iterator[tuple[Replica, str, bool]]:
    """List what to sample: the replica, the weights' name, and whether they are native."""
    for model, precision, hf_id, native in MODELS:
        if model not in models:
            continue
        for hardware in HARDWARE:
            if precision == "fp8" and hardware == "a100":
                continue  # Ampere has no fp8 arithmetic
            for engine in ENGINES:
                for gpus in GPUS:
                    replica = Replica(model=model, hardware=hardware, gpus=gpus, engine=engine, precision=precision)
                    yield replica, hf_id, native


def main(path: Path, *names: str) -> None:
    """Sample models, all if none is named, and write one profile a line; profiles of other models stay."""
    logging.disable(logging.WARNING)
    known = {model for model, *_ in MODELS}
    models = set(names) or known
    if models - known:
        sys.exit(f"unknown: {', '.join(sorted(models - known))}; add a line to MODELS")
    kept = path.read_bytes().splitlines() if path.exists() else []
    lines = [line for line in kept if msgspec.json.decode(line, type=Profile).model not in models]
    missing: list[str] = []
    for replica, hf_id, native in replicas(models):
        try:
            lines.append(msgspec.json.encode(sample_profile(replica, hf_id, native=native)))
        except PerformanceError as error:
            missing.append(str(error)[:160])
        sys.stderr.write(f"\r{len(lines)} profiles, {len(missing)} not measured")
    path.write_bytes(b"\n".join(sorted(lines)) + b"\n")
    sys.stdout.write("\n" + "\n".join(missing) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
