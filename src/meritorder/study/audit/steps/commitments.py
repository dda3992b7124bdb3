"""On-demand hours that a commitment would cover, and commitments that are not used."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from meritorder.bills import PurchaseOption
from meritorder.policy.commitments import cost_with_commitment, machines_to_commit
from meritorder.records.findings import Confidence
from meritorder.study.audit.context import AuditContext
from meritorder.study.audit.ledger import Ledger, StepResult, UnusedCommitment, worth_reporting
from meritorder.study.audit.market import MachinePrice, lowest
from meritorder.study.audit.pools import BilledFleet, BilledPool
from meritorder.units import HOURS_PER_DAY, format_share, format_usd

_MIN_HOURS: Final = 7 * HOURS_PER_DAY
_MIN_MONTHS_FOR_HIGH: Final = 3
_SLACK: Final = 1e-9
_AZURE: Final = re.compile(r"(?i)^standard_[a-z]+")
_NAMES: Final = {
    PurchaseOption.SAVINGS_PLAN: "savings plan",
    PurchaseOption.RESERVED: "reservation",
    PurchaseOption.COMMITTED_USE: "committed use",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Advice:
    """How many machines to commit to, not necessarily whole, at which price, and what that saves."""

    machines: float
    price: MachinePrice
    usd: float


def find_commitments_to_make(ledger: Ledger, context: AuditContext) -> StepResult:
    """Find on-demand machines that are used in enough hours for a commitment to cost less.

    Committing to the k-th machine pays off if P(use >= k) > committed / on-demand price, over all hours of the bill. A
    savings plan commits to dollars, so k need not be whole.
    """
    fleet = ledger.fleet
    if fleet is None or fleet.step_h > HOURS_PER_DAY:
        return ledger, []
    pools, findings = [], []
    for pool in fleet.pools:
        prices = [] if pool.on_spot else context.market.committed(pool.machine)
        best = max((_advice(pool, price) for price in prices), key=lambda advice: advice.usd, default=None)
        if best is None or not worth_reporting(best.usd):
            pools.append(pool)
            continue
        pools.append(pool.at_cost(pool.usd - best.usd))
        if best.price.offer:
            context.market.record(best.price.offer, "a commitment for on-demand hours")
        usd_per_hour = best.machines * best.price.usd_per_hour
        by_the_dollar = best.price.by_the_dollar
        what = "a savings plan of" if by_the_dollar else f"{best.machines:g} x {pool.machine.instance},"
        term = "on the terms of the current one" if best.price.own else "for a year"
        count = "" if by_the_dollar else f"{best.machines:g} x "
        findings.append(
            ledger.finding(
                "commitment_for_on_demand",
                usd=best.usd,
                title=f"{count}{pool.machine.label} on demand would cost less under a "
                + ("savings plan" if by_the_dollar else "commitment"),
                confidence=_confidence(fleet, ledger.months, best.price),
                evidence=_evidence(pool, best, fleet),
                fix=f"commit to {what} {format_usd(usd_per_hour)} an hour {term}, after a test on traffic that the "
                f"choice did not use; {context.plan_advice('find how much')}",
                where=pool.machine.label,
            )
        )
    return ledger.with_pools(pools), findings


def _advice(pool: BilledPool, price: MachinePrice) -> _Advice:
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


def _confidence(fleet: BilledFleet, months: float, price: MachinePrice) -> Confidence:
    """Return how certain a saving over a year is, from the length and the granularity of the bill."""
    if fleet.hours < _MIN_HOURS or fleet.step_h > 1:
        return "low"
    seen: Confidence = "high" if months >= _MIN_MONTHS_FOR_HIGH else "medium"
    return lowest(seen, price.confidence)


def _evidence(pool: BilledPool, advice: _Advice, fleet: BilledFleet) -> str:
    committed = advice.price.usd_per_hour
    used = float((pool.on_demand >= advice.machines - _SLACK).mean())
    coarse = (
        f"; the bill has steps of {fleet.step_h:.0f} hours, usage within them is not known" if fleet.step_h > 1 else ""
    )
    return (
        f"{pool.on_demand.sum():,.0f} on-demand hours{pool.serves} at {format_usd(pool.usd_per_hour)}; committed "
        f"{format_usd(committed)} ({advice.price.source}), which pays off if used in more than "
        f"{format_share(committed / pool.usd_per_hour)} of the hours; {advice.machines:.3g} or more ran in "
        f"{format_share(used)} of {fleet.hours:,}{coarse}"
    )


def find_unused_commitments(ledger: Ledger, context: AuditContext) -> StepResult:
    """Find unused commitments; on the wrong family if as much was paid on demand for machines of other families."""
    findings, remaining = [], []
    for commitment in ledger.unused:
        if not worth_reporting(commitment.usd):
            remaining.append(commitment)
            continue
        others_usd = _uncovered_usd(ledger.pools, commitment) if commitment.bound else 0.0
        wrong_family = others_usd >= commitment.usd and bool(commitment.instances)
        name = f"{_NAMES.get(PurchaseOption(commitment.purchase), 'commitment')} {_short(commitment.commitment)}"
        total_usd = commitment.used_usd + commitment.usd
        share = commitment.used_usd / total_usd
        findings.append(
            ledger.finding(
                "commitment_wrong_family" if wrong_family else "unused_commitment",
                usd=commitment.usd,
                title=f"{name} is on {', '.join(commitment.instances)}, and others are bought on demand"
                if wrong_family
                else f"{name} is not fully used",
                confidence="medium" if wrong_family else "high",
                evidence=f"{format_share(share)} of {format_usd(total_usd)} was used"
                + _net_saving(commitment)
                + (f"; {format_usd(others_usd)} was paid on demand for other machines there" if wrong_family else ""),
                fix=_fix(context, wrong_family=wrong_family),
                where=commitment.commitment,
            )
        )
    return replace(ledger, unused=tuple(remaining)), findings


def _fix(context: AuditContext, *, wrong_family: bool) -> str:
    if wrong_family:
        return f"exchange or sell it, or let it expire and commit to what runs; {context.plan_advice('find what')}"
    advice = context.plan_advice("find how much")
    return f"fill its free hours with work that may wait, and renew a smaller one; {advice}"


def _net_saving(commitment: UnusedCommitment) -> str:
    """Return in words what the commitment as a whole saved or lost against on demand."""
    if commitment.list_usd <= 0:
        return ", and it covered nothing"
    saved = commitment.list_usd - commitment.used_usd - commitment.usd
    verdict = f"saved {format_usd(saved)}" if saved >= 0 else f"lost {format_usd(-saved)}"
    return f"; against on demand it {verdict} in total"


def _uncovered_usd(pools: Iterable[BilledPool], commitment: UnusedCommitment) -> float:
    """Return what was paid on demand in the commitment's regions for machines of families that it does not cover."""
    families = {_family(instance) for instance in commitment.instances}
    return sum(
        pool.usd
        for pool in pools
        if pool.machine.provider == commitment.provider
        and _family(pool.machine.instance) not in families
        and (not commitment.regions or pool.machine.region in commitment.regions)
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
