"""The words around the numbers: they say what the numbers say."""

import numpy as np
import pytest
from tests.samples.fleets import load, machine

from meritorder.domain import Tier, TokenPrice
from meritorder.study.compare import answer
from meritorder.study.compare.answer import break_even_utilization
from meritorder.study.fleet.search import Search, SearchResult

ASKED = load(np.sort(np.random.default_rng(4).uniform(0, 600, 1200)), 300, 80, waits=np.arange(1200) % 2 == 0)


@pytest.fixture(scope="module")
def found() -> SearchResult:
    one = machine(ASKED)
    return Search(load=ASKED, machines=[one], batch_machine=one, patience_s=7200.0, progress=lambda _: None).run()


def price(tier: Tier, usd_per_mtok: float) -> TokenPrice:
    return TokenPrice(
        provider="somebody",
        model="m",
        provider_model="m",
        tier=tier,
        input_usd_per_mtok=usd_per_mtok,
        cached_usd_per_mtok=usd_per_mtok,
        output_usd_per_mtok=usd_per_mtok,
        as_of="2026-01-01",
        source="by hand",
    )


def test_breaking_even_is_where_a_full_replicas_work_costs_what_the_api_asks(found: SearchResult) -> None:
    work_usd = found.baseline.pools[0][0].price_work(ASKED)
    twice = price(Tier.STANDARD, 2 * work_usd / (1200 * 380 / 1e6))
    share, note = break_even_utilization(found.baseline.machine, [(Tier.STANDARD, twice)], ASKED)
    assert share == pytest.approx(0.5)
    assert "50%" in note
    half = price(Tier.STANDARD, work_usd / 2 / (1200 * 380 / 1e6))
    share, note = break_even_utilization(found.baseline.machine, [(Tier.STANDARD, half)], ASKED)
    assert share is None
    assert "2.0 times" in note
    assert break_even_utilization(found.baseline.machine, [], ASKED)[0] is None


def test_a_usual_ratio_needs_no_words_and_an_unusual_one_says_which_way(found: SearchResult) -> None:
    assert answer._ratio_note(3.0, found.baseline, found.batch) == ""
    assert "Less than the usual" in answer._ratio_note(1.5, found.baseline, found.batch)
    assert "More than the usual" in answer._ratio_note(7.0, found.baseline, found.batch)
