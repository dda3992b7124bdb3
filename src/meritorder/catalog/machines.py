"""A machine by the name that people write for it: `runpod 2x H100 SXM`, `aws p5.48xlarge us-east-1`."""

import difflib
from collections.abc import Iterable
from typing import Final

from meritorder.catalog.lookup import Catalog
from meritorder.domain import Offer, PricingModel
from meritorder.errors import CatalogError

_MAX_LISTED: Final = 6


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
        known = sorted({f"{offer.provider} {offer.instance}" for offer in offers})
        close = difflib.get_close_matches(text, known, n=_MAX_LISTED, cutoff=0.4) or known[:_MAX_LISTED]
        fix = f"similar: {', '.join(close)}; `meritorder prices` lists all; or write usd_per_hour"
        raise CatalogError(f"no price of the machine {text!r}, {priced}", fix=fix)
    if len({offer.usd_per_hour for offer in fitting}) > 1:
        names = list(dict.fromkeys(_longest(offer) for offer in fitting))
        listed = ", ".join(names[:_MAX_LISTED]) + (", ..." if len(names) > _MAX_LISTED else "")
        raise CatalogError(f"{text!r}, {priced}, has several prices", fix=f"write one of: {listed}; or usd_per_hour")
    return fitting[0]


def _plain(text: str) -> str:
    return " ".join(text.lower().split())


def _names(offer: Offer) -> Iterable[str]:
    short = f"{offer.provider} {offer.instance}"
    return {_plain(f"{short} {rest}") for rest in ("", offer.region, offer.term, f"{offer.region} {offer.term}")}


def _longest(offer: Offer) -> str:
    return " ".join(f"{offer.provider} {offer.instance} {offer.region} {offer.term}".split())
