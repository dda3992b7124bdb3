"""What an answer rests on: prices with their sources, assumptions, and intervals of uncertainty.

Plain records; `comparison`, `planfile` and `findings` write them to their files as they are.
"""

import datetime as dt
import re
from collections.abc import Iterable, Sequence
from typing import Final, Self

import msgspec
from msgspec import UNSET, UnsetType

from meritorder.offers import Offer, TokenPrice
from meritorder.units import format_count, format_usd

# A quarter of a year: list prices of GPUs that are read again after it have often changed.
OLD_AFTER_DAYS: Final = 90
_DATE: Final = re.compile(r"(\d{4})(?:-(\d{2}))?(?:-(\d{2}))?(?!\d)")
_MAX_NAMED: Final = 3
REFRESH: Final = "`meritorder prices update` fetches newer ones, and --catalog FILE adds yours"


def age_days(as_of: str, today: dt.date) -> int | None:
    """Return the age of a price whose source has this date, None if the date is unknown.

    A date without a day or month counts as the first day of its month or year, and one in the future as today.
    """
    match = _DATE.match(as_of)
    if match is None:
        return None
    year, month, day = (int(part) if part else 1 for part in match.groups())
    try:
        return max(0, (today - dt.date(year, month, day)).days)
    except ValueError:
        return None


def is_old(age: int | None) -> bool:
    """Whether a price of this age may no longer be the price of today; a price without a date may."""
    return age is None or age > OLD_AFTER_DAYS


class PriceUsed(msgspec.Struct, frozen=True, kw_only=True):
    """One catalog price that an answer uses.

    A comparison and an audit state what the price was used for; a plan states whether it was assumed. A field that is
    not set is not written.
    """

    what: str
    provider: str
    pricing_model: str
    usd: float
    unit: str
    as_of: str = ""
    source: str = ""
    confidence: str = ""
    used_for: str | UnsetType = UNSET
    assumed: bool | UnsetType = UNSET
    age_days: int | UnsetType | None = UNSET

    @property
    def dated(self) -> str:
        """The date of the source, with its age if it is old."""
        if self.age_days is UNSET or not is_old(self.age_days):
            return self.as_of
        return f"{self.as_of} ({self.age_days:,} days old)" if self.age_days is not None else "unknown"

    @classmethod
    def from_offer(cls, offer: Offer, *, used_for: str | UnsetType = UNSET, assumed: bool | UnsetType = UNSET) -> Self:
        """Return the price of a machine."""
        return cls(
            what=f"{offer.gpus} x {offer.hardware}, {offer.instance} {offer.region}".strip(),
            provider=offer.provider,
            pricing_model=offer.pricing_model,
            usd=offer.usd_per_hour,
            unit="USD an hour",
            as_of=offer.as_of,
            source=offer.source,
            confidence=offer.confidence,
            used_for=used_for,
            assumed=assumed,
        )

    @classmethod
    def from_token_price(
        cls, price: TokenPrice, *, used_for: str | UnsetType = UNSET, assumed: bool | UnsetType = UNSET
    ) -> Self:
        """Return the price of a model as tokens."""
        return cls(
            what=f"{price.provider_model}, input; output {format_usd(price.output_usd_per_mtok)}",
            provider=price.provider,
            pricing_model=f"token API, {price.tier}",
            usd=price.input_usd_per_mtok,
            unit="USD per million tokens",
            as_of=price.as_of,
            source=price.source,
            confidence="medium",
            used_for=used_for,
            assumed=assumed,
        )


def with_ages(prices: Iterable[PriceUsed], today: dt.date) -> list[PriceUsed]:
    """Return prices with their age on a day."""
    return [msgspec.structs.replace(price, age_days=age_days(price.as_of, today)) for price in prices]


def age_warnings(prices: Sequence[PriceUsed]) -> list[str]:
    """Return a warning if prices of an answer are old, naming the oldest; else none."""
    old = [price for price in prices if price.age_days is not UNSET and is_old(price.age_days)]
    if not old:
        return []
    old.sort(key=lambda price: (price.as_of if price.age_days is not None else "", price.what))
    named = [f"{price.provider} {price.what}, {price.dated}" for price in old[:_MAX_NAMED]]
    more = [f"and {len(old) - _MAX_NAMED} more"] if len(old) > _MAX_NAMED else []
    return [f"{describe_old(len(old), len(prices), 'used')}: {'; '.join([*named, *more])}; {REFRESH}"]


def describe_old(old: int, prices: int, which: str) -> str:
    """Return how many prices are old: `2 of 3 prices used are older than 90 days or undated`."""
    verb = "is" if old == 1 else "are"
    return f"{old:,} of {format_count(prices, 'price')} {which} {verb} older than {OLD_AFTER_DAYS} days or undated"


class PriceChange(msgspec.Struct, frozen=True, kw_only=True):
    """A price before and after: dollars an hour of a machine, or per million input and output tokens.

    `kind` is added, removed, increased or reduced.
    """

    what: str
    kind: str
    before_usd: tuple[float, ...] = ()
    after_usd: tuple[float, ...] = ()


class Assumption(msgspec.Struct, frozen=True, kw_only=True):
    """Something that the input did not state: `text` is what was assumed, `option` the option that changes it."""

    text: str
    option: str = ""


class Interval(msgspec.Struct, frozen=True, kw_only=True):
    """The range of a share or a cost: its value with the performance model at either end of its measured error."""

    low: float
    high: float
    basis: str


class UnservableRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A request that no replica can serve in time even alone; `row` counts the trace's requests by arrival, from 1.

    `replica` is the one that is fastest for it, where it takes `needs_s` of the `has_s` that it can wait; or, where it
    fits into no memory, the one with the most, `memory_tokens`.
    """

    row: int
    input_tokens: int
    output_tokens: int
    replica: str
    needs_s: float | None = None
    has_s: float | None = None
    memory_tokens: int | None = None


class UnservableRequests(msgspec.Struct, frozen=True, kw_only=True):
    """Requests that are in no cost, because no replica can serve them in time: `requests` of `of`, the first named."""

    requests: int
    of: int
    first: list[UnservableRequest]
