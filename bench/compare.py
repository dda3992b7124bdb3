"""`compare` end to end: the first run on a machine, which compiles the simulator, and the second."""

import tempfile
from pathlib import Path
from typing import Any, Final

from bench._process import DATA, measure

LLAMA: Final = ("--model", "llama-3.1-70b", "--hardware", "h100")
REASONING: Final = DATA / "traces/servegen/servegen_deepseek_r1_sample.parquet"
TRACES: Final = {
    "azure_conversation": (DATA / "traces/azure2023/AzureLLMInferenceTrace_conv.csv", LLAMA),
    "servegen_week": (DATA / "traces/servegen/servegen_m_large_week1.parquet", LLAMA),
    "54_thousand": (REASONING, (*LLAMA, "--scale", "0.195")),
    "1.4_million": (REASONING, ("--hardware", "h200,b200", "--scale", "5")),
}


def run() -> dict[str, Any]:
    """Compare on each trace in fresh processes: with an empty cache folder, then with the filled one."""
    return {name: _cold_and_warm(*case) for name, case in TRACES.items() if case[0].exists()}


def _cold_and_warm(trace: Path, arguments: tuple[str, ...]) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        outputs = ["--json", f"{folder}/out.json", "--html", f"{folder}/out.html"]
        command = ["-m", "meritorder", "compare", str(trace), *arguments, "--defer", "40%@4h", *outputs]
        cold, warm = (measure(command, {"XDG_CACHE_HOME": f"{folder}/cache"}) for _ in range(2))
    return {
        "cold_s": cold.seconds,
        "warm_s": warm.seconds,
        "ratio_warm_to_cold": warm.seconds / cold.seconds,
        "peak_rss_bytes": max(cold.peak_rss_bytes, warm.peak_rss_bytes),
    }
