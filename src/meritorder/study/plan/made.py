"""A plan that was made and carried out."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

from msgspec import structs

from meritorder import planfile
from meritorder.planner.solve.solution import Solution
from meritorder.study.plan.check import ModelRun
from meritorder.study.plan.problem import Asked, Trust

# Work is left at the end of a plan if it takes this share of the time of all its machines after it.
_LEFT: Final = 0.01


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """A plan that was carried out.

    Args:
        solution: What the programme says.
        file: The plan as a file, its check in it.
        runs: What became of each model's requests.
        asked: The problem with the trust in machines that it took.
        trust: That trust.
    """

    solution: Solution
    file: planfile.Plan
    runs: Mapping[str, ModelRun]
    asked: Asked
    trust: Trust

    @property
    def simulated(self) -> planfile.PlanOutcome:
        """What became of it."""
        if self.file.simulated is None:
            raise TypeError("a plan that was made was carried out")
        return self.file.simulated

    @property
    def held(self) -> bool:
        """Whether it kept every promise."""
        return self.simulated.kept

    @property
    def usd(self) -> float:
        """What it cost when it was carried out, the price of carbon in it."""
        return self.simulated.total_usd + self.simulated.carbon_usd

    @property
    def gap(self) -> float:
        """How far that is above the bound."""
        return self.usd / self.file.bound_usd - 1 if self.file.bound_usd else 0.0


def alike(one: planfile.Plan, other: planfile.Plan) -> bool:
    """Whether two plans come to the same: the same machines at the same times, paid and bought alike."""
    first, second = ((each.pools, each.schedule, each.commitments, _bought(each)) for each in (one, other))
    return first == second


def _bought(file: planfile.Plan) -> list[planfile.PlanRoute]:
    """Return all routes where some lead to token APIs: which requests are bought depends on the rest, too."""
    return file.routes if any(route.kind == "tier" for route in file.routes) else []


def cheaper(first: Made, second: Made) -> Made:
    """Return the cheaper of two, of which the first held; what was proven of the same programme holds for both."""
    best = second if second.held and second.usd <= first.usd else first
    if first.trust is not second.trust:
        return best
    bound_usd = max(first.file.bound_usd, second.file.bound_usd)
    return replace(best, file=structs.replace(best.file, bound_usd=bound_usd))


def leaves_work(made: Made) -> bool:
    """Whether so much work was left at the end that machines ran for more than a slot to do it."""
    file, after_s, paid_s = made.file, 0.0, 0.0
    end_s = file.slots * file.slot_s
    for result in (run.result for run in made.runs.values() if run.result is not None):
        if result.end_s > end_s + file.slot_s:
            after_s += float(result.capacity_bins_s[:, math.ceil(end_s / result.bin_s) :].sum())
        paid_s += float(result.capacity_bins_s.sum())
    return after_s > _LEFT * paid_s
