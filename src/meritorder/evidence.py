"""What an answer rests on: prices with their sources, assumptions, and intervals of uncertainty.

Plain records; `comparison`, `planfile` and `findings` write them to their files as they are.
"""

from typing import Self

import msgspec
from msgspec import UNSET, UnsetType

from meritorder.domain import Offer, TokenPrice
from meritorder.units import format_usd


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


class Assumption(msgspec.Struct, frozen=True, kw_only=True):
    """Something that the input did not state: `text` is what was assumed, `option` the option that changes it."""

    text: str
    option: str = ""


class Interval(msgspec.Struct, frozen=True, kw_only=True):
    """The range of a share: its value with the performance model at either end of its measured error."""

    low: float
    high: float
    basis: str
