"""The answer of a comparison in sentences, each saving credited to what earns it."""

from collections.abc import Sequence
from typing import Final

from meritorder.domain import Tier
from meritorder.offers import TokenPrice
from meritorder.study.compare.arrangements import price_tokens
from meritorder.study.fleet.fleets import Trial
from meritorder.study.fleet.load import TraceLoad
from meritorder.study.fleet.result import SearchResult
from meritorder.units import format_change, format_count, format_ratio, format_share, format_usd

# From this ratio on, the volume at which machines pay is more than "a little more".
_CLEARLY_MORE: Final = 1.05


def sentence(
    result: SearchResult,
    load: TraceLoad,
    apis: Sequence[tuple[Tier, TokenPrice]],
    *,
    unpriced: str = "",
    defer: Sequence[str] = (),
) -> str:
    """Return the answer in sentences: broken promises and cheaper tokens first, then costs, then savings by cause.

    Args:
        result: The fleets that were found.
        load: The requests.
        apis: Token prices by tier.
        unpriced: Which part of the traffic is not priced, if any.
        defer: Shares of the requests that were to wait.
    """
    parts = [unpriced, _broken(result.baseline, load), _tokens(result, load, apis), _costs(result, load)]
    return " ".join(part for part in (*parts, _right_sizing(result), _waiting(result, load, defer)) if part)


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

    def cost(usd: float) -> str:
        return f"{format_usd(usd)} ({format_usd(usd / count)} each)" if count > 1 else format_usd(usd)

    change = format_change(realtime_usd, batch_usd)
    return f"In real time {who} {cost(realtime_usd)}, in batch {cost(batch_usd)}: {change}."


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


def none_waits(requests: int, defer: Sequence[str]) -> str:
    """Return that no request can wait, and what would change that.

    Args:
        requests: Number of requests.
        defer: Shares of the requests that were to wait.
    """
    if defer:
        shares = " and ".join(defer)
        return f"No request can wait: {shares} of {format_count(requests, 'request')} is none; try --defer 100%@4h."
    return "No request is marked as able to wait; mark some with --defer 40%@4h or --workloads."


def _waiting(result: SearchResult, load: TraceLoad, defer: Sequence[str]) -> str:
    waiting = float(load.deferrable.mean())
    if waiting == 0:
        return none_waits(len(load), defer)
    mix, realtime = result.mix, result.realtime
    share = "all of them" if waiting == 1 else f"{format_share(waiting)} of them"
    share = "it" if len(load) == 1 else share
    if mix.usd >= realtime.usd:
        return f"Letting {share} wait saves nothing here: the real-time fleet is needed either way."
    saved_usd = realtime.usd - mix.usd
    spot = " on spot machines" if any(machine.interruptions for machine, _ in mix.pools) else ""
    return (
        f"Letting {share} wait{spot} costs {format_usd(mix.usd)} and saves {format_usd(saved_usd)}, "
        f"{format_share(saved_usd / realtime.usd)}, with every SLO and deadline met."
    )


def _tokens(result: SearchResult, load: TraceLoad, apis: Sequence[tuple[Tier, TokenPrice]]) -> str:
    if not apis:
        return ""
    tier, price = min(apis, key=lambda api: price_tokens(api[1], load))
    rates = f"{price.provider}, {tier} rates"
    return cheaper_tokens(len(load), price_tokens(price, load), result.mix.usd, rates=rates)


def cheaper_tokens(requests: int, usd: float, machines_usd: float, *, rates: str) -> str:
    """Return that tokens are cheaper than machines, and from which volume on machines pay; "" if they are not.

    Args:
        requests: Number of requests.
        usd: What they cost as tokens.
        machines_usd: What they cost on machines.
        rates: The prices of tokens.
    """
    if not 0 < usd < machines_usd:
        return ""
    cost, times = "costs" if requests == 1 else "cost", machines_usd / usd
    volume = f"about {format_ratio(times)} times" if times >= _CLEARLY_MORE else "a little more than"
    return (
        f"Bought as tokens ({rates}), {format_count(requests, 'request')} {cost} {format_usd(usd)}, less than "
        f"these machines: machines pay from {volume} this volume on, if they can serve it. "
        "Nobody promises the latency of tokens."
    )
