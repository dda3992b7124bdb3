"""Price lists that `meritorder prices update` fetched: one file per source in the user's data folder.

A file is replaced by a rename and its predecessor kept beside it, so that a reader finds the old prices or the new
ones, whenever the update is killed.
"""

import os
import tempfile
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Final

from meritorder.errors import CatalogError
from meritorder.offers import Offer

TOKENS: Final = "genai-prices.json"
WAY_BACK: Final = "`meritorder prices reset` goes back to the shipped prices"
_OFFERS_SUFFIX: Final = ".csv"
_KEPT_SUFFIX: Final = ".old"
_Scope = tuple[str, ...]


def folder() -> Path:
    """Return the folder of fetched prices: `meritorder/prices` in the user's data folder (XDG_DATA_HOME)."""
    home = Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share")
    return home / "meritorder" / "prices"


def fetched_files() -> tuple[Path, ...]:
    """Return the files that are in use."""
    return tuple(sorted(path for path in folder().glob("*") if path.suffix in {_OFFERS_SUFFIX, ".json"}))


def fetched_offers() -> dict[str, str]:
    """Return the fetched lists of offers, by name of file.

    Raises:
        CatalogError: A list cannot be read.
    """
    texts = {}
    for path in fetched_files():
        if path.suffix == _OFFERS_SUFFIX:
            try:
                texts[path.name] = path.read_text("utf-8")
            except (OSError, UnicodeDecodeError) as error:
                raise CatalogError(f"cannot be read: {error}", where=str(path), fix=WAY_BACK) from error
    return texts


def stamp() -> tuple[tuple[str, int, int], ...]:
    """Return what changes whenever a fetched file does."""
    about = ((path.name, path.stat()) for path in fetched_files())
    return tuple((name, stat.st_mtime_ns, stat.st_size) for name, stat in about)


def save(name: str, content: bytes) -> None:
    """Put a list into use, and keep its predecessor as `NAME.old`.

    Raises:
        OSError: The folder cannot be written.
    """
    target = folder() / name
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.exists():
        replace_file(target.with_name(name + _KEPT_SUFFIX), target.read_bytes())
    replace_file(target, content)


def reset() -> tuple[Path, ...]:
    """Take all fetched lists out of use, keeping each as `NAME.old`; return them.

    Raises:
        OSError: The folder cannot be written.
    """
    files = fetched_files()
    for path in files:
        path.replace(path.with_name(path.name + _KEPT_SUFFIX))
    return files


def replace_file(target: Path, content: bytes) -> None:
    """Write a file by a rename, so that it is whole whenever a process is killed."""
    descriptor, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.", suffix=".part")
    part = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        part.replace(target)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def newest(shipped: Iterable[Offer], fetched: Iterable[Offer]) -> Iterator[Offer]:
    """Yield the offers to use: of a provider's GPU under a pricing model in a region, those of the newer list.

    Other lists name the same machines otherwise, so that lists are compared by what they price and not by name. A spot
    offer without a rate of interruptions takes that of the shipped offer of the same machine.
    """
    shipped, fetched = tuple(shipped), tuple(fetched)
    of_shipped, of_fetched = _dates(shipped), _dates(fetched)
    rates = {_machine(offer): offer.interruptions_per_month for offer in shipped}
    for offer in shipped:
        if not _is_superseded(offer, of_fetched, or_equal=True):
            yield offer
    for offer in fetched:
        if not _is_superseded(offer, of_shipped, or_equal=False):
            rate = rates.get(_machine(offer))
            yield replace(offer, interruptions_per_month=rate) if offer.interruptions_per_month is None else offer


def _scope(offer: Offer) -> _Scope:
    return offer.provider, offer.hardware, offer.pricing_model, offer.term, offer.payment


def _machine(offer: Offer) -> _Scope:
    return offer.provider, offer.region, offer.instance, offer.pricing_model


def _dates(offers: Iterable[Offer]) -> Mapping[_Scope, dict[str, str]]:
    """Return the newest date by region, for each provider's GPU under a pricing model."""
    dates: dict[_Scope, dict[str, str]] = defaultdict(dict)
    for offer in offers:
        by_region = dates[_scope(offer)]
        by_region[offer.region] = max(by_region.get(offer.region, ""), offer.as_of)
    return dates


def _is_superseded(offer: Offer, others: Mapping[_Scope, dict[str, str]], *, or_equal: bool) -> bool:
    by_region = others.get(_scope(offer), {})
    covered = [as_of for region, as_of in by_region.items() if not region or not offer.region or region == offer.region]
    latest = max(covered, default="")
    return latest > offer.as_of or (or_equal and latest == offer.as_of and bool(covered))
