"""The bounds of a plan: what no policy for its requests can cost less than, whatever it knows."""

import math
from collections.abc import Iterable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from meritorder.catalog.tokens import turnaround_s
from meritorder.domain import PricingModel
from meritorder.planner.model.problem import Problem
from meritorder.planner.model.supply import Reserved, Spot, machine_key
from meritorder.study.bound.bound import lower_bound_usd
from meritorder.study.bound.supplies import Supply, hard_bound_usd
from meritorder.study.fleet.load import TraceLoad
from meritorder.study.fleet.machines import CandidateMachine
from meritorder.study.plan.arrangements import Arrangements
from meritorder.study.schedule.case import PlanningCase
from meritorder.study.schedule.demand import tokens_usd
from meritorder.study.schedule.options import PlanOptions
from meritorder.units import SECONDS_PER_HOUR

Floats = NDArray[np.float64]


def find_bounds(groups: Iterable[Arrangements], case: PlanningCase, options: PlanOptions) -> tuple[float, float]:
    """Return lower bounds on the cost of any policy of the family, and of anything at all, in dollars.

    Args:
        groups: The known arrangements; their machines may be rented, their cost is not looked at.
        case: The planning case, before commitments are chosen; its machines may be rented under any of its payments.
        options: Tiers of token APIs that may be bought.
    """
    candidates: dict[str, list[CandidateMachine]] = {model: [] for model in case.loads}
    for group in groups:
        candidates[group.model] += group.search.batch_machines
    for site in case.sites.values():
        on_offer = [replace(site.serving.machine, offer=offer) for offer in site.offers]
        candidates[site.pool.model] += on_offer
    total_usd = hard_usd = 0.0
    for model, load in case.loads.items():
        distinct = {(machine.profile.replica, machine.offer): machine for machine in candidates[model]}
        supplies = [_supply(machine, case.problem) for machine in distinct.values()]
        bought_usd = _cheapest_tokens_usd(case, model, load, options)
        hard_usd += hard_bound_usd(load, supplies, bought_usd)
        total_usd += lower_bound_usd(
            load, supplies, tokens_usd=bought_usd, realtime_tokens=bool(options.realtime_tiers)
        )
    covered_usd = _covered_usd(case)
    total_usd, hard_usd = max(0.0, total_usd - covered_usd), max(0.0, hard_usd - covered_usd)
    # Rounding may leave one above the other where both are the work alone.
    return total_usd, min(hard_usd, total_usd)


def _covered_usd(case: PlanningCase) -> float:
    """Return the most that savings plans which are held take off any cost: all of them, until the last deadline.

    A supply has the lowest of its rates as its price, so that a dollar of a plan takes at most a dollar off.
    """
    until_s = 0.0
    for load in case.loads.values():
        waits_s = (load.deadline_s - load.arrived_s)[load.deferrable]
        until_s = max(until_s, load.begin_s + load.span_s + float(waits_s.max(initial=0.0)))
    hours = math.ceil(until_s / SECONDS_PER_HOUR) + 1
    return hours * sum(plan.held_usd_per_hour for plan in case.problem.savings_plans)


def _supply(machine: CandidateMachine, problem: Problem) -> Supply:
    """Return a machine at its lowest price under any payment, and how many of it are held.

    Spot machines are supplies of their own, since they serve nothing in real time.
    """
    key = machine_key(machine.offer)
    firm = machine.offer.pricing_model is not PricingModel.SPOT and machine.interruptions is None
    payments = [
        payment for payment in problem.payments if payment.machine == key and not (firm and isinstance(payment, Spot))
    ]
    prices = [payment.usd_per_hour for payment in payments if payment.usd_per_hour > 0]
    prices += [plan.usd_per_hour[key] for plan in problem.savings_plans if key in plan.usd_per_hour]
    held = sum(payment.held for payment in payments if isinstance(payment, Reserved))
    return Supply(
        machine=machine,
        usd_per_hour=min([machine.offer.usd_per_hour, *prices]),
        held=held,
        realtime=firm,
    )


def _cheapest_tokens_usd(case: PlanningCase, model: str, load: TraceLoad, options: PlanOptions) -> Floats:
    """Return what each request costs at the cheapest token API that may be bought, infinity if there is none."""
    usd = np.full(len(load), np.inf)
    for price in case.all_tokens[model]:
        lanes = price.tier in options.deferrable_tiers, price.tier in options.realtime_tiers
        if any(lanes):
            # The linear program rounds patience to slots. Real-time requests, which have no deadline, are as patient.
            patient = load.deadline_s - load.arrived_s + case.problem.horizon.slot_s >= turnaround_s(price)
            permitted = np.where(load.deferrable, *lanes) & patient & load.may_run(price.provider, "", "")
            usd = np.where(permitted, np.minimum(usd, tokens_usd(price, load, np.arange(len(load)))), usd)
    return usd
