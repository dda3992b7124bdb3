"""A solution as decisions: machine schedules, flows, purchases, and what they cost."""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from meritorder.planner.model.constraints import Formulation
from meritorder.planner.model.problem import Problem, RouteKind
from meritorder.planner.model.supply import CapacityBlock, MachinePayment, OnDemand, Reserved, Spot
from meritorder.planner.model.variables import committed_machines, machine_usd_by_slot, pool_load

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

SOLVER_TOLERANCE: Final = 5e-7
"""Relative error of the solver; bounds are lowered by it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProgramSolution:
    """A solution of the program, and a lower bound on any.

    Args:
        formulation: The program.
        values: Values of its columns.
        usd: Cost of the solution.
        relaxed_usd: Cost of the linear relaxation, with machines in fractions.
        bound_usd: Lower bound on the cost of any solution.
        row_duals: Shadow prices of the rows in the relaxation.
        solve_s: Time spent.
    """

    formulation: Formulation
    values: Floats
    usd: float
    relaxed_usd: float
    bound_usd: float
    row_duals: Floats
    solve_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class MachineSchedule:
    """Machines of a pool under one payment.

    Args:
        pool: Name of the pool.
        payment: Name of the payment.
        pricing_model: Pricing model of the payment.
        machines: Machines that serve in each slot, shape (slots,).
        usd: Cost by the hour, without commitments.
        realtime: Whether they serve real-time work.
        deferrable: Whether the pool serves deferrable work.
        saved_usd: Discount by savings plans, not in `usd`.
    """

    pool: str
    payment: str
    pricing_model: str
    machines: Ints
    usd: float
    realtime: bool
    deferrable: bool
    saved_usd: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkloadRouting:
    """Flow of a workload to a venue: share of the slot's work (real time), or seconds of backlog (deferrable)."""

    workload: str
    venue: str
    kind: str
    flow: Floats
    usd: float


@dataclass(frozen=True, slots=True, kw_only=True)
class CommitmentPurchase:
    """A commitment bought or held: reserved machines, capacity blocks, or the hourly spend of a savings plan.

    Args:
        name: Name of the payment.
        pricing_model: Pricing model.
        term: Length of the term.
        payment: When it is paid.
        amount: Machines or dollars an hour bought.
        held: Machines or dollars an hour held already; their cost is sunk.
        usd_per_hour: Price of a machine in every hour of the term; of a savings plan, its hourly spend.
        usd: Cost over the horizon of what is bought.
        used_share: Share of what is bought and held that the plan uses.
        starts: Slots in which blocks start, one entry for each block.
    """

    name: str
    pricing_model: str
    term: str
    payment: str
    amount: float
    held: float
    usd_per_hour: float
    usd: float
    used_share: float
    starts: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Solution:
    """The cheapest plan found, as decisions.

    Args:
        problem: The planning problem, without dominated offers.
        usd: Expected cost of a scenario, without sunk costs.
        relaxed_usd: The same with machines in fractions.
        bound_usd: Proven lower bound on the cost of any plan of this program.
        hard_bound_usd: Cost of all work on saturated machines at the lowest prices.
        gap: usd / bound_usd - 1.
        schedules: Machines by pool and payment.
        routing: Flows of the workloads.
        purchases: Commitments bought and held.
        backlog_s: Backlog of each deferrable workload at the end of each slot.
        solve_s: Time spent.
        program: Values and shadow prices.
    """

    problem: Problem
    usd: float
    relaxed_usd: float
    bound_usd: float
    hard_bound_usd: float
    gap: float
    schedules: tuple[MachineSchedule, ...]
    routing: tuple[WorkloadRouting, ...]
    purchases: tuple[CommitmentPurchase, ...]
    backlog_s: dict[str, Floats]
    solve_s: float
    program: ProgramSolution

    def flow(self, route: int) -> Floats:
        """Return the flow on a route, shape (slots,)."""
        flow: Floats = self.program.values[self.program.formulation.variables.flow[route]]
        return flow


