"""Why a plan costs what it does: its waterfall, the prices and assumptions behind it, and how certain it is."""

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Final

import numpy as np

from meritorder.catalog.tokens import cost_usd
from meritorder.offers import Offer, TokenPrice
from meritorder.perf.accuracy import expected_accuracy
from meritorder.planner.model.demand import DeferrableDemand, Demand
from meritorder.planner.model.problem import Problem
from meritorder.planner.model.supply import Spot
from meritorder.planner.model.variants import aggregate_to_hours, replace_due_slots, restrict_purchases
from meritorder.planner.solve.bounds import relaxed_usd
from meritorder.planner.solve.solution import Solution
from meritorder.records import planfile
from meritorder.records.evidence import Assumption, Interval, PriceUsed
from meritorder.records.planproof import ComingDays, InHindsight, WalkForward
from meritorder.study.compare.sentence import cheaper_tokens
from meritorder.study.fleet.load import TraceLoad
from meritorder.study.schedule.options import MIN_COMMITMENT_EVIDENCE_S, REALTIME_TIERS, PlanOptions
from meritorder.study.schedule.supply import Site
from meritorder.traces import Trace
from meritorder.units import format_count, format_duration, format_share, format_usd

# Problems with more slots are explained in slots of an hour.
_MAX_SLOTS: Final = 200
# Waterfall parts below this share of the larger total are left out.
_NEGLIGIBLE: Final = 5e-4
# 90 % of draws of the profiles' error lie between these quantiles.
_QUANTILES: Final = (0.05, 0.95)


def coarsened(problem: Problem) -> Problem:
    """Return the problem, in slots of an hour if it has many slots."""
    return (aggregate_to_hours(problem) or problem) if problem.horizon.slots > _MAX_SLOTS else problem


def waterfall(
    problem: Problem, baseline_usd: float, total_usd: float, bought_usd: float = 0.0
) -> list[planfile.CostChange]:
    """Split the difference between baseline and plan into the effect of each degree of freedom; the parts add up.

    Each part is the difference of two relaxations: on-demand machines without waiting; the same with waiting; with spot
    and token APIs; with commitments. The last part is the cost of whole machines and start-ups. Without a carbon price.

    Args:
        problem: The problem.
        baseline_usd: Cost of the baseline.
        total_usd: Cost of the plan.
        bought_usd: Cost of purchases that the problem holds as sunk.
    """
    small = coarsened(replace(problem, carbon=None))
    immediate = small
    for workload in small.workloads:
        if isinstance(workload, DeferrableDemand):
            immediate = replace_due_slots(immediate, workload, np.arange(small.horizon.length))
    uncommitted = restrict_purchases(immediate, frozenset())
    steady = tuple(payment for payment in uncommitted.payments if not isinstance(payment, Spot))
    plain = replace(uncommitted, payments=steady, tiers=())
    waiting = replace(plain, workloads=small.workloads)
    elastic = restrict_purchases(small, frozenset())
    steps = [
        ("machines that follow demand, on the cheapest hardware", relaxed_usd(plain)),
        ("work that waits", relaxed_usd(waiting)),
        ("spot and token APIs", relaxed_usd(elastic)),
        ("commitments", relaxed_usd(small) + bought_usd),
        ("whole machines, start-ups and tails", total_usd),
    ]
    parts, before = [], baseline_usd
    for cause, usd in steps:
        if not np.isfinite(usd):
            continue
        if abs(usd - before) > _NEGLIGIBLE * max(baseline_usd, total_usd) or cause == steps[-1][0]:
            parts.append(planfile.CostChange(cause=cause, usd=usd - before))
            before = usd
    return parts


