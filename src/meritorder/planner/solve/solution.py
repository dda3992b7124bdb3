"""A solved programme as decisions: schedules, routing, tokens, commitments, and what each way to pay cost."""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from meritorder.planner.model.constraints import Formulation
from meritorder.planner.model.problem import Problem, VenueKind
from meritorder.planner.model.supply import CapacityBlock, OnDemand, Reserved, Spot
from meritorder.planner.model.variables import commitment_level, machine_usd_by_slot, realtime_work

Floats = NDArray[np.float64]
SOLVER_TOLERANCE: Final = 5e-7
Whole = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchResult:
    """A solution with its bound.

    Args:
        formulation: The programme.
        x: Values of its columns.
        usd: What is paid from now on.
        relaxed_usd: Cost of the relaxation, machines in fractions.
        bound_usd: No plan of this programme costs less.
        row_duals: Shadow prices of the relaxation's rows.
        relaxed: Solution of the relaxation.
        solve_s: Time that it took.
    """

    formulation: Formulation
    x: Floats
    usd: float
    relaxed_usd: float
    bound_usd: float
    row_duals: Floats
    relaxed: Floats
    solve_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class MachineSchedule:
    """Machines of one pool under one payment: `sim.run.Scheduled(instances=tuple(machines), slot_s=slot_s)`.

    Args:
        pool: Name of the pool.
        payment: Name of the payment.
        pricing_model: How it is paid.
        machines: Machines that serve in each slot, shape (slots,).
        usd: What is paid for them, what was committed aside.
        realtime: Whether the plan leans on them for real-time work.
        deferrable: Whether the plan runs deferrable work in the pool.
        saved_usd: What savings plans take off.
    """

    pool: str
    payment: str
    pricing_model: str
    machines: Whole
    usd: float
    realtime: bool
    deferrable: bool
    saved_usd: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkloadRouting:
    """Where the work of a workload goes: its share of the slot's work (real time), or seconds of backlog."""

    workload: str
    venue: str
    kind: str
    flow: Floats
    usd: float


@dataclass(frozen=True, slots=True, kw_only=True)
class CommitmentPurchase:
    """Something bought for a term: machines, dollars an hour, or blocks.

    Args:
        name: Name of the payment.
        pricing_model: How it is paid.
        term: Length of the term.
        payment: When it is paid.
        amount: Machines, dollars an hour, or blocks bought.
        held: The same, held already; sunk, and in no cost here.
        usd_per_hour: What it costs in every hour of the term.
        usd: What it costs over the horizon.
        used_share: Share of what was bought and held that the plan uses.
        starts: Slots at which blocks start, one entry a block.
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
    """The cheapest plan found.

    Args:
        problem: What was asked, less what was dominated.
        usd: What is paid over one scenario, expected, from now on.
        relaxed_usd: The same if machines came in fractions.
        bound_usd: Proven: no plan of this programme costs less.
        hard_bound_usd: The least that saturated throughput at the lowest prices allows.
        gap: usd / bound_usd - 1.
        schedules: Machines by pool and payment.
        routing: Where work goes.
        purchases: What is committed to.
        carbon_usd: Part of `usd` that is the price of carbon.
        backlog_s: Backlog of each deferrable workload at the end of each slot.
        solve_s: Time that it took.
        search: Values and shadow prices.
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
    carbon_usd: float
    backlog_s: dict[str, Floats]
    solve_s: float
    search: SearchResult

    @property
    def by_pricing_model(self) -> dict[str, float]:
        """What each way to pay costs; adds up to `usd`."""
        usd: dict[str, float] = {}
        for schedule in self.schedules:
            usd[schedule.pricing_model] = usd.get(schedule.pricing_model, 0.0) + schedule.usd
        for purchase in self.purchases:
            usd[purchase.pricing_model] = usd.get(purchase.pricing_model, 0.0) + purchase.usd
        for route in self.routing:
            if route.kind == VenueKind.TIER:
                name = next(one.tier for one in self.problem.tiers if one.name == route.venue)
                usd[f"tokens_{name}"] = usd.get(f"tokens_{name}", 0.0) + route.usd
        usd["carbon"] = self.carbon_usd
        usd["left_over"] = self.usd - sum(usd.values())
        return {name: each for name, each in usd.items() if abs(each) > 1e-9 * max(1.0, self.usd)}