def realtime_load(solution: Solution, pool: str) -> Floats:
    """Return the real-time load that a pool serves, in saturated replicas, shape (slots,)."""
    p = next(p for p, machine_pool in enumerate(solution.problem.pools) if machine_pool.name == pool)
    program = solution.program
    return pool_load(solution.problem, program.formulation.variables, program.values, p)


def read_solution(program: ProgramSolution, hard_usd: float) -> Solution:
    """Return a solution of the program as decisions."""
    problem, var = program.formulation.problem, program.formulation.variables
    usd, bound_usd = _clean(program.usd), _clean(program.bound_usd) * (1 - SOLVER_TOLERANCE)
    schedules = (_read_schedule(program, i) for i in range(len(problem.pairs)))
    routing = (_read_routing(program, r) for r in range(len(problem.routes)))
    return Solution(
        problem=problem,
        usd=usd,
        relaxed_usd=_clean(program.relaxed_usd) * (1 - SOLVER_TOLERANCE),
        bound_usd=bound_usd,
        hard_bound_usd=_clean(hard_usd),
        gap=max(0.0, usd / bound_usd - 1.0) if bound_usd > 0 else 0.0,
        schedules=tuple(schedule for schedule in schedules if schedule.machines.any()),
        routing=tuple(route for route in routing if route.flow.any()),
        purchases=(*_read_machine_purchases(program), *_read_savings_plans(program)),
        backlog_s={problem.workloads[w].name: program.values[columns] for w, columns in var.backlog.items()},
        solve_s=program.solve_s,
        program=program,
    )


def _clean(usd: float) -> float:
    """Round an amount within the solver's tolerance of 0 to 0."""
    return 0.0 if abs(usd) < 1e-9 else usd


def _read_schedule(program: ProgramSolution, i: int) -> MachineSchedule:
    problem, var = program.formulation.problem, program.formulation.variables
    p, o = problem.pairs[i]
    payment = problem.payments[o]
    machines = np.round(program.values[var.machines[i]]).astype(np.int64)
    usd = 0.0
    if isinstance(payment, OnDemand | Spot):
        usd = float(np.sum(machines * machine_usd_by_slot(problem, i) * problem.horizon.probability))
        usd -= _carbon_usd(program, i)
    if i in var.starts:
        usd += _cost_usd(program, var.starts[i])
    saved_usd = _saved_usd(program, i, machines)
    served = [r for r in problem.routes_to(RouteKind.POOL, p) if program.values[var.flow[r]].any()]
    return MachineSchedule(
        pool=problem.pools[p].name,
        payment=payment.name,
        pricing_model=_pricing_model(payment),
        machines=machines,
        usd=usd - saved_usd,
        realtime=any(problem.routes[r].workload in problem.realtime for r in served) and not isinstance(payment, Spot),
        deferrable=any(problem.routes[r].workload in problem.deferrable for r in served),
        saved_usd=saved_usd,
    )


def _cost_usd(program: ProgramSolution, columns: Ints) -> float:
    """Return the part of the objective that some columns cost."""
    return float(program.formulation.model.cost[columns] @ program.values[columns])


def _saved_usd(program: ProgramSolution, i: int, machines: Ints) -> float:
    """Return the discount of savings plans on the machines of a pair: their share of the coverage of their payment."""
    problem, var = program.formulation.problem, program.formulation.variables
    _, o = problem.pairs[i]
    covered = [columns for (_, payment), columns in var.covered.items() if payment == o]
    if not covered or not machines.any():
        return 0.0
    total = sum(float(program.values[var.machines[j]].sum()) for j in problem.pairs_of(payment=o))
    share = float(machines.sum()) / max(total, 1.0)
    return -share * sum(_cost_usd(program, columns) for columns in covered)


