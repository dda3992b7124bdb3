"""Alternative prices of a machine: the bill's own before the catalog's."""

import datetime as dt
from dataclasses import replace

import pytest

from meritorder import catalog as facts
from meritorder.domain import PricingModel
from meritorder.offers import Offer
from meritorder.study.audit.market import MachinePrice, Market, geography, lowest, title
from meritorder.study.audit.pools import BilledMachine, PaidRates

MACHINE = BilledMachine(provider="aws", region="us-east-1", instance="p5.48xlarge")
END = dt.datetime(2026, 11, 1, tzinfo=dt.UTC)
OFFER = Offer(
    provider="aws",
    region="us-east-1",
    instance="p5.48xlarge",
    hardware="h100",
    gpus=8,
    pricing_model=PricingModel.ON_DEMAND,
    usd_per_hour=50.0,
    as_of="2026-10-01",
    source="Price list <https://example.com/prices>",
    confidence="medium",
)


def market_of(*offers: Offer, rates: PaidRates | None = None) -> Market:
    catalog = replace(facts.load(()), offers=offers)
    return Market(catalog=catalog, rates=rates or PaidRates(), until=END)


def test_cheapest_list_price_in_the_region() -> None:
    market = market_of(OFFER, replace(OFFER, usd_per_hour=45.0), replace(OFFER, region="us-west-2", usd_per_hour=30.0))
    price = market.on_demand(MACHINE)
    assert price is not None
    assert (price.usd_per_hour, price.own, price.confidence) == (45.0, False, "medium")
    assert price.source == "Price list, 2026-10-01"


def test_later_prices_are_ignored() -> None:
    assert market_of(replace(OFFER, as_of="2026-11-02")).on_demand(MACHINE) is None
    assert market_of(replace(OFFER, as_of="2026-11-01")).on_demand(MACHINE) is not None


def test_unknown_confidence_counts_as_low() -> None:
    price = market_of(replace(OFFER, confidence="guess")).on_demand(MACHINE)
    assert price is not None
    assert price.confidence == "low"


def test_own_spot_price_comes_first() -> None:
    listed = replace(OFFER, pricing_model=PricingModel.SPOT, usd_per_hour=20.0, interruptions_per_month=0.1)
    own = market_of(listed, rates=PaidRates(spot={MACHINE: 17.0})).spot(MACHINE)
    other = market_of(listed).spot(MACHINE)
    assert own is not None
    assert other is not None
    assert (own.usd_per_hour, own.own, own.confidence, own.offer) == (17.0, True, "high", None)
    assert (other.usd_per_hour, other.own, other.offer) == (20.0, False, listed)


def test_highest_interruption_rate_counts() -> None:
    spot = replace(OFFER, pricing_model=PricingModel.SPOT)
    rates = [replace(spot, interruptions_per_month=rate, gpus=gpus) for rate, gpus in ((0.1, 8), (0.2, 4), (None, 2))]
    assert market_of(*rates).interruptions_per_month(MACHINE) == pytest.approx(0.2)
    assert market_of(spot).interruptions_per_month(MACHINE) is None


def test_own_commitments_replace_listed_ones() -> None:
    plan = replace(OFFER, pricing_model=PricingModel.SAVINGS_PLAN, term="1y", usd_per_hour=36.0)
    reserved = replace(OFFER, pricing_model=PricingModel.RESERVED, term="1y", usd_per_hour=34.0)
    listed = market_of(plan, reserved).committed(MACHINE)
    assert [(price.usd_per_hour, price.by_the_dollar) for price in listed] == [(34.0, False), (36.0, True)]
    rates = PaidRates(reserved={MACHINE: 33.0}, savings_plan={MACHINE: 35.0})
    own = market_of(plan, reserved, rates=rates).committed(MACHINE)
    assert [(price.usd_per_hour, price.by_the_dollar, price.own) for price in own] == [
        (33.0, False, True),
        (35.0, True, True),
    ]


def test_only_one_year_commitments() -> None:
    three_years = replace(OFFER, pricing_model=PricingModel.RESERVED, term="3y", usd_per_hour=20.0)
    assert market_of(three_years).committed(MACHINE) == []


def test_other_regions_cheapest_first() -> None:
    market = market_of(
        OFFER,
        replace(OFFER, region="us-west-2", usd_per_hour=40.0),
        replace(OFFER, region="us-east-2", usd_per_hour=30.0),
        replace(OFFER, region="eu-west-1", usd_per_hour=10.0),
    )
    assert [offer.region for offer in market.in_other_regions(MACHINE)] == ["us-east-2", "us-west-2"]


def test_azure_prefix_does_not_matter() -> None:
    azure = replace(OFFER, provider="azure", region="eastus", instance="Standard_ND96isr_H100_v5")
    market = market_of(azure)
    machine = BilledMachine(provider="azure", region="EastUS", instance="nd96isr_h100_v5")
    assert market.on_demand(machine) is not None
    assert market.hardware_of(machine) == ("h100", 8)
    assert market.in_other_regions(machine) == ()


def test_endpoint_has_hardware_of_its_machine() -> None:
    assert market_of(OFFER).hardware_of(replace(MACHINE, instance="ml.p5.48xlarge")) == ("h100", 8)
    assert market_of(OFFER).hardware_of(replace(MACHINE, instance="q9.huge")) is None


def test_used_prices_are_recorded_once() -> None:
    market = market_of(OFFER)
    market.record(OFFER, "spot")
    market.record(OFFER, "a region")
    (price,) = market.prices()
    assert (price.what, price.usd, price.used_for) == ("p5.48xlarge in us-east-1", 50.0, "spot")
    assert price.source == "https://example.com/prices"


def test_source_without_address() -> None:
    market = market_of()
    market.record(replace(OFFER, region="", source="a phone call"), "x")
    assert (market.prices()[0].what, market.prices()[0].source) == ("p5.48xlarge", "a phone call")
    assert title("a phone call") == "a phone call"


@pytest.mark.parametrize(("region", "expected"), [("us-east-1", "us"), ("AP-south-1", "ap"), ("eastus", ""), ("", "")])
def test_region_belongs_to_its_geography(region: str, expected: str) -> None:
    assert geography(region) == expected


def test_lowest_confidence_is_chosen() -> None:
    assert lowest("high", "low", "medium") == "low"
    assert lowest("high", "medium") == "medium"


def test_other_machines_have_other_prices() -> None:
    """Neither another provider's machine of the same name, nor another machine of the same provider."""
    market = market_of(replace(OFFER, provider="gcp"), replace(OFFER, instance="p4d.24xlarge"))
    assert market.on_demand(MACHINE) is None
    assert market.hardware_of(MACHINE) is None


def test_regions_without_geography_are_apart() -> None:
    machine = replace(MACHINE, provider="azure", region="eastus")
    assert market_of(replace(OFFER, provider="azure", region="westus")).in_other_regions(machine) == ()


def test_prices_are_by_the_machine() -> None:
    """Only savings plans are by the dollar."""
    own = market_of(rates=PaidRates(spot={MACHINE: 17.0})).spot(MACHINE)
    listed = market_of(OFFER).on_demand(MACHINE)
    plain = MachinePrice(usd_per_hour=1.0, source="", confidence="low", own=False)
    assert own is not None
    assert listed is not None
    assert [price.by_the_dollar for price in (own, listed, plain)] == [False] * 3
