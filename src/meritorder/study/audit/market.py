"""What a machine costs otherwise: by the bill's own prices first, by the catalog's else."""

import datetime as dt
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Final

from meritorder.catalog import Catalog
from meritorder.domain import Offer, PricingModel
from meritorder.evidence import PriceUsed
from meritorder.findings import Confidence
from meritorder.study.audit.pools import Machine, Rates

_TERM: Final = "1y"
_TRUST: Final[dict[str, Confidence]] = {"high": "high", "medium": "medium", "low": "low"}
_MANAGED: Final = "ml."


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """A price and where it comes from.

    Args:
        usd_per_hour: For one machine.
        source: For texts: "as this bill paid it", or the source in the catalog.
        confidence: How sure the price is.
        own: Whether the bill itself paid it.
        offer: The offer of the catalog, None if the price is the bill's own.
        by_the_dollar: Whether dollars an hour are committed, of any size, rather than whole machines.
    """

    usd_per_hour: float
    source: str
    confidence: Confidence
    own: bool
    offer: Offer | None = None
    by_the_dollar: bool = False


@dataclass(slots=True, kw_only=True)
class Market:
    """Prices for the findings; remembers which of the catalog's were used.

    Args:
        catalog: Facts.
        rates: The bill's own prices.
        until: End of the bill: a list price that came later is no reason to have paid less.
        used: Offers used so far, with what for.
    """

    catalog: Catalog
    rates: Rates
    until: dt.datetime
    used: dict[Offer, str] = field(default_factory=dict)

    def on_demand(self, machine: Machine) -> Price | None:
        """Return the list price of a machine at its place."""
        return self._listed(machine, (PricingModel.ON_DEMAND,))

    def spot(self, machine: Machine) -> Price | None:
        """Return the spot price of a machine at its place: what the bill paid, or else the catalog's."""
        own = self.rates.spot.get(machine)
        return _own(own) if own else self._listed(machine, (PricingModel.SPOT,))

    def interruptions_per_month(self, machine: Machine) -> float | None:
        """Return the share of spot machines that is taken back in a month; None if the catalog does not know it."""
        rates = [offer.interruptions_per_month for offer in self._offers(machine, (PricingModel.SPOT,))]
        return max((rate for rate in rates if rate is not None), default=None)

    def committed(self, machine: Machine) -> list[Price]:
        """Return prices of a machine under a year's commitment: what the bill paid, or else the catalog's."""
        own = [_own(paid) for paid in (self.rates.reserved.get(machine),) if paid]
        own += [_own(paid, by_the_dollar=True) for paid in (self.rates.savings_plan.get(machine),) if paid]
        listed = [
            self._listed(machine, (PricingModel.RESERVED, PricingModel.COMMITTED_USE)),
            self._listed(machine, (PricingModel.SAVINGS_PLAN,)),
        ]
        return own or [price for price in listed if price]

    def elsewhere(self, machine: Machine) -> tuple[Offer, ...]:
        """Return on-demand offers of the same machine in other regions of the same geography, cheapest first."""
        place = geography(machine.region)
        offers = [
            offer
            for offer in self._offers(machine, (PricingModel.ON_DEMAND,))
            if place and geography(offer.region) == place and offer.region.lower() != machine.region.lower()
        ]
        return tuple(sorted(offers, key=lambda offer: offer.usd_per_hour))

    def hardware_of(self, machine: Machine) -> tuple[str, int] | None:
        """Return the GPU of a machine and how many it has; None if the catalog does not know it."""
        name = machine.instance.removeprefix(_MANAGED).lower()
        for offer in self.catalog.offers:
            if offer.provider == machine.provider and _same(offer.instance, name):
                return offer.hardware, offer.gpus
        return None

    def take(self, offer: Offer, why: str) -> None:
        """Remember that a finding rests on an offer."""
        self.used.setdefault(offer, why)

    def prices(self) -> list[PriceUsed]:
        """Return the prices of the catalog that findings rest on."""
        return [
            PriceUsed(
                what=f"{offer.instance} in {offer.region}" if offer.region else offer.instance,
                provider=offer.provider,
                pricing_model=offer.pricing_model.value,
                usd=offer.usd_per_hour,
                unit="machine-hour",
                as_of=offer.as_of,
                source=_address(offer.source),
                confidence=offer.confidence,
                used_for=why,
            )
            for offer, why in self.used.items()
        ]

    def _listed(self, machine: Machine, models: Collection[PricingModel]) -> Price | None:
        found = [
            offer
            for offer in self._offers(machine, models)
            if offer.region.lower() == machine.region.lower() and offer.term in {"", _TERM}
        ]
        best = min(found, key=lambda offer: offer.usd_per_hour, default=None)
        if best is None:
            return None
        source = f"{title(best.source)}, {best.as_of}"
        return Price(
            usd_per_hour=best.usd_per_hour,
            source=source,
            confidence=_TRUST.get(best.confidence, "low"),
            own=False,
            offer=best,
            by_the_dollar=best.pricing_model is PricingModel.SAVINGS_PLAN,
        )

    def _offers(self, machine: Machine, models: Collection[PricingModel]) -> list[Offer]:
        return [
            offer
            for offer in self.catalog.offers
            if offer.provider == machine.provider
            and offer.pricing_model in models
            and _same(offer.instance, machine.instance)
            and offer.as_of <= f"{self.until:%Y-%m-%d}"
        ]


def _own(usd_per_hour: float, *, by_the_dollar: bool = False) -> Price:
    source = "as this bill paid it"
    return Price(usd_per_hour=usd_per_hour, source=source, confidence="high", own=True, by_the_dollar=by_the_dollar)


def title(source: str) -> str:
    """Return the words of a source, without its address."""
    return source.partition(" <")[0]


def _address(source: str) -> str:
    """Return the address of a source, or its words if it has none."""
    _, _, address = source.partition(" <http")
    return f"http{address.removesuffix('>')}" if address else source


def _same(one: str, other: str) -> bool:
    """Compare names of machines; Azure writes them with and without "Standard_"."""
    return one.lower().removeprefix("standard_") == other.lower().removeprefix("standard_")


def geography(region: str) -> str:
    """Return the part of the world of a region: `us` of `us-east-1`, "" where its name does not tell."""
    head, dash, _ = region.lower().partition("-")
    return head if dash else ""


def least(*confidences: Confidence) -> Confidence:
    """Return the lowest of several confidences."""
    order: tuple[Confidence, ...] = ("low", "medium", "high")
    return min(confidences, key=order.index)
