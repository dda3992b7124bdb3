"""Compare the JSON answers of two checkouts, field by field, on the traces and bills of a data folder.

    python tools/compare_answers.py BASE NEW --data ../shared/data [--only compare] [--work FOLDER]

Each checkout runs with its own virtual environment. A field that differs is printed with both values and makes the
exit status 1. Text that differs while every number in it is the same is counted as reworded, and shown with `--words`.
Solver times are ignored: they differ from run to run.
"""

import argparse
import json
import math
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

_NUMBER: Final = re.compile(r"\d[\d,]*(?:\.\d+)?")
_UNSTABLE: Final = frozenset({"solve_s"})
_TRACE_MODEL: Final = ("--model", "llama-3.1-70b")

CASES: Final = {
    "compare conversation": (
        "compare", "traces/azure2023/AzureLLMInferenceTrace_conv.csv", *_TRACE_MODEL, "--hardware", "h100,h200",
        "--defer", "40%@4h"),
    "compare code": (
        "compare", "traces/azure2023/AzureLLMInferenceTrace_code.csv", "--model", "qwen3-32b", "--hardware",
        "a100,h100", "--spot"),
    "compare mooncake": (
        "compare", "traces/mooncake/conversation_first30min.jsonl", "--model", "llama-3.1-8b", "--hardware", "h100"),
    "compare arena": (
        "compare", "traces/vtc_arena/vtc_arena.parquet", "--model", "llama-3.1-8b", "--hardware", "l40s",
        "--defer", "30%@10m"),
    "plan conversation": (
        "plan", "traces/azure2023/AzureLLMInferenceTrace_conv.csv", *_TRACE_MODEL, "--hardware", "h100", "--defer",
        "40%@30m", "--spot"),
    "plan code": (
        "plan", "traces/azure2023/AzureLLMInferenceTrace_code.csv", "--model", "llama-3.1-8b", "--hardware",
        "l40s,h100", "--tokens", "batch", "--commit", "none"),
    "plan week": (
        "plan", "traces/servegen/servegen_m_large_week1.parquet", *_TRACE_MODEL, "--hardware", "h100", "--to", "2d",
        "--defer", "30%@4h", "--scale", "5", "--backtest", "50%"),
    "plan bill": (
        "plan", "traces/azure2023/AzureLLMInferenceTrace_code.csv", *_TRACE_MODEL, "--hardware", "h100", "--bill",
        "bills/aws_cur2_llm_2026-10.csv"),
    "simulate same trace": (
        "simulate", "traces/azure2023/AzureLLMInferenceTrace_conv.csv", "--plan", "{plan conversation}"),
    "simulate other trace": (
        "simulate", "traces/azure2023/AzureLLMInferenceTrace_code.csv", "--plan", "{plan code}", "--scale", "1.5"),
    "audit cur": ("audit", "bills/aws_cur2_llm_2026-10.csv", "--by", "tag:team"),
    "audit focus": ("audit", "bills/focus12_llm_2026-10.csv"),
    "audit official": ("audit", "bills/focus_1.0_official_sample.csv"),
    "audit aws": ("audit", "bills/focus_1.2_generated_aws.csv"),
    "audit gcp": ("audit", "bills/focus_1.2_generated_gcp.csv"),
    "inspect arena": ("inspect", "traces/vtc_arena/vtc_arena.parquet"),
    "inspect sessions": ("inspect", "traces/weka_claude_code/weka_sessions_0001_0370.parquet"),
}  # fmt: skip
"""Name to command line; a name in braces is the answer of that case."""


@dataclass
class Difference:
    """What differs between two answers."""

    fields: list[str] = field(default_factory=list)
    reworded: list[str] = field(default_factory=list)

    def note(self, path: str, base: object, new: object) -> None:
        """Compare two values, and note what differs under their path."""
        if isinstance(base, dict) and isinstance(new, dict):
            for key in [*base, *(key for key in new if key not in base)]:
                if key in _UNSTABLE:
                    continue
                if key not in base or key not in new:
                    self.fields.append(f"{path}.{key}: only in {'base' if key in base else 'new'}")
                else:
                    self.note(f"{path}.{key}", base[key], new[key])
        elif isinstance(base, list) and isinstance(new, list) and len(base) == len(new):
            for index, (before, after) in enumerate(zip(base, new, strict=True)):
                self.note(f"{path}[{index}]", before, after)
        elif isinstance(base, str) and isinstance(new, str) and base != new:
            if _NUMBER.findall(base) == _NUMBER.findall(new):
                self.reworded.append(f"{path}\n    - {base}\n    + {new}")
            else:
                self.fields.append(f"{path}: {base!r} -> {new!r}")
        elif not _equal(base, new):
            self.fields.append(f"{path}: {base!r} -> {new!r}")


def _equal(base: object, new: object) -> bool:
    if isinstance(base, float) and isinstance(new, float):
        return math.isclose(base, new, rel_tol=1e-12, abs_tol=0.0) or (math.isnan(base) and math.isnan(new))
    return type(base) is type(new) and base == new


def _answer(checkout: Path, name: str, data: Path, work: Path) -> object:
    """Run a case in a checkout, unless the work folder has its answer, and return its JSON."""
    target = _target(work, name)
    if not target.exists():
        command, *arguments = CASES[name]
        words = [str(data / word) if (data / word).is_file() else _filled(word, work) for word in arguments]
        meritorder = checkout / ".venv/bin/meritorder"
        run = subprocess.run(
            [meritorder, command, *words, "--json", target], capture_output=True, text=True, check=False
        )
        if run.returncode:
            return {"exit": run.returncode, "error": run.stderr.strip()}
    return json.loads(target.read_text())


def _target(work: Path, name: str) -> Path:
    return work / f"{name.replace(' ', '_')}.json"


def _filled(word: str, work: Path) -> str:
    """Return an argument, or the file of the answer if it is a case in braces."""
    return str(_target(work, word[1:-1])) if word.startswith("{") else word


def _chosen(only: str) -> Iterator[str]:
    return (name for name in CASES if only in name)


def main() -> int:
    """Run both checkouts on every case, and print what differs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("base", type=Path)
    parser.add_argument("new", type=Path)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument(
        "--work", type=Path, default=Path("answers"), help="folder of the answers; existing ones are reused"
    )
    parser.add_argument("--only", default="", help="cases whose name contains this")
    parser.add_argument("--words", action="store_true", help="show reworded text as well")
    options = parser.parse_args()
    differing = 0
    for name in _chosen(options.only):
        answers = []
        for side, checkout in (("base", options.base), ("new", options.new)):
            folder = options.work.resolve() / side
            folder.mkdir(parents=True, exist_ok=True)
            answers.append(_answer(checkout.resolve(), name, options.data.resolve(), folder))
        difference = Difference()
        difference.note("", *answers)
        differing += bool(difference.fields)
        state = f"{len(difference.fields)} fields differ" if difference.fields else "the same"
        print(f"{name}: {state}, {len(difference.reworded)} texts reworded", flush=True)
        for line in [*difference.fields[:40], *(difference.reworded if options.words else ())]:
            print(f"  {line}")
    return 1 if differing else 0


if __name__ == "__main__":
    sys.exit(main())
