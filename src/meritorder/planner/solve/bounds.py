"""Lower bounds on the cost of any plan."""

import dataclasses
from typing import Final

import numpy as np

from meritorder.planner.model.constraints import Formulation, formulate
from meritorder.planner.model.demand import DeferrableDemand
from meritorder.planner.model.linear_program import Bools, Columns, Floats, SparseModel
from meritorder.planner.model.problem import Problem, RouteKind
from meritorder.planner.model.supply import CapacityBlock, Reserved
from meritorder.planner.model.variables import min_usd_per_replica_s
from meritorder.planner.solve.highs import solve

# Integers of a window.
_WINDOW_INTEGERS: Final = 80
_WINDOW_GAP: Final = 2e-3


def hard_bound_usd(problem: Problem) -> float:
    """Return the least cost that physics and the price list allow: all work at its lowest price, on saturated machines.

        sum_w work_w min over venues (lowest price of an hour / saturated throughput, or price of its tokens)
            - the most that capacity held already could save, at these prices

    It leaves out whole machines, start-ups, peaks, the SLO and the utilization it costs, unused commitments,
    interruptions and quotas.
    """
    lowest = [_lowest_usd(problem, w) for w in range(len(problem.workloads))]
    total = float(sum(usd.sum() for usd in lowest))
    return max(0.0, total - _max_sunk_saving_usd(problem, lowest))


def _lowest_usd(problem: Problem, w: int) -> Floats:
    """Return the expected cost of the work of each slot at its lowest price, shape (slots,)."""
    horizon, demand = problem.horizon, problem.workloads[w]
    lowest = np.full(horizon.length, np.inf)
    for r in problem.routes_of(w):
        route = problem.routes[r]
        match route.kind:
            case RouteKind.POOL:
                # On a saturated replica, even if less than that may be planned for.
                price = min_usd_per_replica_s(problem, route.venue) * problem.pools[route.venue].max_utilization
                usd = route.work_s * price if np.isfinite(price) else np.full(horizon.length, np.inf)
            case RouteKind.TIER:
                usd = route.usd
        # Backlog may run in any slot, so its lowest price is that of the cheapest slot.
        lowest = np.minimum(lowest, np.full_like(usd, usd.min()) if isinstance(demand, DeferrableDemand) else usd)
    return np.where(np.isfinite(lowest), lowest, 0.0) * _total_flow(problem, w) * horizon.probability


def _total_flow(problem: Problem, w: int) -> Floats:
    """Return the flow of all work that arrives in each slot, shape (slots,)."""
    is_deferrable = isinstance(problem.workloads[w], DeferrableDemand)
    return problem.arrivals_s(w) if is_deferrable else np.ones(problem.horizon.length)


def _max_sunk_saving_usd(problem: Problem, lowest: list[Floats]) -> float:
    """Return the most that commitments held already could save.

    Args:
        problem: The planning problem.
        lowest: Lowest cost of each workload by slot (`_lowest_usd`).
    """
    horizon = problem.horizon
    saving_usd = sum(
        plan.held_usd_per_hour * horizon.hours * _max_saving_per_dollar(problem, g)
        for g, plan in enumerate(problem.savings_plans)
    )
    for o, payment in enumerate(problem.payments):
        if not isinstance(payment, Reserved | CapacityBlock):
            continue
        held = float(np.sum(np.broadcast_to(payment.held, (horizon.length,)) * horizon.probability))
        if held:
            pools = [problem.pairs[i][0] for i in problem.pairs_of(payment=o)]
            seconds = [held * horizon.slot_s * problem.pools[p].replicas for p in pools]
            rates = [_max_saving_usd_per_s(problem, p, lowest) for p in pools]
            saving_usd += max((s * usd for s, usd in zip(seconds, rates, strict=True)), default=0.0)
    return saving_usd


def _max_saving_per_dollar(problem: Problem, g: int) -> float:
    """Return the largest on-demand price / rate in the scope of a savings plan."""
    plan = problem.savings_plans[g]
    ratios = [
        payment.usd_per_hour / plan.usd_per_hour[payment.machine]
        for payment in problem.payments
        if payment.machine in plan.usd_per_hour
    ]
    return max(ratios, default=0.0)


def _max_saving_usd_per_s(problem: Problem, p: int, lowest: list[Floats]) -> float:
    """Return the most that a replica-second of a pool could save, over the workloads that it may serve."""
    highest = 0.0
    for r in problem.routes_to(RouteKind.POOL, p):
        route = problem.routes[r]
        seconds = route.work_s * _total_flow(problem, route.workload) * problem.horizon.probability
        usd = lowest[route.workload]
        rates = np.divide(usd, seconds, out=np.zeros_like(usd), where=seconds > 0)
        highest = max(highest, float(rates.max(initial=0.0)))
    return highest


