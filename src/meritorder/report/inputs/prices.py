"""Price lists as text and as data: what `meritorder prices` shows."""

import dataclasses
import datetime as dt
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec
from rich.console import Group, RenderableType
from rich.text import Text

from meritorder.catalog import Rejection
from meritorder.offers import LongPrompt, Offer, TokenPrice
from meritorder.records.evidence import REFRESH, PriceChange, age_days, describe_old, is_old
from meritorder.report.terminal import TableColumn, columns, fitted_table, narrow, plain, section
from meritorder.report.wording import or_missing
from meritorder.units import format_count, format_share, format_usd

SCHEMA: Final = "meritorder.prices/1"
UPDATE_SCHEMA: Final = "meritorder.prices-update/1"
_TEXT_WIDTH: Final = 30
_MAX_CHANGES: Final = 10
# In this order: what an answer would feel first.
_KINDS: Final = {"increased": "more expensive", "reduced": "cheaper", "added": "added", "removed": "removed"}
_STYLES: Final = {"low": "yellow", "medium": "", "high": "green"}


def to_table(
    offers: Sequence[Offer],
    tokens: Sequence[TokenPrice] = (),
    rejected: Sequence[Rejection] = (),
    *,
    today: dt.date,
    limit: int | None = None,
    width: int,
) -> RenderableType:
    """Return the price lists as tables for the terminal, with their sources.

    Args:
        offers: Prices of capacity, in display order.
        tokens: Token prices of a model.
        rejected: Rejected rows, if they are to be shown.
        today: The day that ages count from.
        limit: Maximum rows of each table; a line states how many more there are.
        width: Width to fill; what is least important is left out where it is too narrow.
    """
    parts: list[RenderableType] = []
    if offers:
        parts += [_offers(offers[:limit], width, today), *_remaining(len(offers), limit)]
    if tokens:
        parts += [_tokens(tokens[:limit], width, today), *_remaining(len(tokens), limit)]
    if rejected:
        parts += [_rejected(rejected[:limit], width), *_remaining(len(rejected), limit)]
    if not parts:
        parts.append(Text("no price matches these filters"))
    parts += [Text(f"! {warning}", style="yellow") for warning in _warnings(offers, tokens, today)]
    return Group(*parts)


def to_dict(
    offers: Sequence[Offer],
    tokens: Sequence[TokenPrice] = (),
    rejected: Sequence[Rejection] = (),
    *,
    today: dt.date,
) -> dict[str, Any]:
    """Return the price lists as plain data for JSON, each price with its source, date and age."""
    return {
        "schema": SCHEMA,
        "offers": [
            dataclasses.asdict(offer)
            | {"usd_per_gpu_hour": offer.usd_per_gpu_hour, "age_days": age_days(offer.as_of, today)}
            for offer in offers
        ],
        "tokens": [dataclasses.asdict(price) | {"age_days": age_days(price.as_of, today)} for price in tokens],
        "warnings": _warnings(offers, tokens, today),
        "refused": [dataclasses.asdict(rejection) for rejection in rejected],
    }


def update_to_dict(sources: Sequence[str], changes: Sequence[PriceChange], *, dry_run: bool) -> dict[str, Any]:
    """Return what an update of prices read and changes, as plain data for JSON."""
    return {
        "schema": UPDATE_SCHEMA,
        "dry_run": dry_run,
        "sources": list(sources),
        "changes": [msgspec.to_builtins(change) for change in changes],
    }


def update_to_text(
    sources: Sequence[str], changes: Sequence[PriceChange], folder: Path, *, dry_run: bool
) -> RenderableType:
    """Return what an update of prices read and changes, for the terminal."""
    lines: list[RenderableType] = [plain(f"read {source}", "dim") for source in sources]
    for kind, title in _KINDS.items():
        of_kind = [change for change in changes if change.kind == kind]
        if of_kind:
            lines.append(Text(f"{title}: {format_count(len(of_kind), 'price')}", style="bold"))
            lines += [plain(f"  {_change(change)}") for change in of_kind[:_MAX_CHANGES]]
            lines += _remaining(len(of_kind), _MAX_CHANGES)
    if not changes:
        lines.append(Text("no price changes"))
    kept = f"in use by all commands, kept in {folder}; `meritorder prices reset` goes back"
    lines.append(Text("nothing was written (--dry-run)" if dry_run else kept))
    return Group(*lines)


def _change(change: PriceChange) -> str:
    before, after = (" / ".join(map(format_usd, usd)) for usd in (change.before_usd, change.after_usd))
    return f"{change.what}: {' -> '.join(filter(None, (before, after)))}"


