"""A comparison of a model that no machine serves: as tokens only."""

from collections.abc import Sequence
from typing import Final

import numpy as np

from meritorder.catalog.tokens import cost_usd, turnaround_s
from meritorder.domain import Lane, Tier
from meritorder.errors import CatalogError
from meritorder.offers import TokenPrice
from meritorder.records.comparison import Arrangement, Comparison, LaneCost, Waterfall, WaterfallPart
from meritorder.records.evidence import Assumption, PriceUsed, age_warnings
from meritorder.records.planproof import Credit
from meritorder.study.compare.arrangements import cheapest_price, price_tokens, token_arrangement
from meritorder.study.compare.sentence import none_waits
from meritorder.study.compare.trace_summary import reading_warnings, summarize
from meritorder.study.fleet.load import Floats, TraceLoad
from meritorder.study.fleet.options import CompareOptions
from meritorder.study.fleet.workloads import assign_workloads
from meritorder.study.prices.age import priced_today
from meritorder.traces import Trace
from meritorder.units import format_count, format_share, format_usd, usd_per_mtok

TIERS_COMPARED: Final = (Tier.STANDARD, Tier.BATCH, Tier.FLEX)
"""The tiers of token APIs that are shown beside fleets."""

ONLY_SOLD: Final = "the model is only sold as tokens"
NO_MACHINE: Final = "no machine serves the model"

_TOLERANCE_S: Final = 1e-3
_REALTIME_TIERS: Final = (Tier.STANDARD, Tier.PRIORITY)


def compare_tokens(
    trace: Trace, name: str, prices: Sequence[TokenPrice], options: CompareOptions, *, reason: str = ONLY_SOLD
) -> Comparison:
    """Return what a trace costs as tokens at each tier, and with what can wait at the cheapest tier in time.

    Args:
        trace: The requests.
        name: The model.
        prices: Its token prices.
        options: SLO and deadlines.
        reason: Why it is not compared on machines.

    Raises:
        CatalogError: No provider that the workloads allow sells the model in real time.
    """
    assigned = assign_workloads(trace, options)
    load = assigned.load(options)
    permitted = [price for price in prices if all(access.permits(price.provider, "") for access in load.accesses)]
    standard = next(filter(None, (cheapest_price(permitted, tier, load) for tier in _REALTIME_TIERS)), None)
    if standard is None:
        raise CatalogError(
            f"no provider that may be used sells {name} in real time", where="--workloads", fix="loosen allow and deny"
        )
    found = [(tier, cheapest_price(permitted, tier, load)) for tier in TIERS_COMPARED]
    tiers = [(tier, price) for tier, price in found if price is not None]
    baseline = token_arrangement(standard.tier, standard, load)
    mix = _mix(standard, permitted, load)
    saving_usd = baseline.total_usd - mix.total_usd
    cheapest_waiting = min(price_tokens(price, load) for _, price in (*tiers, (standard.tier, standard)))
    others = [token_arrangement(tier, price, load) for tier, price in tiers if price is not standard]
    prices_used = priced_today(
        PriceUsed.from_token_price(price, used_for=f"Token API, {tier}") for tier, price in tiers
    )
    return Comparison(
        trace=summarize(trace),
        model=name,
        hardware="",
        assumptions=[*assigned.assumptions, *(Assumption(text=text) for text in trace.report.assumptions)],
        arrangements=[baseline, *others, mix],
        baseline=baseline.name,
        best=mix.name if saving_usd > 0 else baseline.name,
        saving_usd=saving_usd,
        saving_share=saving_usd / baseline.total_usd if baseline.total_usd else 0.0,
        saving_interval=None,
        ratio_realtime_to_batch=baseline.total_usd / cheapest_waiting if cheapest_waiting else 1.0,
        ratio_note="",
        break_even_utilization=None,
        break_even_note=f"{reason}, so there is no machine to break even with",
        sentence=_sentence(reason, baseline, mix, load, unpriced=trace.report.unpriced, defer=options.defer),
        credited=[Credit(cause="waiting", usd=saving_usd)] if saving_usd > 0 else [],
        waterfall=[_waterfall(baseline, mix)] if saving_usd > 0 else [],
        frontier=[],
        prices=prices_used,
        performance=["providers publish no latency of their tokens"],
        warnings=[*reading_warnings(trace.report), *age_warnings(prices_used)],
    )


