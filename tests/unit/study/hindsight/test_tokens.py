"""What may be bought as tokens: by tier, permission and the time until the answers come."""

from dataclasses import replace

import numpy as np
from tests.samples import fleets

from meritorder.domain import Access, Lane, Tier, Workload
from meritorder.offers import TokenPrice
from meritorder.study.fleet.load import TraceLoad
from meritorder.study.hindsight.tokens import token_purchases

TIERS = frozenset({Tier.STANDARD, Tier.BATCH})
DAY_S = 86_400.0


def price(tier: Tier, usd: float, provider: str = "cheap") -> TokenPrice:
    return TokenPrice(
        provider=provider,
        model="llama-3.1-8b",
        provider_model="llama",
        tier=tier,
        input_usd_per_mtok=usd,
        cached_usd_per_mtok=usd,
        output_usd_per_mtok=usd,
        as_of="2026-01-01",
        source="",
    )


def load(access: Access | None = None) -> TraceLoad:
    """A chat, a job that waits an hour and one that waits two days, of 1,000 and 100 tokens each."""
    jobs = Workload(name="jobs", lane=Lane.DEFERRABLE, deadline="1h", access=access or Access())
    night = Workload(name="night", lane=Lane.DEFERRABLE, deadline="48h")
    waits_s = np.array([np.inf, 3600.0, 2 * DAY_S])
    return replace(
        fleets.load([0.0, 1.0, 2.0], input_tokens=1000, output_tokens=100),
        deadline_s=waits_s,
        workload=np.arange(3, dtype=np.int32),
        workloads=(fleets.WORKLOADS[0], jobs, night),
    )


def test_each_workload_at_its_cheapest_tier() -> None:
    """Batch is cheaper, but its answers may take a day: 1,100 tokens at 2 and at 1 dollar a million."""
    prices = [price(Tier.STANDARD, 2.0), price(Tier.BATCH, 1.0), price(Tier.FLEX, 0.1)]
    both, jobs, night = token_purchases(load(), prices, TIERS)
    assert both.members.tolist() == [False, True, True]
    assert {index: bought.tier for index, bought in both.prices.items()} == {1: Tier.STANDARD, 2: Tier.BATCH}
    np.testing.assert_allclose([both.usd, jobs.usd, night.usd], [3.3e-3, 2.2e-3, 1.1e-3])


def test_only_permitted_providers_are_bought_from() -> None:
    denied = load(Access.from_tables({}, {"provider": ["cheap"]}))
    (night,) = token_purchases(denied, [price(Tier.STANDARD, 2.0)], TIERS)
    assert night.members.tolist() == [False, False, True]
    dearer = [price(Tier.STANDARD, 2.0), price(Tier.STANDARD, 3.0, "other")]
    both, *_ = token_purchases(denied, dearer, TIERS)
    assert {index: bought.provider for index, bought in both.prices.items()} == {1: "other", 2: "cheap"}


def test_real_time_buys_nothing() -> None:
    assert not list(token_purchases(load().all_realtime(), [price(Tier.STANDARD, 0.001)], TIERS))
