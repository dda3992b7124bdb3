"""What capacity and tokens cost, filtered."""

from dataclasses import dataclass
from pathlib import Path

from meritorder import catalog as facts
from meritorder.catalog.tokens import rejected_prices, token_prices
from meritorder.domain import Offer, PricingModel, TokenPrice


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """Prices that pass the filters, cheapest first, and those that were not believed."""

    offers: tuple[Offer, ...]
    tokens: tuple[TokenPrice, ...]
    refused: tuple[facts.Refusal, ...]


def listing(
    *,
    model: str = "",
    hardware: tuple[str, ...] = (),
    providers: tuple[str, ...] = (),
    regions: tuple[str, ...] = (),
    pricing_model: PricingModel | None = None,
    catalogs: tuple[Path, ...] = (),
) -> Listing:
    """List prices.

    Args:
        model: Lists what it costs as tokens, too; "" lists none.
        hardware: Names of hardware; empty takes all.
        providers: Providers; empty takes all.
        regions: Regions; empty takes all.
        pricing_model: How capacity is paid for; None takes all.
        catalogs: Files that add prices or override them.

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
        return Listing(offers=offers, tokens=(), refused=catalog.refused)
    found = catalog.find_model(model)
    return Listing(offers=offers, tokens=token_prices(found), refused=(*catalog.refused, *rejected_prices(found)))
