import pytest

from meritorder import catalog
from meritorder.catalog.machines import find_machine
from meritorder.domain import PricingModel
from meritorder.errors import CatalogError
from meritorder.offers import Offer


def _offer(instance: str, usd: float, region: str = "", term: str = "", **fields: object) -> Offer:
    named: dict[str, object] = {"provider": "acme", "hardware": "h100", "gpus": 2, "as_of": "2026-11-01", "source": "s"}
    pricing_model = PricingModel.RESERVED if term else PricingModel.ON_DEMAND
    named |= {"pricing_model": pricing_model, "usd_per_hour": usd, "region": region, "term": term}
    return Offer(**(named | {"instance": instance} | fields))  # type: ignore[arg-type]


def _catalog(*offers: Offer) -> catalog.Catalog:
    return catalog.Catalog(hardware={}, models={}, offers=offers, rejected=())


KNOWN = _catalog(
    _offer("2x H100 SXM Secure", 6.0),
    _offer("2x H100 SXM Community", 5.0),
    _offer("big.2", 7.0, "east"),
    _offer("big.2", 8.0, "west"),
    _offer("big.2", 4.0, "east", "1y"),
    _offer("big.2", 3.0, "east", "3y"),
    _offer("big.2 metal", 9.0),
    _offer("L40S Secure", 1.0),
)


@pytest.mark.parametrize(
    ("text", "pricing_model", "usd"),
    [
        ("acme 2x H100 SXM", PricingModel.ON_DEMAND, 6.0),
        ("ACME  2x h100 sxm community", PricingModel.ON_DEMAND, 5.0),
        ("acme big.2 west", PricingModel.ON_DEMAND, 8.0),
        ("acme 1x L40S", PricingModel.ON_DEMAND, 1.0),
        ("acme big.2 metal", PricingModel.ON_DEMAND, 9.0),
        ("acme big.2 3y", PricingModel.RESERVED, 3.0),
        ("acme big.2 east 1y", PricingModel.RESERVED, 4.0),
    ],
)
def test_machine_found_by_name(text: str, pricing_model: PricingModel, usd: float) -> None:
    assert find_machine(KNOWN, text, pricing_model).usd_per_hour == usd


@pytest.mark.parametrize(
    ("text", "pricing_model", "hint"),
    [
        ("acme big.2", PricingModel.ON_DEMAND, "acme big.2 east, acme big.2 west"),
        ("acme big.2", PricingModel.RESERVED, "acme big.2 east 1y"),
        ("acme 2x H100 SX", PricingModel.ON_DEMAND, "similar: acme 2x H100 SXM"),
        ("ACME 2X H100 PCIE", PricingModel.ON_DEMAND, "similar: acme 2x H100 SXM"),
        ("acme big.2 west", PricingModel.SPOT, "meritorder prices"),
        ("", PricingModel.ON_DEMAND, "usd_per_hour"),
    ],
)
def test_unclear_names_are_refused(text: str, pricing_model: PricingModel, hint: str) -> None:
    with pytest.raises(CatalogError) as caught:
        find_machine(KNOWN, text, pricing_model)
    assert hint in str(caught.value)


def test_shipped_machine_has_a_price() -> None:
    offer = find_machine(catalog.load(()), "runpod 2x H100 SXM", PricingModel.ON_DEMAND)
    assert (offer.hardware, offer.gpus, offer.third_party) == ("h100", 2, False)
