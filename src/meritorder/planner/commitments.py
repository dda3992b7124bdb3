"""Commitments: what a plan over scenarios recommends, its regret, and a backtest on time it has not seen."""

import dataclasses
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from meritorder.planner.model.constraints import formulate
from meritorder.planner.model.problem import Problem
from meritorder.planner.model.supply import UNLIMITED, CapacityBlock, MachinePayment, OnDemand, Reserved
from meritorder.planner.model.variants import scale_demand, slice_slots
from meritorder.planner.solve.bounds import relaxed_usd
from meritorder.planner.solve.highs import solve
from meritorder.planner.solve.solution import CommitmentPurchase, Solution
from meritorder.policy.commitments import break_even_use
from meritorder.records import planfile

Floats = NDArray[np.float64]

COMMITMENT_RULES: Final[Mapping[str, Callable[[Floats, float], int]]] = {
    "minimum": lambda use, _: math.floor(float(np.min(use, initial=math.inf)) if len(use) else 0.0),
    "median": lambda use, _: round(float(np.median(use))) if len(use) else 0,
    "break-even quantile": lambda use, ratio: (
        int(np.quantile(use, 1 - ratio, method="inverted_cdf")) if len(use) else 0
    ),
}
"""Common rules for commitments: machines from past use and the ratio of the committed to the on-demand price."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LadderRung:
    """One purchase of a ladder.

    Args:
        after_share: Share of the term after which it is made.
        machines: Machines bought.
    """

    after_share: float
    machines: int


def build_ladder(machines: int, rungs: int) -> tuple[LadderRung, ...]:
    """Split a purchase into smaller ones, evenly spread over its term, so that each can be reconsidered in turn.

    Args:
        machines: Machines held in the end.
        rungs: Number of purchases; purchase i is made after i / rungs of the term.
    """
    bought = np.diff(np.floor(np.arange(rungs + 1) * machines / rungs + 0.5).astype(int))
    return tuple(LadderRung(after_share=i / rungs, machines=int(count)) for i, count in enumerate(bought) if count)


@dataclass(frozen=True, slots=True, kw_only=True)
class CommitmentRecommendation:
    """How to buy a commitment.

    Args:
        name: Name of the payment.
        break_even_use: Share of hours in use above which it pays off; None without an on-demand price to compare with.
        ladder: The purchase in several rungs; empty unless it is of machines.
    """

    name: str
    break_even_use: float | None
    ladder: tuple[LadderRung, ...]


def recommend_commitments(solution: Solution, rungs: int = 4) -> tuple[CommitmentRecommendation, ...]:
    """Return the break-even use and the ladder of each commitment that a plan buys or holds."""
    on_demand = {
        payment.machine: payment.usd_per_hour for payment in solution.problem.payments if isinstance(payment, OnDemand)
    }
    machines = {payment.name: payment.machine for payment in solution.problem.payments}
    recommendations = []
    for purchase in solution.purchases:
        price = on_demand.get(machines.get(purchase.name, ""))
        by_machine = purchase.pricing_model in {"reserved", "committed_use"}
        recommendations.append(
            CommitmentRecommendation(
                name=purchase.name,
                break_even_use=break_even_use(purchase.usd_per_hour, price) if by_machine and price else None,
                ladder=build_ladder(round(purchase.amount), rungs) if by_machine else (),
            )
        )
    return tuple(recommendations)


def hold_purchases(problem: Problem, purchases: Sequence[CommitmentPurchase]) -> Problem:
    """Return the problem with some purchases held and no others possible; their cost is sunk."""
    bought = {purchase.name: purchase for purchase in purchases}

    def amount(name: str) -> float:
        return bought[name].amount if name in bought else 0.0

    def hold(payment: MachinePayment) -> MachinePayment:
        match payment:
            case Reserved():
                held = payment.held + round(amount(payment.name))
                return dataclasses.replace(payment, held=held, max_machines=0)
            case CapacityBlock():
                starts = bought[payment.name].starts if payment.name in bought else ()
                local = np.arange(problem.horizon.length) % problem.horizon.slots
                blocks = sum(((local >= start) & (local < start + payment.slots)).astype(float) for start in starts)
                return dataclasses.replace(payment, held=np.asarray(payment.held + blocks, float), max_machines=0)
        return payment

    return dataclasses.replace(
        problem,
        payments=tuple(hold(payment) for payment in problem.payments),
        savings_plans=tuple(
            dataclasses.replace(
                plan, held_usd_per_hour=plan.held_usd_per_hour + amount(plan.name), max_usd_per_hour=0.0
            )
            for plan in problem.savings_plans
        ),
    )


def commitment_regret(
    solution: Solution, demand_share: float = 0.5, hours: float | None = None
) -> planfile.CommitmentRegret:
    """Return the regret of a plan's commitments if demand changes, with machines in fractions.

    regret = cost with the commitments of the plan - cost with the best commitments for the changed demand

    Args:
        solution: The plan.
        demand_share: Changed demand / planned demand.
        hours: Time that the costs are for; a scenario of the plan if None.
    """
    share = 1.0 if hours is None else hours / solution.problem.horizon.hours
    problem = scale_demand(solution.problem, demand_share)
    best_usd = share * relaxed_usd(problem)
    spent_usd = sum(purchase.usd for purchase in solution.purchases)
    usd = share * (relaxed_usd(hold_purchases(problem, solution.purchases)) + spent_usd)
    return planfile.CommitmentRegret(demand_share=demand_share, usd=usd, best_usd=best_usd, usd_lost=usd - best_usd)


def backtest_commitments(problem: Problem, share: float) -> list[planfile.CommitmentBacktest]:
    """Choose each commitment on the first part of a problem and pay for it on the rest, with machines in fractions.

    Each commitment is tested alone, beside on-demand machines of its kind, on the workloads that may use them. The plan
    knows that work can wait; the rules see only the machines in use. Savings are against no commitment on the rest.

    Args:
        problem: A problem of one scenario.
        share: Share of the slots in the first part.
    """
    slots = problem.horizon.slots
    first = min(max(1, round(slots * share)), slots - 1)
    results: list[planfile.CommitmentBacktest] = []
    for reserved, on_demand in _candidates(problem):
        alone = _served_by(problem, reserved, on_demand)
        if not alone.workloads:
            continue
        seen, unseen = slice_slots(alone, 0, first), slice_slots(alone, first, slots - first)
        results += _backtest_rules(seen, unseen, reserved, on_demand)
    return results


def _served_by(problem: Problem, reserved: Reserved, on_demand: OnDemand) -> Problem:
    """Return the problem with the machines of one commitment alone, and the workloads that may run on them."""
    alone = dataclasses.replace(
        problem,
        payments=(on_demand, dataclasses.replace(reserved, held=0)),
        pools=tuple(pool for pool in problem.pools if pool.machine == reserved.machine),
        savings_plans=(),
        tiers=(),
    )
    served = {route.workload for route in alone.routes}
    return dataclasses.replace(
        alone, workloads=tuple(demand for place, demand in enumerate(alone.workloads) if place in served)
    )


def _candidates(problem: Problem) -> Iterator[tuple[Reserved, OnDemand]]:
    """Yield commitments that can be bought, with the on-demand payment of the same machine."""
    on_demand = {payment.machine: payment for payment in problem.payments if isinstance(payment, OnDemand)}
    for payment in problem.payments:
        if isinstance(payment, Reserved) and payment.max_machines > 0 and payment.machine in on_demand:
            yield payment, dataclasses.replace(on_demand[payment.machine], max_machines=UNLIMITED)


def _backtest_rules(
    seen: Problem, unseen: Problem, reserved: Reserved, on_demand: OnDemand
) -> Iterator[planfile.CommitmentBacktest]:
    ratio = break_even_use(reserved.usd_per_hour, on_demand.usd_per_hour)
    free = formulate(seen)
    planned = solve(free.model, integer=False)
    without = formulate(_with_machines(seen, 0))
    used = solve(without.model, integer=False)
    if not (planned.found and used.found):
        return
    use = np.asarray(used.values[without.variables.machines].sum(axis=0))
    machines = {"plan": round(float(planned.values[next(iter(free.variables.committed.values()))].sum()))}
    machines |= {name: rule(use, ratio) for name, rule in COMMITMENT_RULES.items()}
    base_usd = _cost_usd(unseen, 0, reserved)
    for rule, count in machines.items():
        usd = _cost_usd(unseen, count, reserved)
        yield planfile.CommitmentBacktest(
            commitment=reserved.name, rule=rule, machines=count, usd=usd, saving_usd=base_usd - usd
        )


def _with_machines(problem: Problem, count: int) -> Problem:
    """Return the problem with this many committed machines, and no more to buy."""
    payments = tuple(
        dataclasses.replace(payment, held=count, max_machines=0) if isinstance(payment, Reserved) else payment
        for payment in problem.payments
    )
    return dataclasses.replace(problem, payments=payments)


def _cost_usd(problem: Problem, count: int, reserved: Reserved) -> float:
    """Return the cost of a problem with this many committed machines."""
    sunk_usd = count * reserved.usd_per_hour * problem.horizon.hours
    return relaxed_usd(_with_machines(problem, count)) + sunk_usd
