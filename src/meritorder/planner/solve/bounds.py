"""What no plan can be cheaper than."""

import dataclasses
from typing import Final

import numpy as np

from meritorder.planner.model.constraints import Formulation
from meritorder.planner.model.demand import DeferrableDemand
from meritorder.planner.model.linear_program import Bools, Floats, restrict
from meritorder.planner.model.problem import Problem, VenueKind
from meritorder.planner.model.supply import CapacityBlock, Reserved
from meritorder.planner.solve.highs import solve
from meritorder.units import SECONDS_PER_HOUR

_WHOLE_IN_WINDOW: Final = 80
_WINDOW_GAP: Final = 2e-3


def hard_bound_usd(problem: Problem) -> float:
    """Return the least that physics and the price list allow: every second of work at the lowest price there is for it.

        sum_w work_w min over venues (lowest price of an hour / full throughput, or price of its tokens)
            - what sunk capacity could do, at the highest of those prices

    Whole machines, start-ups, peaks, the SLO, what it leaves of full throughput, unused commitments, interruptions and
    quotas are all left out.
    """
    lowest = [_lowest_usd(problem, w) for w in range(len(problem.workloads))]
    total = float(sum(usd.sum() for usd in lowest))
    return max(0.0, total - _sunk_worth_usd(problem, lowest))


def _lowest_usd(problem: Problem, w: int) -> Floats:
    """Return what the work of each slot costs at its lowest price, chances counted, shape (slots,)."""
    horizon, demand = problem.horizon, problem.workloads[w]
    flow = problem.arrivals_s(w) if isinstance(demand, DeferrableDemand) else np.ones(horizon.length)
    lowest = np.full(horizon.length, np.inf)
    for r in problem.routes_of(w):
        route = problem.routes[r]
        match route.kind:
            case VenueKind.POOL:
                # On a saturated replica, whatever share of that may be planned for.
                price = min_usd_per_replica_s(problem, route.venue) * problem.pools[route.venue].max_utilization
                usd = route.work_s * price if np.isfinite(price) else np.full(horizon.length, np.inf)
            case VenueKind.TIER:
                usd = route.usd
        # Backlog may run at any time, so its lowest price is that of the cheapest slot.
        lowest = np.minimum(lowest, np.full_like(usd, usd.min()) if isinstance(demand, DeferrableDemand) else usd)
    return np.where(np.isfinite(lowest), lowest, 0.0) * flow * horizon.probability


def min_usd_per_replica_s(problem: Problem, p: int) -> float:
    """Return the lowest price of a second of a full replica in a pool, over all that can be bought there."""
    pool = problem.pools[p]
    prices = [
        payment.usd_per_hour
        for i in problem.pairs_of(pool=p)
        if getattr(payment := problem.payments[problem.pairs[i][1]], "max_machines", 1)
    ]
    prices += [
        plan.usd_per_hour[pool.machine]
        for plan in problem.savings_plans
        if pool.machine in plan.usd_per_hour and plan.max_usd_per_hour > 0
    ]
    carbon = float(np.min(problem.carbon.usd_per_hour(pool))) if problem.carbon else 0.0
    if not prices:
        # Only what is held already: it is sunk, and taken off apart.
        return np.inf
    return (min(prices) + carbon) / SECONDS_PER_HOUR / (pool.replicas * pool.max_utilization)


def _sunk_worth_usd(problem: Problem, lowest: list[Floats]) -> float:
    """Return the most that what is held already could save, in dollars."""
    horizon = problem.horizon
    paid_h = horizon.hours
    worth = sum(
        plan.held_usd_per_hour * paid_h * _most_saved_per_dollar(problem, s)
        for s, plan in enumerate(problem.savings_plans)
    )
    for o, payment in enumerate(problem.payments):
        held = (
            float(np.sum(np.broadcast_to(payment.held, (horizon.length,)) * horizon.probability))
            if isinstance(payment, Reserved | CapacityBlock)
            else 0.0
        )
        if held:
            pools = [problem.pairs[i][0] for i in problem.pairs_of(payment=o)]
            seconds = [held * horizon.slot_s * problem.pools[p].replicas for p in pools]
            dearest = [_dearest_usd_per_s(problem, p, lowest) for p in pools]
            worth += max((s * usd for s, usd in zip(seconds, dearest, strict=True)), default=0.0)
    return worth


def _most_saved_per_dollar(problem: Problem, s: int) -> float:
    plan = problem.savings_plans[s]
    ratios = [
        payment.usd_per_hour / plan.usd_per_hour[payment.machine]
        for payment in problem.payments
        if payment.machine in plan.usd_per_hour
    ]
    return max(ratios, default=0.0)