def _offers(offers: Sequence[Offer], width: int, today: dt.date) -> RenderableType:
    def column(
        heading: str, importance: int, write: Callable[[Offer], str | Text], *, number: bool = False
    ) -> TableColumn:
        return TableColumn(
            heading=heading,
            importance=importance,
            cells=[write(offer) for offer in offers],
            number=number,
            max_width=None if number else _TEXT_WIDTH,
        )

    table = fitted_table(
        [
            column("provider", 3, lambda offer: offer.provider),
            column("region", 6, lambda offer: offer.region or "all"),
            column("machine", 0, lambda offer: offer.instance),
            column("GPUs", 4, _gpus),
            column("pricing", 2, _pricing),
            column("$ / GPU-hour", 1, lambda offer: format_usd(offer.usd_per_gpu_hour), number=True),
            column("$ / hour", 5, lambda offer: format_usd(offer.usd_per_hour), number=True),
            column("interrupted a month", 9, _interrupted, number=True),
            column("as of", 7, lambda offer: _as_of(offer, today)),
            column("confidence", 8, _confidence),
        ],
        width,
    )
    return section("Capacity", "", table, _sources({offer.source for offer in offers}))


def _gpus(offer: Offer) -> str:
    sizes = f"{min(offer.sizes)} to {max(offer.sizes)}" if offer.sizes else str(offer.gpus)
    return f"{sizes} x {offer.hardware}"


def _as_of(price: Offer | TokenPrice, today: dt.date) -> Text:
    return Text(price.as_of or "unknown", style="yellow" if is_old(age_days(price.as_of, today)) else "")


def _warnings(offers: Sequence[Offer], tokens: Sequence[TokenPrice], today: dt.date) -> list[str]:
    dates = [*(offer.as_of for offer in offers), *(price.as_of for price in tokens)]
    old = sum(is_old(age_days(as_of, today)) for as_of in dates)
    return [f"{describe_old(old, len(dates), 'listed')}; {REFRESH}"] if old else []


def _pricing(offer: Offer) -> str:
    words = [offer.pricing_model.replace("_", " "), offer.term, offer.payment.replace("_", " ")]
    return " ".join(word for word in words if word)


def _interrupted(offer: Offer) -> str:
    return or_missing(offer.interruptions_per_month, lambda share: format_share(share, 1))


def _confidence(offer: Offer) -> Text:
    return Text("assumed" if offer.assumed else offer.confidence, style=_STYLES.get(offer.confidence, ""))


def _tokens(prices: Sequence[TokenPrice], width: int, today: dt.date) -> RenderableType:
    def column(
        heading: str, importance: int, write: Callable[[TokenPrice], str | Text], *, number: bool = False
    ) -> TableColumn:
        return TableColumn(
            heading=heading,
            importance=importance,
            cells=[write(price) for price in prices],
            number=number,
            max_width=None if number else _TEXT_WIDTH,
        )

    table = fitted_table(
        [
            column("provider", 1, lambda price: price.provider),
            column("provider's name of the model", 0, lambda price: price.provider_model),
            column("tier", 2, lambda price: price.tier.value),
            column("input", 3, lambda price: format_usd(price.input_usd_per_mtok), number=True),
            column("cached", 5, lambda price: format_usd(price.cached_usd_per_mtok), number=True),
            column("output", 4, lambda price: format_usd(price.output_usd_per_mtok), number=True),
            column("as of", 7, lambda price: _as_of(price, today)),
            column("note", 6, _remarks),
        ],
        width,
    )
    return section("Tokens", "$ per million", table)


def _remarks(price: TokenPrice) -> str:
    longer = [f"above {step.above_tokens:,} tokens {_rates(step)}" for step in price.long_prompts]
    return "; ".join([*longer, *([price.note] if price.note else [])])


def _rates(step: LongPrompt) -> str:
    prices = (step.input_usd_per_mtok, step.cached_usd_per_mtok, step.output_usd_per_mtok)
    return " / ".join(format_usd(usd) for usd in prices)


def _rejected(rejected: Sequence[Rejection], width: int) -> RenderableType:
    table = columns("row", "$ / hour", "reason", numbers=0)
    for column in table.columns:
        column.no_wrap = False
    for rejection in rejected:
        usd = "" if rejection.usd_per_hour is None else format_usd(rejection.usd_per_hour)
        table.add_row(plain(rejection.what), usd, plain(rejection.reason))
    return section("Rejected", "", narrow(table, width))


def _sources(sources: set[str]) -> Text:
    return Text("Sources: " + "; ".join(sorted(sources)), style="dim")


def _remaining(count: int, limit: int | None) -> list[RenderableType]:
    return [] if limit is None or count <= limit else [Text(f"and {count - limit} more", style="dim")]
