"""Models that share nothing are planned each on the clock of its own requests; here they become one plan."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
from msgspec import structs
from numpy.typing import NDArray

from meritorder.planner.model.demand import Horizon
from meritorder.records import planfile
from meritorder.records.evidence import Interval
from meritorder.records.planproof import Credit
from meritorder.study.plan.hindsight import HindsightPlan
from meritorder.study.plan.record import Explanation
from meritorder.study.schedule.demand import slot_index
from meritorder.study.schedule.executed import ExecutablePlan
from meritorder.study.schedule.options import PlanOptions
from meritorder.study.schedule.simulate import total_outcome

Ints = NDArray[np.int64]


def share_anything(options: PlanOptions) -> bool:
    """Return whether the models of a plan share commitments, limits of what is rented or bought, or prices by hour."""
    return bool(
        options.terms
        or options.have
        or options.bills
        or options.carbon
        or options.spot
        or options.backtest is not None
        or options.machines is not None
        or options.tokens_per_s is not None
    )


@dataclass(frozen=True, slots=True)
class _Slots:
    """The slots of a model's plan in those of the trace.

    Args:
        horizon: The slots of the trace.
        place: In which of them each slot of the model's plan begins, shape (model's slots,).
    """

    horizon: Horizon
    place: Ints

    @classmethod
    def of(cls, plan: ExecutablePlan, horizon: Horizon, begin_s: float) -> Self:
        """Return the slots of a plan whose first slot begins at a time of the trace."""
        begins_s = begin_s + np.arange(plan.slots, dtype=np.float64) * plan.slot_s
        return cls(horizon, slot_index(begins_s, horizon.slot_s, horizon.slots))

    def most(self, machines: Sequence[int]) -> list[int]:
        """Return the highest number in each slot of the trace."""
        highest = np.zeros(self.horizon.slots, np.int64)
        np.maximum.at(highest, self.place, machines)
        counts: list[int] = highest.tolist()
        return counts

    def total(self, values: Sequence[float]) -> list[float]:
        """Return the sum in each slot of the trace."""
        sums: list[float] = np.bincount(self.place, weights=values, minlength=self.horizon.slots).tolist()
        return sums

    def mean(self, values: Sequence[float], seconds: float) -> list[float]:
        """Return the mean over each slot of the trace, of values that each hold for some seconds."""
        return [total * seconds / self.horizon.slot_s for total in self.total(values)]


def on_trace_clock(made: HindsightPlan, horizon: Horizon, begin_s: float) -> HindsightPlan:
    """Return a plan with the slots of the trace; its outcome stays that of its own.

    Args:
        made: The plan of a model.
        horizon: The slots of the trace.
        begin_s: When its first slot begins.
    """
    plan, said = made.plan, made.explanation
    if plan.slots == horizon.slots and plan.slot_s == horizon.slot_s and not begin_s:
        return made
    slots = _Slots.of(plan, horizon, begin_s)
    dispatch = said.dispatch
    return replace(
        made,
        plan=replace(
            plan,
            slot_s=horizon.slot_s,
            slots=horizon.slots,
            pools=[structs.replace(pool, backfill_shares=[], begin_s=begin_s) for pool in plan.pools],
            schedule=[structs.replace(row, machines=slots.most(row.machines)) for row in plan.schedule],
            routes=[structs.replace(route, flow=slots.total(route.flow)) for route in plan.routes],
        ),
        explanation=replace(
            said,
            workloads=[
                structs.replace(row, backlog_s=slots.total(row.backlog_s)) if row.backlog_s else row
                for row in said.workloads
            ],
            commitments=[
                structs.replace(bought, starts=[int(slots.place[slot]) for slot in bought.starts])
                for bought in said.commitments
            ],
            dispatch=planfile.Dispatch(
                paid_gpus={name: slots.mean(gpus, plan.slot_s) for name, gpus in dispatch.paid_gpus.items()},
                realtime_gpus=slots.mean(dispatch.realtime_gpus, plan.slot_s),
                deferrable_gpus=slots.mean(dispatch.deferrable_gpus, plan.slot_s),
                arrived_gpus=slots.mean(dispatch.arrived_gpus, plan.slot_s),
            ),
        ),
    )


def joined(plans: Sequence[HindsightPlan]) -> HindsightPlan:
    """Return plans of different models, which have the same slots, as one."""
    if len(plans) == 1:
        return plans[0]
    first = plans[0].plan
    plan = ExecutablePlan(
        slot_s=first.slot_s,
        slots=first.slots,
        pools=[pool for made in plans for pool in made.plan.pools],
        schedule=[row for made in plans for row in made.plan.schedule],
        routes=[route for made in plans for route in made.plan.routes],
        commitments=[bought for made in plans for bought in made.plan.commitments],
        several_models=True,
    )
    models = {model: outcome for made in plans for model, outcome in made.models.items()}
    machines = {name: machine for made in plans for name, machine in made.machines.items()}
    outcome = total_outcome(plan, models, machines)
    rounds = max(made.outcome.rounds for made in plans)
    return HindsightPlan(
        plan=plan,
        outcome=structs.replace(outcome, rounds=rounds),
        models=models,
        machines=machines,
        explanation=_explanation(plans),
        credited=_summed(credit for made in plans for credit in made.credited),
        bound_usd=sum(made.bound_usd for made in plans),
        hard_bound_usd=sum(made.hard_bound_usd for made in plans),
        baseline_usd=sum(made.baseline_usd for made in plans),
        bought={group: purchase for made in plans for group, purchase in made.bought.items()},
    )


def _summed(parts: Iterable[Credit]) -> list[Credit]:
    usd: dict[str, float] = {}
    for credit in parts:
        usd[credit.cause] = usd.get(credit.cause, 0.0) + credit.usd
    return [Credit(cause=cause, usd=saved_usd) for cause, saved_usd in usd.items()]


def _explanation(plans: Sequence[HindsightPlan]) -> Explanation:
    said = [made.explanation for made in plans]
    changes = _summed(Credit(cause=change.cause, usd=change.usd) for part in said for change in part.waterfall)
    return Explanation(
        planned_usd=sum(part.planned_usd for part in said),
        solve_s=sum(part.solve_s for part in said),
        workloads=[row for part in said for row in part.workloads],
        commitments=[bought for part in said for bought in part.commitments],
        prices=list({price: price for part in said for price in part.prices}),
        performance=list(dict.fromkeys(line for part in said for line in part.performance)),
        dispatch=_dispatch([part.dispatch for part in said]),
        merit_order=sorted((step for part in said for step in part.merit_order), key=lambda step: step.usd_per_mtok),
        waterfall=[planfile.CostChange(cause=change.cause, usd=change.usd) for change in changes],
        assumptions=list(dict.fromkeys(line for part in said for line in part.assumptions)),
        saving_interval=_saving_interval(plans),
        spot_worth_usd_per_gpu={name: usd for part in said for name, usd in part.spot_worth_usd_per_gpu.items()},
    )


def _dispatch(parts: Sequence[planfile.Dispatch]) -> planfile.Dispatch:
    def added(rows: Iterable[Sequence[float]]) -> list[float]:
        sums: list[float] = np.sum(list(rows), axis=0).tolist()
        return sums

    names = dict.fromkeys(name for part in parts for name in part.paid_gpus)
    return planfile.Dispatch(
        paid_gpus={name: added(part.paid_gpus[name] for part in parts if name in part.paid_gpus) for name in names},
        realtime_gpus=added(part.realtime_gpus for part in parts),
        deferrable_gpus=added(part.deferrable_gpus for part in parts),
        arrived_gpus=added(part.arrived_gpus for part in parts),
    )


def _saving_interval(plans: Sequence[HindsightPlan]) -> Interval | None:
    """Return the range of the saving's share if that of each model is known: all at their ends at once."""
    known = [(made.explanation.saving_interval, made.baseline_usd) for made in plans]
    baseline_usd = sum(made.baseline_usd for made in plans)
    intervals = [(interval, usd / baseline_usd) for interval, usd in known if interval and baseline_usd]
    if len(intervals) < len(plans):
        return None
    return Interval(
        low=sum(interval.low * weight for interval, weight in intervals),
        high=sum(interval.high * weight for interval, weight in intervals),
        basis=max(intervals, key=lambda pair: pair[1])[0].basis,
    )
