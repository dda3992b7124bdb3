"""Why a plan costs what it does: what each freedom is worth, and the way from today's cost to the plan's."""

from dataclasses import replace
from typing import Final

import numpy as np

from meritorder import planfile
from meritorder.planner.commitments import commitment_regret
from meritorder.planner.model.demand import DeferrableDemand
from meritorder.planner.model.problem import Problem
from meritorder.planner.model.supply import Spot
from meritorder.planner.model.variants import aggregate_to_hours, replace_due_slots, restrict_purchases
from meritorder.planner.solve.bounds import relaxed_usd
from meritorder.planner.solve.solution import Solution

# Problems of more slots are explained in slots of an hour.
_MOST_SLOTS: Final = 200


def small_enough(problem: Problem) -> Problem:
    """Return the problem, in slots of an hour if it has many."""
    return (aggregate_to_hours(problem) or problem) if problem.horizon.slots > _MOST_SLOTS else problem


def waterfall(
    problem: Problem, baseline_usd: float, total_usd: float, bought_usd: float = 0.0
) -> list[planfile.CostChange]:
    """Split the way from the baseline to the plan into what each freedom adds; the parts add up.

    Each is the difference of two relaxations: machines on demand for work as it arrives; the same with work that
    waits; with spot and token APIs; with commitments. The last part is what whole machines and start-ups cost.

    Args:
        problem: The problem.
        baseline_usd: What is paid today.
        total_usd: What the plan costs.
        bought_usd: What is paid for purchases that the problem holds as sunk.
    """
    small = small_enough(problem)
    every = small
    for one in small.workloads:
        if isinstance(one, DeferrableDemand):
            every = replace_due_slots(every, next(w for w in every.workloads if w.name == one.name), _own(small))  # type: ignore[arg-type]
    bought_none = restrict_purchases(every, frozenset())
    steady = tuple(one for one in bought_none.payments if not isinstance(one, Spot))
    plain = replace(bought_none, payments=steady, tiers=())
    waiting = replace(plain, workloads=small.workloads)
    elastic = replace(restrict_purchases(small, frozenset()), workloads=small.workloads)
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
        if abs(usd - before) > 5e-4 * max(baseline_usd, total_usd) or cause == steps[-1][0]:
            parts.append(planfile.CostChange(cause=cause, usd=usd - before))
            before = usd
    return parts


def _own(problem: Problem) -> "np.ndarray[tuple[int], np.dtype[np.int64]]":
    return np.arange(problem.horizon.length)


def regret_of(solution: Solution) -> planfile.CommitmentRegret | None:
    """Return what the commitments cost if demand falls by half; None if there are none."""
    if not solution.purchases:
        return None
    return commitment_regret(solution)
