"""Read the catalog of the package, and the files that the user adds to it.

The form of a file is detected from its content: our own TOML or CSV (`rows.py`), a SkyPilot catalog, or an AWS price
list.
"""

import csv
import datetime as dt
import functools
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Final

from meritorder.catalog import aws, litellm, rows, skypilot, updates
from meritorder.catalog.lookup import Catalog, hardware_by_name
from meritorder.catalog.machines import fold_multiples
from meritorder.catalog.sanity import Rejection, screen
from meritorder.documents import read_file
from meritorder.domain import Hardware, Model
from meritorder.errors import CatalogError
from meritorder.offers import Offer, TokenPrice
from meritorder.units import ExchangeRate

Source = Path | ExchangeRate
"""What a user adds to the catalog: a file, or the rate of a currency in the files after it."""

_DATA: Final = files("meritorder.catalog") / "data"
_OWN_COLUMNS: Final = frozenset({"provider", "instance", "hardware", "gpus", "pricing_model", "usd_per_hour"})
_LOG: Final = logging.getLogger(__name__)
_FORMS: Final = "a catalog file is our own TOML or CSV, a SkyPilot vms.csv, an AWS price list, or LiteLLM's price map"


@dataclass(slots=True)
class _Facts:
    """The content of the files so far: later files override; `own` are offers that the user wrote in our own form."""

    hardware: dict[str, Hardware] = field(default_factory=dict)
    models: dict[str, Model] = field(default_factory=dict)
    offers: dict[tuple[str, ...], Offer] = field(default_factory=dict)
    own: set[Offer] = field(default_factory=set)
    tokens: list[TokenPrice] = field(default_factory=list)
    rejected: list[Rejection] = field(default_factory=list)
    rates: dict[str, float] = field(default_factory=dict)

    def add(self, hardware: Iterable[Hardware], models: Iterable[Model], offers: Iterable[Offer]) -> None:
        self.hardware |= {accelerator.id: accelerator for accelerator in hardware}
        self.models |= {model.id: model for model in models}
        self.offers |= {_key(offer): offer for offer in offers}


def load(extra: Sequence[Source] = ()) -> Catalog:
    """Return the catalog of the package, extended and overridden by the user's files.

    An offer overrides that of the same provider, region, machine, pricing model, term and payment. An invalid row of a
    user's file is left out, with a warning in the log.

    Args:
        extra: Rates of `--rate`, and files of `--catalog`; later ones override earlier ones.

    Raises:
        CatalogError: A file has no known form, or no valid row.
    """
    if not extra:
        return _bundled(updates.stamp())
    facts = _read_bundled(updates.fetched_offers())
    for source in extra:
        if isinstance(source, ExchangeRate):
            facts.rates[source.currency] = float(source.usd)
        else:
            _read_extra(source, facts)
    return _catalog(facts)


def arguments(sources: Sequence[Source]) -> list[str]:
    """Return the words of a command line that adds these to the catalog."""
    options = (("--rate" if isinstance(source, ExchangeRate) else "--catalog", str(source)) for source in sources)
    return [word for option in options for word in option]


def load_with(fetched: Mapping[str, str]) -> Catalog:
    """Return the catalog as it would be with these fetched lists instead of those in use.

    Raises:
        CatalogError: A list has no valid row.
    """
    return _catalog(_read_bundled(fetched))


@functools.lru_cache(maxsize=1)
def _bundled(_: object) -> Catalog:
    return load_with(updates.fetched_offers())


def _read_bundled(fetched: Mapping[str, str]) -> _Facts:
    facts = _Facts()
    sources = rows.read_sources((_DATA / "sources.toml").read_text("utf-8"))
    for name in ("hardware.toml", "models.toml"):
        origin = rows.Origin(name=name, as_of="", sources=sources)
        hardware, models, _ = rows.read_toml((_DATA / name).read_text("utf-8"), origin)
        facts.add(hardware, models, ())
    origin = rows.Origin(name="offers.csv", as_of="", sources=sources)
    listed = rows.read_csv((_DATA / "offers.csv").read_text("utf-8"), origin, facts.hardware.values())
    facts.rejected += listed.rejected
    newer = [offer for name, text in fetched.items() for offer in _read_fetched(name, text, facts)]
    # An implausible price must not take the place of a shipped one.
    plausible, rejected = screen((*listed.offers, *newer), own=listed.offers)
    facts.rejected += rejected
    facts.add((), (), updates.newest(listed.offers, plausible[len(listed.offers) :]))
    return facts


def _read_fetched(name: str, text: str, facts: _Facts) -> list[Offer]:
    origin = rows.Origin(name=str(updates.folder() / name), as_of="", sources={})
    listed = rows.read_csv(text, origin, facts.hardware.values())
    if not listed.offers:
        raise CatalogError("has no valid row", where=origin.name, fix=updates.WAY_BACK)
    return listed.offers


