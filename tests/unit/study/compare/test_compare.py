"""From a trace and options to an answer: what is assumed is said, what cannot be answered is refused."""

from pathlib import Path

import msgspec
import numpy as np
import pytest
from tests.samples.fleets import load, machine, profile

from meritorder.domain import Slo, Tier
from meritorder.errors import CatalogError, InfeasibleError, MeritorderError, PerformanceError, WorkloadsError
from meritorder.offers import TokenPrice
from meritorder.records.comparison import Arrangement, Comparison
from meritorder.study.compare.compare import CompareOptions, _ratio_note, break_even_utilization, compare
from meritorder.study.fleet.result import SearchResult
from meritorder.study.fleet.search import Search
from meritorder.traces import Trace
from meritorder.traces.read import read_trace

MODEL = "llama-3.1-8b"
ASKED = load(np.sort(np.random.default_rng(4).uniform(0, 600, 1200)), 300, 80, waits=np.arange(1200) % 2 == 0)


def trace(tmp_path: Path, rows: str, header: str = "time,input_tokens,output_tokens") -> Trace:
    path = tmp_path / "trace.csv"
    path.write_text(f"{header}\n{rows}")
    return read_trace([path])


def named(answer: Comparison) -> dict[str, Arrangement]:
    return {arrangement.name: arrangement for arrangement in answer.arrangements}


def assumed(answer: Comparison) -> str:
    return " | ".join(assumption.text for assumption in answer.assumptions)


def test_only_assumptions_are_stated(small: Trace) -> None:
    answer = compare(small, CompareOptions(model=MODEL, tp=1, defer=("40%@4h",)))
    assert "40% of the real-time requests (240," in assumed(answer)
    assert "TTFT of at most 2 s" in assumed(answer)
    stated = CompareOptions(model=MODEL, tp=1, slo=Slo(ttft_s=1.0, tpot_s=0.1))
    assert "real time means" not in assumed(compare(small, stated))


def test_one_request_is_spoken_of_as_one(tmp_path: Path) -> None:
    sentence = compare(trace(tmp_path, "0,900,200\n"), CompareOptions(model=MODEL, tp=1)).sentence
    assert sentence.startswith("Bought as tokens (")
    assert "1 request costs $" in sentence
    assert "Nobody promises the latency of tokens. In real time this request costs $" in sentence


def test_share_of_one_request_is_none(tmp_path: Path) -> None:
    asked = CompareOptions(model=MODEL, tp=1, defer=("40%@4h",))
    sentence = compare(trace(tmp_path, "0,900,200\n"), asked).sentence
    assert "No request can wait: 40%@4h of 1 request is none" in sentence


def test_no_deferrable_saves_nothing(small: Trace) -> None:
    answer = compare(small, CompareOptions(model=MODEL, tp=1))
    assert answer.saving_usd == 0
    assert answer.best == answer.baseline
    assert any("no request can wait" in text for text in answer.warnings)
    assert "--defer" in answer.sentence


@pytest.mark.parametrize(("as_of", "old"), [("2026-08-31", True), ("2026-09-01", False)])
def test_old_price_is_warned_of(small: Trace, tmp_path: Path, as_of: str, *, old: bool) -> None:
    """The tests' day is 2026-11-30, 91 days after the first date and 90 after the second."""
    prices = tmp_path / "prices.csv"
    prices.write_text(
        f"provider,instance,hardware,gpus,pricing_model,usd_per_hour,as_of\non-prem,box,h100,1,on_demand,2.00,{as_of}\n"
    )
    options = CompareOptions(model=MODEL, tp=1, hardware=("h100",), providers=("on-prem",), catalogs=(prices,))
    answer = compare(small, options)
    assert any("on-prem 1 x h100, box" in text for text in answer.warnings) == old
    assert {price.as_of: price.age_days for price in answer.prices}[as_of] == 90 + old


def test_serverless_wins_at_low_volume(tmp_path: Path) -> None:
    """Three requests in a day: one machine for the day against three starts."""
    sparse = trace(tmp_path, "0,500,100\n30000,500,100\n80000,500,100\n")
    options = CompareOptions(
        model=MODEL, tp=1, serverless=True, stated_cold_start_s=20.0, slo=Slo(ttft_s=30, tpot_s=0.1)
    )
    answer = compare(sparse, options)
    row = named(answer)["realtime_serverless"]
    assert answer.best == "realtime_serverless"
    assert row.total_usd < named(answer)["realtime_fixed"].total_usd / 10
    assert row.ttft_p99_s == pytest.approx(20.0, abs=2.0)
    assert any("serverless workers serve all" in text for text in answer.warnings)
    assert any("Real time, serverless" in str(price.used_for) for price in answer.prices)
    assert "--keep-warm" in {assumption.option for assumption in answer.assumptions}
    late = compare(sparse, CompareOptions(model=MODEL, tp=1, serverless=True, slo=Slo(ttft_s=2.0, tpot_s=0.1)))
    assert late.best != "realtime_serverless"


def test_lane_costs_add_up(small: Trace) -> None:
    answer = compare(small, CompareOptions(model=MODEL, tp=1, defer=("50%@1h",)))
    mixed = named(answer)["mix"]
    assert sum(lane.total_usd for lane in mixed.lanes) == pytest.approx(mixed.total_usd)
    assert all(lane.total_usd >= 0 for lane in mixed.lanes)
    assert mixed.total_usd == pytest.approx(mixed.usd_per_request * 600)


