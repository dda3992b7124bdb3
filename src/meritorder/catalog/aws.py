"""AWS price-list files of AmazonEC2 (`offers/v1.0/aws/AmazonEC2/.../index.json`).

`products` maps a SKU to its attributes, `terms` maps OnDemand and Reserved to SKU to term to
priceDimensions; a dimension in "Hrs" is the price of an hour, one in "Quantity" the upfront fee. Only Linux
on shared tenancy without preinstalled software and with capacity status Used counts, and only the standard class of
reservations. Capacity blocks are listed at $0, because their price is set at purchase: they are rejected.

Source: https://docs.aws.amazon.com/awsaccountbilling/latest/aboutv2/reading-service-price-list-file-for-services.html,
read 2026-11-23.
"""

from collections.abc import Iterable, Iterator
from typing import Final

import msgspec

from meritorder.catalog.sanity import Rejection
from meritorder.domain import PricingModel
from meritorder.errors import CatalogError
from meritorder.offers import Offer
from meritorder.units import DAYS_PER_YEAR, HOURS_PER_DAY

# Source: https://aws.amazon.com/ec2/instance-types/#Accelerated_Computing, read 2026-11-23.
HARDWARE_BY_FAMILY: Final = {
    "g5": "a10g",
    "g6": "l4",
    "gr6": "l4",
    "g6e": "l40s",
    "g7e": "rtx-pro-6000",
    "p4d": "a100-40gb",
    "p4de": "a100",
    "p5": "h100",
    "p5e": "h200",
    "p5en": "h200",
    "p6-b200": "b200",
    "p6-b300": "b300",
    "p6e-gb200": "gb200",
}
_WANTED: Final = {
    "operatingSystem": "Linux",
    "tenancy": "Shared",
    "preInstalledSw": "NA",
    "capacitystatus": "Used",
}
_PAYMENTS: Final = {
    "No Upfront": "no_upfront",
    "Partial Upfront": "partial_upfront",
    "All Upfront": "all_upfront",
}
_YEARS: Final = {"1yr": 1, "3yr": 3}


class _Product(msgspec.Struct):
    attributes: dict[str, str]


class _Dimension(msgspec.Struct, rename="camel"):
    unit: str
    price_per_unit: dict[str, str]


class _Term(msgspec.Struct, rename="camel"):
    price_dimensions: dict[str, _Dimension]
    term_attributes: dict[str, str] = {}


class _Terms(msgspec.Struct, rename="pascal"):
    # Of a hundred thousand machines, those with a GPU are decoded.
    on_demand: dict[str, msgspec.Raw] = {}
    reserved: dict[str, msgspec.Raw] = {}


class _PriceList(msgspec.Struct, rename="camel"):
    offer_code: str
    publication_date: str
    products: dict[str, _Product]
    terms: _Terms


def read(content: bytes, name: str) -> tuple[list[Offer], list[Rejection]]:
    """Read on-demand and reserved offers of machines with a GPU of the catalog.

    Args:
        content: The whole file.
        name: Its name, for messages and the source.

    Raises:
        CatalogError: The file is not a price list of AmazonEC2, or has no machine with a GPU of the catalog.
    """
    try:
        prices = msgspec.json.decode(content, type=_PriceList)
    except (msgspec.DecodeError, msgspec.ValidationError) as error:
        raise CatalogError(f"not an AWS price list: {error}", where=name) from error
    if prices.offer_code != "AmazonEC2":
        raise CatalogError(f"a price list of {prices.offer_code}, not of AmazonEC2", where=name)
    offers: list[Offer] = []
    rejected: list[Rejection] = []
    source = f"AWS price list {name}, published {prices.publication_date}"
    for sku, product in prices.products.items():
        about = product.attributes
        hardware = HARDWARE_BY_FAMILY.get(about.get("instanceType", "").partition(".")[0])
        if hardware is None or any(about.get(key) != value for key, value in _WANTED.items()):
            continue
        for pricing_model, payment, term, usd_per_hour in _rates(prices.terms, sku):
            what = f"aws {about['instanceType']} {about.get('regionCode', about.get('location', ''))}"
            if usd_per_hour == 0 or about.get("marketoption", "OnDemand") != "OnDemand":
                reason = "listed at $0: a capacity block is priced at purchase"
                rejected.append(Rejection(what=what, usd_per_hour=usd_per_hour, reason=reason, source=source))
                continue
            offers.append(
                Offer(
                    provider="aws",
                    region=about.get("regionCode", about.get("location", "")),
                    instance=about["instanceType"],
                    hardware=hardware,
                    gpus=int(about.get("gpu", "0")),
                    pricing_model=pricing_model,
                    usd_per_hour=usd_per_hour,
                    term=term,
                    payment=payment,
                    as_of=prices.publication_date[:10],
                    source=source,
                    confidence="high",
                )
            )
    if not offers and not rejected:
        raise CatalogError("has no machine with a GPU of the catalog", where=name)
    return offers, rejected


def _rates(terms: _Terms, sku: str) -> Iterator[tuple[PricingModel, str, str, float]]:
    """Yield pricing model, payment, term and dollars an hour, the upfront fee spread over the term."""
    for term in _decode(terms.on_demand.get(sku)):
        yield PricingModel.ON_DEMAND, "", "", _sum(term, "Hrs")
    for term in _decode(terms.reserved.get(sku)):
        about = term.term_attributes
        years = _YEARS.get(about.get("LeaseContractLength", ""))
        payment = _PAYMENTS.get(about.get("PurchaseOption", ""))
        if years is None or payment is None or about.get("OfferingClass", "standard") != "standard":
            continue
        hours = years * DAYS_PER_YEAR * HOURS_PER_DAY
        yield PricingModel.RESERVED, payment, f"{years}y", _sum(term, "Hrs") + _sum(term, "Quantity") / hours


def _decode(terms: msgspec.Raw | None) -> Iterable[_Term]:
    return () if terms is None else msgspec.json.decode(terms, type=dict[str, _Term]).values()


def _sum(term: _Term, unit: str) -> float:
    return sum(
        float(dimension.price_per_unit.get("USD", "0"))
        for dimension in term.price_dimensions.values()
        if dimension.unit == unit
    )
