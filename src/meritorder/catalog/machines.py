"""Machines by name, as people write it (`runpod 2x H100 SXM`), and as sizes of one offer.

A machine that is only a multiple of a smaller one, with the same name but for the count and the same price per GPU, is
a size of it.
"""

import difflib
import math
from collections import defaultdict
from collections.abc import Hashable, Iterable
from dataclasses import replace
from typing import Final

from meritorder.catalog.lookup import Catalog
from meritorder.domain import PricingModel
from meritorder.errors import CatalogError
from meritorder.offers import Offer, without_count

_MAX_LISTED: Final = 6
# Price lists round the price of a machine to a tenth of a cent.
_SAME_PRICE: Final = 1e-3


def find_machine(catalog: Catalog, text: str, pricing_model: PricingModel) -> Offer:
    """Return the offer of a machine: provider and machine, and region or term where prices differ by them.

    The last words of a machine's name may be left out; machines that a marketplace rents out for third parties count
    only if no other has the name.

    Raises:
        CatalogError: None has this name, or several with different prices.
    """
    wanted = _plain(text)
    offers = [offer for offer in catalog.machines if offer.pricing_model is pricing_model]
    exact = [offer for offer in offers if wanted in _names(offer)]
    fitting = exact or [offer for offer in offers if any(name.startswith(f"{wanted} ") for name in _names(offer))]
    fitting = [offer for offer in fitting if not offer.third_party] or fitting
    priced = pricing_model.replace("_", " ")
    if not fitting:
        known = {_plain(name): name for name in sorted({f"{offer.provider} {offer.instance}" for offer in offers})}
        close = difflib.get_close_matches(wanted, known, n=_MAX_LISTED, cutoff=0.4) or list(known)[:_MAX_LISTED]
        similar = ", ".join(known[name] for name in close)
        fix = f"similar: {similar}; `meritorder prices` lists all; or write usd_per_hour"
        raise CatalogError(f"no price of the machine {text!r}, {priced}", fix=fix)
    if len({offer.usd_per_hour for offer in fitting}) > 1:
        names = list(dict.fromkeys(_longest(offer) for offer in fitting))
        listed = ", ".join(names[:_MAX_LISTED]) + (", ..." if len(names) > _MAX_LISTED else "")
        raise CatalogError(f"{text!r}, {priced}, has several prices", fix=f"write one of: {listed}; or usd_per_hour")
    return fitting[0]


def _plain(text: str) -> str:
    """Return a name in lower case; `1x`, which lists write for some machines of one GPU, is left out."""
    return " ".join(word for word in text.lower().split() if word != "1x")


def _names(offer: Offer) -> Iterable[str]:
    short = f"{offer.provider} {offer.instance}"
    return {_plain(f"{short} {rest}") for rest in ("", offer.region, offer.term, f"{offer.region} {offer.term}")}


def _longest(offer: Offer) -> str:
    return " ".join(f"{offer.provider} {offer.instance} {offer.region} {offer.term}".split())


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
