"""The figures and sentences of a plan, shared by every form of its report."""

from dataclasses import dataclass
from typing import Final

from meritorder.records.comparison import Waterfall, WaterfallPart
from meritorder.records.planfile import PREPAID, Commitment, Plan, PlanOutcome, PoolSchedule
from meritorder.report.wording import (
    MISSING,
    capitalize,
    or_missing,
    pricing_title,
    saving_sentence,
    spaced,
    usd_cells,
    within_sentence,
)
from meritorder.units import SECONDS_PER_HOUR, format_count, format_duration, format_share, format_usd, utc

REALTIME: Final = "Real time"
"""The baseline of a plan."""
_NEGLIGIBLE_SHARE: Final = 1e-4
# From here on, hours are shown without decimals.
_WHOLE_HOURS: Final = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class RentalRow:
    """The machines of a pool under one payment.

    Args:
        pool: Name of the pool.
        payment: Name of the payment.
        pricing_model: Pricing model.
        pricing: The same in words.
        machines: Smallest and largest number: `0-3`.
        gpu_hours: Paid GPU-hours.
        usd: Hourly cost after savings plans.
        saved: Discount by savings plans; "" if none.
        serves: Lanes that it serves.
        trend: Machines by slot.
    """

    pool: str
    payment: str
    pricing_model: str
    pricing: str
    machines: str
    gpu_hours: str
    usd: str
    saved: str
    serves: str
    trend: list[int]


def rentals(plan: Plan) -> list[RentalRow]:
    """Return the rented machines, grouped by pool in the order of the plan."""
    order = {pool.name: index for index, pool in enumerate(plan.pools)}
    gpus = {pool.name: pool.gpus for pool in plan.pools}
    slot_h = plan.slot_s / SECONDS_PER_HOUR
    used = [schedule for schedule in plan.schedule if any(schedule.machines)]
    schedules = sorted(used, key=lambda schedule: order[schedule.pool])
    costs = usd_cells([schedule.usd or None for schedule in schedules])
    return [
        RentalRow(
            pool=schedule.pool,
            payment=schedule.payment,
            pricing_model=schedule.pricing_model,
            pricing=pricing_title(schedule.pricing_model),
            machines=_range(min(schedule.machines, default=0), max(schedule.machines, default=0)),
            gpu_hours=_hours(sum(schedule.machines) * slot_h * gpus[schedule.pool]),
            usd="prepaid" if schedule.pricing_model in PREPAID else cost,
            saved=f"{format_usd(schedule.saved_usd)} saved by savings plans" if schedule.saved_usd > 0 else "",
            serves=_lanes(schedule),
            trend=schedule.machines,
        )
        for schedule, cost in zip(schedules, costs, strict=True)
    ]


def _hours(hours: float) -> str:
    return f"{hours:,.0f}" if hours >= _WHOLE_HOURS else f"{hours:.2g}"


def _range(low: int, high: int) -> str:
    return f"{low:,}" if low == high else f"{low:,}\N{EN DASH}{high:,}"


def _lanes(schedule: PoolSchedule) -> str:
    if schedule.realtime and schedule.deferrable:
        return "both"
    return "real time" if schedule.realtime else "deferrable" if schedule.deferrable else MISSING


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenRow:
    """Work of a workload that is bought as tokens."""

    venue: str
    workload: str
    usd: str


