"""Price lists of AWS."""

import json

import pytest
from tests.samples.catalog_files import AWS_PRICE_LIST, Write

from meritorder.catalog import load
from meritorder.domain import PricingModel


def test_aws_price_lists_are_read(write: Write) -> None:
    catalog = load([write("index.json", json.dumps(AWS_PRICE_LIST))])
    offers = {
        (offer.pricing_model, offer.term, offer.payment): offer
        for offer in catalog.select_offers("h100", "aws", "us-east-1", gpus=8)
        if "index.json" in offer.source
    }
    assert offers[PricingModel.ON_DEMAND, "", ""].usd_per_hour == 50
    assert offers[PricingModel.RESERVED, "1y", "all_upfront"].usd_per_hour == pytest.approx(262_800 / 8760)
    assert offers[PricingModel.RESERVED, "3y", "partial_upfront"].usd_per_hour == pytest.approx(10 + 262_800 / 26_280)
    assert len(offers) == 3
    assert {offer.as_of for offer in offers.values()} == {"2026-11-01"}
    (block,) = (rejection for rejection in catalog.rejected if "index.json" in rejection.source)
    assert "capacity block" in block.reason