def patience_s(load: TraceLoad) -> Floats:
    """Return how long each request can wait, shape (requests,)."""
    # A tolerance, since deadlines are sums of floating-point numbers.
    return np.where(load.deferrable, (load.deadline_s - load.arrived_s) * load.pace + _TOLERANCE_S, 0.0)


def waiting_usd(prices: Sequence[TokenPrice], load: TraceLoad) -> Floats:
    """Return the least that each request costs at a batch or flex tier that answers before its deadline.

    Infinity for a request that none answers in time, shape (requests,).
    """
    waits_s = patience_s(load)
    usd = np.full(len(load), np.inf)
    for price in prices:
        if price.tier in _REALTIME_TIERS:
            continue
        in_time = load.deferrable & (waits_s >= turnaround_s(price))
        cost = cost_usd(price, load.input_tokens, load.cached_tokens, load.output_tokens)
        usd = np.where(in_time, np.minimum(usd, cost), usd)
    return usd


def _mix(standard: TokenPrice, prices: Sequence[TokenPrice], load: TraceLoad) -> Arrangement:
    """Return what cannot wait at the standard price, and the rest at the cheapest tier in time."""
    deferrable = load.deferrable
    at_once = cost_usd(standard, load.input_tokens, load.cached_tokens, load.output_tokens)
    usd = np.minimum(waiting_usd(prices, load), at_once)
    total = float(usd.sum())
    lanes = [
        LaneCost(
            lane=lane,
            requests=int(members.sum()),
            total_usd=float(usd[members].sum()),
            usd_per_request=float(usd[members].mean()),
            average_usd_per_request=total / len(load),
        )
        for lane, members in ((Lane.REALTIME, ~deferrable), (Lane.DEFERRABLE, deferrable))
        if members.any()
    ]
    return Arrangement(
        name="mix",
        title="Mix of tiers",
        feasible=True,
        total_usd=total,
        usd_per_request=total / len(load),
        usd_per_mtok=usd_per_mtok(total, load.tokens),
        lanes=lanes,
        venue="token APIs",
        notes=["what can wait is bought at the cheapest tier that promises an answer before its deadline"],
    )


def _sentence(
    reason: str, baseline: Arrangement, mix: Arrangement, load: TraceLoad, *, unpriced: str, defer: Sequence[str]
) -> str:
    count = len(load)
    cost = "cost" if count > 1 else "costs"
    costs = (
        f"{reason[:1].upper()}{reason[1:]}: at once, {format_count(count, 'request')} {cost} "
        f"{format_usd(baseline.total_usd)} ({format_usd(baseline.usd_per_request)} each; {baseline.venue})."
    )
    share = float(load.deferrable.mean())
    who = "it" if count == 1 else f"{format_share(share)} of them"
    if not share:
        waiting = none_waits(count, defer)
    elif mix.total_usd < baseline.total_usd:
        saved = baseline.total_usd - mix.total_usd
        waiting = (
            f"Letting {who} wait costs {format_usd(mix.total_usd)} and saves "
            f"{format_usd(saved)}, {format_share(saved / baseline.total_usd)}."
        )
    else:
        due = "its deadline" if count == 1 else "their deadlines"
        waiting = f"Letting {who} wait saves nothing: no cheaper tier answers before {due}."
    return " ".join(text for text in (unpriced, costs, waiting) if text)


def _waterfall(baseline: Arrangement, mix: Arrangement) -> Waterfall:
    part = WaterfallPart(
        name="api_tier",
        title="Token-API tier",
        usd=mix.total_usd - baseline.total_usd,
        why="requests that can wait are bought at cheaper tiers",
    )
    return Waterfall(start=baseline.name, end=mix.name, from_usd=baseline.total_usd, to_usd=mix.total_usd, parts=[part])
