"""What each freedom is worth: an hour more patience, one more spot machine, each commitment alone and with the rest.

All on the relaxation: differences between two solutions of it, not between two searches for whole machines.
"""

from dataclasses import dataclass

import numpy as np

from meritorder.planner.model.constraints import Formulation, formulate
from meritorder.planner.model.demand import DeferrableDemand
from meritorder.planner.model.problem import Problem
from meritorder.planner.model.supply import CapacityBlock, Reserved, Spot
from meritorder.planner.model.variants import replace_due_slots, restrict_purchases
from meritorder.planner.solve.highs import solve
from meritorder.planner.solve.solution import Solution


@dataclass(frozen=True, slots=True, kw_only=True)
class CommitmentValue:
    """What a commitment saves.

    Args:
        name: Name of the payment.
        alone_usd: Saving if it is the only one that can be bought.
        together_usd: Loss if it alone is taken from the rest.
    """

    name: str
    alone_usd: float
    together_usd: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Sensitivity:
    """Shadow prices, in dollars over the horizon.

    Args:
        patience_usd_per_hour: By deferrable workload, what an hour more patience saves.
        deferral_usd: By deferrable workload, what its waiting saves: cost if all of it had to run in its own slot.
        spot_usd_per_machine: By spot offer, what one machine more in every slot saves, at most (a marginal price).
        spot_usd_per_gpu: The same for one GPU.
        commitments: What each that was bought saves.
    """

    patience_usd_per_hour: dict[str, float]
    deferral_usd: dict[str, float]
    spot_usd_per_machine: dict[str, float]
    spot_usd_per_gpu: dict[str, float]
    commitments: tuple[CommitmentValue, ...]


def analyze_sensitivity(solution: Solution, coarse: Problem | None = None) -> Sensitivity:
    """Return what each freedom of a solved problem is worth.

    Each patience and each commitment takes one or two solves of the relaxation; spot takes none.

    Args:
        solution: The plan.
        coarse: The same problem in longer slots, to be solved in its place.
    """
    problem, base_usd = solution.problem, solution.search.relaxed_usd
    if coarse is not None and coarse is not problem:
        problem, base_usd = coarse, relaxed_usd(coarse)
    deferrable = [one for one in problem.workloads if isinstance(one, DeferrableDemand)]
    per_hour = problem.horizon.slots_per_hour
    spot = _spot(solution.search.formulation, solution.search.row_duals)
    gpus = {pool.machine: pool.gpus for pool in problem.pools}
    machine = {one.name: one.machine for one in problem.payments}
    return Sensitivity(
        patience_usd_per_hour={
            one.name: max(0.0, base_usd - relaxed_usd(replace_due_slots(problem, one, one.due + per_hour)))
            for one in deferrable
        },
        deferral_usd={
            one.name: relaxed_usd(replace_due_slots(problem, one, np.arange(problem.horizon.length))) - base_usd
            for one in deferrable
        },
        spot_usd_per_machine=spot,
        spot_usd_per_gpu={name: usd / gpus[machine[name]] for name, usd in spot.items()},
        commitments=_commitments(problem, solution, base_usd),
    )


def relaxed_usd(problem: Problem) -> float:
    """Return the cost of the relaxation, machines in fractions; infinity if it has no solution."""
    return solve(formulate(problem).model, integer=False).usd


def _spot(formulation: Formulation, row_duals: np.ndarray) -> dict[str, float]:
    """Sum the shadow prices of the rows that limit spot."""
    return {
        payment.name: float(-np.minimum(row_duals[formulation.rows[f"spot {o}"]], 0.0).sum())
        for o, payment in enumerate(formulation.problem.payments)
        if isinstance(payment, Spot) and f"spot {o}" in formulation.rows
    }


def _commitments(problem: Problem, solution: Solution, base_usd: float) -> tuple[CommitmentValue, ...]:
    bought = {one.name for one in solution.purchases if one.amount > 0}
    if not bought:
        return ()
    none_usd = relaxed_usd(restrict_purchases(problem, frozenset()))
    every = frozenset(_names(problem))
    return tuple(
        CommitmentValue(
            name=name,
            alone_usd=none_usd - relaxed_usd(restrict_purchases(problem, frozenset({name}))),
            together_usd=relaxed_usd(restrict_purchases(problem, every - {name})) - base_usd,
        )
        for name in sorted(bought)
    )


def _names(problem: Problem) -> list[str]:
    return [one.name for one in problem.payments if isinstance(one, Reserved | CapacityBlock)] + [
        one.name for one in problem.savings_plans
    ]
