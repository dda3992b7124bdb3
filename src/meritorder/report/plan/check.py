"""What became of a plan when it was simulated, in words and digits."""

from meritorder.planfile import Plan, PlanOutcome
from meritorder.report.wording import or_missing
from meritorder.units import format_duration, format_share, format_usd

Fact = tuple[str, str]


def facts(plan: Plan, simulated: PlanOutcome) -> list[Fact]:
    """Return the figures of a check that mean something for this plan; a promise stands beside what was found."""
    slo = plan.promises.slo if plan.promises else None
    promised = {
        "SLO kept": slo and f"{format_share(slo.attainment, 1)} promised",
        "TTFT p99": slo and f"limit {format_duration(slo.ttft_s)}",
        "TPOT p99": slo and f"limit {format_duration(slo.tpot_s)}",
    }
    found = {
        "cost": format_usd(simulated.total_usd),
        "SLO kept": or_missing(simulated.slo_attainment, lambda share: format_share(share, 2)),
        "deadlines missed": f"{simulated.deadlines_missed:,}",
        "requests": f"{simulated.requests:,}",
        "TTFT p99": or_missing(simulated.ttft_p99_s, format_duration),
        "TPOT p99": or_missing(simulated.tpot_p99_s, format_duration),
        "utilisation": or_missing(simulated.utilization, format_share),
    }
    if simulated.interruptions or any(one.interruptions_per_hour for one in plan.schedule):
        found["interruptions"] = f"{simulated.interruptions:,}"
    if simulated.tokens_usd or any(route.kind == "tier" for route in plan.routes):
        found["bought as tokens"] = format_usd(simulated.tokens_usd)
    return [(f"{name}, {note}" if (note := promised.get(name)) else name, value) for name, value in found.items()]


def verdict(plan: Plan, simulated: PlanOutcome) -> str:
    """Say whether the plan's promises were kept, and which were not."""
    if simulated.kept:
        return "every promise is kept"
    broken = []
    if simulated.slo_attainment is not None:
        promised = f", {format_share(plan.promises.slo.attainment, 1)} is promised" if plan.promises else ""
        broken.append(
            f"the SLO is kept for {format_share(simulated.slo_attainment, 2)} of real-time requests{promised}"
        )
    if simulated.deadlines_missed:
        count = simulated.deadlines_missed
        broken.append(f"{count:,} deadline{'' if count == 1 else 's'} {'is' if count == 1 else 'are'} missed")
    return "; ".join(broken) or "a promise is broken"
