"""The policy of tomorrow: fitted to the days of a trace, and judged on days that it had not seen."""

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Final

import numpy as np
from numpy.typing import NDArray

from meritorder.errors import InfeasibleError
from meritorder.records.evidence import Interval
from meritorder.records.planproof import ComingDay, ComingDays, DayJudged, WalkForward
from meritorder.study.fleet.fleets import Trial, simulate_fleet
from meritorder.study.fleet.load import TraceLoad
from meritorder.study.fleet.options import Progress
from meritorder.study.forward import walk
from meritorder.study.forward.baseline import RealtimePolicy
from meritorder.study.forward.coming import Coming, ForecastDay
from meritorder.study.forward.policy import SLOT_S, slot_loads
from meritorder.study.forward.tokens import TokensByDay
from meritorder.study.hindsight.tokens import TokenPurchase
from meritorder.study.plan.arranged import Served
from meritorder.study.plan.arrangements import Arrangements
from meritorder.study.schedule.options import PlanOptions
from meritorder.units import SECONDS_PER_DAY, format_duration, utc

Floats = NDArray[np.float64]

# The saving of the days lies within these quantiles of its spread.
_SPREAD: Final = (0.1, 0.9)
# The machines of time 0 serve the load of the first hour.
_FIRST_SLOTS: Final = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Forward:
    """The policies of tomorrow, and how they did on days that they had not seen.

    Args:
        record: The days, as the plan file has them.
        served: How the policy serves each group on the whole trace.
        coming: The days to come, if any are asked for.
    """

    record: WalkForward
    served: list[Served]
    coming: ComingDays | None = None


def judge_forward(
    groups: Sequence[Arrangements],
    bought: Mapping[Arrangements, TokenPurchase],
    options: PlanOptions,
    epoch_s: float | None,
    progress: Progress,
    *,
    span_s: float,
) -> Forward | None:
    """Fit a policy to the days of a trace, and judge it day by day; None if the trace has fewer than two whole days.

    Args:
        groups: The known arrangements, with their machines.
        bought: What is bought as tokens of the requests of a group, where that has cost less so far.
        options: The holidays, and the days to come.
        epoch_s: Unix time of time 0 of the trace; None if it has no dates.
        progress: Receives each step.
        span_s: Time that the trace covers.

    Raises:
        InfeasibleError: Days to come are asked for, and there are no two whole days to forecast them from.
    """
    walks: list[walk.UnseenDays] = []
    served: list[Served] = []
    for group in groups:
        walking = partial(
            walk.walk_forward,
            machines=group.search.machines,
            batch_machines=group.search.batch_machines,
            epoch_s=epoch_s,
            holidays=options.holidays,
            progress=progress,
        )
        # The days of a plan are those of its trace, whichever model has the first request.
        load = replace(group.load.on_trace_clock, span_s=span_s)
        walked = walking(load, coming_days=options.coming_days)
        if walked is None or not walked.days:
            if options.coming_days:
                raise InfeasibleError(
                    f"{group.name} has fewer than two whole days to forecast from",
                    where="--for",
                    fix="give a longer history, or leave --for out",
                )
            return None
        way = Served(group=group, trial=_on_whole_trace(load, walked, epoch_s))
        purchase = bought.get(group)
        rest = load if purchase is None else load.select(~purchase.members)
        walked_rest = walking(rest) if purchase and len(rest) else None
        if purchase and (walked_rest or not len(rest)):
            usd = _usd_by_day(purchase.usd_by_request(load), load, epoch_s)
            tokens = TokensByDay(served=walked, rest=walked_rest, usd=usd)
            walked = replace(walked, days=tokens.days)
            if tokens.are_bought_after(max(walked.best_usd)):
                trial = _on_whole_trace(rest, walked_rest, epoch_s) if walked_rest else None
                way = Served(group=group, trial=trial, bought=purchase)
        walks.append(walked)
        served.append(way)
    coming = [walked.coming for walked in walks if walked.coming]
    return Forward(
        record=_record(walks, epoch_s),
        served=served,
        coming=_coming(coming, epoch_s, options.holidays) if coming else None,
    )


def _coming(parts: Sequence[Coming], epoch_s: float | None, holidays: frozenset[str]) -> ComingDays:
    """Return the days to come, summed over the groups; the trend is that of the most expensive group."""
    days = [
        _coming_day(group_days, epoch_s, holidays) for group_days in zip(*(part.days for part in parts), strict=True)
    ]
    total_usd, baseline_usd = sum(day.total_usd for day in days), sum(day.baseline_usd for day in days)
    trend = max(parts, key=lambda part: sum(day.baseline_usd for day in part.days)).trend
    return ComingDays(
        days=days,
        total_usd=total_usd,
        low_usd=sum(day.low_usd for day in days),
        high_usd=sum(day.high_usd for day in days),
        baseline_usd=baseline_usd,
        saving_share=1 - total_usd / baseline_usd if baseline_usd else 0.0,
        growth_per_day=trend.growth,
        level_shift_day=None if trend.shifted is None else _name(trend.shifted, epoch_s),
        level_shift=None if trend.shifted is None else trend.shift,
    )