def _dearest_usd_per_s(problem: Problem, p: int, lowest: list[Floats]) -> float:
    """Return the most that a second of a pool could save on any workload it may serve."""
    dearest = 0.0
    for r in problem.routes_to(VenueKind.POOL, p):
        route = problem.routes[r]
        demand = problem.workloads[route.workload]
        flow = (
            problem.arrivals_s(route.workload) if isinstance(demand, DeferrableDemand) else np.ones(len(route.work_s))
        )
        seconds = route.work_s * flow * problem.horizon.probability
        usd = lowest[route.workload]
        rates = np.divide(usd, seconds, out=np.zeros_like(usd), where=seconds > 0)
        dearest = max(dearest, float(rates.max(initial=0.0)))
    return dearest


def lagrangian_bound(formulation: Formulation, row_duals: Floats, *, time_limit_s: float) -> tuple[float, float]:
    """Return a lower bound that sees whole machines: windows apart, coupled by prices alone.

    Rows that tie windows to one another or to commitments are taken into the objective at their shadow prices y:

        L(y) = sum_i y_i b_i + sum_windows min {(c - A'y) x : rows within the window, whole machines}

    which is below the cost of every plan whatever y is, and at the relaxation's y no less than the relaxation.

    Args:
        formulation: The programme.
        row_duals: Shadow prices of the relaxation, shape (rows,).
        time_limit_s: For all windows together; a window that is not settled in time counts with its relaxation.

    Returns:
        The bound, and the time it took.

    Source: Geoffrion, "Lagrangean relaxation for integer programming", Mathematical Programming Study 2, 1974.
    """
    model, horizon = formulation.model, formulation.problem.horizon
    day = _window_slots(formulation)
    window_of_slot = (
        np.arange(horizon.length) // horizon.slots * horizon.slots + (np.arange(horizon.length) % horizon.slots) // day
    )
    block = np.where(model.slot >= 0, window_of_slot[model.slot], -1)
    entry_block, row = block[model.matrix.column], model.matrix.row
    count = len(model.row_lower)
    lowest, highest = np.full(count, np.iinfo(np.int64).max), np.full(count, np.iinfo(np.int64).min)
    np.minimum.at(lowest, row, entry_block)
    np.maximum.at(highest, row, entry_block)
    tying = (lowest != highest) | (lowest < 0)
    price = np.where(tying, row_duals, 0.0)
    price = np.where((price > 0) & np.isinf(model.row_lower), 0.0, price)
    price = np.where((price < 0) & np.isinf(model.row_upper), 0.0, price)
    side = np.where(price > 0, model.row_lower, model.row_upper)
    bound = float(np.sum(price[price != 0] * side[price != 0]))
    cost = model.cost - np.bincount(
        model.matrix.column, weights=model.matrix.value * price[row], minlength=len(model.cost)
    )
    # Rounding of the solver; columns without an upper bound must not earn on it.
    cost = np.where(np.abs(cost) < 1e-7 * max(1.0, float(np.abs(model.cost).max(initial=0.0))), 0.0, cost)
    timeless = block < 0
    ends = np.where(cost > 0, model.lower, np.where(cost < 0, model.upper, 0.0))
    bound += float(np.sum((cost * np.where(cost == 0, 0.0, ends))[timeless]))
    priced = dataclasses.replace(model, cost=cost, integer=model.integer | _commitments_in_use(formulation))
    spent_s, zero = 0.0, np.zeros(len(cost))
    todo = np.unique(block[block >= 0])
    for done, one in enumerate(todo):
        small, _ = restrict(priced, zero, block == one, ~tying & (lowest == one))
        limit_s = (time_limit_s - spent_s) / (len(todo) - done)
        result = solve(small, integer=True, time_limit_s=limit_s, gap=_WINDOW_GAP)
        spent_s += result.solve_s
        if not np.isfinite(result.bound_usd):
            result = solve(small, integer=False)
            spent_s += result.solve_s
        bound += result.bound_usd
    return bound, spent_s


def _window_slots(formulation: Formulation) -> int:
    horizon = formulation.problem.horizon
    integer = max(1, int((formulation.model.integer & (formulation.model.slot >= 0)).sum()))
    hours = max(1, round(_WHOLE_IN_WINDOW * horizon.length / integer / horizon.slots_per_hour))
    return hours * horizon.slots_per_hour


def _commitments_in_use(formulation: Formulation) -> Bools:
    """Columns of committed machines, which may be taken to be whole: all that is committed is on."""
    mask = np.zeros(len(formulation.model.cost), np.bool_)
    for i, (_, o) in enumerate(formulation.problem.pairs):
        if o in formulation.x.commit:
            mask[formulation.x.on[i]] = True
    return mask
