"""What capacity and tokens cost: offers of machines under a pricing model, and prices of tokens."""

import math
import re
from dataclasses import dataclass, replace
from typing import Final

from meritorder.domain import PricingModel, Tier
from meritorder.errors import CatalogError

_COUNT: Final = re.compile(r"\d+x[ _]")


def without_count(instance: str) -> str:
    """Return the name of a machine without the number of its GPUs before it: `H100` of `2x H100`."""
    return _COUNT.sub("", instance, count=1) if _COUNT.match(instance) else instance


def machine_id(provider: str, region: str, instance: str) -> str:
    """Return the name of a kind of machine in a place, by which offers, plans and bills refer to it."""
    return " ".join(part for part in (provider, region, instance) if part)


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """Hardware at a price under a pricing model.

    Args:
        provider: Name of the provider, lower case.
        region: Provider's region, or "" if one price applies everywhere.
        instance: Provider's name of the machine.
        hardware: `Hardware.id` of its GPUs.
        gpus: Number of GPUs in the machine.
        pricing_model: How it is paid for.
        usd_per_hour: Price of the whole machine for an hour, upfront payments amortized over the term.
        sizes: Numbers of GPUs in which it is sold at the same price per GPU; empty if only with `gpus`.
        term: Length of the commitment ("1y", "3y", "1-182d"), "" if there is none.
        payment: "no_upfront", "partial_upfront", "all_upfront", "monthly", or "".
        minimum_billing_s: Shortest time that is billed.
        interruptions_per_month: Expected share of machines interrupted in a month (spot only), None if unknown.
        keep_warm_s: How long an idle worker stays up, and is paid, by default (serverless only), None if unknown.
        as_of: Date of the price.
        source: Source of the price.
        confidence: "high", "medium" or "low".
        assumed: Whether the price was assumed rather than found.
    """

    provider: str
    region: str
    instance: str
    hardware: str
    gpus: int
    pricing_model: PricingModel
    usd_per_hour: float
    sizes: tuple[int, ...] = ()
    term: str = ""
    payment: str = ""
    minimum_billing_s: float = 60.0
    interruptions_per_month: float | None = None
    keep_warm_s: float | None = None
    as_of: str
    source: str
    confidence: str = "medium"
    assumed: bool = False

    def __post_init__(self) -> None:
        if not (math.isfinite(self.usd_per_hour) and self.usd_per_hour > 0):
            raise CatalogError(
                f"price must be a positive number of dollars per hour, not {self.usd_per_hour}",
                where=f"{self.provider} {self.region} {self.instance}",
            )
        if self.gpus < 1:
            raise CatalogError(
                f"a machine needs at least one GPU, not {self.gpus}", where=f"{self.provider} {self.instance}"
            )

        if self.keep_warm_s is not None and not 0 <= self.keep_warm_s < math.inf:
            raise CatalogError(
                f"keep_warm_s must be a number of seconds, not {self.keep_warm_s}",
                where=f"{self.provider} {self.instance}",
            )
        if self.sizes and (self.gpus not in self.sizes or min(self.sizes) < 1):
            raise CatalogError(
                f"sizes must be numbers of GPUs with {self.gpus} among them, not {self.sizes}",
                where=f"{self.provider} {self.instance}",
            )

    def machines(self) -> tuple["Offer", ...]:
        """Return the machine of each size at this price per GPU, named as `2x H100`; itself if it has one size."""
        return tuple(self if gpus == self.gpus else self._sized(gpus) for gpus in sorted(self.sizes)) or (self,)

    def _sized(self, gpus: int) -> "Offer":
        return replace(
            self,
            instance=f"{gpus}x {without_count(self.instance)}",
            gpus=gpus,
            usd_per_hour=self.usd_per_gpu_hour * gpus,
            sizes=(),
            confidence="medium" if self.confidence == "high" else self.confidence,
        )

    @property
    def usd_per_gpu_hour(self) -> float:
        """Price of one GPU for an hour."""
        return self.usd_per_hour / self.gpus

    @property
    def third_party(self) -> bool:
        """Whether a marketplace rents it out on behalf of third parties, with weaker guarantees."""
        return self.provider == "vast" or "community" in self.instance.lower()

    @property
    def label(self) -> str:
        """Short name for tables: provider, machine, region, pricing model."""
        place = f" {self.region}" if self.region else ""
        return f"{self.provider} {self.instance}{place} ({self.pricing_model.replace('_', ' ')})"


@dataclass(frozen=True, slots=True, kw_only=True)
class LongPrompt:
    """Prices of a request whose prompt is longer than a threshold; they apply to all of its tokens.

    Args:
        above_tokens: Threshold on the prompt tokens, cached tokens included.
        input_usd_per_mtok: Price per million input tokens.
        cached_usd_per_mtok: Price per million input tokens read from the cache.
        output_usd_per_mtok: Price per million output tokens.
    """

    above_tokens: int
    input_usd_per_mtok: float
    cached_usd_per_mtok: float
    output_usd_per_mtok: float


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenPrice:
    """The price of a model's tokens at one provider and tier.

    Args:
        provider: Name of the provider.
        model: `Model.id`.
        provider_model: The provider's name of the model.
        tier: Service tier.
        input_usd_per_mtok: Price per million input tokens.
        cached_usd_per_mtok: Price per million input tokens read from the cache; the input price if none is stated.
        output_usd_per_mtok: Price per million output tokens.
        as_of: Date of the price list.
        source: Source of the price.
        long_prompts: Prices above a prompt length, shortest first.
        note: Remark of the price list.
    """

    provider: str
    model: str
    provider_model: str
    tier: Tier
    input_usd_per_mtok: float
    cached_usd_per_mtok: float
    output_usd_per_mtok: float
    as_of: str
    source: str
    long_prompts: tuple[LongPrompt, ...] = ()
    note: str = ""
