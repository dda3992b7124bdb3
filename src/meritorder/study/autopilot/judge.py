"""Plans simulated on the same requests, at the prices and the engine speed of now."""

from collections.abc import Mapping
from dataclasses import dataclass

from msgspec import structs

from meritorder.catalog import Catalog, Source
from meritorder.offers import Offer, machine_id
from meritorder.records.autopilot import Alternative
from meritorder.records.planfile import Plan, PlanPool
from meritorder.study.autopilot.difference import Row, difference, rotated
from meritorder.study.plan.replay import Replay, replay_in_detail
from meritorder.traces import Trace
from meritorder.units import SECONDS_PER_DAY


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """A plan and how it did.

    Args:
        plan: The plan.
        alternative: Its outcome.
        replay: Its simulation.
    """

    plan: Plan
    alternative: Alternative
    replay: Replay

    @property
    def running(self) -> dict[Row, float]:
        """Mean machines of each row, without those that only a backlog starts."""
        return {
            (row.pool, row.payment): account.paid_s / self.replay.span_s / _replicas(self.plan, row.pool)
            for outcome in self.replay.models.values()
            for row, account in zip(outcome.schedules, outcome.accounts, strict=True)
            if self.plan.policy is None or self.plan.policy.rules_of(row.pool, row.payment).backlog is None
        }


def judge(name: str, plan: Plan, trace: Trace, *, slower: float, catalogs: tuple[Source, ...]) -> Judged:
    """Return how a plan does on a trace.

    Args:
        name: Name of the alternative.
        plan: The plan.
        trace: The requests.
        slower: Factor on engine steps, as measured.
        catalogs: Catalog files, and rates of currencies.

    Raises:
        MeritorderError: The plan cannot serve the trace.
    """
    known = with_promises(plan, trace, slower)
    turned = known if trace.epoch_s is None else rotated(known, trace.epoch_s)
    replayed = replay_in_detail(turned, trace, catalogs=catalogs, seed=plan.promises.seed if plan.promises else 0)
    outcome = replayed.outcome
    return Judged(
        plan=plan,
        replay=replayed,
        alternative=Alternative(
            name=name,
            usd_per_day=outcome.total_usd * SECONDS_PER_DAY / replayed.span_s,
            kept=outcome.kept,
            slo_attainment=outcome.slo_attainment,
            deadlines_missed=outcome.deadlines_missed,
        ),
    )


def compared(judged: Judged, in_force: Judged, running: Mapping[Row, float]) -> Judged:
    """Return a judged plan with what it changes against the plan in force."""
    changed = difference(in_force.plan, judged.plan, running, judged.running)
    alternative = structs.replace(
        judged.alternative, machines=changed.machines, at_risk_usd_per_day=changed.at_risk_usd_per_day
    )
    return Judged(plan=judged.plan, alternative=alternative, replay=judged.replay)


def with_promises(plan: Plan, trace: Trace, slower: float) -> Plan:
    """Return a plan at the measured speed, for a trace that says itself which of its requests wait."""
    if plan.promises is None:
        return plan
    says = trace.requests["deadline_s"].null_count() < trace.requests.height
    defer = [] if says else plan.promises.defer
    return structs.replace(plan, promises=structs.replace(plan.promises, slower=slower, defer=defer))


def offers_of(pool: PlanPool, catalog: Catalog) -> list[Offer]:
    """Return the catalog's offers of the machine of a pool, under any pricing model, cheapest first."""
    offers = catalog.select_offers(hardware=pool.hardware, provider=pool.provider, gpus=1)
    return [
        offer
        for offer in offers
        if offer.gpus == pool.gpus and machine_id(offer.provider, offer.region, offer.instance) == pool.machine
    ]


def price_now(plan: Plan, catalog: Catalog) -> dict[Row, float]:
    """Return the catalog's hourly price of each row of a plan, the plan's own where the catalog has none."""
    pools = {pool.name: pool for pool in plan.pools}
    prices: dict[Row, float] = {}
    for row in plan.schedule:
        offers = [
            offer.usd_per_hour
            for offer in offers_of(pools[row.pool], catalog)
            if offer.pricing_model == row.pricing_model
        ]
        # A commitment has prices by term and payment: that of the plan is one of them.
        is_listed = not offers or (len(offers) > 1 and row.usd_per_hour in offers)
        prices[row.pool, row.payment] = row.usd_per_hour if is_listed else offers[0]
    return prices


def repriced(plan: Plan, prices: Mapping[Row, float]) -> Plan:
    """Return a plan at other hourly prices."""
    rows = [structs.replace(row, usd_per_hour=prices[row.pool, row.payment]) for row in plan.schedule]
    return structs.replace(plan, schedule=rows)


def _replicas(plan: Plan, name: str) -> int:
    return next(pool.replicas for pool in plan.pools if pool.name == name)
