"""Newer prices from public lists: fetched on request, compared with those in use, and kept for all commands."""

import csv
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

from meritorder import catalog as facts
from meritorder.catalog import updates
from meritorder.catalog.files import load_with
from meritorder.catalog.genai import list_in_use, read_list
from meritorder.catalog.lookup import hardware_by_name
from meritorder.catalog.sources import PriceList, choose_sources
from meritorder.documents import read_file
from meritorder.errors import CatalogError
from meritorder.inputs.download import download
from meritorder.offers import Offer, TokenPrice
from meritorder.records.evidence import PriceChange
from meritorder.study.prices import age

DEFAULT_TIMEOUT_S: Final = 120.0
_CHANGED: Final = 1e-6
_UNREADABLE: Final = (csv.Error, ValueError, KeyError, RecursionError, OverflowError, msgspec.MsgspecError)


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceUpdate:
    """What an update read and what it changes.

    Args:
        sources: Addresses that were read.
        prices: Prices in them that are in use now.
        changes: Prices added, removed, increased and reduced.
        folder: Where they are kept.
        dry_run: Whether nothing was written.
    """

    sources: tuple[str, ...]
    prices: int
    changes: tuple[PriceChange, ...]
    folder: Path
    dry_run: bool


def update_prices(
    *,
    names: tuple[str, ...] = (),
    mirror: str = "",
    dry_run: bool = False,
    timeout_s: float = DEFAULT_TIMEOUT_S,
    progress: Callable[[str], None] = lambda _: None,
) -> PriceUpdate:
    """Read public price lists and put them into use; if one cannot be read, nothing changes.

    Args:
        names: Sources to read; empty takes those read by default.
        mirror: Address or folder to read them from instead of their own; "" reads their own.
        dry_run: Read and compare only.
        timeout_s: Longest time for each list.
        progress: Receives one line per list.

    Raises:
        MeritorderError: A list cannot be read, or is none.
    """
    sources = _available(choose_sources(names), mirror, named=bool(names))
    catalog = facts.load()
    hardware = hardware_by_name(catalog.hardware.values())
    places, written = [], {}
    for source in sources:
        place = _place(source, mirror)
        progress(f"reading {place}")
        content = _content(place, source, timeout_s)
        places.append(place)
        try:
            written[source.file] = source.read(content, place, age.today().isoformat(), hardware)
        except _UNREADABLE as error:
            reason = str(error).partition("\n")[0]
            raise CatalogError(f"is no price list of {source.name}: {reason}", where=place) from error
    before, after = _before_and_after(catalog.offers, written)
    if not dry_run:
        try:
            for name, content in written.items():
                updates.save(name, content)
        except OSError as error:
            where = str(error.filename or updates.folder())
            fix = "name another folder in XDG_DATA_HOME"
            raise CatalogError(f"cannot be written: {error.strerror}", where=where, fix=fix) from error
    return PriceUpdate(
        sources=tuple(places),
        prices=len(after),
        changes=tuple(_changes(before, after)),
        folder=updates.folder(),
        dry_run=dry_run,
    )


def reset_prices() -> tuple[Path, ...]:
    """Go back to the shipped prices; return the fetched lists that were in use, now kept as `NAME.old`.

    Raises:
        CatalogError: The folder cannot be written.
    """
    try:
        return updates.reset()
    except OSError as error:
        raise CatalogError(f"cannot be written: {error.strerror}", where=str(error.filename)) from error


def _available(sources: Sequence[PriceList], mirror: str, *, named: bool) -> Sequence[PriceList]:
    """Return the sources that a folder holds, all of them if they were named or are read from the web."""
    if not mirror or "://" in mirror:
        return sources
    if not Path(mirror).is_dir():
        raise CatalogError("is no folder", where=mirror, fix="name a folder or an address of http or https")
    found = [source for source in sources if (Path(mirror) / source.mirror_path).exists()]
    if named or found:
        return sources if named else found
    wanted = ", ".join(source.mirror_path for source in sources[:3])
    raise CatalogError("has no price list", where=mirror, fix=f"it may hold {wanted} and others")


def _place(source: PriceList, mirror: str) -> str:
    return f"{mirror.rstrip('/')}/{source.mirror_path}" if mirror else source.url


def _content(place: str, source: PriceList, timeout_s: float) -> bytes:
    if "://" in place:
        return download(place, max_bytes=source.max_bytes, timeout_s=timeout_s)
    try:
        return read_file(Path(place))
    except OSError as error:
        raise CatalogError(f"cannot be read: {error.strerror}", where=place) from error


def _before_and_after(
    offers: Sequence[Offer], written: Mapping[str, bytes]
) -> tuple[dict[str, tuple[float, ...]], dict[str, tuple[float, ...]]]:
    """Return all prices before and after, those of tokens only if their list is new."""
    new = {name: content.decode() for name, content in written.items() if name != updates.TOKENS}
    after = load_with(updates.fetched_offers() | new).offers
    tokens = written.get(updates.TOKENS)
    if tokens is None:
        return _tables(offers, ()), _tables(after, ())
    return _tables(offers, list_in_use()), _tables(after, read_list(tokens))


def _tables(offers: Sequence[Offer], tokens: Sequence[TokenPrice]) -> dict[str, tuple[float, ...]]:
    """Return all prices by what they price."""
    prices = {
        " ".join(f"{offer.label} {offer.term} {offer.payment.replace('_', ' ')}".split()): (offer.usd_per_hour,)
        for offer in offers
    }
    return prices | {
        f"{price.provider} {price.provider_model}, tokens, {price.tier}": (
            price.input_usd_per_mtok,
            price.output_usd_per_mtok,
        )
        for price in tokens
    }


def _changes(before: Mapping[str, tuple[float, ...]], after: Mapping[str, tuple[float, ...]]) -> list[PriceChange]:
    changes = []
    for what in sorted(before.keys() | after.keys()):
        old, new = before.get(what, ()), after.get(what, ())
        if old and new and all(abs(a - b) <= _CHANGED * max(a, b) for a, b in zip(old, new, strict=True)):
            continue
        kind = "added" if not old else "removed" if not new else "increased" if sum(new) > sum(old) else "reduced"
        changes.append(PriceChange(what=what, kind=kind, before_usd=old, after_usd=new))
    return changes