def saving_interval(
    problem: Problem, sites: Collection[Site], *, baseline_usd: float, total_usd: float, seed: int
) -> Interval | None:
    """Return the range of the saving's share if every step is longer or shorter by the profiles' measured error.

    Work scales with the steps, and so does the capacity that c(n) leaves. The plan is solved again in fractions of
    machines; the baseline's machines are scaled. None if the error of a profile is unknown.

    Args:
        problem: The problem of the plan.
        sites: Pools that the plan uses.
        baseline_usd: Cost of the baseline.
        total_usd: Simulated cost of the plan.
        seed: Seed of the draws.
    """
    errors = [error for site in sites if (error := expected_accuracy(site.serving.machine.profile)) is not None]
    if not errors or len(errors) < len(sites):
        return None
    worst = max(errors, key=lambda error: error.error)
    small = coarsened(replace(problem, carbon=None))
    planned_usd = relaxed_usd(small)
    if not planned_usd or baseline_usd <= 0:
        return None
    shares = []
    for factor in worst.factors(_QUANTILES, seed).tolist():
        slowed = replace(small, workloads=tuple(_slowed(workload, factor) for workload in small.workloads))
        usd = relaxed_usd(slowed) / planned_usd * total_usd
        if np.isfinite(usd):
            shares.append(1 - usd / (baseline_usd * factor))
    shares.append(1 - total_usd / baseline_usd)
    basis = f"steps as much longer or shorter as nine in ten of {worst.basis}; machines planned again in fractions"
    return Interval(low=min(shares), high=max(shares), basis=basis)


def _slowed(workload: Demand, factor: float) -> Demand:
    return replace(workload, work_s={kind: work_s * factor for kind, work_s in workload.work_s.items()})


def tokens_usd(loads: Mapping[str, TraceLoad], prices: Mapping[str, Sequence[TokenPrice]]) -> dict[str, float]:
    """Return the cost of all requests as tokens, by tier, at the cheapest provider of each model.

    Args:
        loads: Requests by model.
        prices: Token prices by model.
    """
    usd_by_tier: dict[str, float] = {}
    for tier in {price.tier for of_model in prices.values() for price in of_model}:
        total_usd = 0.0
        for model, load in loads.items():
            usd = [
                float(cost_usd(price, load.input_tokens, load.cached_tokens, load.output_tokens).sum())
                for price in prices[model]
                if price.tier is tier
                and all(workload.access.permits(price.provider, "") for workload in load.workloads)
            ]
            total_usd += min(usd, default=np.inf)
        if np.isfinite(total_usd):
            usd_by_tier[tier.value] = total_usd
    return dict(sorted(usd_by_tier.items()))


def usd_by_pricing_model(
    schedule: Sequence[planfile.PoolSchedule],
    commitments: Sequence[planfile.Commitment],
    outcome: planfile.PlanOutcome,
) -> dict[str, float]:
    """Return the simulated cost by pricing model; adds up to the total."""
    usd: dict[str, float] = {}
    models = {f"{row.pool}, {row.payment}": row.pricing_model for row in schedule}
    for name, paid_usd in outcome.usd_by_pool.items():
        usd[models[name]] = usd.get(models[name], 0.0) + paid_usd
    for bought in commitments:
        usd[bought.pricing_model] = usd.get(bought.pricing_model, 0.0) + bought.usd
    if outcome.tokens_usd:
        usd["tokens"] = outcome.tokens_usd
    return {model: model_usd for model, model_usd in usd.items() if model_usd}


def prices_used(
    schedule: Sequence[planfile.PoolSchedule],
    commitments: Sequence[planfile.Commitment],
    routes: Sequence[planfile.PlanRoute],
    *,
    sites: Mapping[str, Site],
    tokens: Mapping[str, TokenPrice],
) -> list[PriceUsed]:
    """Return the catalog prices of the payments, commitments and token APIs of a plan.

    Args:
        schedule: Payments of machines.
        commitments: Commitments.
        routes: Venues of the workloads.
        sites: Pools by name, with their offers.
        tokens: Token prices by venue.
    """
    offers: dict[str, Offer] = {}
    for site in sites.values():
        for offer in site.offers:
            offers[f"{offer.label} {offer.term} {offer.payment}".strip()] = offer
            offers[offer.label] = offer
    payments = {row.payment for row in schedule} | {bought.name for bought in commitments}
    used = {id(offer): offer for name, offer in offers.items() if any(payment.startswith(name) for payment in payments)}
    venues = sorted({route.venue for route in routes if route.kind == "tier"})
    return [
        *(PriceUsed.from_offer(offer, assumed=offer.assumed) for offer in used.values()),
        *(PriceUsed.from_token_price(tokens[venue], assumed=False) for venue in venues),
    ]


