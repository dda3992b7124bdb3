"""A month whose figures are known, from both of its twins, through the command that users call."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from meritorder import cli

DATA = Path(__file__).resolve().parents[3] / "shared" / "data" / "bills"
pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason=f"needs the bills in {DATA}")
TWINS = ("aws_cur2_llm_2026-10.csv", "focus12_llm_2026-10.csv")


def audited(monkeypatch: pytest.MonkeyPatch, folder: Path, *arguments: str) -> dict[str, Any]:
    monkeypatch.setattr(sys, "argv", ["meritorder", "audit", *arguments, "--json", str(folder / "audit.json")])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert not ended.value.code
    answer: dict[str, Any] = json.loads((folder / "audit.json").read_text())
    return answer


@pytest.mark.parametrize("twin", TWINS)
def test_the_figures_are_those_of_the_truth(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, twin: str) -> None:
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
    plan = next(each for each in answer["commitments"] if each["purchase"] == "savings_plan")
    assert round(plan["utilization"], 6) == pytest.approx(truth["sp_utilisation"], abs=1.1e-6)
    assert round(plan["usd"], 2) == cents("sp_commit")
    assert answer["bill"]["rows"] == truth["rows_cur" if "cur" in twin else "rows_focus"]


@pytest.mark.parametrize("twin", TWINS)
def test_what_could_wait_is_half_price_by_the_bill_itself(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, twin: str
) -> None:
    truth = json.loads((DATA / "truth.json").read_text())
    answer = audited(monkeypatch, tmp_path, str(DATA / twin))
    found = {finding["kind"]: finding for finding in answer["findings"]}
    could_wait = found["tokens_could_wait"]
    assert could_wait["usd_per_month"] == pytest.approx(truth["bedrock_realtime_but_deferrable"] / 2)
    assert could_wait["confidence"] == "high"
    unused = found["unused_commitment"]["usd_per_month"], found["commitment_wrong_family"]["usd_per_month"]
    assert unused == (pytest.approx(truth["unused_sp"]), pytest.approx(truth["unused_ri"]))


def test_both_twins_have_the_same_findings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    first, second = (audited(monkeypatch, tmp_path, str(DATA / twin)) for twin in TWINS)
    assert [finding["kind"] for finding in first["findings"]] == [finding["kind"] for finding in second["findings"]]
    for one, other in zip(first["findings"], second["findings"], strict=True):
        assert one["usd_per_month"] == pytest.approx(other["usd_per_month"])
    assert first["overpaid_usd"] == pytest.approx(sum(finding["usd"] for finding in first["findings"]))


@pytest.mark.parametrize("name", ["focus_1.0_official_sample", "focus_1.2_generated_aws", "focus_1.2_generated_gcp"])
def test_other_bills_are_read_without_a_special_case(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str
) -> None:
    answer = audited(monkeypatch, tmp_path, str(DATA / f"{name}.csv"))
    assert answer["schema"] == "meritorder.audit/1"
    assert 0 <= answer["overpaid_usd"] <= answer["inference_usd"] <= answer["amortised_usd"]
    assert answer["sentence"]
