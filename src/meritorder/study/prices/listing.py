"""Prices of capacity and tokens, filtered."""

import datetime as dt
from dataclasses import dataclass

from meritorder import catalog as facts
from meritorder.catalog.tokens import find_model_or_prices, rejected_prices
from meritorder.domain import PricingModel
from meritorder.offers import Offer, TokenPrice
from meritorder.study.prices import age


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceListing:
    """Prices that match the filters, cheapest first, and rejected rows; `today` is the day that ages count from."""

    offers: tuple[Offer, ...]
    tokens: tuple[TokenPrice, ...]
    rejected: tuple[facts.Rejection, ...]
    today: dt.date


def list_prices(
    *,
    model: str = "",
    hardware: tuple[str, ...] = (),
    providers: tuple[str, ...] = (),
    regions: tuple[str, ...] = (),
    pricing_model: PricingModel | None = None,
    catalogs: tuple[facts.Source, ...] = (),
) -> PriceListing:
    """Return the prices that pass the filters.

    Args:
        model: Name of a model whose token prices to list, in the catalog or only sold as tokens; "" lists none.
        hardware: Only this hardware; empty takes all.
        providers: Only these providers; empty takes all.
        regions: Only these regions; empty takes all.
        pricing_model: Only this pricing model; None takes all.
        catalogs: Files that add or override prices, and rates of currencies.

    Raises:
        CatalogError: A name is unknown.
    """
    catalog = facts.load(catalogs)
    offers = catalog.select_offers(
        hardware=tuple(catalog.find_hardware(name).id for name in hardware) or None,
        provider=providers or None,
        region=regions or None,
        pricing_model=pricing_model,
    )
    if not model:
        return PriceListing(offers=offers, tokens=(), rejected=catalog.rejected, today=age.today())
    known_model, tokens = find_model_or_prices(catalog, model)
    if known_model is None and not (hardware or providers or regions or pricing_model):
        offers = ()
    refused = rejected_prices(known_model) if known_model else ()
    return PriceListing(offers=offers, tokens=tokens, rejected=(*catalog.rejected, *refused), today=age.today())
