"""What to commit to when demand is uncertain, in one purchase or several, and what it costs to be wrong."""

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from meritorder.plan.demand import Workload
from meritorder.plan.highs import solve
from meritorder.plan.lp import build
from meritorder.plan.problem import Problem
from meritorder.plan.solution import Purchase, Solution
from meritorder.plan.venues import Block, Machines, OnDemand, Reserved

Floats = NDArray[np.float64]
Whole = NDArray[np.int64]

# Share of the price that is paid at the start of the term.
_UPFRONT: Final = {"all_upfront": 1.0, "partial_upfront": 0.5}


def break_even_use(committed_usd_per_hour: float, on_demand_usd_per_hour: float) -> float:
    """Return the share of hours for which a machine must be used so that committing to it pays."""
    return committed_usd_per_hour / on_demand_usd_per_hour


def worth_buying(use: Floats, committed_usd_per_hour: float, on_demand_usd_per_hour: float) -> int:
    """Return how many machines to commit to: level k if P(use >= k) > committed / on-demand price.

    The k-th machine saves the on-demand price in the hours in which k are used, and costs the committed price in all.

    Args:
        use: Machines used in each hour, over all scenarios, shape (hours,).
        committed_usd_per_hour: Price in every hour of the term.
        on_demand_usd_per_hour: Price of an hour that is used.

    Source: the newsvendor's critical ratio; Arrow, Harris and Marschak, "Optimal inventory policy", Econometrica 19,
    1951.
    """
    levels = np.arange(1, math.ceil(float(np.max(use, initial=0.0))) + 1)
    # A machine used for a part of an hour saves that part of it.
    used_share = np.array([float(np.mean(np.clip(use - (k - 1), 0.0, 1.0))) for k in levels])
    return int(np.count_nonzero(used_share > break_even_use(committed_usd_per_hour, on_demand_usd_per_hour)))


def with_cost_of_capital(usd_per_hour: float, payment: str, term_years: float, rate_per_year: float) -> float:
    """Return the price of an hour of a term, paid evenly, that is worth the same as one paid upfront.

        factor = r T / (1 - exp(-r T)) on the part that is paid at the start

    Args:
        usd_per_hour: Price with the upfront payment spread over the term.
        payment: "no_upfront", "partial_upfront" (half of it), "all_upfront".
        term_years: Length of the term.
        rate_per_year: What money costs.
    """
    exponent = rate_per_year * term_years
    factor = exponent / -math.expm1(-exponent) if exponent > 0 else 1.0
    share = _UPFRONT.get(payment, 0.0)
    return usd_per_hour * (1 - share + share * factor)


RULES: Final[Mapping[str, Callable[[Floats, float], int]]] = {
    "minimum": lambda use, _: math.floor(float(np.min(use, initial=math.inf)) if len(use) else 0.0),
    "median": lambda use, _: round(float(np.median(use))) if len(use) else 0,
    "break-even quantile": lambda use, ratio: (
        int(np.quantile(use, 1 - ratio, method="inverted_cdf")) if len(use) else 0
    ),
}
"""Rules that people commit by: machines from past use and the committed / on-demand price."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Backtest:
    """What a rule would have cost on time that it had not seen.

    Args:
        rule: Name of the rule.
        machines: Machines that it commits to.
        usd: Cost of the time not seen with them.
        saving_usd: Against no commitment; negative where it was a loss.
    """

    rule: str
    machines: int
    usd: float
    saving_usd: float


def pay(use: Floats, machines: float, committed_usd_per_hour: float, on_demand_usd_per_hour: float) -> float:
    """Return what hours of use cost with machines committed: those in every hour, on demand beyond.

    cost = sum_hours (committed * K + on demand * max(use - K, 0))
    """
    beyond = np.maximum(use - machines, 0.0)
    return float(len(use) * machines * committed_usd_per_hour + beyond.sum() * on_demand_usd_per_hour)


def backtest(
    seen: Floats,
    unseen: Floats,
    committed_usd_per_hour: float,
    on_demand_usd_per_hour: float,
    advised: int | None = None,
) -> tuple[Backtest, ...]:
    """Choose on the first part, pay on the rest, by each rule and by the plan's advice.

    Args:
        seen: Machines used in each hour of the first part.
        unseen: Machines used in each hour of the rest.
        committed_usd_per_hour: Price in every hour of the term.
        on_demand_usd_per_hour: Price of an hour that is used.
        advised: What the plan made on the first part commits to; by `worth_buying` if not given.
    """
    ratio = break_even_use(committed_usd_per_hour, on_demand_usd_per_hour)
    chosen = {
        "plan": worth_buying(seen, committed_usd_per_hour, on_demand_usd_per_hour) if advised is None else advised
    }
    chosen |= {name: rule(seen, ratio) for name, rule in RULES.items()}
    without = pay(unseen, 0, committed_usd_per_hour, on_demand_usd_per_hour)
    return tuple(
        Backtest(
            rule=name,
            machines=machines,
            usd=(usd := pay(unseen, machines, committed_usd_per_hour, on_demand_usd_per_hour)),
            saving_usd=without - usd,
        )
        for name, machines in chosen.items()
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One purchase of a ladder."""

    after_share: float
    machines: int


