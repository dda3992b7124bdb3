"""What to commit to when demand is uncertain, in one purchase or several, and what it costs to be wrong."""

import dataclasses
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from meritorder import planfile
from meritorder.planner.model.constraints import Formulation, formulate
from meritorder.planner.model.problem import Problem
from meritorder.planner.model.supply import OnDemand, Reserved
from meritorder.planner.model.variants import hold_purchases, scale_demand, slice_slots
from meritorder.planner.solve.highs import solve
from meritorder.planner.solve.solution import Solution
from meritorder.policy.commitments import break_even_use

Floats = NDArray[np.float64]
Whole = NDArray[np.int64]


COMMITMENT_RULES: Final[Mapping[str, Callable[[Floats, float], int]]] = {
    "minimum": lambda use, _: math.floor(float(np.min(use, initial=math.inf)) if len(use) else 0.0),
    "median": lambda use, _: round(float(np.median(use))) if len(use) else 0,
    "break-even quantile": lambda use, ratio: (
        int(np.quantile(use, 1 - ratio, method="inverted_cdf")) if len(use) else 0
    ),
}
"""Rules that people commit by: machines from past use and the committed / on-demand price."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LadderRung:
    """One purchase of a ladder."""

    after_share: float
    machines: int


def ladder(machines: int, steps: int) -> tuple[LadderRung, ...]:
    """Split a purchase into smaller ones spread over its term: at each step a part expires and can be reconsidered.

    Args:
        machines: Machines to hold in the end.
        steps: Purchases, equally far apart; step i comes after i / steps of the term.
    """
    bought = np.diff(np.floor(np.arange(steps + 1) * machines / steps + 0.5).astype(int))
    return tuple(LadderRung(after_share=i / steps, machines=int(count)) for i, count in enumerate(bought) if count)


@dataclass(frozen=True, slots=True, kw_only=True)
class Regret:
    """What the commitments cost if demand turns out otherwise.

    Args:
        demand_share: Demand as a share of what was planned for.
        usd: Cost with the commitments of the plan.
        best_usd: Cost had that demand been known.
    """

    demand_share: float
    usd: float
    best_usd: float

    @property
    def usd_lost(self) -> float:
        """The regret."""
        return self.usd - self.best_usd


def commitment_regret(solution: Solution, demand_share: float = 0.5) -> Regret:
    """Return the regret of a plan's commitments if demand changes, machines in fractions on both sides.

    Args:
        solution: The plan.
        demand_share: Demand as a share of what was planned for.
    """
    problem = scale_demand(solution.problem, demand_share)
    best = solve(formulate(problem).model, integer=False)
    kept = solve(formulate(hold_purchases(problem, solution.purchases)).model, integer=False)
    spent = sum(one.usd for one in solution.purchases)
    return Regret(demand_share=demand_share, usd=kept.usd + spent, best_usd=best.usd)


@dataclass(frozen=True, slots=True, kw_only=True)
class CommitmentRecommendation:
    """What to buy of one commitment.

    Args:
        name: Name of the payment.
        amount: Machines, or dollars an hour.
        break_even_use: Share of hours in use from which it pays, None where there is nothing to compare with.
        ladder: The purchase in steps (machines only).
    """

    name: str
    amount: float
    break_even_use: float | None
    ladder: tuple[LadderRung, ...]


def recommend_commitments(solution: Solution, steps: int = 4) -> tuple[CommitmentRecommendation, ...]:
    """Return what a plan over scenarios says to buy, with its break-even use and as a ladder."""
    on_demand = {one.machine: one.usd_per_hour for one in solution.problem.payments if isinstance(one, OnDemand)}
    machine = {one.name: one.machine for one in solution.problem.payments}
    advice = []
    for one in solution.purchases:
        price = on_demand.get(machine.get(one.name, ""))
        integer = one.pricing_model in {"reserved", "committed_use"}
        advice.append(
            CommitmentRecommendation(
                name=one.name,
                amount=one.amount,
                break_even_use=break_even_use(one.usd_per_hour, price) if integer and price else None,
                ladder=ladder(round(one.amount), steps) if integer else (),
            )
        )
    return tuple(advice)


def backtest_commitments(problem: Problem, share: float) -> list[planfile.CommitmentBacktest]:
    """Choose each commitment on the first part of a problem, and pay on the rest; machines in fractions.

    Each is tried by itself, beside machines of the same kind on demand: what the plan chooses knows that work can wait,
    the rules look at the machines that were in use. Both are held against no commitment on the rest.

    Args:
        problem: A problem of one scenario.
        share: Share of the slots that the choice may see.
    """
    slots = problem.horizon.slots
    first = min(max(1, round(slots * share)), slots - 1)
    found: list[planfile.CommitmentBacktest] = []
    for bought, rented in _candidates(problem):
        alone = dataclasses.replace(
            problem,
            payments=(rented, dataclasses.replace(bought, held=0)),
            pools=tuple(pool for pool in problem.pools if pool.machine == bought.machine),
            savings_plans=(),
            tiers=(),
        )
        seen, unseen = slice_slots(alone, 0, first), slice_slots(alone, first, slots - first)
        found += _by_each_rule(seen, unseen, bought, rented)
    return found


def _candidates(problem: Problem) -> Iterator[tuple[Reserved, OnDemand]]:
    """Yield commitments that can be bought, each with the price on demand of the same machine."""
    for bought in problem.payments:
        rented = next(
            (one for one in problem.payments if isinstance(one, OnDemand) and one.machine == bought.machine), None
        )
        if isinstance(bought, Reserved) and bought.max_machines > 0 and rented is not None:
            yield bought, dataclasses.replace(rented, max_machines=float("inf"))


def _by_each_rule(
    seen: Problem, unseen: Problem, bought: Reserved, rented: OnDemand
) -> Iterator[planfile.CommitmentBacktest]:
    ratio = break_even_use(bought.usd_per_hour, rented.usd_per_hour)
    free = formulate(seen)
    chosen = solve(free.model, integer=False)
    without = formulate(_holding(seen, 0))
    used = solve(without.model, integer=False)
    if not (chosen.found and used.found):
        return
    use = _use(without, used.x)
    machines = {"plan": round(float(chosen.x[next(iter(free.x.commit.values()))].sum()))}
    machines |= {name: rule(use, ratio) for name, rule in COMMITMENT_RULES.items()}
    none_usd = _usd(unseen, 0, bought)
    for rule, count in machines.items():
        usd = _usd(unseen, count, bought)
        yield planfile.CommitmentBacktest(
            commitment=bought.name, rule=rule, machines=count, usd=usd, saving_usd=none_usd - usd
        )


def _holding(problem: Problem, count: int) -> Problem:
    """Return the problem with so many machines committed to, and no more to be had."""
    payments = tuple(
        dataclasses.replace(one, held=count, max_machines=0) if isinstance(one, Reserved) else one
        for one in problem.payments
    )
    return dataclasses.replace(problem, payments=payments)


def _usd(problem: Problem, count: int, bought: Reserved) -> float:
    """Return what a stretch costs with so many machines committed to."""
    result = solve(formulate(_holding(problem, count)).model, integer=False)
    return result.usd + count * bought.usd_per_hour * problem.horizon.hours


def _use(formulation: Formulation, x: Floats) -> Floats:
    """Return the machines in use by slot."""
    return np.asarray(x[formulation.x.on].sum(axis=0))