def _read_extra(path: Path, facts: _Facts) -> None:
    """Add the facts of a file of any form.

    Raises:
        CatalogError: It cannot be read, or has no valid row.
    """
    try:
        _read_file(path, facts)
    except (csv.Error, RecursionError, ValueError, OverflowError) as error:
        raise CatalogError(f"cannot be read: {error}", where=str(path), fix=_FORMS) from error


def _read_file(path: Path, facts: _Facts) -> None:
    if path.is_dir():
        raise CatalogError("is a folder", where=str(path), fix="name the file in it, such as vms.csv")
    try:
        content = read_file(path)
        is_json = content[:64].lstrip().startswith(b"{")
        text = "" if is_json else content.decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise CatalogError(f"cannot be read: {error}", where=str(path)) from error
    as_of = dt.datetime.fromtimestamp(path.stat().st_mtime, tz=dt.UTC).date().isoformat()
    header = frozenset(cell.strip().strip('"') for cell in text.partition("\n")[0].split(","))
    columns = frozenset(rows.csv_header(text)[0])
    price_map = litellm.entries(content) if is_json else {}
    if price_map:
        facts.tokens, rejected = _with_tokens(facts.tokens, litellm.read(price_map, path.name, as_of))
        facts.rejected += rejected
        return
    if is_json:
        offers, rejected = aws.read(content, path.name)
    elif header >= skypilot.COLUMNS:
        offers, rejected = skypilot.read(text, path, as_of, hardware_by_name(facts.hardware.values()))
    elif columns >= _OWN_COLUMNS or path.suffix == ".toml":
        offers, rejected = _read_own(
            text, rows.Origin(name=str(path), as_of=as_of, sources={}, rates=facts.rates), facts
        )
    elif columns & _OWN_COLUMNS:
        missing = ", ".join(sorted(_OWN_COLUMNS - columns))
        fix = f"offers as CSV need the columns {', '.join(sorted(_OWN_COLUMNS))}"
        raise CatalogError(f"has no column {missing}", where=str(path), fix=fix)
    else:
        raise CatalogError("has no known form", where=str(path), fix=_FORMS)
    _check_left_out(path, offers, rejected)
    facts.add((), (), offers)
    facts.rejected += rejected


def _with_tokens(
    earlier: Sequence[TokenPrice], read: tuple[list[TokenPrice], list[Rejection]]
) -> tuple[list[TokenPrice], list[Rejection]]:
    """Return prices of tokens of which later ones override earlier ones, and what was left out."""
    prices, rejected = read
    if not prices:
        why = rejected[0].reason if rejected else "has no model that generates text"
        raise CatalogError(why, where=rejected[0].what if rejected else None)
    by_key = {(price.provider, price.provider_model, price.tier): price for price in (*earlier, *prices)}
    return list(by_key.values()), rejected


def _read_own(text: str, origin: rows.Origin, facts: _Facts) -> tuple[list[Offer], list[Rejection]]:
    known = facts.hardware.values()
    if origin.name.endswith(".toml"):
        hardware, models, listed = rows.read_toml(text, origin, known)
    else:
        hardware, models, listed = [], [], rows.read_csv(text, origin, known)
    facts.rates |= listed.origin.rates
    if not (hardware or models or listed.offers or listed.rejected or facts.rates):
        raise CatalogError("is empty", where=origin.name, fix=_FORMS)
    facts.add(hardware, models, ())
    facts.own.update(listed.offers)
    return listed.offers, listed.rejected


def _check_left_out(path: Path, offers: Sequence[Offer], rejected: Sequence[Rejection]) -> None:
    """Warn of the rows that were left out.

    Raises:
        CatalogError: All rows were.
    """
    if not rejected:
        return
    first = rejected[0]
    if not offers:
        raise CatalogError(first.reason, where=first.what)
    _LOG.warning(
        "%s: %d left out, first %s: %s; `meritorder prices --refused` lists all",
        path.name,
        len(rejected),
        first.what,
        first.reason,
    )


def _catalog(facts: _Facts) -> Catalog:
    own = fold_multiples(offer for offer in facts.offers.values() if offer in facts.own)
    others = fold_multiples(offer for offer in facts.offers.values() if offer not in facts.own)
    offers, rejected = screen((*others, *own), own=own)
    return Catalog(
        hardware=facts.hardware,
        models=facts.models,
        offers=offers,
        rejected=(*facts.rejected, *rejected),
        tokens=tuple(facts.tokens),
    )


def _key(offer: Offer) -> tuple[str, ...]:
    return (
        offer.provider,
        offer.region,
        offer.instance,
        str(offer.gpus),
        offer.pricing_model,
        offer.term,
        offer.payment,
    )
