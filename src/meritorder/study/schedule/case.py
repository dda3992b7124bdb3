"""The planning case: a trace and a catalog as one problem, with everything needed to simulate its solution."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from meritorder.catalog import Catalog
from meritorder.domain import Model
from meritorder.offers import TokenPrice
from meritorder.planner.model.demand import Demand, OpenEnd
from meritorder.planner.model.problem import Problem
from meritorder.planner.model.supply import Holdings, MachinePool, TokenTier
from meritorder.records.evidence import Assumption
from meritorder.study.fleet.load import SATURATION_REQUESTS, TraceLoad
from meritorder.study.fleet.machines import CandidateMachine
from meritorder.study.fleet.options import Progress
from meritorder.study.schedule.capacity import Serving, measure_servings
from meritorder.study.schedule.commitments import ChosenCommitments
from meritorder.study.schedule.demand import build_demand, build_horizon, request_classes, token_tiers, venue_name
from meritorder.study.schedule.options import PlanOptions
from meritorder.study.schedule.supply import Site, find_payments, find_sites, supply_assumptions
from meritorder.study.schedule.token_purchases import purchasable


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanningCase:
    """A planning problem and its sources.

    Args:
        problem: The problem of the linear program.
        loads: Requests by model.
        servings: Kinds of replicas by model.
        sites: Pools by name.
        tokens: Token prices by venue.
        all_tokens: Token prices by model.
        patience_s: Shortest patience of each deferrable workload.
        assumptions: Assumptions about supply and commitments.
        several_models: Whether names of workloads and pools include their model.
        commitments: Commitments that were chosen beforehand and that the problem holds.
    """

    problem: Problem
    loads: Mapping[str, TraceLoad]
    servings: Mapping[str, list[Serving]]
    sites: Mapping[str, Site]
    tokens: Mapping[str, TokenPrice]
    all_tokens: Mapping[str, list[TokenPrice]]
    patience_s: Mapping[str, float]
    assumptions: tuple[Assumption, ...]
    several_models: bool
    commitments: ChosenCommitments | None = None

    @property
    def machines(self) -> dict[str, CandidateMachine]:
        """The replica of each pool."""
        return {name: site.serving.machine for name, site in self.sites.items()}


def build_case(
    catalog: Catalog,
    loads: Mapping[Model, TraceLoad],
    options: PlanOptions,
    progress: Progress,
    holdings: Holdings,
    *,
    span_s: float,
    several_models: bool,
) -> PlanningCase:
    """Build the planning case of a trace.

    Args:
        catalog: Prices, hardware, models.
        loads: Requests by model.
        options: Limits on what may be rented and bought.
        progress: Receives one line per measurement.
        holdings: Commitments already held.
        span_s: Time that the slots cover.
        several_models: Whether names of workloads and pools include their model.

    Raises:
        MeritorderError: A model has no performance, no price, or no replica that keeps the SLO.
    """
    slot_s = options.slot_for(span_s)
    horizon = build_horizon(span_s, slot_s)
    prices = {model.id: purchasable(model, catalog, options.config) for model in loads}
    servings: dict[str, list[Serving]] = {}
    sites: dict[str, Site] = {}
    demands: list[Demand] = []
    tiers: list[TokenTier] = []
    patience_s: dict[str, float] = {}
    for model, load in ((model, load.on_trace_clock) for model, load in loads.items()):
        suffix = model.id if several_models else ""
        servings[model.id] = measure_servings(catalog, model, load, options=options, slot_s=slot_s, progress=progress)
        for site in find_sites(
            catalog,
            model,
            servings[model.id],
            options=options,
            holdings=holdings,
            suffix=suffix,
            accesses=load.accesses,
        ):
            sites[site.pool.name] = site
        classes = request_classes(load, slot_s, suffix)
        demands += build_demand(classes, load, servings[model.id], model.id, horizon)
        for group in classes:
            if group.deferrable:
                waits_s = load.deadline_s[group.members] - load.arrived_s[group.members]
                patience_s[group.name] = float(waits_s.min())
        tiers += token_tiers(prices[model.id], classes, load, model=model.id, horizon=horizon, options=options)
    payments, savings_plans = find_payments(sites.values(), horizon, options, holdings)
    return PlanningCase(
        problem=Problem(
            horizon=replace(horizon, ends=OpenEnd(warm=True)),
            workloads=tuple(demands),
            pools=tuple(_with_tail(site, loads) for site in sites.values()),
            payments=payments,
            savings_plans=savings_plans,
            tiers=tuple(tiers),
        ),
        loads={model.id: load for model, load in loads.items()},
        servings=servings,
        sites=sites,
        tokens={venue_name(price): price for of_model in prices.values() for price in of_model},
        all_tokens=prices,
        patience_s=patience_s,
        assumptions=tuple(supply_assumptions(sites.values(), options)),
        several_models=several_models,
    )


def _with_tail(site: Site, loads: Mapping[Model, TraceLoad]) -> MachinePool:
    """Return a pool whose start-up cost includes the idle tail of each stop.

    A machine that is stopped first finishes its requests; half of that time its capacity is idle:

        tail = E[rest of a residence] = E[residence^2] / (2 E[residence])
    """
    machine = site.serving.machine
    load = next(load for model, load in loads.items() if model.id == machine.profile.model)
    residence_s = machine.residence_s(load.sample(SATURATION_REQUESTS))
    tail_s = float(np.mean(residence_s**2) / (2 * np.mean(residence_s)))
    return replace(site.pool, startup_paid_s=site.pool.startup_paid_s + tail_s)
