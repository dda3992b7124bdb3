"""Prices that make no sense are rejected, with the reason; the user's own are not."""

import csv
from pathlib import Path

import pytest

from meritorder.catalog.sanity import screen
from meritorder.domain import PricingModel
from meritorder.offers import Offer

COLLECTED = Path(__file__).parents[3].parent / "shared/data/prices/gpu_instance_prices.csv"


def offer(usd_per_hour: float, **fields: object) -> Offer:
    about = {
        "provider": "acme",
        "region": "east",
        "instance": "big",
        "hardware": "h100",
        "gpus": 8,
        "pricing_model": PricingModel.ON_DEMAND,
        "as_of": "2026-01-01",
        "source": "test",
    }
    return Offer(usd_per_hour=usd_per_hour, **about | fields)


def spot(usd_per_hour: float, **fields: object) -> Offer:
    return offer(usd_per_hour, pricing_model=PricingModel.SPOT, **fields)


@pytest.mark.skipif(not COLLECTED.exists(), reason=f"{COLLECTED} is not here")
def test_only_known_wrong_rows_are_rejected() -> None:
    models = {"on_demand_gpu_component": PricingModel.ON_DEMAND, "spot_gpu_component": PricingModel.SPOT}
    with COLLECTED.open() as file:
        rows = [row for row in csv.DictReader(file) if row["pricing_model"] in models]
    offers = {
        offer(
            float(row["usd_per_hour"]),
            provider=row["provider"],
            region=row["region"],
            instance=row["instance"],
            hardware=row["gpu"],
            gpus=int(row["gpu_count"]),
            pricing_model=models[row["pricing_model"]],
        ): row["confidence"]
        for row in rows
    }
    kept, rejected = screen(tuple(offers))
    assert {one.label for one, confidence in offers.items() if confidence == "ANOMALY"} == {r.what for r in rejected}
    assert len(rejected) == 4
    assert len(kept) == len(offers) - 4
    assert all(rejection.reason for rejection in rejected)


def test_sense_is_kept() -> None:
    offers = (offer(40), spot(20), offer(44, region="west"))
    assert screen(offers) == (offers, ())


def test_on_demand_below_spot_refuses_both() -> None:
    kept, rejected = screen((offer(15), spot(16), offer(44, region="west")))
    assert [kept_offer.region for kept_offer in kept] == ["west"]
    assert [r.reason for r in rejected] == ["on demand ($15 an hour) below spot ($16)"] * 2


def test_spot_without_saving_is_rejected() -> None:
    kept, rejected = screen((offer(15), spot(15)))
    assert kept == (offer(15),)
    assert "saves nothing" in rejected[0].reason


def test_outlying_region_is_rejected() -> None:
    places = [offer(price, region=region) for price, region in ((40, "a"), (44, "b"), (48, "c"), (18, "d"))]
    kept, rejected = screen((*places, spot(9, region="d"), spot(20, region="a")))
    assert {kept_offer.region for kept_offer in kept} == {"a", "b", "c"}
    assert "times the median of the same machine over regions" in rejected[0].reason
    assert rejected[1].reason.startswith("its on-demand price was rejected")


def test_outlying_price_is_rejected() -> None:
    others = [offer(price, provider=f"p{price}") for price in (20, 24, 28, 32, 36)]
    _, rejected = screen((*others, offer(300, provider="wild"), offer(2, provider="cheap")))
    assert {rejection.what.split()[0] for rejection in rejected} == {"wild", "cheap"}


def test_few_offers_judge_nothing() -> None:
    assert screen((offer(20, provider="a"), offer(300, provider="b")))[1] == ()


def test_own_prices_beat_implausible_ones() -> None:
    own = offer(10)
    others = [offer(price, provider=f"p{price}") for price in (60, 64, 68, 72, 76)]
    kept, rejected = screen((*others, own, spot(16)), own=(own,))
    assert own in kept
    assert [rejection.usd_per_hour for rejection in rejected] == [16]
