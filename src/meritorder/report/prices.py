"""Price lists as text and as data: what `meritorder prices` shows."""

import dataclasses
from collections.abc import Sequence
from typing import Any, Final

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from meritorder.catalog import Rejection
from meritorder.domain import LongPrompt, Offer, TokenPrice
from meritorder.units import format_usd

SCHEMA: Final = "meritorder.prices/1"
_STYLES: Final = {"low": "yellow", "medium": "", "high": "green"}


def to_table(
    offers: Sequence[Offer],
    tokens: Sequence[TokenPrice] = (),
    rejected: Sequence[Rejection] = (),
    *,
    limit: int | None = None,
) -> RenderableType:
    """Return the price lists as tables for the terminal, with their sources.

    Args:
        offers: Prices of capacity, in display order.
        tokens: Token prices of a model.
        rejected: Rejected rows, if they are to be shown.
        limit: Maximum rows of each table; a line states how many more there are.
    """
    parts: list[RenderableType] = []
    if offers:
        parts += [_offers(offers[:limit]), *_remaining(len(offers), limit)]
    if tokens:
        parts += [_tokens(tokens[:limit]), *_remaining(len(tokens), limit)]
    if rejected:
        parts += [_rejected(rejected[:limit]), *_remaining(len(rejected), limit)]
    if not parts:
        parts.append(Text("no price matches these filters"))
    return Group(*parts)


def to_dict(
    offers: Sequence[Offer], tokens: Sequence[TokenPrice] = (), rejected: Sequence[Rejection] = ()
) -> dict[str, Any]:
    """Return the price lists as plain data for JSON, each price with its source and date."""
    return {
        "schema": SCHEMA,
        "offers": [dataclasses.asdict(offer) | {"usd_per_gpu_hour": offer.usd_per_gpu_hour} for offer in offers],
        "tokens": [dataclasses.asdict(price) for price in tokens],
        "refused": [dataclasses.asdict(rejection) for rejection in rejected],
    }


def _offers(offers: Sequence[Offer]) -> Table:
    table = Table(title="Capacity", title_justify="left", header_style="bold", pad_edge=False)
    for name, right in (
        ("provider", False),
        ("region", False),
        ("machine", False),
        ("GPUs", False),
        ("pricing", False),
        ("$ / GPU-hour", True),
        ("$ / hour", True),
        ("as of", False),
        ("confidence", False),
    ):
        table.add_column(name, justify="right" if right else "left", no_wrap=name != "machine")
    for offer in offers:
        table.add_row(
            offer.provider,
            offer.region or "all",
            offer.instance,
            f"{offer.gpus} x {offer.hardware}",
            _pricing(offer),
            format_usd(offer.usd_per_gpu_hour),
            format_usd(offer.usd_per_hour),
            offer.as_of,
            Text("assumed" if offer.assumed else offer.confidence, style=_STYLES.get(offer.confidence, "")),
        )
    table.caption = _sources({offer.source for offer in offers})
    table.caption_justify = "left"
    return table


def _pricing(offer: Offer) -> str:
    words = [offer.pricing_model.replace("_", " "), offer.term, offer.payment.replace("_", " ")]
    if offer.interruptions_per_month is not None:
        words.append(f"({offer.interruptions_per_month:.3g} of machines interrupted per month)")
    return " ".join(word for word in words if word)


def _tokens(prices: Sequence[TokenPrice]) -> Table:
    table = Table(title="Tokens, $ per million", title_justify="left", header_style="bold", pad_edge=False)
    for name in ("provider", "provider's name of the model", "tier"):
        table.add_column(name)
    for name in ("input", "cached", "output"):
        table.add_column(name, justify="right")
    table.add_column("as of")
    table.add_column("note")
    for price in prices:
        longer = [f"above {step.above_tokens:,} tokens {_rates(step)}" for step in price.long_prompts]
        table.add_row(
            price.provider,
            price.provider_model,
            price.tier.value,
            format_usd(price.input_usd_per_mtok),
            format_usd(price.cached_usd_per_mtok),
            format_usd(price.output_usd_per_mtok),
            price.as_of,
            "; ".join([*longer, *([price.note] if price.note else [])]),
        )
    return table


def _rates(step: LongPrompt) -> str:
    prices = (step.input_usd_per_mtok, step.cached_usd_per_mtok, step.output_usd_per_mtok)
    return " / ".join(format_usd(usd) for usd in prices)


def _rejected(rejected: Sequence[Rejection]) -> Table:
    table = Table(title="Rejected", title_justify="left", header_style="bold", pad_edge=False)
    for name in ("row", "$ / hour", "reason"):
        table.add_column(name)
    for rejection in rejected:
        usd = "" if rejection.usd_per_hour is None else format_usd(rejection.usd_per_hour)
        table.add_row(rejection.what, usd, rejection.reason)
    return table


def _sources(sources: set[str]) -> Text:
    return Text("Sources: " + "; ".join(sorted(sources)), style="dim")


def _remaining(count: int, limit: int | None) -> list[RenderableType]:
    return [] if limit is None or count <= limit else [Text(f"and {count - limit} more", style="dim")]
