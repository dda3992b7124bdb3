"""Plans of real traces at larger scales hold near their bound and are reproduced by `simulate`."""

from pathlib import Path

import msgspec
import pytest
from tests.samples.command import ROOT, meritorder_in_process

TRACES = ROOT.parent / "shared/data/traces"
LLAMA = ("--model", "llama-3.1-70b", "--hardware", "h100,h200")
CASES = {
    "azure2023/AzureLLMInferenceTrace_conv.csv": ("--scale", "16", *LLAMA),
    "azure2023/AzureLLMInferenceTrace_code.csv": ("--scale", "16", *LLAMA),
    "mooncake/conversation_first30min.jsonl": ("--scale", "8", *LLAMA, "--slo", "ttft=10s,tpot=100ms,attainment=99%"),
    "vtc_arena/vtc_arena.parquet": ("--scale", "20", *LLAMA),
    "servegen/servegen_deepseek_r1_sample.parquet": (
        *("--scale", "5", "--model", "deepseek-r1"),
        *("--hardware", "h200,b200", "--provider", "aws,gcp,runpod,lambda"),
    ),
}

SHORT = ("azure2023/AzureLLMInferenceTrace_code.csv", "vtc_arena/vtc_arena.parquet")

pytestmark = pytest.mark.skipif(not TRACES.exists(), reason=f"{TRACES} is not here")


@pytest.mark.parametrize(
    "trace",
    [pytest.param(trace, marks=pytest.mark.slow if trace in SHORT else pytest.mark.nightly) for trace in CASES],
)
def test_plan_holds_between_bound_and_baseline(tmp_path: Path, trace: str) -> None:
    file = str(TRACES / trace)
    ask = ("plan", file, *CASES[trace], "--defer", "40%@4h", "--json", "plan.json")
    done = meritorder_in_process(tmp_path, *ask)
    assert done.returncode == 0, done.stderr
    plan = msgspec.json.decode((tmp_path / "plan.json").read_bytes())
    assert plan["simulated"]["deadlines_missed"] == 0
    assert plan["simulated"]["slo_attainment"] >= 0.99
    assert plan["hard_bound_usd"] <= plan["bound_usd"] <= plan["total_usd"] <= plan["baseline_usd"] * (1 + 1e-9)
    done = meritorder_in_process(tmp_path, "simulate", file, "--plan", "plan.json", "--json", "again.json")
    assert done.returncode == 0, done.stderr
    again = msgspec.json.decode((tmp_path / "again.json").read_bytes())
    replayed, policy = again["simulated"], plan["policy_outcome"]
    for name in ("slo_attainment", "deadlines_missed", "ttft_p99_s", "tpot_p99_s"):
        assert replayed[name] == policy[name], name
    assert replayed["total_usd"] == pytest.approx(policy["total_usd"])
