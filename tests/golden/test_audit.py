"""Bills whose figures are known, through the command that users run."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.golden.bill_files import ANSWER, CUR, FOCUS

from meritorder import cli

DATA = Path(__file__).resolve().parents[3] / "shared" / "data" / "bills"
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason=f"needs the bills in {DATA}")
TWINS = ("aws_cur2_llm_2026-10.csv", "focus12_llm_2026-10.csv")


def audited(monkeypatch: pytest.MonkeyPatch, folder: Path, *arguments: str) -> dict[str, Any]:
    monkeypatch.setattr(sys, "argv", ["meritorder", "audit", *arguments, "--json", str(folder / "audit.json")])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert not ended.value.code
    answer: dict[str, Any] = json.loads((folder / "audit.json").read_text())
    return answer


@needs_data
@pytest.mark.parametrize("twin", TWINS)
def test_figures_match_the_truth(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, twin: str) -> None:
    truth = json.loads((DATA / "truth.json").read_text())
    answer = audited(monkeypatch, tmp_path, str(DATA / twin))

    def cents(name: str) -> float:
        return round(float(truth[name]), 2)

    assert round(answer["total_usd"], 2) == round(answer["amortised_usd"], 2) == cents("cur_unblended")
    assert round(answer["inference_usd"], 2) == cents("cur_amortized")
    assert round(answer["on_demand_equivalent_usd"], 2) == cents("on_demand_equivalent_ex_spot")
    assert round(answer["effective_savings_rate"], 6) == truth["effective_savings_rate_ex_spot"]
    assert round(answer["unused_commitment_usd"], 2) == round(truth["unused_sp"] + truth["unused_ri"], 2)
    assert round(answer["inference"]["on_demand_usd"], 2) == cents("on_demand_gpu")
    assert round(answer["inference"]["spot_usd"], 2) == cents("spot")
    assert round(answer["inference"]["tokens_usd"], 2) == cents("bedrock")
    assert round(answer["inference"]["capacity_block_usd"], 2) == cents("capacity_block")
    plan = next(use for use in answer["commitments"] if use["purchase"] == "savings_plan")
    assert round(plan["utilization"], 6) == pytest.approx(truth["sp_utilisation"], abs=1.1e-6)
    assert round(plan["usd"], 2) == cents("sp_commit")
    assert answer["bill"]["rows"] == truth["rows_cur" if "cur" in twin else "rows_focus"]


@needs_data
@pytest.mark.parametrize("twin", TWINS)
def test_deferrable_tokens_cost_half_at_batch(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, twin: str) -> None:
    truth = json.loads((DATA / "truth.json").read_text())
    answer = audited(monkeypatch, tmp_path, str(DATA / twin))
    found = {finding["kind"]: finding for finding in answer["findings"]}
    could_wait = found["tokens_could_wait"]
    assert could_wait["usd_per_month"] == pytest.approx(truth["bedrock_realtime_but_deferrable"] / 2)
    assert could_wait["confidence"] == "high"
    unused = found["unused_commitment"]["usd_per_month"], found["commitment_wrong_family"]["usd_per_month"]
    assert unused == (pytest.approx(truth["unused_sp"]), pytest.approx(truth["unused_ri"]))


@needs_data
def test_both_twins_have_equal_findings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    first, second = (audited(monkeypatch, tmp_path, str(DATA / twin)) for twin in TWINS)
    assert [finding["kind"] for finding in first["findings"]] == [finding["kind"] for finding in second["findings"]]
    for finding, twin in zip(first["findings"], second["findings"], strict=True):
        assert finding["usd_per_month"] == pytest.approx(twin["usd_per_month"])
    assert first["overpaid_usd"] == pytest.approx(sum(finding["usd"] for finding in first["findings"]))


@needs_data
@pytest.mark.parametrize("name", ["focus_1.0_official_sample", "focus_1.2_generated_aws", "focus_1.2_generated_gcp"])
def test_other_bills_need_no_special_case(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str) -> None:
    answer = audited(monkeypatch, tmp_path, str(DATA / f"{name}.csv"))
    assert answer["schema"] == "meritorder.audit/1"
    assert 0 <= answer["overpaid_usd"] <= answer["inference_usd"] <= answer["amortised_usd"]
    assert answer["sentence"]


def _differences(answer: object, golden: object, path: str = "") -> list[str]:
    """Return where two answers differ; floats may differ in their last digits, since sums have no fixed order."""
    if isinstance(golden, dict) and isinstance(answer, dict):
        missing = [f"{path}.{name}" for name in golden.keys() ^ answer.keys()]
        return missing + [
            difference
            for name in golden.keys() & answer.keys()
            for difference in _differences(answer[name], golden[name], f"{path}.{name}")
        ]
    if isinstance(golden, list) and isinstance(answer, list) and len(golden) == len(answer):
        pairs = enumerate(zip(answer, golden, strict=True))
        return [difference for place, pair in pairs for difference in _differences(*pair, f"{path}[{place}]")]
    if isinstance(golden, float) and isinstance(answer, float):
        return [] if answer == pytest.approx(golden, rel=1e-9, abs=1e-9) else [f"{path}: {answer} is not {golden}"]
    return [] if answer == golden else [f"{path}: {answer} is not {golden}"]


def test_answer_is_the_golden_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(CUR.parent)
    answer = audited(monkeypatch, tmp_path, CUR.name)
    assert not _differences(answer, json.loads(ANSWER.read_text()))


def test_golden_twins_have_equal_findings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    first, second = (audited(monkeypatch, tmp_path, str(path)) for path in (CUR, FOCUS))
    for part in ("inference", "whole_bill", "overpaid_usd"):
        assert not _differences(first[part], second[part])
    for finding, twin in zip(first["findings"], second["findings"], strict=True):
        assert (finding["kind"], finding["usd"]) == (twin["kind"], pytest.approx(twin["usd"]))


def test_golden_findings_match_hand_sums(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Of 2,509.76 of usage, a discount and a refund return 25, so each finding is worth 99.004 % of it."""
    answer = audited(monkeypatch, tmp_path, str(CUR))
    found = {finding["kind"]: finding["usd"] for finding in answer["findings"]}
    paid = (2509.76 - 25) / 2509.76
    assert found["unused_commitment"] == pytest.approx((24 * 24 - 18 * 20.64) * paid)
    assert found["commitment_wrong_family"] == pytest.approx(14 * 3.5 * paid)
    assert found["tokens_could_wait"] == pytest.approx(24 * (3.0 - 1.2) * paid)
    # The savings plan's rate of 41.28 is what the bill paid; on demand 55.04 was paid, less the refunds.
    assert found["commitment_for_on_demand"] == pytest.approx(24 * (55.04 * paid - 41.28))
    # An interruption costs ten minutes of a machine, at the rate of a quarter of the machines a month.
    assert found["spot_for_deferrable"] == pytest.approx(24 * (10.0 * paid - 4.0), rel=1e-3)
    assert answer["overpaid_usd"] == pytest.approx(sum(found.values()))
    assert answer["optimised_usd"] == pytest.approx(2484.76 - sum(found.values()))