def _pricing_model(payment: MachinePayment) -> str:
    match payment:
        case OnDemand():
            return "on_demand"
        case Spot():
            return "spot"
        case Reserved(kind=kind):
            return kind
        case CapacityBlock():
            return "capacity_block"


def _read_routing(program: ProgramSolution, r: int) -> WorkloadRouting:
    problem, columns = program.formulation.problem, program.formulation.variables.flow[r]
    route = problem.routes[r]
    venues = problem.pools if route.kind is RouteKind.POOL else problem.tiers
    flow = np.where(program.values[columns] > 1e-9, program.values[columns], 0.0)
    return WorkloadRouting(
        workload=problem.workloads[route.workload].name,
        venue=venues[route.venue].name,
        kind=route.kind.value,
        flow=flow,
        usd=float(program.formulation.model.cost[columns] @ flow),
    )


def _read_machine_purchases(program: ProgramSolution) -> list[CommitmentPurchase]:
    problem, var = program.formulation.problem, program.formulation.variables
    hours, purchases = problem.horizon.hours, []
    for o, payment in enumerate(problem.payments):
        if not isinstance(payment, Reserved | CapacityBlock):
            continue
        machines = committed_machines(problem, var, program.values, o)
        used = sum((program.values[var.machines[i]] for i in problem.pairs_of(payment=o)), np.zeros(len(machines)))
        starts: tuple[int, ...] = ()
        if isinstance(payment, Reserved):
            bought = round(float(program.values[var.committed[o]]))
            usd = bought * payment.usd_per_hour * hours
            held, term, paid = float(payment.held), payment.term, payment.payment
        else:
            counts = np.round(program.values[var.blocks[o]]).astype(int)
            starts = tuple(start for start, count in zip(payment.starts, counts, strict=True) for _ in range(count))
            bought, held = int(counts.sum()), float(np.max(payment.held))
            usd = bought * payment.usd_per_hour * payment.slots * problem.horizon.slot_h
            term, paid = f"{payment.slots} slots", "all_upfront"
        if bought or held:
            purchases.append(
                CommitmentPurchase(
                    name=payment.name,
                    pricing_model=_pricing_model(payment),
                    term=term,
                    payment=paid,
                    amount=bought,
                    held=held,
                    usd_per_hour=payment.usd_per_hour,
                    usd=usd,
                    used_share=float(used.sum() / machines.sum()) if machines.any() else 0.0,
                    starts=starts,
                )
            )
    return purchases


def _read_savings_plans(program: ProgramSolution) -> list[CommitmentPurchase]:
    problem, var = program.formulation.problem, program.formulation.variables
    probability = problem.horizon.probability[np.unique(problem.horizon.hour_of, return_index=True)[1]]
    purchases = []
    for g, plan in enumerate(problem.savings_plans):
        bought = _clean(float(program.values[var.committed_usd_per_hour[g]]))
        total = bought + plan.held_usd_per_hour
        if total <= 1e-9:
            continue
        spent = sum(
            plan.usd_per_hour[problem.payments[o].machine] * float(program.values[columns] @ probability)
            for (covering, o), columns in var.covered.items()
            if covering == g
        )
        purchases.append(
            CommitmentPurchase(
                name=plan.name,
                pricing_model="savings_plan",
                term=plan.term,
                payment=plan.payment,
                amount=bought,
                held=plan.held_usd_per_hour,
                usd_per_hour=bought,
                usd=bought * problem.horizon.hours,
                used_share=spent / (total * problem.horizon.hours),
            )
        )
    return purchases


def _carbon_usd(program: ProgramSolution, i: int) -> float:
    """Return the carbon cost of the machines of a pair."""
    problem = program.formulation.problem
    if problem.carbon is None:
        return 0.0
    usd = problem.carbon.usd_per_hour(problem.pools[problem.pairs[i][0]]) * problem.horizon.slot_h
    machines = program.values[program.formulation.variables.machines[i]]
    return float(np.sum(machines * usd * problem.horizon.probability))
