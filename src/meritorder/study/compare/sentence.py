"""The answer of a comparison in sentences, each saving credited to what earns it."""

from collections.abc import Sequence

from meritorder.domain import Tier
from meritorder.offers import TokenPrice
from meritorder.study.compare.arrangements import price_tokens
from meritorder.study.fleet.fleets import Trial
from meritorder.study.fleet.load import TraceLoad
from meritorder.study.fleet.search import SearchResult
from meritorder.units import format_count, format_share, format_usd


def sentence(
    result: SearchResult, load: TraceLoad, apis: Sequence[tuple[Tier, TokenPrice]], *, unpriced: str = ""
) -> str:
    """Return the answer in sentences: a broken promise first, then the costs, then what each saving is due to.

    Args:
        result: The fleets that were found.
        load: The requests.
        apis: Token prices by tier.
        unpriced: Which part of the traffic is not priced, if any.
    """
    parts = [unpriced, _broken(result.baseline, load), _costs(result, load), _right_sizing(result)]
    return " ".join(part for part in (*parts, _waiting(result, load), _tokens(result, load, apis)) if part)


def _broken(baseline: Trial, load: TraceLoad) -> str:
    if baseline.feasible or baseline.slo_attainment is None:
        return ""
    return (
        f"The present fleet ({baseline.label}) breaks the SLO: {format_share(baseline.slo_attainment, 1)} of requests "
        f"keep it, {format_share(load.attainment, 1)} must."
    )


def _costs(result: SearchResult, load: TraceLoad) -> str:
    count = len(load)
    who = f"these {format_count(count, 'request')} cost" if count > 1 else "this request costs"
    realtime_usd, batch_usd = result.baseline.usd, result.batch.usd
    ratio = realtime_usd / batch_usd
    compared = f"{ratio:.1f} times less" if ratio >= 1 else f"{1 / ratio:.1f} times more"
    if f"{max(ratio, 1 / ratio):.1f}" == "1.0":
        compared = "about the same"

    def cost(usd: float) -> str:
        return f"{format_usd(usd)} ({format_usd(usd / count)} each)" if count > 1 else format_usd(usd)

    return f"In real time {who} {cost(realtime_usd)}, in batch {cost(batch_usd)}: {compared}."


def _right_sizing(result: SearchResult) -> str:
    baseline, realtime = result.baseline, result.realtime
    if baseline is realtime or realtime.usd >= baseline.usd:
        return ""
    saved_usd = baseline.usd - realtime.usd
    return (
        f"Without waiting, the cheapest real-time fleet ({realtime.machine.profile.replica.label}; {realtime.label}) "
        f"costs {format_usd(realtime.usd)}: right-sizing saves {format_usd(saved_usd)}, "
        f"{format_share(saved_usd / baseline.usd)}."
    )


def _waiting(result: SearchResult, load: TraceLoad) -> str:
    waiting = float(load.deferrable.mean())
    if waiting == 0:
        return "No request is marked as able to wait; mark some with --defer 40%@4h or --workloads."
    mix, realtime = result.mix, result.realtime
    share = "all" if waiting == 1 else format_share(waiting)
    if mix.usd >= realtime.usd:
        return f"Letting {share} of them wait saves nothing here: the real-time fleet is needed either way."
    saved_usd = realtime.usd - mix.usd
    spot = " on spot machines" if any(machine.interruptions for machine, _ in mix.pools) else ""
    return (
        f"Letting {share} of them wait{spot} costs {format_usd(mix.usd)} and saves {format_usd(saved_usd)}, "
        f"{format_share(saved_usd / realtime.usd)}, with every SLO and deadline met."
    )


def _tokens(result: SearchResult, load: TraceLoad, apis: Sequence[tuple[Tier, TokenPrice]]) -> str:
    if not apis:
        return ""
    tier, price = min(apis, key=lambda api: price_tokens(api[1], load))
    usd = price_tokens(price, load)
    if usd >= result.mix.usd:
        return ""
    rate = f"{price.provider}, {tier} rate"
    who = "they" if len(load) > 1 else "it"
    return f"Bought as tokens {who} would cost {format_usd(usd)} ({rate}), with no guarantee of latency."