def assumptions(
    solution: Solution, loads: Mapping[str, TraceLoad], options: PlanOptions, *, chosen_before: bool
) -> list[Assumption]:
    """Return the assumptions about the SLO, start-up, and commitments.

    Args:
        solution: The solution.
        loads: Requests by model.
        options: What the user stated.
        chosen_before: Whether commitments were chosen over forecast seasons.
    """
    assumptions = promise_assumptions(loads.values(), options, "; it is rented that long before its slot")
    if any(purchase.amount > 0 for purchase in solution.purchases) and not chosen_before:
        horizon = solution.problem.horizon
        span = format_duration(horizon.slots * horizon.slot_s)
        text = f"commitments are valued as if every {span} of their term were like this trace"
        assumptions.append(Assumption(text=text, option="--commit"))
    return assumptions


def promise_assumptions(loads: Iterable[TraceLoad], options: PlanOptions, consequence: str = "") -> list[Assumption]:
    """Return the assumptions about the SLO and the start-up.

    Args:
        loads: Requests.
        options: What the user stated.
        consequence: What follows from the start-up.
    """
    assumed = any(workload.assumed or not workload.slo for load in loads for workload in load.workloads)
    slo = [options.slo_assumption()] if options.slo is None and assumed else []
    return [*slo, *options.precision_assumptions(), options.startup_assumption(consequence)]


def sentence(
    requests: int,
    hindsight: InHindsight,
    policy: planfile.PlanOutcome,
    *,
    forward: WalkForward | None = None,
    coming: ComingDays | None = None,
    tokens_usd: Mapping[str, float] | None = None,
    carbon_usd: float = 0.0,
    unpriced: str = "",
) -> str:
    """Return the plan in sentences: what is not priced, how it does on unseen days, what it costs, and its bound.

    Args:
        requests: Number of requests.
        hindsight: The plan with hindsight.
        policy: Outcome of its policy, which does not know the requests beforehand.
        forward: How the policy does on days that it has not seen, if there are any.
        coming: The days to come, if any are asked for.
        tokens_usd: Cost of all requests as tokens, by tier.
        carbon_usd: Carbon price of the plan.
        unpriced: Which part of the traffic is not priced, if any.
    """
    who = f"these {format_count(requests, 'request')} cost" if requests > 1 else "this request costs"
    cheaper = _tokens_sentence(requests, tokens_usd or {}, hindsight.total_usd)
    parts = [
        unpriced,
        cheaper,
        _coming_sentence(coming),
        _forward_sentence(forward),
        f"In real time {who} {format_usd(hindsight.baseline_usd)}.",
    ]
    saving_usd = hindsight.saving_usd
    saving = f", which saves {format_share(saving_usd / hindsight.baseline_usd)}" if saving_usd > 0 else ""
    total = format_usd(hindsight.total_usd)
    parts.append(f"With hindsight, knowing every request, this plan costs {total}{saving}.")
    if policy.kept and policy.total_usd > hindsight.total_usd * (1 + _NEGLIGIBLE):
        parts.append(f"Its policy, which does not know them, costs {format_usd(policy.total_usd)}.")
    if hindsight.kept:
        parts.append("Every promise is kept when each request is simulated.")
    else:
        parts.append("Not every promise is kept when each request is simulated.")
    if carbon_usd:
        parts.append(f"Its carbon is priced at {format_usd(carbon_usd)} on top.")
    if hindsight.bound_usd > 0:
        included = ", carbon included" if carbon_usd else ""
        distance = f"this plan is within {format_share(max(hindsight.gap, 0.0), 1).lstrip('<')} of it"
        if hindsight.gap < -_NEGLIGIBLE:
            distance = "this plan costs less, so it lies outside that family"
        parts.append(
            f"No policy of the family that docs/plan.md states costs less than {format_usd(hindsight.bound_usd)}"
            f"{included}, even with hindsight: {distance}."
        )
    return " ".join(part for part in parts if part)


def _tokens_sentence(requests: int, tokens_usd: Mapping[str, float], total_usd: float) -> str:
    """Return that tokens are cheaper than machines, and from which volume on machines pay; "" if they are not."""
    tier, usd = min(tokens_usd.items(), key=lambda item: item[1], default=("", math.inf))
    return cheaper_tokens(requests, usd, total_usd, rates=f"{tier} rates")


