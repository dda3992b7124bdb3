"""On-demand hours that a commitment would cover, and commitments that cover nothing."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from meritorder.bills import Purchase
from meritorder.findings import Confidence
from meritorder.policy.commitments import cost_with_commitment, machines_to_commit
from meritorder.study.audit.context import Context
from meritorder.study.audit.ledger import Ledger, Step, Unused, worth_telling
from meritorder.study.audit.market import Price, least
from meritorder.study.audit.pools import Fleet, Pool
from meritorder.units import HOURS_PER_DAY, format_share, format_usd

_LEAST_HOURS: Final = 7 * HOURS_PER_DAY
_MANY_MONTHS: Final = 3
_SLACK: Final = 1e-9
_AZURE: Final = re.compile(r"(?i)^standard_[a-z]+")
_NAMES: Final = {
    Purchase.SAVINGS_PLAN: "savings plan",
    Purchase.RESERVED: "reservation",
    Purchase.COMMITTED_USE: "committed use",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Advice:
    """Machines to commit to, whole or in part, at which price, and what that saves."""

    machines: float
    price: Price
    usd: float


def for_on_demand(ledger: Ledger, context: Context) -> Step:
    """Find on-demand machines that are used in enough hours that committing to them costs less.

    The k-th machine pays if P(use >= k) > committed / on-demand price, over all hours of the bill. A savings plan
    promises dollars, so k need not be whole.
    """
    fleet = ledger.fleet
    if fleet is None or fleet.step_h > HOURS_PER_DAY:
        return ledger, []
    pools, found = [], []
    for pool in fleet.pools:
        prices = [] if pool.on_spot else context.market.committed(pool.machine)
        best = max((_advice(pool, price) for price in prices), key=lambda advice: advice.usd, default=None)
        if best is None or not worth_telling(best.usd):
            pools.append(pool)
            continue
        pools.append(pool.at(pool.usd - best.usd))
        if best.price.offer:
            context.market.take(best.price.offer, "a commitment for on-demand hours")
        usd_per_hour = best.machines * best.price.usd_per_hour
        by_the_dollar = best.price.by_the_dollar
        what = "a savings plan of" if by_the_dollar else f"{best.machines:g} x {pool.machine.instance},"
        term = "on the terms of the one that runs" if best.price.own else "for a year"
        some = "" if by_the_dollar else f"{best.machines:g} x "
        found.append(
            ledger.finding(
                "commitment_for_on_demand",
                usd=best.usd,
                title=f"{some}{pool.machine.label} on demand would cost less under a "
                + ("savings plan" if by_the_dollar else "commitment"),
                confidence=_confidence(fleet, ledger.months, best.price),
                evidence=_evidence(pool, best, fleet),
                fix=f"commit to {what} {format_usd(usd_per_hour)} an hour {term}, after trying it on traffic that the "
                f"choice has not seen: {context.plan}",
                where=pool.machine.label,
            )
        )
    return ledger.with_pools(pools), found


def _advice(pool: Pool, price: Price) -> _Advice:
    """Return how much to commit to at a price."""
    committed, on_demand = price.usd_per_hour, pool.usd_per_hour
    if not 0 < committed < on_demand:
        return _Advice(machines=0.0, price=price, usd=0.0)
    if price.by_the_dollar:
        machines = float(np.quantile(pool.on_demand, 1 - committed / on_demand, method="inverted_cdf"))
    else:
        machines = float(machines_to_commit(pool.on_demand, committed, on_demand))
    usd = pool.usd - cost_with_commitment(pool.on_demand, machines, committed, on_demand)
    return _Advice(machines=machines, price=price, usd=max(0.0, usd))


def _confidence(fleet: Fleet, months: float, price: Price) -> Confidence:
    """Return how sure a saving over a year is, from the time and the detail that the bill has."""
    if fleet.hours < _LEAST_HOURS or fleet.step_h > 1:
        return "low"
    seen: Confidence = "high" if months >= _MANY_MONTHS else "medium"
    return least(seen, price.confidence)


def _evidence(pool: Pool, advice: _Advice, fleet: Fleet) -> str:
    committed = advice.price.usd_per_hour
    used = float((pool.on_demand >= advice.machines - _SLACK).mean())
    coarse = f"; the bill is by {fleet.step_h:.0f} hours, what is within them is not known" if fleet.step_h > 1 else ""
    return (
        f"{pool.on_demand.sum():,.0f} on-demand hours{pool.serves} at {format_usd(pool.usd_per_hour)}; committed "
        f"{format_usd(committed)} ({advice.price.source}), which pays if used in more than "
        f"{format_share(committed / pool.usd_per_hour)} of the hours; {advice.machines:.3g} or more ran in "
        f"{format_share(used)} of {fleet.hours:,}{coarse}"
    )


def unused(ledger: Ledger, context: Context) -> Step:
    """Find commitments that nothing used; on the wrong family where others were bought on demand all the while."""
    found, kept = [], []
    for each in ledger.unused:
        if not worth_telling(each.usd):
            kept.append(each)
            continue
        others = _bought_beside(ledger.pools, each) if each.bound else 0.0
        wrong = others >= each.usd and bool(each.instances)
        name = f"{_NAMES.get(Purchase(each.purchase), 'commitment')} {_short(each.commitment)}"
        share = each.used_usd / (each.used_usd + each.usd)
        found.append(
            ledger.finding(
                "commitment_wrong_family" if wrong else "unused_commitment",
                usd=each.usd,
                title=f"{name} is on {', '.join(each.instances)}, and others are bought on demand"
                if wrong
                else f"{name} is not fully used",
                confidence="medium" if wrong else "high",
                evidence=f"{format_share(share)} of {format_usd(each.used_usd + each.usd)} was used"
                + _worth(each)
                + (f"; {format_usd(others)} went on demand to other machines there" if wrong else ""),
                fix=_fix(wrong=wrong, context=context),
                where=each.commitment,
            )
        )
    return replace(ledger, unused=tuple(kept)), found


def _fix(*, wrong: bool, context: Context) -> str:
    if wrong:
        return f"exchange or sell it, or let it expire and commit to what runs; find what: {context.plan}"
    return (
        f"fill the hours in which it is free with work that may wait, and renew for less; find how much: {context.plan}"
    )


def _worth(each: Unused) -> str:
    """Say what the commitment saved or lost all together."""
    if each.list_usd <= 0:
        return ", and it covered nothing"
    gain = each.list_usd - each.used_usd - each.usd
    what = f"saved {format_usd(gain)}" if gain >= 0 else f"lost {format_usd(-gain)}"
    return f"; against on demand it {what} in all"


def _bought_beside(pools: Iterable[Pool], each: Unused) -> float:
    """Return what was paid on demand, where the commitment holds, for machines of families that it does not cover."""
    families = {_family(instance) for instance in each.instances}
    return sum(
        pool.usd
        for pool in pools
        if pool.machine.provider == each.provider
        and _family(pool.machine.instance) not in families
        and (not each.regions or pool.machine.region in each.regions)
    )


def _family(instance: str) -> str:
    """Return `p5` of `ml.p5.48xlarge`, `a3` of `a3-highgpu-8g`, `standard_nd` of `Standard_ND96isr_H100_v5`."""
    azure = _AZURE.match(instance)
    if azure:
        return azure[0].lower()
    name = instance.removeprefix("ml.")
    return name.partition("." if "." in name else "-")[0]


def _short(name: str) -> str:
    """Return the last part of an ARN or path."""
    return name.rsplit("/", 1)[-1] or name
