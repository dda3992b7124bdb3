"""Sensitivities of a plan: the value of more patience, of more spot machines, and of each commitment.

All are differences of relaxations, because two searches for whole machines differ by more than the effect.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from meritorder.planner.model.constraints import Formulation
from meritorder.planner.model.demand import DeferrableDemand
from meritorder.planner.model.problem import Problem
from meritorder.planner.model.supply import CapacityBlock, Reserved, Spot
from meritorder.planner.model.variants import replace_due_slots, restrict_purchases
from meritorder.planner.solve.bounds import relaxed_usd
from meritorder.planner.solve.solution import Solution


@dataclass(frozen=True, slots=True, kw_only=True)
class CommitmentValue:
    """The value of a commitment.

    Args:
        name: Name of the payment.
        alone_usd: Saving if it is the only commitment.
        together_usd: Loss if it alone is removed from all commitments.
    """

    name: str
    alone_usd: float
    together_usd: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Sensitivity:
    """Marginal values, in dollars over the horizon.

    Args:
        patience_usd_per_hour: By deferrable workload, saving of an hour more patience.
        deferral_usd: By deferrable workload, saving against running all of it in its slot of arrival.
        spot_usd_per_gpu: By spot payment, shadow price of one more GPU in every slot.
        commitments: Value of each commitment bought.
    """

    patience_usd_per_hour: dict[str, float]
    deferral_usd: dict[str, float]
    spot_usd_per_gpu: dict[str, float]
    commitments: tuple[CommitmentValue, ...]


def analyze_sensitivity(solution: Solution, coarse: Problem | None = None) -> Sensitivity:
    """Return the sensitivities of a plan.

    Patience and commitments take one or two solves of the relaxation each; spot takes none.

    Args:
        solution: The plan.
        coarse: The same problem in longer slots, solved instead.
    """
    problem, base_usd = solution.problem, solution.program.relaxed_usd
    if coarse is not None and coarse is not problem:
        problem, base_usd = coarse, relaxed_usd(coarse)
    deferrable = [demand for demand in problem.workloads if isinstance(demand, DeferrableDemand)]
    per_hour, at_once = problem.horizon.slots_per_hour, np.arange(problem.horizon.length)
    spot = _spot_prices(solution.program.formulation, solution.program.row_duals)
    gpus = {pool.machine: pool.gpus for pool in problem.pools}
    machine = {payment.name: payment.machine for payment in problem.payments}
    return Sensitivity(
        patience_usd_per_hour={
            demand.name: max(0.0, base_usd - relaxed_usd(replace_due_slots(problem, demand, demand.due + per_hour)))
            for demand in deferrable
        },
        deferral_usd={
            demand.name: relaxed_usd(replace_due_slots(problem, demand, at_once)) - base_usd for demand in deferrable
        },
        spot_usd_per_gpu={name: usd / gpus[machine[name]] for name, usd in spot.items()},
        commitments=_commitment_values(problem, solution, base_usd),
    )


def _spot_prices(formulation: Formulation, row_duals: NDArray[np.float64]) -> dict[str, float]:
    """Return the shadow prices of available spot machines, summed over the slots."""
    return {
        payment.name: float(-np.minimum(row_duals[formulation.rows[f"spot {o}"]], 0.0).sum())
        for o, payment in enumerate(formulation.problem.payments)
        if isinstance(payment, Spot) and f"spot {o}" in formulation.rows
    }


def _commitment_values(problem: Problem, solution: Solution, base_usd: float) -> tuple[CommitmentValue, ...]:
    bought = {purchase.name for purchase in solution.purchases if purchase.amount > 0}
    if not bought:
        return ()
    none_usd = relaxed_usd(restrict_purchases(problem, frozenset()))
    commitments = (
        *(payment for payment in problem.payments if isinstance(payment, Reserved | CapacityBlock)),
        *problem.savings_plans,
    )
    names = frozenset(commitment.name for commitment in commitments)
    return tuple(
        CommitmentValue(
            name=name,
            alone_usd=none_usd - relaxed_usd(restrict_purchases(problem, frozenset({name}))),
            together_usd=relaxed_usd(restrict_purchases(problem, names - {name})) - base_usd,
        )
        for name in sorted(bought)
    )
