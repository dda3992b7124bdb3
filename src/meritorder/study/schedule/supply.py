"""The supply of a plan: pools of machines that can serve a model, and the payments for them."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Final

import numpy as np

from meritorder.catalog import Catalog
from meritorder.domain import Access, Model, PricingModel
from meritorder.offers import Offer
from meritorder.perf.profile import Profile
from meritorder.planner.model.demand import Horizon
from meritorder.planner.model.supply import (
    UNLIMITED,
    Holdings,
    MachinePayment,
    MachinePool,
    SavingsPlan,
    capacity_block_from_offer,
    machine_key,
    payment_from_offer,
    savings_plans_from_offers,
)
from meritorder.records.evidence import Assumption
from meritorder.study.fleet.options import ASSUMED_INTERRUPTIONS_PER_MONTH
from meritorder.study.schedule.capacity import Serving
from meritorder.study.schedule.options import TERM_YEARS, PlanOptions
from meritorder.units import format_count

_BLOCK_DAYS: Final = (1, 7)


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """A pool of the plan, with everything needed to simulate it.

    Args:
        pool: The pool as the linear program sees it.
        serving: Its replicas.
        offers: The offers of its machines.
    """

    pool: MachinePool
    serving: Serving
    offers: tuple[Offer, ...]


def find_sites(
    catalog: Catalog,
    model: Model,
    servings: Iterable[Serving],
    *,
    options: PlanOptions,
    holdings: Holdings,
    suffix: str,
    accesses: Sequence[Access],
) -> list[Site]:
    """Return the pools that can be rented: of each provider, the machines that no smaller machine makes redundant.

    Args:
        catalog: Prices.
        model: The model that they serve.
        servings: Kinds of replicas.
        options: Limits on what may be rented.
        holdings: Commitments already held; their machines are included whatever the options say.
        suffix: Model name that distinguishes pools of several models; "" for one model.
        accesses: Where the workloads may run.
    """
    sites: dict[str, Site] = {}
    for serving in servings:
        profile = serving.machine.profile
        offers = _offers(catalog, profile.hardware, profile.gpus, options, accesses)
        held = [
            offer
            for offer in _held_offers(catalog, holdings)
            if offer.hardware == profile.hardware
            and offer.gpus % profile.gpus == 0
            and offer.pricing_model is PricingModel.ON_DEMAND
        ]
        for offer in dict.fromkeys((*offers, *held)):
            name = pool_name(offer, profile, realtime=serving.realtime, suffix=suffix)
            site = sites.get(name) or Site(pool=_pool(name, model, serving, offer, catalog), serving=serving, offers=())
            sites[name] = replace(site, offers=(*site.offers, offer))
    return list(sites.values())


def pool_name(offer: Offer, profile: Profile, *, realtime: bool, suffix: str) -> str:
    """Return the name of a pool of the plan.

    Args:
        offer: Its machine.
        profile: Its replicas.
        realtime: Whether it serves real-time work.
        suffix: Model name that distinguishes pools of several models; "" for one model.
    """
    split = " with data-parallel attention" if profile.attention_ranks > 1 else ""
    name = f"{machine_key(offer)}, {format_count(profile.gpus, 'GPU')} a replica{split}{'' if realtime else ', batch'}"
    return f"{name}, {suffix}" if suffix else name


def _held_offers(catalog: Catalog, holdings: Holdings) -> list[Offer]:
    """Return the catalog's offers of machines that are held or covered by a held savings plan."""
    covered = {machine for plan in holdings.savings_plans for machine in plan.usd_per_hour}
    machines = {held.machine for held in holdings.reserved} | covered
    return [offer for offer in catalog.machines if machine_key(offer) in machines]


def _offers(
    catalog: Catalog, hardware: str, gpus: int, options: PlanOptions, accesses: Sequence[Access]
) -> list[Offer]:
    """Return the offers to plan with: a larger machine only if its GPUs are cheaper than those of all smaller ones."""
    fitting = catalog.select_offers(hardware, options.providers or None, options.regions or None, None, gpus)
    if not options.providers:
        fitting = tuple(offer for offer in fitting if not offer.third_party)
    chosen: dict[tuple[object, ...], list[Offer]] = {}
    for offer in sorted(fitting, key=lambda offer: (offer.gpus, offer.usd_per_gpu_hour)):
        permitted = tuple(access.permits(offer.provider, offer.region, offer.hardware) for access in accesses)
        if _is_allowed(offer, options) and any(permitted):
            key: tuple[object, ...] = (offer.provider, offer.pricing_model, offer.term, offer.payment, permitted)
            if offer.pricing_model is PricingModel.SAVINGS_PLAN:
                key = (*key, machine_key(offer))
            smaller = chosen.setdefault(key, [])
            if not smaller or offer.usd_per_gpu_hour < smaller[-1].usd_per_gpu_hour:
                smaller.append(offer)
    return list(chain.from_iterable(chosen.values()))