def bought_tokens(plan: Plan) -> list[TokenRow]:
    """Return the work that is bought as tokens."""
    routes = [route for route in plan.routes if route.kind == "tier" and any(route.flow)]
    costs = usd_cells([route.usd for route in routes])
    return [
        TokenRow(venue=route.venue, workload=route.workload, usd=usd) for route, usd in zip(routes, costs, strict=True)
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class CommitmentRow:
    """A commitment; unknown values are a dash.

    Args:
        name: Name of the payment.
        pricing_model: Pricing model.
        amount: Amount to buy, and amount already held.
        terms: Term and payment option.
        price: Hourly price of each unit.
        usd: Cost over the horizon.
        owed: Cost of what is bought over its whole term.
        used: Share that the plan uses.
        break_even: Use at which it breaks even.
        alone: Saving if it is the only commitment.
        together: Saving beside the other commitments.
        steps: Purchase in several steps, or starts of blocks; "" if it is bought at once.
    """

    name: str
    pricing_model: str
    amount: str
    terms: str
    price: str
    usd: str
    owed: str
    used: str
    break_even: str
    alone: str
    together: str
    steps: str


def commitments(plan: Plan) -> list[CommitmentRow]:
    """Return the commitments to buy and those already held."""
    costs = usd_cells([commitment.usd for commitment in plan.commitments])
    return [
        CommitmentRow(
            name=commitment.name,
            pricing_model=commitment.pricing_model,
            amount=_amount(commitment),
            terms=", ".join(filter(None, (_term(plan, commitment), spaced(commitment.payment)))),
            price=MISSING if commitment.pricing_model == "savings_plan" else format_usd(commitment.usd_per_hour),
            usd=usd,
            owed=or_missing(commitment.owed_usd, format_usd),
            used=format_share(commitment.used_share),
            break_even=or_missing(commitment.break_even_use, format_share),
            alone=or_missing(commitment.saves_alone_usd, format_usd),
            together=or_missing(commitment.saves_together_usd, format_usd),
            steps=_steps(commitment) or _starts(plan, commitment),
        )
        for commitment, usd in zip(plan.commitments, costs, strict=True)
    ]


def _term(plan: Plan, commitment: Commitment) -> str:
    """Return the term in words; that of a block is stated in slots."""
    count, _, unit = commitment.term.partition(" ")
    in_slots = unit == "slots" and count.isdecimal()
    return format_duration(int(count) * plan.slot_s) if in_slots else commitment.term


def _amount(commitment: Commitment) -> str:
    parts = []
    if commitment.amount:
        parts.append(_units(commitment.pricing_model, commitment.amount))
    if commitment.have:
        parts.append(f"{_units(commitment.pricing_model, commitment.have)} already held")
    return ", ".join(parts) or MISSING


def _units(pricing_model: str, amount: float) -> str:
    if pricing_model == "savings_plan":
        return f"{format_usd(amount)} an hour"
    return f"{amount:,.3g} machine{'' if amount == 1 else 's'}"


def _steps(commitment: Commitment) -> str:
    if len(commitment.ladder) < 2:
        return ""
    steps = [
        f"{count:,} {'now' if not share else f'after {format_share(share)} of the term'}"
        for share, count in commitment.ladder
    ]
    return ", ".join(steps)


def _starts(plan: Plan, commitment: Commitment) -> str:
    return ", ".join(f"from {moment(plan, slot)}" for slot in sorted(set(commitment.starts)))


def moment(plan: Plan, slot: int) -> str:
    """Return the beginning of a slot: a date if the plan has one."""
    at_s = slot * plan.slot_s
    if plan.start_epoch_s is not None:
        return f"{utc(plan.start_epoch_s + at_s):%a %d %b %H:%M}"
    return f"{format_duration(at_s)} after the start" if slot else "the start"


@dataclass(frozen=True, slots=True, kw_only=True)
class DeferrableRow:
    """A deferrable workload: its patience, the saving by deferral, and the value of an hour more of patience."""

    workload: str
    patience: str
    saves: str
    worth: str


def deferrable(plan: Plan) -> list[DeferrableRow]:
    """Return the deferrable workloads."""
    return [
        DeferrableRow(
            workload=workload.name,
            patience=format_duration(workload.patience_s),
            saves=or_missing(workload.deferral_saves_usd, format_usd),
            worth=or_missing(workload.patience_worth_usd_per_hour, format_usd),
        )
        for workload in plan.workloads
        if workload.patience_s is not None
    ]


def reduced_backfill(plan: Plan) -> list[str]:
    """Return a sentence for each real-time pool whose backfill is reduced in some slots."""
    realtime = {schedule.pool for schedule in plan.schedule if schedule.realtime and any(schedule.machines)}
    sentences = []
    for pool in plan.pools:
        reduced = [share for share in pool.backfill_shares if share < 1]
        if reduced and pool.name in realtime:
            low, high = format_share(min(reduced)), format_share(max(reduced))
            shares = low if low == high else f"{low} to {high}"
            slots = f"{len(reduced)} of {format_count(plan.slots, 'slot')}"
            sentences.append(f"backfill on {pool.name} is reduced to {shares} of its limits in {slots}")
    return sentences


def access(plan: Plan) -> list[str]:
    """Return the places where workloads with restricted access may run."""
    lines = []
    for workload in plan.workloads:
        rules = [f"only {place} {' or '.join(globs)}" for place, globs in workload.allow.items()]
        rules += [f"not {place} {' or '.join(globs)}" for place, globs in workload.deny.items()]
        if rules:
            lines.append(f"{workload.name}: {', '.join(rules)}")
    return lines


def waterfall(plan: Plan) -> Waterfall | None:
    """Return the waterfall from the baseline to the plan; None without a baseline or without parts."""
    if plan.baseline_usd is None or not plan.waterfall:
        return None
    return Waterfall(
        start=REALTIME,
        end="This plan",
        from_usd=plan.baseline_usd,
        to_usd=plan.total_usd,
        parts=[WaterfallPart(name="", title=capitalize(part.cause), usd=part.usd, why="") for part in plan.waterfall],
    )


def payments(plan: Plan) -> list[tuple[str, str, str]]:
    """Return name, title and cost of each pricing model, the most expensive first."""
    usd = sorted(plan.by_pricing_model.items(), key=lambda item: -item[1])
    cells = usd_cells([model_usd for _, model_usd in usd])
    return [(name, pricing_title(name), cell) for (name, _), cell in zip(usd, cells, strict=True)]


def span(plan: Plan) -> str:
    """Return the planned time span, its start and its slots."""
    begins = "" if plan.start_epoch_s is None else f" from {utc(plan.start_epoch_s):%A %d %B %Y %H:%M} UTC"
    return f"{format_duration(plan.slots * plan.slot_s)}{begins}, in slots of {format_duration(plan.slot_s)}"


def models(plan: Plan) -> str:
    """Return the models of the plan."""
    named = [*(workload.model for workload in plan.workloads), *(pool.model for pool in plan.pools)]
    return ", ".join(dict.fromkeys(filter(None, named)))


def cost(plan: Plan) -> str:
    """Return the simulated cost, and the planned cost if it differs."""
    total, planned = usd_cells([plan.total_usd, plan.planned_usd])
    return total if total == planned else f"{total} as simulated, {planned} as planned"


def bounds(plan: Plan) -> list[str]:
    """Return sentences on the plan's bounds, its carbon, and the cost of buying everything as tokens."""
    above = format_share(max(plan.gap, 0.0), 1).replace("<", "less than ")
    distance = f"this plan is {above} above it" if plan.bound_usd > 0 else "what is held already could serve all of it"
    if plan.gap < -_NEGLIGIBLE_SHARE:
        distance = "this plan costs less, so it lies outside that family"
    bound = (
        f"No policy of the family in docs/plan.md costs less than {format_usd(plan.bound_usd)}, even with hindsight: "
        f"{distance}. Saturated machines at the lowest prices would cost {format_usd(plan.hard_bound_usd)}."
    )
    tokens = ", ".join(f"{format_usd(usd)} at {spaced(tier)} rates" for tier, usd in plan.tokens_usd.items())
    sentences = [bound, _carbon(plan), f"Bought as tokens, all of it would cost {tokens}." if tokens else ""]
    return [sentence for sentence in sentences if sentence]


def _carbon(plan: Plan) -> str:
    """Return the carbon of the machines' power, "" without a carbon price."""
    usd = plan.simulated.carbon_usd if plan.simulated else 0.0
    if not plan.carbon_usd_per_tonne or not usd:
        return ""
    return (
        f"The power of the machines emits {usd / plan.carbon_usd_per_tonne * 1000:,.3g} kg of carbon dioxide, "
        f"{format_usd(usd)} at {format_usd(plan.carbon_usd_per_tonne)} a tonne: part of the bound, but not a payment."
    )


def regret(plan: Plan) -> str:
    """Return the regret of the commitments if demand falls, "" if it is unknown."""
    outcome = plan.commitment_regret
    if outcome is None:
        return ""
    condition = f"If demand falls to {format_share(outcome.demand_share)} of this"
    if outcome.usd_lost < _NEGLIGIBLE_SHARE * max(outcome.usd, 0.0):
        return f"{condition}, no other commitments would have been cheaper: it costs {format_usd(outcome.usd)}."
    return (
        f"{condition}, the plan's commitments cost {format_usd(outcome.usd_lost)} too much: {format_usd(outcome.usd)}, "
        f"where {format_usd(outcome.best_usd)} would have been possible."
    )


def saving(plan: Plan) -> str:
    """Return the saving against the baseline and its interval, "" without a baseline."""
    if plan.saving_usd is None or plan.saving_share is None:
        return ""
    against = within_sentence(REALTIME) + (f" ({plan.baseline})" if plan.baseline else "")
    if plan.saving_usd <= 0:
        return f"Nothing is saved against {against}."
    return saving_sentence(plan.saving_usd, plan.saving_share, plan.saving_interval, against)


def spot(plan: Plan) -> list[str]:
    """Return the value of one more spot GPU, by offer."""
    return [
        f"One more GPU of {name} at all times would save at most {format_usd(usd)}."
        for name, usd in plan.spot_worth_usd_per_gpu.items()
        if usd > 0
    ]


def certainty(plan: Plan) -> list[str]:
    """Return sentences on how certain the saving and the plan are."""
    return [text for text in (saving(plan), regret(plan), *spot(plan), *plan.performance) if text]


def facts(plan: Plan, outcome: PlanOutcome) -> list[tuple[str, str]]:
    """Return the figures of a simulated plan by name; promised limits are part of the name."""
    slo = plan.promises.slo if plan.promises else None
    promised = {
        "SLO kept": slo and f"{format_share(slo.attainment, 1)} promised",
        "TTFT p99": slo and f"limit {format_duration(slo.ttft_s)}",
        "TPOT p99": slo and f"limit {format_duration(slo.tpot_s)}",
    }
    figures = {
        "cost": format_usd(outcome.total_usd),
        "SLO kept": or_missing(outcome.slo_attainment, lambda share: format_share(share, 2)),
        "deadlines missed": f"{outcome.deadlines_missed:,}",
        "requests": f"{outcome.requests:,}",
        "TTFT p99": or_missing(outcome.ttft_p99_s, format_duration),
        "TPOT p99": or_missing(outcome.tpot_p99_s, format_duration),
        "utilization": or_missing(outcome.utilization, format_share),
    }
    if outcome.unservable:
        figures["left out, in time on no machine"] = f"{outcome.unservable:,}"
    if outcome.interruptions or any(schedule.interruptions_per_hour for schedule in plan.schedule):
        figures["interruptions"] = f"{outcome.interruptions:,}"
    if outcome.tokens_usd or any(route.kind == "tier" for route in plan.routes):
        figures["bought as tokens"] = format_usd(outcome.tokens_usd)
    return [(f"{name}, {note}" if (note := promised.get(name)) else name, value) for name, value in figures.items()]


def verdict(plan: Plan, outcome: PlanOutcome) -> str:
    """Return whether the plan's promises were kept, and which were broken."""
    if outcome.kept:
        return "every promise is kept"
    broken = []
    if outcome.slo_attainment is not None:
        promised = f", {format_share(plan.promises.slo.attainment, 1)} is promised" if plan.promises else ""
        broken.append(f"the SLO is kept for {format_share(outcome.slo_attainment, 2)} of real-time requests{promised}")
    if outcome.deadlines_missed:
        verb = "is" if outcome.deadlines_missed == 1 else "are"
        broken.append(f"{format_count(outcome.deadlines_missed, 'deadline')} {verb} missed")
    return "; ".join(broken) or "a promise is broken"
