"""What advice on commitments would have saved on time that it had not seen, next to rules that people use."""

import dataclasses
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from meritorder import planfile
from meritorder.plan.commitments import RULES, break_even_use
from meritorder.plan.highs import solve
from meritorder.plan.lp import Built, build
from meritorder.plan.problem import Problem
from meritorder.plan.venues import OnDemand, Reserved
from meritorder.plan.window import stretch_of

Floats = NDArray[np.float64]


def backtest(problem: Problem, share: float) -> list[planfile.Backtest]:
    """Choose each commitment on the first part of a problem, and pay on the rest; machines in fractions.

    Each is tried by itself, beside machines of the same kind on demand: what the plan chooses knows that work can wait,
    the rules look at the machines that were in use. Both are held against no commitment on the rest.

    Args:
        problem: A problem of one scenario.
        share: Share of the slots that the choice may see.
    """
    slots = problem.horizon.slots
    first = min(max(1, round(slots * share)), slots - 1)
    found: list[planfile.Backtest] = []
    for bought, rented in _candidates(problem):
        alone = dataclasses.replace(
            problem,
            payments=(rented, dataclasses.replace(bought, have=0)),
            pools=tuple(pool for pool in problem.pools if pool.machine == bought.machine),
            savings_plans=(),
            tiers=(),
        )
        seen, unseen = stretch_of(alone, 0, first), stretch_of(alone, first, slots - first)
        found += _by_each_rule(seen, unseen, bought, rented)
    return found


def _candidates(problem: Problem) -> Iterator[tuple[Reserved, OnDemand]]:
    """Yield commitments that can be bought, each with the price on demand of the same machine."""
    for bought in problem.payments:
        rented = next(
            (one for one in problem.payments if isinstance(one, OnDemand) and one.machine == bought.machine), None
        )
        if isinstance(bought, Reserved) and bought.most > 0 and rented is not None:
            yield bought, dataclasses.replace(rented, most=float("inf"))


def _by_each_rule(seen: Problem, unseen: Problem, bought: Reserved, rented: OnDemand) -> Iterator[planfile.Backtest]:
    ratio = break_even_use(bought.usd_per_hour, rented.usd_per_hour)
    free = build(seen)
    chosen = solve(free.model, whole=False)
    without = build(_holding(seen, 0))
    used = solve(without.model, whole=False)
    if not (chosen.found and used.found):
        return
    use = _use(without, used.x)
    machines = {"plan": round(float(chosen.x[next(iter(free.x.commit.values()))].sum()))}
    machines |= {name: rule(use, ratio) for name, rule in RULES.items()}
    none_usd = _usd(unseen, 0, bought)
    for rule, count in machines.items():
        usd = _usd(unseen, count, bought)
        yield planfile.Backtest(commitment=bought.name, rule=rule, machines=count, usd=usd, saving_usd=none_usd - usd)


def _holding(problem: Problem, count: int) -> Problem:
    """Return the problem with so many machines committed to, and no more to be had."""
    payments = tuple(
        dataclasses.replace(one, have=count, most=0) if isinstance(one, Reserved) else one for one in problem.payments
    )
    return dataclasses.replace(problem, payments=payments)


def _usd(problem: Problem, count: int, bought: Reserved) -> float:
    """Return what a stretch costs with so many machines committed to."""
    answer = solve(build(_holding(problem, count)).model, whole=False)
    return answer.usd + count * bought.usd_per_hour * problem.horizon.hours


def _use(built: Built, x: Floats) -> Floats:
    """Return the machines in use by slot."""
    return np.asarray(x[built.x.on].sum(axis=0))