def _coming_sentence(coming: ComingDays | None) -> str:
    if coming is None:
        return ""
    days, first = coming.days, coming.days[0].day
    period = f"On {first}" if len(days) == 1 else f"From {first} to {days[-1].day}"
    saves = f", which saves {format_share(coming.saving_share)}" if coming.saving_share > 0 else ""
    low, high = format_usd(coming.low_usd), format_usd(coming.high_usd)
    return (
        f"{period} the policy is expected to cost {format_usd(coming.total_usd)} (between {low} and {high} if the "
        f"traffic is as far from its forecast as on eight in ten past days) against {format_usd(coming.baseline_usd)} "
        f"in real time{saves}."
    )


def _forward_sentence(forward: WalkForward | None) -> str:
    if forward is None or not forward.days:
        return ""
    count = len(forward.days)
    days = "a day" if count == 1 else f"{count} days"
    kept = sum(day.slo_kept for day in forward.days)
    saved = "saves nothing"
    if forward.saving_share > 0:
        saved = f"saves {format_share(forward.saving_share)}"
        if forward.saving_interval and count > 1:
            low, high = (format_share(share) for share in (forward.saving_interval.low, forward.saving_interval.high))
            saved += f" (between {low} and {high} on most days)" if low != high else ""
    late = format_count(forward.deadlines_missed, "deadline") if forward.deadlines_missed else "no deadline"
    slo = f"The SLO is kept on {kept} of them" if count > 1 else f"The SLO is {'kept' if kept else 'broken'}"
    return (
        f"On {days} that it had not seen, the policy costs {format_usd(forward.total_usd)} against "
        f"{format_usd(forward.baseline_usd)} in real time and {saved}. {slo}, and {late} is missed."
    )


def warnings(
    trace: Trace,
    workloads: Sequence[planfile.WorkloadPlan],
    options: PlanOptions,
    *,
    tokens_usd: Mapping[str, float],
    total_usd: float,
    backtest: Sequence[planfile.CommitmentBacktest],
) -> list[str]:
    """Return warnings about the input and about cheaper alternatives.

    Args:
        trace: The requests.
        workloads: Workloads of the plan.
        options: What the user stated.
        tokens_usd: Cost of all requests as tokens, by tier.
        total_usd: Cost of the plan.
        backtest: Backtest of the commitments.
    """
    texts = []
    report = trace.report
    if report.bad_rows:
        verb = "is" if report.bad_rows == 1 else "are"
        texts.append(f"{report.bad_rows:,} of {format_count(report.rows, 'row')} {verb} invalid and left out")
    texts += report.aside_lines
    realtime = any(workload.lane == "realtime" for workload in workloads)
    if not any(workload.lane == "deferrable" for workload in workloads):
        texts.append("no request is marked as deferrable; state which may wait with --defer 40%@4h or --workloads")
    if options.backtest is not None and not backtest:
        texts.append("there is nothing to backtest: no commitment is on sale for these machines")
    # What can wait is bought unasked.
    unasked = options.tiers is None and (options.deferrable_tiers - (REALTIME_TIERS if realtime else frozenset()))
    offered = {tier: usd for tier, usd in tokens_usd.items() if tier not in (unasked or ())}
    tier, usd = min(offered.items(), key=lambda item: item[1], default=("", np.inf))
    if usd < total_usd and not options.tiers:
        texts.append(
            f"bought as tokens ({tier} tier), all of it would cost {format_usd(usd)}, without a guaranteed latency; "
            f"add --tokens {tier} to let the plan buy them"
        )
    return texts


def commitment_warnings(span_s: float, commitments: Sequence[planfile.Commitment]) -> list[str]:
    """Return a warning if a trace is too short to tell whether what is committed to will be used.

    Args:
        span_s: Length of the trace.
        commitments: Commitments of the plan.
    """
    owed_usd = sum(commitment.owed_usd or 0.0 for commitment in commitments if commitment.amount > 0)
    if not owed_usd or span_s >= MIN_COMMITMENT_EVIDENCE_S:
        return []
    evidence = f"{format_duration(span_s)} of requests cannot tell whether commitments of {format_usd(owed_usd)} in all"
    return [f"{evidence} are used for their whole term; {format_duration(MIN_COMMITMENT_EVIDENCE_S)} could"]
