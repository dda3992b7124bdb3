"""What to commit to, chosen over seasons that may come; then held while the trace itself is planned."""

from dataclasses import dataclass, replace

import numpy as np
from msgspec import structs

from meritorder import planfile
from meritorder.evidence import Assumption
from meritorder.planner.commitments import CommitmentRecommendation, hold_purchases, recommend_commitments
from meritorder.planner.model.problem import Problem
from meritorder.planner.model.supply import CapacityBlock, Reserved
from meritorder.planner.model.variants import aggregate_to_hours
from meritorder.planner.scenarios import SCENARIOS, draw_scenarios, longest_season
from meritorder.planner.solve.search import find_plan
from meritorder.planner.solve.solution import CommitmentPurchase, Solution
from meritorder.study.fleet.options import Progress
from meritorder.study.plan.options import PlanOptions
from meritorder.units import format_duration


@dataclass(frozen=True, slots=True, kw_only=True)
class Committed:
    """Commitments that were chosen over several seasons.

    Args:
        problem: The problem of the trace with them held, and no others to be bought.
        solution: The plan over seasons that chose them; None if the trace is too short, and chooses for itself.
        assumptions: How they were chosen.
    """

    problem: Problem
    solution: Solution | None = None
    assumptions: tuple[Assumption, ...] = ()

    @property
    def purchases(self) -> tuple[CommitmentPurchase, ...]:
        """What is bought."""
        found = self.solution.purchases if self.solution else ()
        return tuple(one for one in found if one.amount > 0)

    @property
    def advice(self) -> tuple[CommitmentRecommendation, ...]:
        """Break-even use and ladders."""
        return recommend_commitments(self.solution) if self.solution else ()

    @property
    def usd(self) -> float:
        """What they cost over the horizon of the trace."""
        return sum(one.usd_per_hour * _units(one) * self.problem.horizon.hours for one in self.purchases)

    def in_file(self, file: planfile.Plan) -> planfile.Plan:
        """Return a plan's file with what they cost in it, and named as bought rather than held."""
        if not self.purchases:
            return file
        hours = self.problem.horizon.hours
        bought = {one.name: (one.amount, one.usd_per_hour * _units(one) * hours) for one in self.purchases}
        return _with_bought(file, bought)


def _with_bought(plan: planfile.Plan, bought: dict[str, tuple[float, float]]) -> planfile.Plan:
    """Return a plan in which commitments that it holds are bought, and paid for.

    Args:
        plan: The plan.
        bought: Amount and cost over the horizon, by name of the commitment.
    """
    usd = sum(cost for _, cost in bought.values())
    changed = [
        structs.replace(one, amount=bought[one.name][0], have=one.have - bought[one.name][0], usd=bought[one.name][1])
        if one.name in bought
        else one
        for one in plan.commitments
    ]
    return structs.replace(
        plan,
        total_usd=plan.total_usd + usd,
        planned_usd=plan.planned_usd + usd,
        bound_usd=plan.bound_usd + usd,
        hard_bound_usd=plan.hard_bound_usd + usd,
        commitments=changed,
    )


def _units(one: CommitmentPurchase) -> float:
    """Return how many times its price an hour is paid; a savings plan's price is its dollars an hour."""
    return 1.0 if one.pricing_model == "savings_plan" else one.amount


def commit(problem: Problem, options: PlanOptions, progress: Progress) -> Committed:
    """Choose commitments over seasons drawn from a forecast, where the trace holds two and there are any to be had.

    Args:
        problem: The problem of the trace.
        options: Effort and seed.
        progress: Told of it.
    """
    buyable = any(isinstance(one, Reserved) and one.max_machines > 0 for one in problem.payments)
    buyable = buyable or any(plan.max_usd_per_hour > 0 for plan in problem.savings_plans)
    hourly = aggregate_to_hours(problem) or problem
    season = longest_season(hourly)
    if not buyable or season is None:
        return Committed(problem=problem)
    length = format_duration(season * hourly.horizon.slot_s)
    progress(f"choosing commitments over {SCENARIOS} draws of {length}")
    drawn = draw_scenarios(hourly, season, np.random.default_rng(options.seed))
    effort = replace(options.effort, time_limit_s=options.effort.time_limit_s / 2, gap=0.02)
    solution = find_plan(drawn, effort)
    held = hold_purchases(problem, tuple(one for one in solution.purchases if one.amount > 0))
    text = f"commitments are chosen over {SCENARIOS} draws of {length} from a forecast fitted to the trace, "
    text += "as if their whole term were like them"
    return Committed(
        problem=replace(held, payments=tuple(one for one in held.payments if not isinstance(one, CapacityBlock))),
        solution=solution,
        assumptions=(Assumption(text=text, option="--commit"),),
    )