def ladder(machines: int, steps: int) -> tuple[Step, ...]:
    """Split a purchase into smaller ones spread over its term: at each step a part expires and can be reconsidered.

    Args:
        machines: Machines to hold in the end.
        steps: Purchases, equally far apart; step i comes after i / steps of the term.
    """
    bought = np.diff(np.floor(np.arange(steps + 1) * machines / steps + 0.5).astype(int))
    return tuple(Step(after_share=i / steps, machines=int(count)) for i, count in enumerate(bought) if count)


def pay_ladder(
    rungs: tuple[Step, ...], use: Floats, committed_usd_per_hour: float, on_demand_usd_per_hour: float
) -> float:
    """Return what a term of hours costs if a ladder is bought into it, and each rung only while use has asked for it.

    A rung is left out if the use since the rung before it would not have paid for it.
    """
    cost, held, begins = 0.0, 0, [round(rung.after_share * len(use)) for rung in rungs]
    for i, rung in enumerate(rungs):
        until = begins[i + 1] if i + 1 < len(rungs) else len(use)
        since = use[begins[i - 1] : begins[i]] if i else use[:0]
        asked = worth_buying(since, committed_usd_per_hour, on_demand_usd_per_hour) if len(since) else rung.machines
        held += min(rung.machines, max(0, asked - held)) if i else rung.machines
        cost += pay(use[begins[i] : until], held, committed_usd_per_hour, on_demand_usd_per_hour)
    return cost


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


def regret(solution: Solution, demand_share: float = 0.5) -> Regret:
    """Return the regret of a plan's commitments if demand changes, machines in fractions on both sides.

    Args:
        solution: The plan.
        demand_share: Demand as a share of what was planned for.
    """
    problem = scaled(solution.problem, demand_share)
    best = solve(build(problem).model, whole=False)
    kept = solve(build(holding(problem, solution.purchases)).model, whole=False)
    spent = sum(one.usd for one in solution.purchases)
    return Regret(demand_share=demand_share, usd=kept.usd + spent, best_usd=best.usd)


def holding(problem: Problem, purchases: Sequence[Purchase]) -> Problem:
    """Return the problem with purchases held already, and no others to be made: their cost is sunk, and not in it."""
    bought = {one.name: one.amount for one in purchases}

    def payment(one: Machines) -> Machines:
        match one:
            case Reserved():
                return dataclasses.replace(one, have=one.have + round(bought.get(one.name, 0)), most=0)
            case Block():
                starts = next((each.starts for each in purchases if each.name == one.name), ())
                local = np.arange(problem.horizon.length) % problem.horizon.slots
                blocks = sum(((local >= s) & (local < s + one.slots)).astype(float) for s in starts)
                return dataclasses.replace(one, have=np.asarray(one.have + blocks, float), most=0)
        return one

    return dataclasses.replace(
        problem,
        payments=tuple(payment(one) for one in problem.payments),
        savings_plans=tuple(
            dataclasses.replace(
                one, have_usd_per_hour=one.have_usd_per_hour + bought.get(one.name, 0.0), most_usd_per_hour=0.0
            )
            for one in problem.savings_plans
        ),
        throughputs=tuple(
            dataclasses.replace(one, have=one.have + round(bought.get(one.name, 0)), most=0)
            for one in problem.throughputs
        ),
    )


def scaled(problem: Problem, share: float) -> Problem:
    """Return the problem with all demand multiplied, and with it what its tokens and units come to."""

    def workload(one: Workload) -> Workload:
        work_s = {replica: work * share for replica, work in one.work_s.items()}
        return dataclasses.replace(one, work_s=work_s, tokens=None if one.tokens is None else one.tokens * share)

    return dataclasses.replace(
        problem,
        workloads=tuple(workload(one) for one in problem.workloads),
        tiers=tuple(
            dataclasses.replace(one, usd={name: usd * share for name, usd in one.usd.items()}) for one in problem.tiers
        ),
        throughputs=tuple(
            dataclasses.replace(one, unit_s={name: seconds * share for name, seconds in one.unit_s.items()})
            for one in problem.throughputs
        ),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Advice:
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
    ladder: tuple[Step, ...]


def advise(solution: Solution, steps: int = 4) -> tuple[Advice, ...]:
    """Return what a plan over scenarios says to buy, with its break-even use and as a ladder."""
    on_demand = {one.machine: one.usd_per_hour for one in solution.problem.payments if isinstance(one, OnDemand)}
    machine = {one.name: one.machine for one in solution.problem.payments}
    advice = []
    for one in solution.purchases:
        price = on_demand.get(machine.get(one.name, ""))
        whole = one.pricing_model in {"reserved", "committed_use"}
        advice.append(
            Advice(
                name=one.name,
                amount=one.amount,
                break_even_use=break_even_use(one.usd_per_hour, price) if whole and price else None,
                ladder=ladder(round(one.amount), steps) if whole else (),
            )
        )
    return tuple(advice)