def relaxed_usd(problem: Problem) -> float:
    """Return the cost of the relaxation, with machines in fractions; infinity if it has no solution."""
    return solve(formulate(problem).model, integer=False).usd


def lagrangian_bound(formulation: Formulation, row_duals: Floats, *, time_limit_s: float) -> tuple[float, float]:
    """Return a lower bound that accounts for whole machines: windows solved separately, coupled by prices alone.

    Rows that couple windows with one another or with commitments move into the objective at their shadow prices y:

        L(y) = sum_i y_i b_i + sum_windows min {(c - A'y) x : rows within the window, whole machines}

    L(y) is below the cost of every plan for any y, and with the relaxation's y at least the relaxation.

    Args:
        formulation: The program.
        row_duals: Shadow prices of the relaxation, shape (rows,).
        time_limit_s: Limit for all windows together; a window not solved in time counts with its relaxation.

    Returns:
        The bound, and the time spent.

    Source: Geoffrion, "Lagrangean relaxation for integer programming", Mathematical Programming Study 2, 1974.
    """
    model = formulation.model
    window, row_window, coupling = _assign_windows(formulation)
    price = np.where(coupling, row_duals, 0.0)
    price = np.where((price > 0) & np.isinf(model.row_lower), 0.0, price)
    price = np.where((price < 0) & np.isinf(model.row_upper), 0.0, price)
    side = np.where(price > 0, model.row_lower, model.row_upper)
    bound = float(np.sum(price[price != 0] * side[price != 0]))
    cost = _reduced_cost(model, price)
    best = np.where(cost > 0, model.lower, model.upper)
    bound += float(np.sum((cost * np.where(cost == 0, 0.0, best))[window < 0]))
    priced = dataclasses.replace(model, cost=cost, integer=model.integer | _committed_columns(formulation))
    spent_s, zero = 0.0, np.zeros(len(cost))
    numbers = np.unique(window[window >= 0])
    for done, number in enumerate(numbers):
        part, _ = priced.restrict(zero, window == number, ~coupling & (row_window == number))
        limit_s = (time_limit_s - spent_s) / (len(numbers) - done)
        result = solve(part, integer=True, time_limit_s=limit_s, gap=_WINDOW_GAP)
        spent_s += result.solve_s
        if not np.isfinite(result.bound_usd):
            result = solve(part, integer=False)
            spent_s += result.solve_s
        bound += result.bound_usd
    return bound, spent_s


def _assign_windows(formulation: Formulation) -> tuple[Columns, Columns, Bools]:
    """Return the window of each column (-1 if timeless), the first window of each row, and which rows couple any."""
    model, horizon = formulation.model, formulation.problem.horizon
    scenario, slot = np.divmod(np.arange(horizon.length), horizon.slots)
    window_of_slot = scenario * horizon.slots + slot // _window_slots(formulation)
    window = np.where(model.slot >= 0, window_of_slot[model.slot], -1)
    entry_window, row = window[model.matrix.column], model.matrix.row
    count = len(model.row_lower)
    first, last = np.full(count, np.iinfo(np.int64).max), np.full(count, np.iinfo(np.int64).min)
    np.minimum.at(first, row, entry_window)
    np.maximum.at(last, row, entry_window)
    return window, first, (first != last) | (first < 0)


def _reduced_cost(model: SparseModel, price: Floats) -> Floats:
    """Return c - A'y; rounding of the solver is cut off, because columns without an upper bound must not earn on it."""
    matrix = model.matrix
    cost = model.cost - np.bincount(matrix.column, weights=matrix.value * price[matrix.row], minlength=len(model.cost))
    return np.where(np.abs(cost) < 1e-7 * max(1.0, float(np.abs(model.cost).max(initial=0.0))), 0.0, cost)


def _window_slots(formulation: Formulation) -> int:
    """Return the slots of a window: whole hours that hold about `_WINDOW_INTEGERS` integers."""
    horizon, model = formulation.problem.horizon, formulation.model
    integers = max(1, int((model.integer & (model.slot >= 0)).sum()))
    hours = max(1, round(_WINDOW_INTEGERS * horizon.length / integers / horizon.slots_per_hour))
    return hours * horizon.slots_per_hour


def _committed_columns(formulation: Formulation) -> Bools:
    """Return the columns of committed machines; these are whole in some optimum, in which all of them run."""
    mask = np.zeros(len(formulation.model.cost), np.bool_)
    for i, (_, o) in enumerate(formulation.problem.pairs):
        if o in formulation.variables.committed:
            mask[formulation.variables.machines[i]] = True
    return mask
