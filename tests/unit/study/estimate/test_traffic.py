"""An estimate is the comparison of the requests that it makes."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from bench.estimates import differences, draw

from meritorder import catalog as facts
from meritorder.domain import PricingModel
from meritorder.errors import CatalogError, InfeasibleError
from meritorder.records.estimation import Estimate, Way
from meritorder.report.compare import estimate_html
from meritorder.study.compare.compare import compare
from meritorder.study.estimate.traffic import estimate_traffic, simulated_trace
from meritorder.study.fleet.options import CompareOptions
from meritorder.traces.generated.sample import write_trace
from meritorder.traces.generated.synthetic import Traffic
from meritorder.traces.read import read_trace
from meritorder.units import format_usd

TRAFFIC = Traffic(requests_per_day=6_000, input_tokens=600, output_tokens=150)
OPTIONS = CompareOptions(model="llama-3.1-8b", hardware=("l40s",), tp=1, defer=("30%@4h",))
DAYS_PER_MONTH = 730 / 24


@pytest.fixture(scope="module")
def answer() -> Estimate:
    return estimate_traffic(TRAFFIC, OPTIONS)


def named(answer: Estimate) -> dict[str, Way]:
    return {way.name: way for way in reversed(answer.ways)}


def test_estimate_agrees_with_compare(answer: Estimate, tmp_path: Path) -> None:
    path = write_trace(simulated_trace(TRAFFIC, OPTIONS, 100_000), tmp_path / "day.parquet")
    compared = compare(read_trace([path]), OPTIONS)
    for arrangement in compared.arrangements:
        if arrangement.replica:
            way = named(answer)[arrangement.name]
            assert way.usd == pytest.approx(arrangement.total_usd * DAYS_PER_MONTH, rel=1e-6), way.title
    tokens = next(arrangement for arrangement in compared.arrangements if arrangement.name == "api_standard")
    assert named(answer)["tokens_standard"].usd == pytest.approx(tokens.total_usd * DAYS_PER_MONTH, rel=1e-6)


def test_month_and_request_agree(answer: Estimate) -> None:
    requests = 6_000 * DAYS_PER_MONTH
    assert answer.traffic.requests == pytest.approx(requests)
    for way in answer.ways:
        assert way.usd == pytest.approx(way.usd_per_request * requests, rel=1e-6)
    assert answer.best == min((way for way in answer.ways if way.in_time is not False), key=lambda way: way.usd).name


def test_sentence_states_what_asked_waiting_saves(answer: Estimate) -> None:
    ways = named(answer)
    before_usd = min(ways["realtime_fixed"].usd, ways["realtime_autoscaled"].usd)
    saved = f"as stated saves {format_usd(before_usd - ways['mix'].usd)} a month"
    assert (saved if ways["mix"].usd < before_usd else "as stated saves nothing") in answer.sentence


def test_best_way_serves_what_cannot_wait() -> None:
    options = CompareOptions(model="gpt-4.1-mini", defer=("30%@24h",))
    some, all_of_it = (
        estimate_traffic(TRAFFIC, options),
        estimate_traffic(TRAFFIC, replace(options, defer=("100%@24h",))),
    )
    # The batch tier answers within a day, for half of the price.
    assert (named(some)["tokens_batch"].in_time, some.best) == (False, "tokens_standard")
    assert (named(all_of_it)["tokens_batch"].in_time, all_of_it.best) == (True, "tokens_batch")


def test_batch_keeps_the_promise_of_what_can_wait(answer: Estimate) -> None:
    assert named(answer)["batch"].in_time is False
    assert "in batch" in answer.sentence
    assert answer.best != "batch"
    waiting = estimate_traffic(replace(TRAFFIC, requests_per_day=2_000), replace(OPTIONS, defer=("100%@24h",)))
    assert named(waiting)["batch"].in_time is True


def test_one_machine_breaks_even(answer: Estimate) -> None:
    # One L40S of the cheapest provider, always on, at the volume at which tokens cost as much.
    volume, way = answer.break_even_requests_per_day, named(answer)["tokens_standard"]
    if volume is None:
        assert "at no volume" in answer.break_even_note or "does not" in answer.break_even_note
    else:
        always_on = named(answer)["realtime_fixed"]
        assert volume * way.usd_per_request == pytest.approx(always_on.usd / DAYS_PER_MONTH, rel=0.05)


def test_large_fleet_costs_the_same_at_any_volume() -> None:
    options = CompareOptions(model="llama-3.1-70b", hardware=("a100", "h200"))
    traffic = Traffic(requests_per_day=10, input_tokens=1200, output_tokens=300)
    notes = [
        estimate_traffic(replace(traffic, requests_per_day=volume), options).break_even_note for volume in (10, 5_000)
    ]
    few_usd, many_usd = (float(note.partition("would cost $")[2].split()[0]) for note in notes)
    assert few_usd == pytest.approx(many_usd, rel=0.1)


def test_volume_beyond_simulation_is_not_judged() -> None:
    options = replace(OPTIONS, precision="fp8")  # full machines cost less than tokens
    answer = estimate_traffic(replace(TRAFFIC, requests_per_day=100, input_tokens=60, output_tokens=5), options)
    assert answer.break_even_requests_per_day is None
    assert "requests a day, more than are simulated" in answer.break_even_note


def test_patience_at_the_deadline_is_the_mix(answer: Estimate) -> None:
    mix = named(answer)["mix"]
    point = next(point for point in answer.patience if point.patience_s == 4 * 3600)
    assert point.machines_usd == pytest.approx(mix.usd)
    first = answer.patience[0]
    assert first.machines_usd == pytest.approx(
        min(named(answer)[f"realtime_{name}"].usd for name in ("fixed", "autoscaled"))
    )
    costs = [point.machines_usd for point in answer.patience]
    assert all(usd is not None and usd <= costs[0] + 1e-9 for usd in costs)


def test_part_of_the_rate_says_so() -> None:
    part, busy = (replace(TRAFFIC, requests_per_day=volume) for volume in (48_000, 480_000))
    whole, scaled = (estimate_traffic(traffic, OPTIONS, simulated_requests=6_000) for traffic in (part, busy))
    assert scaled.traffic.simulated_share == pytest.approx(0.1)
    assert "One request in 10 was simulated" in scaled.sentence
    # Ten separate fleets cost ten times one.
    assert named(scaled)["batch"].usd == pytest.approx(10 * named(whole)["batch"].usd)


def test_faster_day_costs_what_the_whole_day_does() -> None:
    busy = replace(TRAFFIC, requests_per_day=120_000)
    whole, fast = (estimate_traffic(busy, OPTIONS, simulated_requests=count) for count in (120_000, 30_000))
    assert (whole.traffic.simulated_pace, fast.traffic.simulated_pace) == (1, 4)
    assert fast.traffic.simulated_days == pytest.approx(1)
    for name in ("realtime_fixed", "realtime_autoscaled", "batch", "mix"):
        assert named(fast)[name].usd == pytest.approx(named(whole)[name].usd, rel=0.1), name
    assert named(fast)["tokens_standard"].usd == pytest.approx(named(whole)["tokens_standard"].usd, rel=0.01)
    assert [point.tokens_usd for point in fast.patience] == pytest.approx(
        [point.tokens_usd for point in whole.patience], rel=0.01
    )


def test_always_on_is_sized_at_the_full_rate() -> None:
    busy = replace(TRAFFIC, requests_per_day=3_000_000, input_tokens=200, output_tokens=50)
    scaled = named(estimate_traffic(busy, OPTIONS, simulated_requests=30_000))["realtime_fixed"]
    machine = facts.load(()).cheapest("l40s", 1, (PricingModel.ON_DEMAND,))
    fleet = scaled.usd / (machine.usd_per_hour * 730)
    # A hundred separate fleets would have at least as many machines; the work of the busiest hour needs some.
    assert fleet == pytest.approx(round(fleet))
    assert 2 <= fleet < 100


def test_always_on_grows_with_the_rate() -> None:
    many = replace(TRAFFIC, requests_per_day=3e8, input_tokens=200, output_tokens=50)
    more = replace(many, requests_per_day=3e12)
    costs = [
        named(estimate_traffic(traffic, OPTIONS, simulated_requests=5_000))["realtime_fixed"].usd_per_request
        for traffic in (many, more)
    ]
    # In fleets so large that a machine more or less does not matter, each request costs the same.
    assert costs[1] == pytest.approx(costs[0], rel=0.01)


def test_token_only_model_has_no_machines() -> None:
    answer = estimate_traffic(TRAFFIC, CompareOptions(model="gpt-4.1-mini", defer=("30%@24h",)))
    assert {way.name.partition("_")[0] for way in answer.ways} == {"tokens"}
    # 600 and 150 tokens at $0.40 and $1.60 a million.
    standard = named(answer)["tokens_standard"]
    assert standard.usd_per_request == pytest.approx((600 * 0.40 + 150 * 1.60) / 1e6, rel=0.01)
    assert answer.patience[-1].tokens_usd == pytest.approx(0.85 * standard.usd, rel=0.01)
    assert answer.patience[1].tokens_usd == pytest.approx(standard.usd)


def test_model_without_machine_says_why() -> None:
    answer = estimate_traffic(TRAFFIC, CompareOptions(model="deepseek-v3", hardware=("l40s",)))
    assert answer.sentence.startswith("No machine of your own serves it: l40s: the weights of deepseek-v3 take 625 GiB")
    assert all(way.name.startswith("tokens") for way in answer.ways)
    assert answer.break_even_note == "no machine serves the model, so there is no machine to break even with"
    # `compare` and `plan` would refuse it.
    assert answer.commands == []


def test_mistaken_provider_is_no_reason_for_tokens() -> None:
    with pytest.raises(CatalogError, match="from nope"):
        estimate_traffic(TRAFFIC, CompareOptions(model="llama-3.1-8b", hardware=("l40s",), providers=("nope",)))


def test_unknown_names_are_refused() -> None:
    with pytest.raises(CatalogError, match=r"unknown model .*; similar: llama"):
        estimate_traffic(TRAFFIC, CompareOptions(model="llama-3.1-7b"))
    with pytest.raises(CatalogError, match="unknown hardware"):
        estimate_traffic(TRAFFIC, CompareOptions(model="llama-3.1-8b", hardware=("abacus",)))


def test_prompts_beyond_the_context_are_refused() -> None:
    with pytest.raises(InfeasibleError, match="131,072 tokens at most"):
        estimate_traffic(replace(TRAFFIC, input_tokens=200_000), OPTIONS)


def test_page_is_escaped(answer: Estimate) -> None:
    page = estimate_html.render(answer)
    assert "Break-even with tokens" in page
    assert "What waiting is worth" in page
    assert "<script" not in page


def test_batch_tries_machines_of_expensive_hours() -> None:
    # The L40S costs least by the hour, and four times as much as another machine for this batch.
    random = np.random.default_rng(16)
    *_, setting = (draw(random, 50_000) for _ in range(17))
    assert max(differences(*setting)) < 0.01


@pytest.mark.slow
def test_coarse_search_finds_what_compare_finds() -> None:
    random = np.random.default_rng(16)
    for _ in range(10):
        assert max(differences(*draw(random, most_requests=20_000))) < 0.1
