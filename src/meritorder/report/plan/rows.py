"""What a plan says, in words and digits: the same in every form of the report."""

from dataclasses import dataclass
from typing import Final

from meritorder.comparison import Waterfall, WaterfallPart
from meritorder.planfile import PREPAID, Commitment, Plan, PoolSchedule
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
from meritorder.units import SECONDS_PER_HOUR, format_duration, format_share, format_usd, utc

REALTIME: Final = "Real time"
"""What a plan is compared with."""
ADVICE: Final = "this advice"
_RENTED: Final = "pool"
_NOTHING: Final = 1e-4


@dataclass(frozen=True, slots=True, kw_only=True)
class Rental:
    """One way to pay for the machines of a pool.

    Args:
        pool: Name of the pool.
        payment: Name of the payment.
        pricing_model: How it is paid.
        pricing: The same in words.
        machines: Fewest to most: `0-3`.
        gpu_hours: Paid, over the horizon.
        usd: What is paid by the hour, less what savings plans take off.
        saved: What they take off; "" if nothing.
        serves: Which lanes.
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


def rentals(plan: Plan) -> list[Rental]:
    """Return what to rent, the payments of a pool together, in the order of the plan."""
    gpus = {pool.name: pool.gpus for pool in plan.pools}
    slot_h = plan.slot_s / SECONDS_PER_HOUR
    schedules = sorted(plan.schedule, key=lambda one: [pool.name for pool in plan.pools].index(one.pool))
    costs = usd_cells([one.usd or None for one in schedules])
    return [
        Rental(
            pool=one.pool,
            payment=one.payment,
            pricing_model=one.pricing_model,
            pricing=pricing_title(one.pricing_model),
            machines=_range(min(one.machines, default=0), max(one.machines, default=0)),
            gpu_hours=f"{sum(one.machines) * slot_h * gpus[one.pool]:,.0f}",
            usd="paid ahead" if one.pricing_model in PREPAID else cost,
            saved=f"{format_usd(one.saved_usd)} less by savings plans" if one.saved_usd > 0 else "",
            serves=_serves(one),
            trend=one.machines,
        )
        for one, cost in zip(schedules, costs, strict=True)
    ]


def _range(least: int, most: int) -> str:
    return f"{least:,}" if least == most else f"{least:,}\N{EN DASH}{most:,}"


def _serves(one: PoolSchedule) -> str:
    if one.realtime and one.deferrable:
        return "both"
    return "real time" if one.realtime else "deferrable" if one.deferrable else MISSING


@dataclass(frozen=True, slots=True, kw_only=True)
class Bought:
    """Work of a workload that is bought as tokens."""

    venue: str
    workload: str
    usd: str


def bought(plan: Plan) -> list[Bought]:
    """Return what is bought as tokens, not rented."""
    routes = [route for route in plan.routes if route.kind != _RENTED and any(route.flow)]
    costs = usd_cells([route.usd for route in routes])
    return [
        Bought(venue=route.venue, workload=route.workload, usd=usd) for route, usd in zip(routes, costs, strict=True)
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class Committed:
    """A commitment; what is not known is a dash.

    Args:
        name: Name of the payment.
        pricing_model: How it is paid.
        amount: What to buy, or that it is held already.
        terms: Term and payment.
        price: What each one costs in an hour.
        usd: What it costs over the horizon.
        used: Share of it that the plan uses.
        break_even: Use from which it pays.
        alone: What it saves if nothing else is bought.
        together: What it saves beside the rest.
        steps: How to buy it in smaller steps, or when blocks start; "" if at once.
    """

    name: str
    pricing_model: str
    amount: str
    terms: str
    price: str
    usd: str
    used: str
    break_even: str
    alone: str
    together: str
    steps: str


def commitments(plan: Plan) -> list[Committed]:
    """Return what to commit to, and what is held already."""
    costs = usd_cells([one.usd for one in plan.commitments])
    return [
        Committed(
            name=one.name,
            pricing_model=one.pricing_model,
            amount=_amount(one),
            terms=", ".join(filter(None, (_term(plan, one), spaced(one.payment)))),
            price=MISSING if one.pricing_model == "savings_plan" else format_usd(one.usd_per_hour),
            usd=usd,
            used=format_share(one.used_share),
            break_even=or_missing(one.break_even_use, format_share),
            alone=or_missing(one.saves_alone_usd, format_usd),
            together=or_missing(one.saves_together_usd, format_usd),
            steps=_steps(one) or _starts(plan, one),
        )
        for one, usd in zip(plan.commitments, costs, strict=True)
    ]


def _term(plan: Plan, one: Commitment) -> str:
    """Return a term in words; that of a block is counted in slots."""
    count, _, unit = one.term.partition(" ")
    return format_duration(int(count) * plan.slot_s) if unit == "slots" and count.isdecimal() else one.term


def _amount(one: Commitment) -> str:
    parts = []
    if one.amount:
        parts.append(_counted(one.pricing_model, one.amount))
    if one.have:
        parts.append(f"{_counted(one.pricing_model, one.have)} held already")
    return ", ".join(parts) or MISSING


def _counted(pricing_model: str, amount: float) -> str:
    if pricing_model == "savings_plan":
        return f"{format_usd(amount)} an hour"
    thing = "unit" if pricing_model == "provisioned_throughput" else "machine"
    return f"{amount:,.3g} {thing}{'' if amount == 1 else 's'}"


def _steps(one: Commitment) -> str:
    if len(one.ladder) < 2:
        return ""
    steps = [
        f"{count:,} {'now' if not share else f'after {format_share(share)} of the term'}" for share, count in one.ladder
    ]
    return ", ".join(steps)


def _starts(plan: Plan, one: Commitment) -> str:
    return ", ".join(f"from {moment(plan, slot)}" for slot in sorted(set(one.starts)))


def moment(plan: Plan, slot: int) -> str:
    """Return when a slot begins: a date if the plan has one."""
    at_s = slot * plan.slot_s
    if plan.start_epoch_s is not None:
        return f"{utc(plan.start_epoch_s + at_s):%a %d %b %H:%M}"
    return f"{format_duration(at_s)} after the start" if slot else "the start"


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """A workload that may wait, and what that is worth."""

    workload: str
    patience: str
    saves: str
    worth: str


def waiting(plan: Plan) -> list[Waiting]:
    """Return the workloads that may wait."""
    return [
        Waiting(
            workload=one.name,
            patience=format_duration(one.patience_s),
            saves=or_missing(one.deferral_saves_usd, format_usd),
            worth=or_missing(one.patience_worth_usd_per_hour, format_usd),
        )
        for one in plan.workloads
        if one.patience_s is not None
    ]


def beside(plan: Plan) -> list[str]:
    """Say where work that may wait has fewer seats beside real time, by pool that serves it."""
    real_time = {one.pool for one in plan.schedule if one.realtime and any(one.machines)}
    told = []
    for pool in plan.pools:
        fewer = [share for share in pool.backfill_shares if share < 1]
        if fewer and pool.name in real_time:
            least, most = format_share(min(fewer)), format_share(max(fewer))
            shares = least if least == most else f"{least} to {most}"
            told.append(f"beside real time on {pool.name}: {shares} of its seats in {len(fewer)} of {plan.slots} slots")
    return told


def limits(plan: Plan) -> list[str]:
    """Say where the workloads may run that may not run anywhere."""
    told = []
    for one in plan.workloads:
        said = [f"only {place} {' or '.join(globs)}" for place, globs in one.allow.items()]
        said += [f"not {place} {' or '.join(globs)}" for place, globs in one.deny.items()]
        if said:
            told.append(f"{one.name}: {', '.join(said)}")
    return told


def waterfall(plan: Plan) -> Waterfall | None:
    """Return the way from what is paid today to the plan; None if one of its ends or all its parts are missing."""
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
    """Return what each pricing model costs: its name, its words, its dollars; dearest first."""
    usd = sorted(plan.by_pricing_model.items(), key=lambda item: -item[1])
    cells = usd_cells([each for _, each in usd])
    return [(name, pricing_title(name), cell) for (name, _), cell in zip(usd, cells, strict=True)]


def span(plan: Plan) -> str:
    """Return what was planned: how long, in which slots, from when."""
    begins = "" if plan.start_epoch_s is None else f" from {utc(plan.start_epoch_s):%A %d %B %Y %H:%M} UTC"
    return f"{format_duration(plan.slots * plan.slot_s)}{begins}, in slots of {format_duration(plan.slot_s)}"


def models(plan: Plan) -> str:
    """Return the models that are served."""
    named = [*(one.model for one in plan.workloads), *(one.model for one in plan.pools)]
    return ", ".join(dict.fromkeys(filter(None, named)))


def cost(plan: Plan) -> str:
    """Return what the plan costs, and what the programme had said if that differs."""
    total, planned = usd_cells([plan.total_usd, plan.planned_usd])
    return total if total == planned else f"{total} as simulated, {planned} as planned"


def bounds(plan: Plan) -> list[str]:
    """Return how cheap it can be at best, how far the plan is from it, its carbon, and what tokens would cost."""
    least = (
        f"No plan with these offers, promises and safe loads costs less than {format_usd(plan.bound_usd)}: this one is "
        f"{format_share(plan.gap, 1)} above it. Saturated machines at the lowest prices would cost "
        f"{format_usd(plan.hard_bound_usd)}."
    )
    if plan.first_bound_usd is not None and plan.first_bound_usd < plan.bound_usd:
        least += (
            f" Before plans that broke a promise showed how much less machines carry, the bound was "
            f"{format_usd(plan.first_bound_usd)}."
        )
    tokens = ", ".join(f"{format_usd(usd)} at {spaced(tier)} rates" for tier, usd in plan.tokens_usd.items())
    told = [least, _carbon(plan), f"Bought as tokens, all of it would cost {tokens}." if tokens else ""]
    return [text for text in told if text]


def _carbon(plan: Plan) -> str:
    """Return what the carbon of the machines' power comes to, "" if it has no price."""
    usd = plan.simulated.carbon_usd if plan.simulated else 0.0
    if not plan.carbon_usd_per_tonne or not usd:
        return ""
    return (
        f"The power of the machines makes {usd / plan.carbon_usd_per_tonne * 1000:,.3g} kg of carbon dioxide, "
        f"{format_usd(usd)} at {format_usd(plan.carbon_usd_per_tonne)} a tonne: counted in the bound, paid to nobody."
    )


