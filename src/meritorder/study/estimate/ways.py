"""Ways to serve requests: fleets that were simulated, commitments to them, and tokens of each provider and tier."""

import math
from collections.abc import Iterator, Sequence
from typing import Final

from msgspec import structs

from meritorder import catalog as facts
from meritorder.catalog.tokens import turnaround_s
from meritorder.domain import Attention, PricingModel, Tier
from meritorder.errors import CatalogError, InfeasibleError, MissingExtraError, PerformanceError
from meritorder.offers import TokenPrice
from meritorder.perf.accuracy import expected_accuracy
from meritorder.records.comparison import Comparison
from meritorder.records.estimation import Way
from meritorder.records.evidence import Interval
from meritorder.study.compare.arrangements import price_tokens
from meritorder.study.compare.certainty import cost_interval
from meritorder.study.compare.token_only import patience_s
from meritorder.study.fleet.fleets import Trial
from meritorder.study.fleet.load import TraceLoad
from meritorder.study.fleet.machines import CandidateMachine
from meritorder.study.fleet.options import CompareOptions
from meritorder.units import SECONDS_PER_HOUR, format_count, format_duration, format_share, format_usd

NO_MACHINE_ERRORS: Final = (CatalogError, InfeasibleError, PerformanceError, MissingExtraError)
"""Errors of a search that finds no machine for a model."""

_TIERS: Final = (Tier.STANDARD, Tier.BATCH, Tier.FLEX)
_COMMITMENTS: Final = (PricingModel.RESERVED, PricingModel.SAVINGS_PLAN, PricingModel.COMMITTED_USE)
# Nine in ten draws of the error of a profile lie between these levels.
_LEVELS: Final = (0.05, 0.95)


def limits_machines(options: CompareOptions) -> bool:
    """Whether the user limits the machines; then that none is left is a mistake, and no reason to buy tokens."""
    return bool(
        options.providers
        or options.regions
        or options.profile
        or options.tp
        or options.attention != Attention.ANY
        or options.max_num_seqs
        or options.max_num_batched_tokens
        or options.memory_utilization
        or options.kv_cache_dtype
    )


def fleet_ways(comparison: Comparison, load: TraceLoad, usd_factor: float, certainty: str) -> list[Way]:
    """Return the fleets of a comparison, without a batch that misses its own deadlines.

    Args:
        comparison: The comparison.
        load: Its requests; unless all can wait, batch breaks the SLO of some.
        usd_factor: Dollars of a month / dollars of the trace.
        certainty: How certain the speed of the machines is.
    """
    return [
        Way(
            name=arrangement.name,
            title=arrangement.title,
            where=arrangement.venue,
            usd=arrangement.total_usd * usd_factor,
            usd_per_request=arrangement.usd_per_request,
            in_time=arrangement.feasible and (arrangement.name != "batch" or bool(load.deferrable.all())),
            certainty=certainty,
            usd_interval=_scaled(arrangement.usd_interval, usd_factor),
            note="; ".join(arrangement.notes),
        )
        for arrangement in comparison.arrangements
        if arrangement.replica and (arrangement.name != "batch" or arrangement.feasible)
    ]


def _scaled(interval: Interval | None, factor: float) -> Interval | None:
    if interval is None:
        return None
    return structs.replace(interval, low=interval.low * factor, high=interval.high * factor)


def committed_way(always_on: Trial, options: CompareOptions, usd_factor: float, certainty: str) -> Iterator[Way]:
    """Yield the fleet that is always on at the cheapest commitment to as many replicas, if one is cheaper.

    Args:
        always_on: The fleet.
        options: Where to rent.
        usd_factor: Dollars of a month / dollars of the trace.
        certainty: How certain the speed of the machines is.
    """
    machine, pool = always_on.pools[0]
    replicas = pool.max_instances * machine.servers
    gpus = machine.profile.gpus
    offers = facts.load(options.catalogs).select_offers(
        machine.profile.hardware, options.providers or None, options.regions or None, _COMMITMENTS, gpus
    )
    hours = always_on.load.span_s / SECONDS_PER_HOUR
    priced = [(math.ceil(replicas / (offer.gpus // gpus)), offer) for offer in offers]
    count, offer = min(priced, key=lambda pair: pair[0] * pair[1].usd_per_hour, default=(0, None))
    if offer is None or count * offer.usd_per_hour * hours >= always_on.usd:
        return
    usd = count * offer.usd_per_hour * hours
    terms = " ".join(word for word in (offer.pricing_model.replace("_", " "), offer.term) if word)
    yield Way(
        name="realtime_committed",
        title=f"Real time, always on, {terms}",
        where=offer.label,
        usd=usd * usd_factor,
        usd_per_request=usd / len(always_on.load),
        in_time=always_on.feasible,
        certainty=certainty,
        usd_interval=cost_interval(usd * usd_factor, [machine]),
        note=f"{format_count(count, 'machine')} at {format_usd(offer.usd_per_hour)} an hour, paid for the whole term",
    )


def token_ways(prices: Sequence[TokenPrice], load: TraceLoad, *, usd_factor: float, by_s: float | None) -> list[Way]:
    """Return what the requests cost at each provider and tier, the cheapest first.

    Args:
        prices: Token prices of the model.
        load: The requests.
        usd_factor: Dollars stated / dollars of these requests.
        by_s: When a job must be done; None for traffic.
    """
    cheapest: dict[tuple[str, Tier], tuple[float, TokenPrice]] = {}
    for price in prices:
        usd = price_tokens(price, load)
        key = price.provider, price.tier
        if price.tier in _TIERS and (key not in cheapest or usd < cheapest[key][0]):
            cheapest[key] = usd, price
    return [
        _token_way(usd, price, load, usd_factor=usd_factor, by_s=by_s)
        for usd, price in sorted(cheapest.values(), key=lambda entry: entry[0])
    ]


def _token_way(usd: float, price: TokenPrice, load: TraceLoad, *, usd_factor: float, by_s: float | None) -> Way:
    promised_s = turnaround_s(price)
    certainty = f"list price of {price.as_of}"
    if promised_s:
        certainty += f"; answers within {format_duration(promised_s)} as a rule"
    else:
        certainty += "; no latency is promised" if by_s is None else "; the time depends on your rate limit"
    return Way(
        name=f"tokens_{price.tier}",
        title=f"Tokens, {price.tier}",
        where=f"{price.provider} {price.provider_model}",
        usd=usd * usd_factor,
        usd_per_request=usd / len(load),
        finished_s=promised_s or None,
        in_time=bool(promised_s <= patience_s(load).min()) if promised_s else None,
        certainty=certainty,
        note=price.note,
    )


def speed_factors(machine: CandidateMachine) -> tuple[float, float] | None:
    """Return how long steps take in the fastest and slowest of nine in ten measurements, relative to the profile."""
    known = expected_accuracy(machine.profile)
    if known is None:
        return None
    fast, slow = known.factors(_LEVELS, 0)
    return float(fast), float(slow)


def speed_certainty(machine: CandidateMachine) -> str:
    """Return how certain the speed of a machine is, from measurements that its profile was not fitted to."""
    factors = speed_factors(machine)
    if factors is None:
        return "simulated; this machine's speed was never measured"
    fast, slow = factors
    return (
        f"simulated; its steps take {format_share(1 - fast)} less to {format_share(slow - 1)} more time in measurements"
    )
