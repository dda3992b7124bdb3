"""The wording shared by every report: amounts, ratios, titles, and links to sources."""

import math
import re
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Final, TypeVar
from urllib.parse import SplitResult, urlsplit

from meritorder.records.evidence import Interval
from meritorder.units import format_ratio, format_share, format_usd

T = TypeVar("T")

MISSING: Final = "\N{EN DASH}"
_LANE_TITLES: Final = {"realtime": "Real time", "deferrable": "Deferrable"}
_HEADING_CHARACTERS: Final = 60
_SENTENCE_END: Final = re.compile(r"(?<=[.!?]) (?=[A-Z])")
_NAMED_ADDRESS: Final = re.compile(r"<(https?://[^<>\s]+)>\s*$")


def range_cells(intervals: Sequence[Interval | None]) -> tuple[str, ...]:
    """Format a column of ranges of dollars; a cost without one, such as a list price, has a dash."""
    lows = usd_cells([None if interval is None else interval.low for interval in intervals])
    highs = usd_cells([None if interval is None else interval.high for interval in intervals])
    pairs = zip(intervals, lows, highs, strict=True)
    return tuple(low if interval is None else f"{low} to {high}" for interval, low, high in pairs)


def usd_cells(amounts: Sequence[float | Decimal | None]) -> tuple[str, ...]:
    """Format a column of dollars with equal decimals.

    They show three digits of the smallest amount, but beside cents no more than five of the largest; none from $1,000.
    """
    sizes = [abs(float(usd)) for usd in amounts if usd and math.isfinite(usd)]
    smallest, largest = min(sizes, default=0.0), max(sizes, default=0.0)
    if smallest >= 1:
        decimals = 0 if largest >= 1000 else 2
    else:
        decimals = 2 if smallest == 0 else min(6, 2 - math.floor(math.log10(smallest)))
        if largest >= 1:
            decimals = max(2, min(decimals, 4 - math.floor(math.log10(largest))))
    return tuple(MISSING if usd is None or not math.isfinite(usd) else format_usd(usd, decimals) for usd in amounts)


def or_missing(value: T | None, write: Callable[[T], str]) -> str:
    """Format a value, or return a dash for None."""
    return MISSING if value is None else write(value)


def times(ratio: float) -> str:
    """Format a ratio with a multiplication sign."""
    return f"{format_ratio(ratio)}\N{MULTIPLICATION SIGN}" if math.isfinite(ratio) and ratio > 0 else MISSING


def saving_sentence(saving_usd: float, saving_share: float, interval: Interval | None, against: str) -> str:
    """Return a saving and its interval as a sentence."""
    interval_text = "no interval was computed"
    if interval:
        low, high = format_share(interval.low), format_share(interval.high)
        shares = f"about {low}" if low == high else f"between {low} and {high}"
        interval_text = f"{shares}, with {interval.basis}"
    return f"Saves {format_usd(saving_usd)}, {format_share(saving_share)} of {against}: {interval_text}."


def headline(text: str) -> tuple[str, str]:
    """Return the first sentences of an answer as a heading of 60 characters at least, and the rest."""
    for end in _SENTENCE_END.finditer(text):
        if end.start() >= _HEADING_CHARACTERS:
            return text[: end.start()], text[end.end() :]
    return text, ""


def lane_title(lane: str) -> str:
    """Return the title of a lane."""
    return _LANE_TITLES.get(lane, lane)


def spaced(name: str) -> str:
    """Return an identifier as words: `capacity block`."""
    return name.replace("_", " ")


def price_unit(unit: str) -> str:
    """Return the unit of a price as it follows the dollars: `/ hour`, `an hour`."""
    return unit.removeprefix("USD ") if unit.startswith("USD ") else f"/ {unit}"


def pricing_title(name: str) -> str:
    """Return a pricing model in words: `on demand`, `tokens, batch`."""
    return spaced(name.replace("tokens_", "tokens, ", 1))


def capitalize(title: str) -> str:
    """Return a title with its first letter in upper case."""
    return title[:1].upper() + title[1:]


def within_sentence(title: str) -> str:
    """Return a title with its first letter in lower case, unless it begins with an abbreviation."""
    return title if title[:2].isupper() else title[:1].lower() + title[1:]


def web_address(source: str) -> SplitResult | None:
    """Return the web address of a source: the source itself, or the `<https://...>` at its end; None without one."""
    named = _NAMED_ADDRESS.search(source)
    try:
        address = urlsplit(named[1] if named else source)
    except ValueError:
        return None
    return address if address.scheme in {"http", "https"} and address.hostname else None


def host(address: SplitResult) -> str:
    """Return the host of an address, without `www.`."""
    return (address.hostname or "").removeprefix("www.")
