"""Filters of `meritorder prices`."""

import pytest

from meritorder.domain import PricingModel, Tier
from meritorder.errors import CatalogError
from meritorder.study.prices.listing import list_prices


def test_filters_narrow_the_offers() -> None:
    listing = list_prices(hardware=("H100",), providers=("aws",), pricing_model=PricingModel.SPOT)
    assert listing.offers
    assert {offer.hardware for offer in listing.offers} == {"h100"}
    assert {(offer.provider, offer.pricing_model) for offer in listing.offers} == {("aws", PricingModel.SPOT)}
    assert listing.tokens == ()


def test_model_adds_its_token_prices() -> None:
    plain, listing = list_prices(), list_prices(model="gpt-oss-120b")
    assert {price.model for price in listing.tokens} == {"gpt-oss-120b"}
    assert set(plain.rejected) < set(listing.rejected)


def test_token_only_model_lists_only_tokens() -> None:
    listing = list_prices(model="gpt-4.1-mini")
    assert listing.offers == ()
    assert {price.tier for price in listing.tokens} >= {Tier.STANDARD, Tier.BATCH}
    assert list_prices(model="gpt-4.1-mini", hardware=("h100",)).offers


def test_unknown_names_are_errors() -> None:
    with pytest.raises(CatalogError, match="unknown hardware 'abacus'"):
        list_prices(hardware=("abacus",))
    with pytest.raises(CatalogError, match="unknown model 'nobody-7b'"):
        list_prices(model="nobody-7b")