def read_solution(search: SearchResult, hard_usd: float) -> Solution:
    """Read the decisions of a solved program."""
    problem = search.formulation.problem
    # A bound is as sure as the solver is exact.
    usd, bound_usd = _clean(search.usd), _clean(search.bound_usd) * (1 - SOLVER_TOLERANCE)
    schedules = tuple(one for i in range(len(problem.pairs)) if (one := _schedule(search, i)).machines.any())
    return Solution(
        problem=problem,
        usd=usd,
        relaxed_usd=_clean(search.relaxed_usd) * (1 - SOLVER_TOLERANCE),
        bound_usd=bound_usd,
        hard_bound_usd=_clean(hard_usd),
        gap=max(0.0, usd / bound_usd - 1.0) if bound_usd > 0 else 0.0,
        schedules=schedules,
        routing=tuple(route for r in range(len(problem.routes)) if (route := _routing(search, r)).flow.any()),
        purchases=_purchases(search),
        carbon_usd=_carbon_usd(search),
        backlog_s={problem.workloads[w].name: search.x[columns] for w, columns in search.formulation.x.queue.items()},
        solve_s=search.solve_s,
        search=search,
    )


def _clean(usd: float) -> float:
    """Take the solver's rounding off an amount that is nothing."""
    return 0.0 if abs(usd) < 1e-9 else usd


def _schedule(search: SearchResult, i: int) -> MachineSchedule:
    problem, x = search.formulation.problem, search.formulation.x
    p, o = problem.pairs[i]
    payment = problem.payments[o]
    machines = np.round(search.x[x.on[i]]).astype(np.int64)
    elastic = isinstance(payment, OnDemand | Spot)
    usd = float(np.sum(machines * machine_usd_by_slot(problem, i) * problem.horizon.probability)) if elastic else 0.0
    if problem.carbon and elastic:
        usd -= _carbon_of(search, i)
    if i in x.start:
        usd += float(search.formulation.model.cost[x.start[i]] @ search.x[x.start[i]])
    saved_usd = 0.0
    saved = [columns for (_, payer), columns in x.covered.items() if payer == o]
    if saved and machines.any():
        # A pool's part of what a savings plan covers is its part of the machines.
        every = sum(float(search.x[x.on[j]].sum()) for j in problem.pairs_of(payment=o))
        part = float(machines.sum()) / max(every, 1.0)
        saved_usd = -part * sum(float(search.formulation.model.cost[columns] @ search.x[columns]) for columns in saved)
        usd -= saved_usd
    used = [r for r in problem.routes_to(VenueKind.POOL, p) if search.x[x.flow[r]].any()]
    return MachineSchedule(
        pool=problem.pools[p].name,
        payment=payment.name,
        pricing_model=_pricing_model(payment),
        machines=machines,
        usd=usd,
        realtime=any(problem.routes[r].workload in problem.realtime for r in used) and not isinstance(payment, Spot),
        deferrable=any(problem.routes[r].workload in problem.deferrable for r in used),
        saved_usd=saved_usd,
    )


def _pricing_model(payment: OnDemand | Spot | Reserved | CapacityBlock) -> str:
    match payment:
        case OnDemand():
            return "on_demand"
        case Spot():
            return "spot"
        case Reserved(kind=kind):
            return kind
        case CapacityBlock():
            return "capacity_block"


