"""Rows of the answer: token APIs at their prices, lanes that add up."""

import numpy as np
import pytest
from tests.samples.fleets import load, machine

from meritorder.domain import Tier
from meritorder.offers import TokenPrice
from meritorder.study.compare.arrangements import _lanes, cheapest_price, token_arrangement
from meritorder.study.fleet.result import SearchResult
from meritorder.study.fleet.search import Search

ASKED = load(np.sort(np.random.default_rng(4).uniform(0, 600, 1200)), 300, 80, waits=np.arange(1200) % 2 == 0)


@pytest.fixture(scope="module")
def search_result() -> SearchResult:
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


def test_token_api_prices_all_tokens() -> None:
    arrangement = token_arrangement(Tier.BATCH, price(Tier.BATCH, 2.0), ASKED)
    assert arrangement.name == "api_batch"
    assert arrangement.total_usd == pytest.approx(2.0 * 1200 * 380 / 1e6)
    assert arrangement.usd_per_mtok == pytest.approx(2.0)
    assert any("latency" in note for note in arrangement.notes)


def test_cheapest_price_of_the_tier() -> None:
    prices = [price(Tier.STANDARD, 3.0), price(Tier.STANDARD, 2.0), price(Tier.BATCH, 1.0)]
    assert cheapest_price(prices, Tier.STANDARD, ASKED) is prices[1]
    assert cheapest_price(prices, Tier.FLEX, ASKED) is None


def test_realtime_lane_pays_its_fleet(search_result: SearchResult) -> None:
    lanes = _lanes(search_result.mix, search_result)
    assert sum(lane.total_usd for lane in lanes) == pytest.approx(search_result.mix.usd)
    assert search_result.realtime_alone is not None
    assert lanes[0].total_usd == pytest.approx(min(search_result.realtime_alone.usd, search_result.mix.usd))
    assert [lane.requests for lane in lanes] == [600, 600]
