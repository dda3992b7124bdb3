"""The policy of tomorrow: fitted to the days of a trace, and judged on days that it had not seen."""

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from meritorder.evidence import Interval
from meritorder.planproof import DayJudged, WalkForward
from meritorder.study.fleet.fleets import Trial, simulate_fleet
from meritorder.study.fleet.load import TraceLoad
from meritorder.study.fleet.options import Progress
from meritorder.study.forward import walk
from meritorder.study.forward.policy import SLOT_S, slot_loads
from meritorder.study.plan.arrangements import Arrangements
from meritorder.study.schedule.options import PlanOptions
from meritorder.units import SECONDS_PER_DAY, format_duration, utc

# The saving of the days lies within these quantiles of its spread.
_SPREAD: Final = (0.1, 0.9)
# The machines of time 0 serve the load of the first hour.
_FIRST_SLOTS: Final = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Forward:
    """The policies of tomorrow, and how they did on days that they had not seen.

    Args:
        record: The days, as the plan file has them.
        trials: The policy of each group, simulated on the whole trace.
    """

    record: WalkForward
    trials: list[Trial]


def judge_forward(
    groups: Sequence[Arrangements], options: PlanOptions, epoch_s: float | None, progress: Progress
) -> Forward | None:
    """Fit a policy to the days of a trace, and judge it day by day; None if the trace has fewer than two whole days.

    Args:
        groups: The known arrangements, with their machines.
        options: The holidays.
        epoch_s: Unix time of time 0; None if the trace has no dates.
        progress: Receives each step.
    """
    walks: list[walk.UnseenDays] = []
    for group in groups:
        walked = walk.walk_forward(
            group.load,
            group.search.machines,
            batch_machines=group.search.batch_machines,
            epoch_s=epoch_s,
            holidays=options.holidays,
            progress=progress,
        )
        if walked is None or not walked.days:
            return None
        walks.append(walked)
    trials = [_on_whole_trace(group.load, walked, epoch_s) for group, walked in zip(groups, walks, strict=True)]
    return Forward(record=_record(walks, epoch_s), trials=trials)


def _on_whole_trace(load: TraceLoad, walked: walk.UnseenDays, epoch_s: float | None) -> Trial:
    """Simulate the fitted policy on the trace that it was fitted to."""
    policy = walked.policy
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