def _routing(search: SearchResult, r: int) -> WorkloadRouting:
    problem, columns = search.formulation.problem, search.formulation.x.flow[r]
    route = problem.routes[r]
    venues: dict[VenueKind, list[str]] = {
        VenueKind.POOL: [one.name for one in problem.pools],
        VenueKind.TIER: [one.name for one in problem.tiers],
    }
    flow = np.where(search.x[columns] > 1e-9, search.x[columns], 0.0)
    return WorkloadRouting(
        workload=problem.workloads[route.workload].name,
        venue=venues[route.kind][route.venue],
        kind=route.kind.value,
        flow=flow,
        usd=float(search.formulation.model.cost[columns] @ flow),
    )


def _purchases(search: SearchResult) -> tuple[CommitmentPurchase, ...]:
    problem, x = search.formulation.problem, search.formulation.x
    hours, found = problem.horizon.hours, []
    for o, payment in enumerate(problem.payments):
        if not isinstance(payment, Reserved | CapacityBlock):
            continue
        level = commitment_level(problem, x, search.x, o)
        used = sum((search.x[x.on[i]] for i in problem.pairs_of(payment=o)), np.zeros(len(level)))
        share = float(used.sum() / level.sum()) if level.any() else 0.0
        starts: tuple[int, ...] = ()
        if isinstance(payment, Reserved):
            bought = round(float(search.x[x.commit[o]]))
            usd = bought * payment.usd_per_hour * hours
            have, term = float(payment.held), payment.term
        else:
            counts = np.round(search.x[x.blocks[o]]).astype(int)
            starts = tuple(s for s, count in zip(payment.starts, counts, strict=True) for _ in range(count))
            bought, have, term = int(counts.sum()), float(np.max(payment.held)), f"{payment.slots} slots"
            usd = bought * payment.usd_per_hour * payment.slots * problem.horizon.slot_h
        if bought or have:
            found.append(
                CommitmentPurchase(
                    name=payment.name,
                    pricing_model=_pricing_model(payment),
                    term=term,
                    payment=payment.payment if isinstance(payment, Reserved) else "all_upfront",
                    amount=bought,
                    held=have,
                    usd_per_hour=payment.usd_per_hour,
                    usd=usd,
                    used_share=share,
                    starts=starts,
                )
            )
    return (*found, *_promises(search))


def _promises(search: SearchResult) -> list[CommitmentPurchase]:
    problem, x = search.formulation.problem, search.formulation.x
    found = []
    for s, plan in enumerate(problem.savings_plans):
        promised = _clean(float(search.x[x.promise[s]]))
        total = promised + plan.held_usd_per_hour
        if total <= 1e-9:
            continue
        probability = problem.horizon.probability[np.unique(problem.horizon.hour_of, return_index=True)[1]]
        spent = sum(
            plan.usd_per_hour[problem.payments[o].machine] * float(search.x[columns] @ probability)
            for (mine, o), columns in x.covered.items()
            if mine == s
        )
        found.append(
            CommitmentPurchase(
                name=plan.name,
                pricing_model="savings_plan",
                term=plan.term,
                payment=plan.payment,
                amount=promised,
                held=plan.held_usd_per_hour,
                usd_per_hour=promised,
                usd=promised * problem.horizon.hours,
                used_share=spent / (total * problem.horizon.hours),
            )
        )
    return found


def _carbon_of(search: SearchResult, i: int) -> float:
    problem = search.formulation.problem
    if problem.carbon is None:
        return 0.0
    usd = problem.carbon.usd_per_hour(problem.pools[problem.pairs[i][0]]) * problem.horizon.slot_h
    return float(np.sum(search.x[search.formulation.x.on[i]] * usd * problem.horizon.probability))


def _carbon_usd(search: SearchResult) -> float:
    return (
        sum(_carbon_of(search, i) for i in range(len(search.formulation.problem.pairs)))
        if search.formulation.problem.carbon
        else 0.0
    )


def realtime_load(solution: Solution, pool: str) -> Floats:
    """Return the real-time work that a pool is given, in replicas' worth, shape (slots,)."""
    names = [one.name for one in solution.problem.pools]
    return realtime_work(solution.problem, solution.search.formulation.x, solution.search.x, names.index(pool))
