"""Commitments: those already held, from a file or a bill, and those to buy, chosen over forecast seasons.

Held commitments are sunk cost: they are used first and never bought again. Their file:

[[machines]]
provider = "aws"
region = "us-east-1"
instance = "p5.48xlarge"
machines = 2
kind = "reserved"

[[savings_plan]]
name = "compute"
provider = "aws"
usd_per_hour = 40.0
rates = { "us-east-1 p5.48xlarge" = 28.5 }
"""

import tomllib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np

from meritorder.catalog import Catalog
from meritorder.documents import read_file
from meritorder.errors import ConfigError
from meritorder.planner.commitments import hold_purchases
from meritorder.planner.model.problem import Problem
from meritorder.planner.model.supply import CapacityBlock, Holdings, Reserved, SavingsPlan, machine_key
from meritorder.planner.model.variants import aggregate_to_hours
from meritorder.planner.scenarios import SCENARIOS, draw_scenarios, longest_season
from meritorder.planner.solve.highs import Effort
from meritorder.planner.solve.search import find_plan
from meritorder.planner.solve.solution import CommitmentPurchase, Solution
from meritorder.records.evidence import Assumption
from meritorder.study.fleet.options import Progress
from meritorder.units import format_duration

_KINDS: Final = ("reserved", "committed_use", "owned")


class _HeldMachines(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    provider: str
    instance: str
    machines: int
    region: str = ""
    kind: str = "owned"


class _HeldSavingsPlan(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    provider: str
    usd_per_hour: float
    rates: dict[str, float]
    name: str = "savings plan"


class _HoldingsFile(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    machines: list[_HeldMachines] = []
    savings_plan: list[_HeldSavingsPlan] = []


def read_holdings(path: Path, catalog: Catalog) -> Holdings:
    """Read a file of commitments that are held.

    Args:
        path: TOML, as above.
        catalog: The known machines.

    Raises:
        ConfigError: The file is invalid or names a machine that the catalog does not know.
    """
    try:
        document: dict[str, Any] = tomllib.loads(read_file(path).decode())
        file = msgspec.convert(document, _HoldingsFile)
    except (OSError, UnicodeDecodeError, RecursionError) as error:
        raise ConfigError(f"cannot be read ({error})", where=str(path)) from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"is not TOML ({error})", where=str(path)) from None
    except msgspec.ValidationError as error:
        raise ConfigError(
            str(error), where=str(path), fix="write a list of [[machines]] and [[savings_plan]] tables"
        ) from None
    known = {machine_key(offer).lower(): machine_key(offer) for offer in catalog.machines}
    return Holdings(
        reserved=tuple(
            _reserved(row, known, f"{path}, machines {number}") for number, row in enumerate(file.machines, start=1)
        ),
        savings_plans=tuple(
            _savings_plan(row, known, f"{path}, savings_plan {number}")
            for number, row in enumerate(file.savings_plan, start=1)
        ),
    )


def _reserved(row: _HeldMachines, known: dict[str, str], where: str) -> Reserved:
    if row.kind not in _KINDS:
        raise ConfigError(f"unknown kind {row.kind!r}", where=where, fix=f"write {', '.join(_KINDS)}")
    if row.machines < 1:
        raise ConfigError(f"{row.machines} machines", where=where, fix="state at least one")
    machine = _machine(f"{row.provider} {row.region} {row.instance}", known, where)
    return Reserved(
        name=f"{machine} held", machine=machine, usd_per_hour=0.0, held=row.machines, max_machines=0, kind=row.kind
    )


def _savings_plan(row: _HeldSavingsPlan, known: dict[str, str], where: str) -> SavingsPlan:
    if row.usd_per_hour <= 0 or not row.rates or min(row.rates.values()) <= 0:
        raise ConfigError("needs a positive usd_per_hour and positive rates", where=where)
    return SavingsPlan(
        name=f"{row.provider} {row.name} held",
        usd_per_hour={_machine(f"{row.provider} {name}", known, where): usd for name, usd in row.rates.items()},
        held_usd_per_hour=row.usd_per_hour,
        max_usd_per_hour=0.0,
    )


def _machine(text: str, known: dict[str, str], where: str) -> str:
    """Return the catalog's name of a machine."""
    name = " ".join(text.split())
    machine = known.get(name.lower())
    if machine is None:
        raise ConfigError(
            f"the catalog has no machine {name!r}", where=where, fix="see `meritorder prices`, or add it with --catalog"
        )
    return machine


@dataclass(frozen=True, slots=True, kw_only=True)
class ChosenCommitments:
    """Commitments to buy, chosen over forecast seasons, and the problem in which they are held.

    Args:
        problem: The problem of the trace: it holds the chosen commitments and can buy no others.
        solution: The plan over the seasons; None if the plan of the trace chooses commitments itself.
        assumptions: How they were chosen.
    """

    problem: Problem
    solution: Solution | None = None
    assumptions: tuple[Assumption, ...] = ()

    @property
    def purchases(self) -> tuple[CommitmentPurchase, ...]:
        """The commitments that are bought."""
        purchases = self.solution.purchases if self.solution else ()
        return tuple(purchase for purchase in purchases if purchase.amount > 0)

    @property
    def usd_by_name(self) -> dict[str, float]:
        """Cost of each purchase over the horizon of the trace."""
        hours = self.problem.horizon.hours
        return {purchase.name: purchase.usd_per_hour * _units(purchase) * hours for purchase in self.purchases}

    @property
    def usd(self) -> float:
        """Cost of all purchases over the horizon of the trace."""
        return sum(self.usd_by_name.values())


def _units(purchase: CommitmentPurchase) -> float:
    """Return the multiple of the hourly price that is paid; a savings plan's price is its whole hourly commitment."""
    return 1.0 if purchase.pricing_model == "savings_plan" else purchase.amount


def choose_commitments(problem: Problem, effort: Effort, seed: int, progress: Progress) -> ChosenCommitments:
    """Choose commitments over seasons drawn from a forecast; leave it to the plan if the trace is too short for that.

    Args:
        problem: The problem of the trace.
        effort: Limits of the search.
        seed: Seed of the draws.
        progress: Receives one line per step.
    """
    buyable = any(isinstance(payment, Reserved) and payment.max_machines > 0 for payment in problem.payments)
    buyable = buyable or any(plan.max_usd_per_hour > 0 for plan in problem.savings_plans)
    hourly = aggregate_to_hours(problem) or problem
    season = longest_season(hourly)
    if not buyable or season is None:
        return ChosenCommitments(problem=problem)
    length = format_duration(season * hourly.horizon.slot_s)
    progress(f"choosing commitments over {SCENARIOS} draws of {length}")
    drawn = draw_scenarios(hourly, season, np.random.default_rng(seed))
    solution = find_plan(drawn, replace(effort, time_limit_s=effort.time_limit_s / 2, gap=0.02))
    chosen = ChosenCommitments(problem=problem, solution=solution)
    held = hold_purchases(problem, chosen.purchases)
    text = f"commitments are chosen over {SCENARIOS} draws of {length} from a forecast fitted to the trace, "
    text += "as if demand stayed so for their whole term"
    return replace(
        chosen,
        problem=replace(held, payments=tuple(pay for pay in held.payments if not isinstance(pay, CapacityBlock))),
        assumptions=(Assumption(text=text, option="--commit"),),
    )