def regret(plan: Plan) -> str:
    """Return what the commitments cost if demand falls; "" if nobody asked."""
    one = plan.regret
    if one is None:
        return ""
    falls = f"If demand turns out to be {format_share(one.demand_share)} of this"
    if one.usd_lost < _NOTHING * max(one.usd, 0.0):
        return f"{falls}, no other commitments would have been cheaper: it costs {format_usd(one.usd)}."
    return (
        f"{falls}, the plan's commitments cost {format_usd(one.usd_lost)} too much: {format_usd(one.usd)}, where "
        f"{format_usd(one.best_usd)} would have been possible."
    )


def saving(plan: Plan) -> str:
    """Return what is saved, against what, and how sure that is; "" without a baseline."""
    if plan.saving_usd is None or plan.saving_share is None:
        return ""
    against = within_sentence(REALTIME) + (f" ({plan.baseline})" if plan.baseline else "")
    if plan.saving_usd <= 0:
        return f"Nothing is saved against {against}."
    return saving_sentence(plan.saving_usd, plan.saving_share, plan.saving_interval, against)


def spot(plan: Plan) -> list[str]:
    """Return what one more spot GPU is worth, by offer."""
    return [
        f"One more GPU of {name} all the time would save at most {format_usd(usd)}."
        for name, usd in plan.spot_worth_usd_per_gpu.items()
        if usd > 0
    ]


def backtests(plan: Plan) -> list[tuple[str, str, str, str, str]]:
    """Return what every rule would have saved on unseen time: commitment, rule, machines, cost, saving."""
    costs = usd_cells([one.usd for one in plan.backtest])
    savings = usd_cells([one.saving_usd for one in plan.backtest])
    return [
        (one.commitment, ADVICE if one.rule == "plan" else one.rule, f"{one.machines:,}", usd, saving)
        for one, usd, saving in zip(plan.backtest, costs, savings, strict=True)
    ]
