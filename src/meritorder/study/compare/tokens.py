"""What a load would cost as tokens, bought from a provider instead of served on hardware of one's own."""

from collections.abc import Sequence

from meritorder.catalog.tokens import cost_usd
from meritorder.comparison import (
    Arrangement,
)
from meritorder.domain import Tier, TokenPrice
from meritorder.evidence import PriceUsed
from meritorder.study.fleet.fleets import CandidateMachine
from meritorder.study.fleet.load import TraceLoad
from meritorder.units import format_usd, usd_per_mtok


def cheapest(tokens: Sequence[TokenPrice], tier: Tier, load: TraceLoad) -> TokenPrice | None:
    """Return the price of a tier at which a load costs least; None if nobody sells it."""
    of_tier = [price for price in tokens if price.tier is tier]
    return min(of_tier, key=lambda price: usd_of(price, load), default=None)


def usd_of(price: TokenPrice, load: TraceLoad) -> float:
    """Return what all requests cost."""
    return float(cost_usd(price, load.input_tokens, load.cached_tokens, load.output_tokens).sum())


def arrangement(tier: Tier, price: TokenPrice, load: TraceLoad) -> Arrangement:
    """Return all of it bought at one price, as a way to serve the load."""
    usd = usd_of(price, load)
    notes = ["the provider publishes no latency for it: whether it keeps the SLO is unknown"]
    if price.note:
        notes.append(price.note)
    return Arrangement(
        name=f"api_{tier}",
        title=f"Token API, {tier}",
        feasible=True,
        total_usd=usd,
        usd_per_request=usd / len(load),
        usd_per_mtok=usd_per_mtok(usd, load.tokens),
        lanes=[],
        venue=f"{price.provider} {price.provider_model}",
        notes=notes,
    )


def break_even(
    machine: CandidateMachine, apis: list[tuple[Tier, TokenPrice]], load: TraceLoad
) -> tuple[float | None, str]:
    """Return the utilisation at which a real-time fleet of one's own costs what the standard API does."""
    standard = next((price for tier, price in apis if tier is Tier.STANDARD), None)
    if standard is None:
        return None, "no provider sells this model as tokens, so there is nothing to break even with"
    share = machine.price_work(load) / usd_of(standard, load)
    replica = f"a replica at {format_usd(machine.usd_per_replica_hour)} an hour"
    if share > 1:
        return None, f"even full, {replica} costs {share:.1f} times the standard rate of {standard.provider}"
    return share, f"below {share:.0%} utilisation {replica} is dearer than the standard rate of {standard.provider}"


def price_used(tier: Tier, price: TokenPrice) -> PriceUsed:
    """Return the price, with its source."""
    return PriceUsed(
        what=f"{price.provider_model}, input; output {format_usd(price.output_usd_per_mtok)}",
        provider=price.provider,
        pricing_model=f"token API, {tier}",
        usd=price.input_usd_per_mtok,
        unit="USD per million tokens",
        as_of=price.as_of,
        source=price.source,
        confidence="medium",
        used_for=f"Token API, {tier}",
    )