def test_trace_without_times_is_spread(tmp_path: Path) -> None:
    at_once = trace(tmp_path, "5,300,40\n" * 200)
    answer = compare(at_once, CompareOptions(model=MODEL, tp=1, spread_s=1800.0))
    assert "no arrival times" in assumed(answer)
    assert named(answer)["realtime_fixed"].replica_hours == pytest.approx(0.5, rel=0.01)


def test_one_request_has_an_answer(tmp_path: Path) -> None:
    answer = compare(trace(tmp_path, "5,300,40\n"), CompareOptions(model=MODEL, tp=1))
    assert named(answer)["realtime_fixed"].peak_replicas == 1
    assert answer.trace.requests == 1


def test_only_model_of_trace_is_served(tmp_path: Path) -> None:
    header = "time,input_tokens,output_tokens,model"
    answer = compare(trace(tmp_path, f"1,300,40,{MODEL}\n9,300,40,{MODEL}\n", header), CompareOptions(tp=1))
    assert answer.model == MODEL
    with pytest.raises(CatalogError, match="no model was given and the trace has 2"):
        compare(trace(tmp_path, f"1,300,40,{MODEL}\n9,300,40,qwen3-8b\n", header), CompareOptions())


def test_hardware_without_profile_is_skipped(small: Trace) -> None:
    answer = compare(small, CompareOptions(model="deepseek-r1", hardware=("h100", "h200")))
    assert answer.hardware == "h200"


def test_no_profile_names_known_ones(small: Trace) -> None:
    with pytest.raises(PerformanceError, match=r"gpt-oss-20b was measured on b200, .*h100.* with"):
        compare(small, CompareOptions(model="gpt-oss-20b", hardware=("a100",)))


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        (CompareOptions(model=MODEL, hardware=()), CatalogError, "no hardware was given"),
        (CompareOptions(model="llama-3.1-405b", hardware=("l40s",)), InfeasibleError, "take 756 GiB, but 8 x l40s"),
        (CompareOptions(model=MODEL, slo=Slo(ttft_s=1e-3, tpot_s=1.0)), InfeasibleError, "no replica can meet the SLO"),
        (CompareOptions(model=MODEL, defer=("60%@1h", "60%@2h")), WorkloadsError, "--defer"),
        (CompareOptions(model=MODEL, providers=("nobody",)), CatalogError, "from nobody"),
    ],
)
def test_what_cannot_be_answered_is_refused(
    small: Trace, options: CompareOptions, error: type[MeritorderError], said: str
) -> None:
    with pytest.raises(error) as caught:
        compare(small, options)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_request_beyond_memory_is_refused(tmp_path: Path) -> None:
    long = trace(tmp_path, "1,300,40\n2,1900000,40\n")
    with pytest.raises(InfeasibleError, match="the longest request has 1,900,040 tokens") as caught:
        compare(long, CompareOptions(model=MODEL, hardware=("l40s",), tp=1))
    assert "--hardware" in str(caught.value)


def test_own_profile_and_prices_are_used(small: Trace, tmp_path: Path) -> None:
    (tmp_path / "mine.json").write_bytes(msgspec.json.encode(profile()))
    (tmp_path / "mine.csv").write_text(
        "provider,instance,hardware,gpus,pricing_model,usd_per_hour\nme,mybox,h100,1,on_demand,1.5\n"
    )
    options = CompareOptions(
        model=MODEL, profile=tmp_path / "mine.json", catalogs=(tmp_path / "mine.csv",), providers=("me",)
    )
    answer = compare(small, options)
    assert any("calibrated: by hand" in line for line in answer.performance)
    assert {price.usd for price in answer.prices if price.provider == "me"} == {1.5}
    fixed = named(answer)["realtime_fixed"]
    assert fixed.total_usd == pytest.approx((fixed.replica_hours or 0) * 1.5)
    # 601 s at most: the machine stands by for the span of the trace, and until the last answer.
    assert fixed.replica_hours == pytest.approx(600 / 3600, rel=0.01)


@pytest.fixture(scope="module")
def found_fleets() -> SearchResult:
    one = machine(ASKED)
    return Search(load=ASKED, machines=[one], batch_machines=[one], patience_s=7200.0, progress=lambda _: None).run()


def price(tier: Tier, usd_per_mtok: float) -> TokenPrice:
    return TokenPrice(
        provider="some-cloud",
        model="m",
        provider_model="m",
        tier=tier,
        input_usd_per_mtok=usd_per_mtok,
        cached_usd_per_mtok=usd_per_mtok,
        output_usd_per_mtok=usd_per_mtok,
        as_of="2026-01-01",
        source="by hand",
    )


def test_break_even_equals_api_price(found_fleets: SearchResult) -> None:
    work_usd = found_fleets.baseline.pools[0][0].price_work(ASKED)
    twice = price(Tier.STANDARD, 2 * work_usd / (1200 * 380 / 1e6))
    share, note = break_even_utilization(found_fleets.baseline.machine, [(Tier.STANDARD, twice)], ASKED)
    assert share == pytest.approx(0.5)
    assert "50 %" in note
    half = price(Tier.STANDARD, work_usd / 2 / (1200 * 380 / 1e6))
    share, note = break_even_utilization(found_fleets.baseline.machine, [(Tier.STANDARD, half)], ASKED)
    assert share is None
    assert "2.0 times" in note
    assert break_even_utilization(found_fleets.baseline.machine, [], ASKED)[0] is None


def test_only_unusual_ratio_is_noted(found_fleets: SearchResult) -> None:
    assert _ratio_note(3.0, found_fleets.baseline, found_fleets.batch) == ""
    assert "Less than the usual" in _ratio_note(1.5, found_fleets.baseline, found_fleets.batch)
    assert "More than the usual" in _ratio_note(7.0, found_fleets.baseline, found_fleets.batch)
