"""The same machine for less: at its list price, in another region, or on spot where its work may wait."""

from dataclasses import replace
from typing import Final

from meritorder.study.audit.context import Context
from meritorder.study.audit.ledger import Ledger, Step, worth_telling
from meritorder.study.audit.market import Price, geography, least, title
from meritorder.study.audit.pools import Pool
from meritorder.units import SECONDS_PER_HOUR, SECONDS_PER_MINUTE, format_share, format_usd, interruptions_per_hour

_WORTH_A_MOVE: Final = 0.03
"""A price that is lower by less than this is not worth moving for."""

_ROUNDING: Final = 0.01
"""A price above the list by less than this is rounding, or a list price of another day."""

_WORST_INTERRUPTIONS: Final = 0.25
"""Share of spot machines taken back in a month, where nobody states one: the worst of AWS's classes (2025-06)."""

_LOST_S: Final = 10 * SECONDS_PER_MINUTE
"""Paid time that an interruption costs: work done again, and the start of the next machine. Assumed."""


def above_list(ledger: Ledger, context: Context) -> Step:
    """Find machines that were paid above their own list price."""
    pools, found = [], []
    for pool in ledger.pools:
        price = context.market.on_demand(pool.machine)
        if price is None or pool.usd_per_hour <= price.usd_per_hour * (1 + _ROUNDING):
            pools.append(pool)
            continue
        cheaper = replace(pool, usd_per_hour=price.usd_per_hour)
        pools.append(cheaper)
        _take(context, price, "list price against what was paid")
        found.append(
            ledger.finding(
                "above_list_price",
                usd=pool.usd - cheaper.usd,
                title=f"{pool.machine.label} is paid above its list price",
                confidence=least("medium", price.confidence),
                evidence=f"{pool.on_demand.sum():,.0f} hours at {format_usd(pool.usd_per_hour)} an hour; the list says "
                f"{format_usd(price.usd_per_hour)} ({price.source})",
                fix="ask the seller for the list price: "
                f"meritorder prices --provider {pool.machine.provider}{_region(pool)}",
                where=pool.machine.label,
            )
        )
    return ledger.with_pools(pools), found


def cheaper_region(ledger: Ledger, context: Context) -> Step:
    """Find machines that cost less in another region of the same part of the world."""
    pools, found = [], []
    for pool in ledger.pools:
        offers = () if pool.on_spot else context.market.elsewhere(pool.machine)
        if not offers or offers[0].usd_per_hour >= pool.usd_per_hour * (1 - _WORTH_A_MOVE) or not pool.usd:
            pools.append(pool)
            continue
        offer = offers[0]
        moved = replace(pool, usd_per_hour=offer.usd_per_hour, machine=replace(pool.machine, region=offer.region))
        pools.append(moved)
        context.market.take(offer, "a cheaper region")
        found.append(
            ledger.finding(
                "cheaper_region",
                usd=pool.usd - moved.usd,
                title=f"{pool.machine.label} costs less in {offer.region}",
                confidence="low",
                evidence=f"{pool.on_demand.sum():,.0f} hours at {format_usd(pool.usd_per_hour)} an hour; in "
                f"{offer.region} {format_usd(offer.usd_per_hour)} ({title(offer.source)}, {offer.as_of}). Latency, "
                f"data transfer and where data must stay within {geography(offer.region)} are yours to judge",
                fix=context.compare(pool.machine, region=offer.region),
                where=pool.machine.label,
            )
        )
    return ledger.with_pools(pools), found


def spot(ledger: Ledger, context: Context) -> Step:
    """Find on-demand machines whose work may wait, and could run on machines that may be taken back.

    price = spot price / share of the time that is not lost to interruptions
    """
    pools, found = [], []
    for pool in ledger.pools:
        price = context.market.spot(pool.machine) if pool.may_wait else None
        share, told = _lasting_share(pool, price, context)
        if price is None or not worth_telling(pool.usd - pool.on_demand.sum() * price.usd_per_hour / share):
            pools.append(pool)
            continue
        cheaper = replace(pool, usd_per_hour=price.usd_per_hour / share, on_spot=True)
        pools.append(cheaper)
        _take(context, price, "spot for work that may wait")
        found.append(
            ledger.finding(
                "spot_for_deferrable",
                usd=pool.usd - cheaper.usd,
                title=f"{pool.machine.label} is bought on demand for work that may wait",
                confidence=price.confidence,
                evidence=f"{pool.on_demand.sum():,.0f} on-demand hours{pool.serves} of work that may wait, "
                f"at {format_usd(pool.usd_per_hour)}; on spot {format_usd(price.usd_per_hour)} ({price.source}), and "
                f"{format_share(1 - share, 1)} of it lost to interruptions ({told})",
                fix="run it on spot, with its deadlines kept: "
                + context.compare(pool.machine, more="--spot --defer 100%@24h"),
                where=pool.machine.label,
            )
        )
    return ledger.with_pools(pools), found


def _lasting_share(pool: Pool, price: Price | None, context: Context) -> tuple[float, str]:
    """Return the share of spot time that does lasting work, and by what rate of interruptions."""
    stated = price.offer.interruptions_per_month if price and price.offer else None
    if stated is None:
        stated = context.market.interruptions_per_month(pool.machine)
    told = f"{format_share(stated)} of machines taken back a month" if stated is not None else "rate assumed"
    rate = interruptions_per_hour(_WORST_INTERRUPTIONS if stated is None else stated)
    return 1 - min(0.5, rate * _LOST_S / SECONDS_PER_HOUR), told


def _take(context: Context, price: Price, why: str) -> None:
    if price.offer:
        context.market.take(price.offer, why)


def _region(pool: Pool) -> str:
    return f" --region {pool.machine.region}" if pool.machine.region else ""