def _coming_day(parts: Sequence[ForecastDay], epoch_s: float | None, holidays: frozenset[str]) -> ComingDay:
    name = _name(parts[0].index, epoch_s)
    replicas = np.sum([part.replicas for part in parts], axis=0).tolist()
    expected_usd, low_usd, high_usd = np.sum([part.policy_usd for part in parts], axis=0).tolist()
    return ComingDay(
        day=name,
        requests=sum(part.requests for part in parts),
        replicas=replicas[0],
        replicas_low=replicas[1],
        replicas_high=replicas[2],
        total_usd=expected_usd,
        low_usd=low_usd,
        high_usd=high_usd,
        baseline_usd=sum(part.baseline_usd for part in parts),
        kept=all(part.kept for part in parts),
        holiday=name in holidays,
    )


def _usd_by_day(usd: Floats, load: TraceLoad, epoch_s: float | None) -> dict[int, float]:
    """Return the cost of the requests of each day, by its index."""
    first_s = 0.0 if epoch_s is None else epoch_s % SECONDS_PER_DAY
    by_day = np.bincount(((load.arrived_s + first_s) // SECONDS_PER_DAY).astype(int), weights=usd)
    return dict(enumerate(by_day.tolist()))


def _on_whole_trace(load: TraceLoad, walked: walk.UnseenDays, epoch_s: float | None) -> Trial:
    """Simulate the fitted policy on the trace that it was fitted to."""
    policy = walked.policy
    if isinstance(policy, RealtimePolicy):
        return policy.run(load)
    first_s = 0.0 if epoch_s is None else epoch_s % SECONDS_PER_DAY
    floor = tuple(np.roll(np.array(walked.floor, int), -round(first_s / SLOT_S)).tolist())
    initial = policy.machines_for(float(slot_loads(policy.machine, load)[:_FIRST_SLOTS].mean()))
    return simulate_fleet("policy", policy.label, load, policy.pools(floor, initial))


def _record(walks: Sequence[walk.UnseenDays], epoch_s: float | None) -> WalkForward:
    """Return the days on which every group was judged, summed over the groups."""
    common = set.intersection(*({day.index for day in walked.days} for walked in walks))
    days = [
        _day([day for walked in walks for day in walked.days if day.index == index], epoch_s)
        for index in sorted(common)
    ]
    baseline_usd, total_usd = sum(day.baseline_usd for day in days), sum(day.total_usd for day in days)
    known = [day for day in days if day.hindsight_usd]
    hindsight_usd = sum(day.hindsight_usd or 0.0 for day in known)
    shares = [day.saving_share for day in days]
    low, high = (float(np.quantile(shares, share)) for share in _SPREAD) if shares else (0.0, 0.0)
    scores = [day.forecast for walked in walks for day in walked.days if day.forecast]
    main = max(walks, key=lambda walked: walked.baseline_usd).scores
    attained = [(day.slo_attainment, day.requests) for day in days if day.slo_attainment is not None]
    return WalkForward(
        days=days,
        left_out=[
            f"{_name(index, epoch_s)}: no request for {format_duration(hole_s)}"
            for index, hole_s in sorted({item for walked in walks for item in walked.left_out.items()})
        ],
        baseline_usd=baseline_usd,
        total_usd=total_usd,
        saving_share=1 - total_usd / baseline_usd if baseline_usd else 0.0,
        saving_interval=Interval(low=low, high=high, basis="the spread over the days that the policy had not seen"),
        slo_attainment=_mean(attained),
        deadlines_missed=sum(day.deadlines_missed for day in days),
        regret=sum(day.total_usd for day in known) / hindsight_usd - 1 if hindsight_usd else None,
        pinball_loss=float(np.mean([score.pinball for score in scores])) if scores else None,
        coverage_80=float(np.mean([score.coverage for score in scores])) if scores else None,
        pinball_by_method={method.value: loss for method, loss in main.pinball.items()},
        forecast=main.better.value,
    )


def _mean(weighted: Sequence[tuple[float, int]]) -> float | None:
    """Return the mean of values with their weights, None if there are none."""
    total = sum(weight for _, weight in weighted)
    return sum(value * weight for value, weight in weighted) / total if total else None


def _day(parts: Sequence[walk.WalkDay], epoch_s: float | None) -> DayJudged:
    baseline_usd, total_usd = sum(part.baseline_usd for part in parts), sum(part.policy_usd for part in parts)
    best = [part.best_usd for part in parts]
    attained = [(part.slo_attainment, part.requests) for part in parts if part.slo_attainment is not None]
    return DayJudged(
        day=_name(parts[0].index, epoch_s),
        requests=sum(part.requests for part in parts),
        baseline_usd=baseline_usd,
        total_usd=total_usd,
        saving_share=1 - total_usd / baseline_usd if baseline_usd else 0.0,
        slo_attainment=_mean(attained),
        slo_kept=all(part.slo_kept for part in parts),
        deadlines_missed=sum(part.deadlines_missed for part in parts),
        deadlines_missed_in_real_time=sum(part.baseline_deadlines_missed for part in parts),
        hindsight_usd=None if None in best else sum(usd for usd in best if usd is not None),
    )


def _name(index: int, epoch_s: float | None) -> str:
    """Return the date of a day, or its number if the trace has no dates."""
    if epoch_s is None:
        return f"day {index + 1}"
    return (utc(epoch_s).date() + dt.timedelta(days=index)).isoformat()
