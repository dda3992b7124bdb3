"""Alternative prices of a machine: the bill's own where it has them, else the catalog's."""

import datetime as dt
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Final

from meritorder.catalog import Catalog
from meritorder.domain import PricingModel
from meritorder.offers import Offer
from meritorder.records.evidence import PriceUsed
from meritorder.records.findings import Confidence
from meritorder.study.audit.pools import BilledMachine, PaidRates

_TERM: Final = "1y"
_CONFIDENCE: Final[dict[str, Confidence]] = {"high": "high", "medium": "medium", "low": "low"}
_SAGEMAKER_PREFIX: Final = "ml."


@dataclass(frozen=True, slots=True, kw_only=True)
class MachinePrice:
    """A price and where it comes from.

    Args:
        usd_per_hour: Price of one machine.
        source: The source in texts: "as this bill paid it", or that of the catalog.
        confidence: How certain the price is.
        own: Whether the bill itself paid it.
        offer: The offer of the catalog, None if the price is the bill's own.
        by_the_dollar: Whether the commitment is to dollars an hour, rather than to whole machines.
    """

    usd_per_hour: float
    source: str
    confidence: Confidence
    own: bool
    offer: Offer | None = None
    by_the_dollar: bool = False


@dataclass(slots=True, kw_only=True)
class Market:
    """Prices for the findings, and a record of the catalog's offers that were used.

    Args:
        catalog: Facts.
        rates: The bill's own prices.
        until: End of the bill; later list prices are ignored.
        used: Offers used so far, with what each was used for.
    """

    catalog: Catalog
    rates: PaidRates
    until: dt.datetime
    used: dict[Offer, str] = field(default_factory=dict)

    def on_demand(self, machine: BilledMachine) -> MachinePrice | None:
        """Return the list price of a machine in its region."""
        return self._listed(machine, (PricingModel.ON_DEMAND,))

    def spot(self, machine: BilledMachine) -> MachinePrice | None:
        """Return the spot price of a machine in its region: what the bill paid, or else the catalog's."""
        own = self.rates.spot.get(machine)
        return _own(own) if own else self._listed(machine, (PricingModel.SPOT,))

    def interruptions_per_month(self, machine: BilledMachine) -> float | None:
        """Return the share of spot machines interrupted within a month; None if the catalog does not have it."""
        rates = [offer.interruptions_per_month for offer in self._offers(machine, (PricingModel.SPOT,))]
        return max((rate for rate in rates if rate is not None), default=None)

    def committed(self, machine: BilledMachine) -> list[MachinePrice]:
        """Return prices of a machine under a one-year commitment: what the bill paid, or else the catalog's."""
        own = [_own(paid) for paid in (self.rates.reserved.get(machine),) if paid]
        own += [_own(paid, by_the_dollar=True) for paid in (self.rates.savings_plan.get(machine),) if paid]
        listed = [
            self._listed(machine, (PricingModel.RESERVED, PricingModel.COMMITTED_USE)),
            self._listed(machine, (PricingModel.SAVINGS_PLAN,)),
        ]
        return own or [price for price in listed if price]

    def in_other_regions(self, machine: BilledMachine) -> tuple[Offer, ...]:
        """Return on-demand offers of the same machine in other regions of the same geography, cheapest first."""
        place = geography(machine.region)
        offers = [
            offer
            for offer in self._offers(machine, (PricingModel.ON_DEMAND,))
            if place and geography(offer.region) == place and offer.region.lower() != machine.region.lower()
        ]
        return tuple(sorted(offers, key=lambda offer: offer.usd_per_hour))

    def hardware_of(self, machine: BilledMachine) -> tuple[str, int] | None:
        """Return the GPU of a machine and how many it has; None if it is not in the catalog."""
        name = machine.instance.removeprefix(_SAGEMAKER_PREFIX).lower()
        for offer in self.catalog.machines:
            if offer.provider == machine.provider and _same(offer.instance, name):
                return offer.hardware, offer.gpus
        return None

    def record(self, offer: Offer, used_for: str) -> None:
        """Record that a finding uses an offer of the catalog."""
        self.used.setdefault(offer, used_for)

    def prices(self) -> list[PriceUsed]:
        """Return the prices of the catalog that findings use."""
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
                used_for=used_for,
            )
            for offer, used_for in self.used.items()
        ]

    def _listed(self, machine: BilledMachine, models: Collection[PricingModel]) -> MachinePrice | None:
        offers = [
            offer
            for offer in self._offers(machine, models)
            if offer.region.lower() == machine.region.lower() and offer.term in {"", _TERM}
        ]
        best = min(offers, key=lambda offer: offer.usd_per_hour, default=None)
        if best is None:
            return None
        source = f"{title(best.source)}, {best.as_of}"
        return MachinePrice(
            usd_per_hour=best.usd_per_hour,
            source=source,
            confidence=_CONFIDENCE.get(best.confidence, "low"),
            own=False,
            offer=best,
            by_the_dollar=best.pricing_model is PricingModel.SAVINGS_PLAN,
        )

    def _offers(self, machine: BilledMachine, models: Collection[PricingModel]) -> list[Offer]:
        return [
            offer
            for offer in self.catalog.machines
            if offer.provider == machine.provider
            and offer.pricing_model in models
            and _same(offer.instance, machine.instance)
            and offer.as_of <= f"{self.until:%Y-%m-%d}"
        ]


def _own(usd_per_hour: float, *, by_the_dollar: bool = False) -> MachinePrice:
    source = "as this bill paid it"
    return MachinePrice(
        usd_per_hour=usd_per_hour, source=source, confidence="high", own=True, by_the_dollar=by_the_dollar
    )


def title(source: str) -> str:
    """Return the name of a source, without its address."""
    return source.partition(" <")[0]


def _address(source: str) -> str:
    """Return the address of a source, or its name if it has none."""
    _, _, address = source.partition(" <http")
    return f"http{address.removesuffix('>')}" if address else source


def _same(instance: str, other: str) -> bool:
    """Return whether two names mean the same machine; Azure writes them with and without "Standard_"."""
    return instance.lower().removeprefix("standard_") == other.lower().removeprefix("standard_")


def geography(region: str) -> str:
    """Return the geography of a region: `us` for `us-east-1`, "" if its name does not show it."""
    head, dash, _ = region.lower().partition("-")
    return head if dash else ""


def lowest(*confidences: Confidence) -> Confidence:
    """Return the lowest of several confidences."""
    order: tuple[Confidence, ...] = ("low", "medium", "high")
    return min(confidences, key=order.index)
