"""What a model can run on: replicas, the machines that hold them, and every way to pay for these."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Final

import numpy as np
from numpy.typing import NDArray

from meritorder.catalog import Catalog
from meritorder.domain import Access, BackfillLimits, Model, Offer, PricingModel
from meritorder.errors import InfeasibleError
from meritorder.evidence import Assumption
from meritorder.planner.model.demand import Horizon
from meritorder.planner.model.supply import (
    UNLIMITED,
    MachinePayment,
    MachinePool,
    SavingsPlan,
    capacity_block_from_offer,
    machine_key,
    payment_from_offer,
    savings_plans_from_offers,
)
from meritorder.policy.backfill import BACKFILL_KV_SHARE
from meritorder.study.fleet.load import SATURATION_REQUESTS, TraceLoad
from meritorder.study.fleet.machines import CandidateMachine, check_slo, find_machines
from meritorder.study.fleet.options import Progress
from meritorder.study.fleet.spot import ASSUMED_INTERRUPTIONS_PER_MONTH
from meritorder.study.plan.capacity import FULLEST, Filled, filled_within_slo, safe_load, steady_utilization
from meritorder.study.plan.have import Have, offers_of
from meritorder.study.plan.options import PlanOptions

Floats = NDArray[np.float64]

_TERM_YEARS: Final = {"1y": 1.0, "3y": 3.0}
_BLOCK_DAYS: Final = (1, 7)
_NO_BACKFILL: Final = BackfillLimits(sequences=0, prefill_tokens=64, kv_share=BACKFILL_KV_SHARE)
# Machines beyond those that the busiest slot asks for.
_SPARE: Final = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Serving:
    """A kind of replica that serves a model, what for, and what it was found to carry.

    Args:
        machine: The replica on the cheapest machine for it.
        safe: The real-time work that 0, 1, 2, ... machines carry within the SLO, c(n); shape (most + 1,); (1,) if they
            take none.
        backfill: How much deferrable work a replica may hold beside real-time work; no seats if none.
        fullest: Share of its saturated throughput that may be planned for.
    """

    machine: CandidateMachine
    safe: Floats
    backfill: BackfillLimits
    fullest: float

    @property
    def realtime(self) -> bool:
        """Whether it takes real-time work."""
        return len(self.safe) > 1

    @property
    def deferrable(self) -> bool:
        """Whether it takes work that may wait."""
        return not self.realtime or self.backfill.sequences > 0

    @property
    def kind(self) -> str:
        """The kind of replica, the key of the work tables."""
        label = self.machine.profile.replica.label
        return label if self.realtime else f"{label} in batch"


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """A pool of the plan, with what is needed to simulate it.

    Args:
        pool: The pool as the programme sees it.
        serving: Its replicas.
        offers: How its machines can be had.
    """

    pool: MachinePool
    serving: Serving
    offers: tuple[Offer, ...]


def servings_for(
    catalog: Catalog, model: Model, load: TraceLoad, *, options: PlanOptions, slot_s: float, progress: Progress
) -> list[Serving]:
    """Return the kinds of replicas worth planning with: of each hardware that with the cheapest work within the SLO.

    Raises:
        MeritorderError: There is none, or none keeps the SLO; says what would help.
    """
    everything = load
    load = everything.sample(SATURATION_REQUESTS)
    machines = find_machines(catalog, model, load, options, progress)
    lane = load.select(~load.deferrable)
    kept: list[Serving] = []
    problem: InfeasibleError | None = None
    for hardware in dict.fromkeys(machine.profile.hardware for machine in machines):
        candidates = [machine for machine in machines if machine.profile.hardware == hardware]
        within: dict[float, CandidateMachine] = {}
        for machine in candidates if len(lane) else ():
            try:
                check_slo(lane, machine.profile, machine.limits)
            except InfeasibleError as error:
                problem = problem or error
                continue
            progress(f"measuring {machine.profile.replica.label} within the SLO")
            share = steady_utilization(machine, lane, max(1, 2 // machine.replicas))
            if share > 0:
                within[machine.price_work(lane) / share] = machine
        if within:
            best = within[min(within)]
            progress(f"measuring pools of {best.profile.replica.label}")
            kept.append(_realtime(best, load, lane, _busiest_s(best, everything, slot_s) / slot_s))
        if load.deferrable.any():
            kept.append(Serving(machine=candidates[0], safe=np.zeros(1), backfill=_NO_BACKFILL, fullest=FULLEST))
    if len(lane) and not any(serving.realtime for serving in kept):
        raise problem or InfeasibleError("no replica keeps the SLO", fix="loosen it with --slo, or use faster hardware")
    return kept


def _busiest_s(machine: CandidateMachine, load: TraceLoad, slot_s: float) -> float:
    """Return the real-time work of the slot with most of it, in seconds of full replicas."""
    work_s = np.where(load.deferrable, 0.0, machine.work_s(load))
    return float(np.bincount((load.arrived_s / slot_s).astype(np.int64), weights=work_s).max())


def _realtime(machine: CandidateMachine, load: TraceLoad, lane: TraceLoad, busiest: float) -> Serving:
    sparse = safe_load(machine, lane, 1)[1]
    most = math.ceil(busiest / max(float(sparse), 1e-3)) + _SPARE
    filled = Filled(backfill=_NO_BACKFILL, utilization=FULLEST)
    if load.deferrable.any():
        filled = filled_within_slo(machine, load)
    safe = safe_load(machine, lane, most)
    # Real-time work alone may fill a replica more than the room for backfill says.
    share = min(FULLEST, max(filled.utilization, float((safe[1:] / (machine.replicas * np.arange(1, most + 1))).max())))
    return Serving(machine=machine, safe=safe, backfill=filled.backfill, fullest=share)


def sites_for(
    catalog: Catalog,
    model: Model,
    servings: Iterable[Serving],
    *,
    options: PlanOptions,
    have: Have,
    named: str,
    accesses: Sequence[Access],
) -> list[Site]:
    """Return the pools that can be rented, of each provider the machines worth one, by pricing model and who may run.

    Args:
        catalog: Prices.
        model: What they serve.
        servings: Kinds of replicas.
        options: What may be rented.
        have: What is held already; its machines are in whatever the options say.
        named: What tells the pools of several models apart; "" if there is one.
        accesses: Where the workloads may run.
    """
    sites: dict[str, Site] = {}
    for serving in servings:
        profile = serving.machine.profile
        offers = _offers(catalog, profile.hardware, profile.gpus, options, accesses)
        held = [
            offer
            for offer in offers_of(catalog, have)
            if offer.hardware == profile.hardware
            and offer.gpus % profile.gpus == 0
            and offer.pricing_model is PricingModel.ON_DEMAND
        ]
        for offer in dict.fromkeys((*offers, *held)):
            name = f"{machine_key(offer)}, {profile.gpus} GPUs a replica{'' if serving.realtime else ', batch'}"
            name = f"{name}, {named}" if named else name
            site = sites.get(name) or Site(pool=_pool(name, model, serving, offer, catalog), serving=serving, offers=())
            sites[name] = replace(site, offers=(*site.offers, offer))
    return list(sites.values())


def _offers(
    catalog: Catalog, hardware: str, gpus: int, options: PlanOptions, accesses: Sequence[Access]
) -> list[Offer]:
    """Return the machines worth planning with: a larger one is, if a GPU of it is cheaper than of all smaller ones."""
    fitting = catalog.select_offers(hardware, options.providers or None, options.regions or None, None, gpus)
    if not options.providers:
        fitting = tuple(offer for offer in fitting if not offer.third_party)
    chosen: dict[tuple[object, ...], list[Offer]] = {}
    for offer in sorted(fitting, key=lambda offer: (offer.gpus, offer.usd_per_gpu_hour)):
        permitted = tuple(access.permits(offer.provider, offer.region, offer.hardware) for access in accesses)
        if _wanted(offer, options) and any(permitted):
            key: tuple[object, ...] = (offer.provider, offer.pricing_model, offer.term, offer.payment, permitted)
            if offer.pricing_model is PricingModel.SAVINGS_PLAN:
                key = (*key, machine_key(offer))
            smaller = chosen.setdefault(key, [])
            if not smaller or offer.usd_per_gpu_hour < smaller[-1].usd_per_gpu_hour:
                smaller.append(offer)
    return list(chain.from_iterable(chosen.values()))


def _wanted(offer: Offer, options: PlanOptions) -> bool:
    match offer.pricing_model:
        case PricingModel.ON_DEMAND:
            return True
        case PricingModel.SPOT:
            return options.spot
        case PricingModel.CAPACITY_BLOCK:
            return bool(options.terms)
        case _:
            longest = max((_TERM_YEARS.get(term, 0.0) for term in options.terms), default=0.0)
            return 0 < _TERM_YEARS.get(offer.term, math.inf) <= longest


def _pool(name: str, model: Model, serving: Serving, offer: Offer, catalog: Catalog) -> MachinePool:
    machine = serving.machine
    replicas = offer.gpus // machine.profile.gpus
    safe = serving.safe
    if replicas != machine.replicas and serving.realtime:
        # c was measured with other machines; a replica is a replica.
        most = math.ceil((len(safe) - 1) * machine.replicas / replicas)
        at = np.minimum(np.arange(most + 1) * replicas / machine.replicas, len(safe) - 1)
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
        max_utilization=serving.fullest,
        startup_s=machine.startup_s,
        startup_paid_s=machine.startup_paid_s,
        power_w=hardware.power_w * offer.gpus,
    )


def payments_for(
    sites: Iterable[Site], horizon: Horizon, options: PlanOptions, have: Have
) -> tuple[tuple[MachinePayment, ...], tuple[SavingsPlan, ...]]:
    """Return every way to pay for the machines of the pools, with what is held already."""
    sites = list(sites)
    there = {site.pool.machine for site in sites}
    offers = {offer.label + offer.term + offer.payment: offer for site in sites for offer in site.offers}
    payments: list[MachinePayment] = []
    for offer in offers.values():
        match offer.pricing_model:
            case PricingModel.SAVINGS_PLAN:
                continue
            case PricingModel.CAPACITY_BLOCK:
                span_days = horizon.hours / 24
                payments += [
                    capacity_block_from_offer(offer, days, horizon) for days in _BLOCK_DAYS if days <= span_days
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
    payments += [one for one in have.reserved if one.machine in there]
    held = tuple(one for one in have.savings_plans if there & one.usd_per_hour.keys())
    return tuple(payments), (*held, *savings_plans_from_offers(offers.values()))


def supply_assumptions(sites: Iterable[Site], options: PlanOptions) -> list[Assumption]:
    """Say what was taken of the machines that nobody states."""
    taken = []
    spot = [offer for site in sites for offer in site.offers if offer.pricing_model is PricingModel.SPOT]
    if spot:
        text = f"{options.spot_machines} machines of each spot offer can be had at once, at any time"
        taken.append(Assumption(text=text, option="--spot-machines"))
    if any(offer.interruptions_per_month is None for offer in spot):
        text = f"spot of which no rate is stated is taken back at {ASSUMED_INTERRUPTIONS_PER_MONTH:.0%} a month"
        taken.append(Assumption(text=text, option="--catalog"))
    if options.machines is None:
        taken.append(Assumption(text="machines on demand can be had whenever they are wanted", option="--machines"))
    return taken
