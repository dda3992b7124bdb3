"""The plausibility check of prices: a wrong price is worse than none.

Offers in the user's own form are never rejected: users know their prices. Other offers for the same machine may be.
"""

import statistics
from collections import defaultdict
from collections.abc import Callable, Collection, Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from meritorder.domain import PricingModel
from meritorder.offers import Offer

# The most expensive region of AWS, Google and Azure asks 1.7 times the price of the cheapest for a GPU machine (price
# lists of 2025-11 and 2026-09); a price that differs from the median of regions by a factor of two is another product,
# such as a commitment.
REGION_FACTOR: Final = 2.0
# Spot prices differ more between regions.
REGION_FACTOR_SPOT: Final = 2.5
MIN_REGIONS: Final = 3
# The most expensive provider asks five times the price of the cheapest for an H100 on demand; both are within a factor
# of five of the median.
HARDWARE_FACTOR: Final = 5.0
MIN_OFFERS: Final = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Rejection:
    """A rejected row of a price list.

    Args:
        what: The row: provider, machine, region, pricing model.
        usd_per_hour: Its price, None if it has none.
        reason: Why it was rejected.
        source: The price list.
    """

    what: str
    usd_per_hour: float | None
    reason: str
    source: str


def screen(offers: Sequence[Offer], *, own: Collection[Offer] = ()) -> tuple[tuple[Offer, ...], tuple[Rejection, ...]]:
    """Split offers into plausible ones and rejected ones.

    Rejected are: a price per GPU more than a factor of `HARDWARE_FACTOR` from the median of the same GPU and pricing
    model; a price more than a factor of `REGION_FACTOR` from the median of the same machine over regions; a spot price
    above the on-demand price of the same machine and region (and that on-demand price, since either may be wrong); a
    spot price equal to the on-demand price; and a spot price next to a rejected on-demand price.

    Args:
        offers: All offers, including the user's own.
        own: The user's own offers, which are never rejected.
    """
    own = frozenset(own)
    reasons: dict[Offer, str] = {}
    _check_against_hardware(offers, reasons)
    _check_against_regions(offers, reasons)
    _check_spot(offers, reasons, own)
    plausible = tuple(offer for offer in offers if offer in own or offer not in reasons)
    rejected = tuple(
        Rejection(what=offer.label, usd_per_hour=offer.usd_per_hour, reason=reasons[offer], source=offer.source)
        for offer in offers
        if offer in reasons and offer not in own
    )
    return plausible, rejected


def _check_against_hardware(offers: Iterable[Offer], reasons: dict[Offer, str]) -> None:
    for group in _group(offers, lambda offer: (offer.hardware, offer.pricing_model)):
        if len(group) < MIN_OFFERS:
            continue
        median = statistics.median(offer.usd_per_gpu_hour for offer in group)
        for offer in group:
            ratio = offer.usd_per_gpu_hour / median
            if not 1 / HARDWARE_FACTOR <= ratio <= HARDWARE_FACTOR:
                reasons[offer] = (
                    f"${offer.usd_per_gpu_hour:.3g} a GPU-hour is {ratio:.2g} times the median of all "
                    f"{offer.hardware} {offer.pricing_model.replace('_', ' ')}, ${median:.3g}"
                )


def _check_against_regions(offers: Iterable[Offer], reasons: dict[Offer, str]) -> None:
    def product(offer: Offer) -> Hashable:
        return (offer.provider, offer.instance, offer.gpus, offer.pricing_model, offer.term, offer.payment)

    for group in _group(offers, product):
        if len({offer.region for offer in group}) < MIN_REGIONS:
            continue
        median = statistics.median(offer.usd_per_hour for offer in group)
        for offer in group:
            factor = REGION_FACTOR_SPOT if offer.pricing_model is PricingModel.SPOT else REGION_FACTOR
            ratio = offer.usd_per_hour / median
            if not 1 / factor <= ratio <= factor:
                reasons.setdefault(
                    offer, f"{ratio:.2g} times the median of the same machine over regions, ${median:.4g}"
                )


def _check_spot(offers: Iterable[Offer], reasons: dict[Offer, str], own: frozenset[Offer]) -> None:
    for group in _group(offers, lambda offer: (offer.provider, offer.region, offer.instance, offer.gpus)):
        on_demand = next((offer for offer in group if offer.pricing_model is PricingModel.ON_DEMAND), None)
        spot = next((offer for offer in group if offer.pricing_model is PricingModel.SPOT), None)
        if on_demand is None or spot is None:
            continue
        if spot.usd_per_hour == on_demand.usd_per_hour:
            reasons.setdefault(spot, "spot saves nothing over on demand")
        elif spot.usd_per_hour > on_demand.usd_per_hour:
            reason = f"on demand (${on_demand.usd_per_hour:.4g} an hour) below spot (${spot.usd_per_hour:.4g})"
            reasons.setdefault(spot, reason)
            if spot not in own:
                reasons.setdefault(on_demand, reason)
        elif on_demand in reasons and on_demand not in own:
            reasons.setdefault(spot, f"its on-demand price was rejected: {reasons[on_demand]}")


def _group(offers: Iterable[Offer], key: Callable[[Offer], Hashable]) -> Iterable[list[Offer]]:
    groups: dict[Hashable, list[Offer]] = defaultdict(list)
    for offer in offers:
        groups[key(offer)].append(offer)
    return groups.values()
