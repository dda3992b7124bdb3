"""Machines that are only a multiple of a smaller one: the same name with another count, at the same price per GPU."""

import math
from collections import defaultdict
from collections.abc import Hashable, Iterable
from dataclasses import replace
from typing import Final

from meritorder.domain import Offer, without_count

# Price lists round the price of a machine to a tenth of a cent.
_SAME_PRICE: Final = 1e-3


def fold_multiples(offers: Iterable[Offer]) -> tuple[Offer, ...]:
    """Return offers with each multiple of a smaller machine as a size of that machine, not an offer."""
    groups: dict[Hashable, list[Offer]] = defaultdict(list)
    for offer in offers:
        groups[_product(offer)].append(offer)
    return tuple(offer for group in groups.values() for offer in _fold(group))


def _product(offer: Offer) -> Hashable:
    return (
        offer.provider,
        offer.region,
        offer.hardware,
        without_count(offer.instance),
        offer.pricing_model,
        offer.term,
        offer.payment,
        offer.minimum_billing_s,
        offer.interruptions_per_month,
    )


def _fold(group: list[Offer]) -> list[Offer]:
    if len(group) == 1:
        return group
    smallest = min(group, key=lambda offer: offer.gpus)
    multiples = [
        offer
        for offer in group
        if offer.gpus % smallest.gpus == 0
        and math.isclose(offer.usd_per_gpu_hour, smallest.usd_per_gpu_hour, rel_tol=_SAME_PRICE)
    ]
    if len(multiples) == 1:
        return group
    sizes = {gpus for offer in multiples for gpus in offer.sizes or (offer.gpus,)}
    others = [offer for offer in group if offer not in multiples]
    return [replace(smallest, sizes=tuple(sorted(sizes))), *others]