def _is_allowed(offer: Offer, options: PlanOptions) -> bool:
    match offer.pricing_model:
        case PricingModel.ON_DEMAND:
            return True
        case PricingModel.SPOT:
            return options.spot
        case PricingModel.CAPACITY_BLOCK:
            return bool(options.terms)
        case PricingModel.SERVERLESS:
            return False  # its workers start for requests, not for slots
        case _:
            max_years = max((TERM_YEARS.get(term, 0.0) for term in options.terms or ()), default=0.0)
            return 0 < TERM_YEARS.get(offer.term, math.inf) <= max_years


def _pool(name: str, model: Model, serving: Serving, offer: Offer, catalog: Catalog) -> MachinePool:
    machine = serving.machine
    replicas = replace(machine, offer=offer).replicas
    safe = serving.safe
    if replicas != machine.replicas and serving.realtime:
        # c(n) was measured on machines with another number of replicas: rescale n.
        max_machines = math.ceil((len(safe) - 1) * machine.replicas / replicas)
        at = np.minimum(np.arange(max_machines + 1) * replicas / machine.replicas, len(safe) - 1)
        safe = np.interp(at, np.arange(len(safe)), safe)
    hardware = catalog.hardware[machine.profile.hardware]
    return MachinePool(
        name=name,
        model=model.id,
        replica=serving.kind,
        machine=machine_key(offer),
        provider=offer.provider,
        region=offer.region,
        hardware=machine.profile.hardware,
        gpus=offer.gpus,
        replicas=replicas,
        safe_load=safe,
        max_utilization=serving.max_utilization,
        startup_s=machine.startup_s,
        startup_paid_s=machine.startup_paid_s,
        power_w=hardware.power_w * offer.gpus,
    )


def find_payments(
    sites: Iterable[Site], horizon: Horizon, options: PlanOptions, holdings: Holdings
) -> tuple[tuple[MachinePayment, ...], tuple[SavingsPlan, ...]]:
    """Return every payment for the machines of the pools, commitments already held included."""
    sites = list(sites)
    machines = {site.pool.machine for site in sites}
    offers = {offer.label + offer.term + offer.payment: offer for site in sites for offer in site.offers}
    payments: list[MachinePayment] = []
    for offer in offers.values():
        match offer.pricing_model:
            case PricingModel.SAVINGS_PLAN:
                continue
            case PricingModel.CAPACITY_BLOCK:
                span_days = horizon.hours / 24
                payments += [
                    capacity_block_from_offer(offer, days, slots=horizon.slots, slots_per_hour=horizon.slots_per_hour)
                    for days in _BLOCK_DAYS
                    if days <= span_days
                ]
            case PricingModel.SPOT:
                payments.append(
                    payment_from_offer(
                        offer,
                        available=float(options.spot_machines),
                        interruptions_per_month=ASSUMED_INTERRUPTIONS_PER_MONTH,
                    )
                )
            case PricingModel.ON_DEMAND:
                payments.append(
                    payment_from_offer(offer, max_machines=UNLIMITED if options.machines is None else options.machines)
                )
            case _:
                payments.append(payment_from_offer(offer))
    payments += [held for held in holdings.reserved if held.machine in machines]
    held_plans = tuple(plan for plan in holdings.savings_plans if machines & plan.usd_per_hour.keys())
    return tuple(payments), (*held_plans, *savings_plans_from_offers(offers.values()))


def supply_assumptions(sites: Iterable[Site], options: PlanOptions) -> list[Assumption]:
    """Return the assumptions about the availability of machines."""
    assumptions = []
    spot = [offer for site in sites for offer in site.offers if offer.pricing_model is PricingModel.SPOT]
    if spot:
        text = f"{options.spot_machines} machines of each spot offer are available at any time"
        assumptions.append(Assumption(text=text, option="--spot-machines"))
    if any(offer.interruptions_per_month is None for offer in spot):
        text = f"spot machines without a stated rate are interrupted at {ASSUMED_INTERRUPTIONS_PER_MONTH:.0%} a month"
        assumptions.append(Assumption(text=text, option="--catalog"))
    if options.machines is None:
        assumptions.append(Assumption(text="on-demand machines are always available", option="--machines"))
    return assumptions
