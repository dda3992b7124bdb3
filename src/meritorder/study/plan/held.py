"""Machines that are held already: free to the plan, and as free to the real time that it is compared with."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from meritorder.catalog import Catalog
from meritorder.domain import Model, PricingModel
from meritorder.errors import MeritorderError
from meritorder.planner.model.supply import Holdings, SavingsPlan, machine_key
from meritorder.records import planfile
from meritorder.records.evidence import Assumption
from meritorder.sim.pools import Autoscaled, DeadlineScaled, Fixed, Scaling, SimPool
from meritorder.study.fleet.fleets import Trial, rejudge, simulate_fleet
from meritorder.study.fleet.load import TraceLoad
from meritorder.study.fleet.machines import CandidateMachine
from meritorder.study.fleet.options import CompareOptions, Progress
from meritorder.study.fleet.result import SearchResult
from meritorder.study.fleet.search import build_search
from meritorder.units import SECONDS_PER_HOUR, format_count, format_share, format_usd

Floats = NDArray[np.float64]

# A share of a machine below this is rounding.
_ROUNDING: Final = 1e-6

_FleetPool = tuple[CandidateMachine, SimPool]


def count_held(holdings: Holdings) -> dict[str, int]:
    """Return how many machines of each kind are held."""
    counts: dict[str, int] = {}
    for reserved in holdings.reserved:
        counts[reserved.machine] = counts.get(reserved.machine, 0) + reserved.held
    return counts


def held_assumptions(holdings: Holdings) -> list[Assumption]:
    """Return that what is held costs nothing, in real time and in the plan."""
    listed = [f"{count} x {kind}" for kind, count in count_held(holdings).items()]
    listed += [f"{plan.name}, {format_usd(plan.held_usd_per_hour)} an hour" for plan in holdings.savings_plans]
    text = f"what is held already costs nothing, neither in real time nor in the plan: {'; '.join(listed)}"
    return [Assumption(text=text, option="--have")] if listed else []


def is_held(machine: CandidateMachine) -> bool:
    """Whether a machine of a fleet is paid for whether or not it is used."""
    return machine.offer.pricing_model.value in planfile.PREPAID


def use_held(
    found: SearchResult,
    holdings: Holdings,
    *,
    catalog: Catalog,
    model: Model,
    load: TraceLoad,
    options: CompareOptions,
    progress: Progress,
) -> SearchResult:
    """Return the cheapest fleets where machines that are held cost nothing, nor what savings plans cover.

    Fleets of these kinds are searched for themselves, since they may be too expensive to rent.

    Args:
        found: The cheapest fleets without machines that are held.
        holdings: What is held.
        catalog: Prices of machines that the requests may use.
        model: The model that serves them.
        load: The requests.
        options: What may be rented.
        progress: Receives each step.
    """
    always_on, realtime, mixes = [found.always_on], [found.realtime], [found.mix]
    for kind in sorted(
        count_held(holdings).keys() | {key for plan in holdings.savings_plans for key in plan.usd_per_hour}
    ):
        of_kind = tuple(
            offer
            for offer in catalog.offers
            if machine_key(offer) == kind and offer.pricing_model is PricingModel.ON_DEMAND
        )
        own = replace(options, providers=(), regions=(), replicas=None, spot=False, spot_trace=None)
        try:
            result = build_search(replace(catalog, offers=of_kind), model, load, own, progress).run()
        except MeritorderError:
            continue  # no replica of the model fits on such a machine, or none keeps the SLO
        always_on.append(result.always_on)
        realtime.append(result.realtime)
        mixes.append(result.mix)
    cheapest_on = min((_with_held(trial, holdings) for trial in always_on), key=_rank)
    cheapest = min((cheapest_on, *(_with_held(trial, holdings) for trial in realtime)), key=_rank)
    in_realtime = rejudge(cheapest, load, "mix", f"all in real time: {cheapest.label}")
    mix_on_demand = _with_held(found.mix_on_demand, holdings)
    on_demand = min((mix_on_demand, in_realtime, *(_with_held(trial, holdings) for trial in mixes[1:])), key=_rank)
    return replace(
        found,
        baseline=cheapest if found.baseline is found.realtime else _with_held(found.baseline, holdings),
        always_on=cheapest_on,
        realtime=cheapest,
        mix_on_demand=on_demand,
        mix=min((on_demand, _with_held(found.mix, holdings)), key=_rank),
    )


def free_shares(holdings: Holdings, used_shares: Mapping[str, float]) -> Holdings:
    """Return what the usage on a bill leaves of its commitments: whole machines, and dollars an hour of savings plans.

    Args:
        holdings: The commitments on the bill.
        used_shares: Share of each that the bill's own usage takes, by name.
    """
    reserved, plans, notes = [], [], list(holdings.notes)
    for machines in holdings.reserved:
        free = math.floor(machines.held * (1 - used_shares.get(machines.name, 0.0)) + _ROUNDING)
        if free < machines.held:
            used = format_share(used_shares[machines.name])
            notes.append(
                f"{machines.name}: {used} of it is used on the bill, so {free} of {machines.held} are free here"
            )
        reserved += [replace(machines, held=free)] if free else []
    for plan in holdings.savings_plans:
        usd_per_hour = plan.held_usd_per_hour * (1 - used_shares.get(plan.name, 0.0))
        if usd_per_hour < plan.held_usd_per_hour:
            used, rest = format_share(used_shares[plan.name]), format_usd(usd_per_hour)
            notes.append(f"{plan.name}: {used} of it is used on the bill, so {rest} an hour of it are free here")
        plans += [replace(plan, held_usd_per_hour=usd_per_hour)] if usd_per_hour > 0 else []
    return replace(holdings, reserved=tuple(reserved), savings_plans=tuple(plans), notes=tuple(notes))


def covered_usd(trials: Iterable[Trial], plans: Sequence[SavingsPlan]) -> float:
    """Return what savings plans that are held take off the cost of some fleets."""
    uses = [machine_use(trial, place) for trial in trials for place in range(len(trial.pools))]
    return math.fsum(split_savings(uses, plans))


@dataclass(frozen=True, slots=True, kw_only=True)
class MachineUse:
    """On-demand machines that a fleet paid for.

    Args:
        kind: Their kind and place.
        usd_per_hour: Price of one.
        hours: Machine-hours in each hour, shape (hours,).
    """

    kind: str
    usd_per_hour: float
    hours: Floats


def machine_use(trial: Trial, place: int) -> MachineUse:
    """Return the use of one pool of a fleet; none of machines that are held or interrupted."""
    machine, result = trial.pools[place][0], trial.result
    paid = result.capacity_bins_s[place] / machine.replicas / SECONDS_PER_HOUR
    hour = ((trial.load.begin_s + result.bin_starts_s) // SECONDS_PER_HOUR).astype(np.int64)
    hours = np.bincount(hour, weights=paid).astype(np.float64)
    on_demand = machine.offer.pricing_model is PricingModel.ON_DEMAND
    return MachineUse(
        kind=machine_key(machine.offer),
        usd_per_hour=machine.offer.usd_per_hour,
        hours=hours if on_demand else np.zeros(len(hours)),
    )


def split_savings(uses: Sequence[MachineUse], plans: Sequence[SavingsPlan]) -> list[float]:
    """Return what savings plans take off each use; in each hour a plan covers what saves most for a dollar of it.

    saved = sum over hours (price v),    sum rate v <= committed dollars an hour,    v <= machine-hours
    """
    left = [use.hours.copy() for use in uses]
    saved_usd = [0.0] * len(uses)
    for plan in plans:
        budget_usd = np.full(max((len(hours) for hours in left), default=0), plan.held_usd_per_hour)
        inside = [place for place, use in enumerate(uses) if use.kind in plan.usd_per_hour]
        for place in sorted(inside, key=lambda p: -uses[p].usd_per_hour / plan.usd_per_hour[uses[p].kind]):
            hours, rate = left[place], plan.usd_per_hour[uses[place].kind]
            covered = np.minimum(hours, budget_usd[: len(hours)] / rate)
            left[place] = hours - covered
            budget_usd[: len(hours)] -= covered * rate
            saved_usd[place] += float(covered.sum()) * uses[place].usd_per_hour
    return saved_usd


def left_after(holdings: Holdings, trials: Sequence[Trial]) -> Holdings:
    """Return what is held and none of some fleets has taken; of savings plans all is taken."""
    held = count_held(holdings)
    taken: dict[str, int] = {}
    for trial in trials:
        own: dict[str, int] = {}
        for machine, pool in trial.pools:
            if is_held(machine):
                kind = machine_key(machine.offer)
                own[kind] = own.get(kind, 0) + pool.max_instances
        taken = {kind: max(taken.get(kind, 0), own.get(kind, 0)) for kind in taken | own}
    rest = {kind: count - taken.get(kind, 0) for kind, count in held.items()}
    first = {reserved.machine: reserved for reserved in reversed(holdings.reserved)}
    return Holdings(
        reserved=tuple(replace(first[kind], held=count) for kind, count in rest.items() if count > 0),
        savings_plans=()
        if any(covered_usd([trial], holdings.savings_plans) for trial in trials)
        else holdings.savings_plans,
    )


def _rank(trial: Trial) -> tuple[bool, float]:
    return not trial.feasible, trial.usd


def _with_held(trial: Trial, holdings: Holdings) -> Trial:
    """Return a fleet in which machines that are held serve first, all the time, and cost nothing."""
    left = count_held(holdings)
    pools: list[_FleetPool] = []
    for machine, pool in trial.pools:
        kind = machine_key(machine.offer)
        taken = min(left.get(kind, 0), pool.max_instances) if machine.interruptions is None else 0
        if taken:
            left[kind] -= taken
            offer = replace(machine.offer, pricing_model=PricingModel.RESERVED)
            pools.append((replace(machine, offer=offer), replace(pool, scaling=Fixed(instances=taken))))
        rest = _beyond(pool.scaling, taken, beside=len(pools) - 1) if taken else pool.scaling
        if rest is not None:
            pools.append((machine, replace(pool, scaling=rest)))
    count = sum(pool.max_instances for machine, pool in pools if is_held(machine))
    if not count:
        return replace(trial, usd=trial.usd - covered_usd([trial], holdings.savings_plans))
    label = f"{trial.label}, {format_count(count, 'machine')} of it held"
    served = simulate_fleet(trial.name, label, trial.load, tuple(pools))
    usd = sum(
        account.paid_s / SECONDS_PER_HOUR * machine.usd_per_replica_hour
        for (machine, _), account in zip(pools, served.result.pools, strict=True)
        if not is_held(machine)
    )
    return replace(served, usd=usd - covered_usd([served], holdings.savings_plans))


def _beyond(scaling: Scaling, taken: int, *, beside: int) -> Scaling | None:
    """Return how machines beyond those that are held are scaled; None if there are none."""
    match scaling:
        case Fixed(instances=machines):
            return Fixed(instances=machines - taken) if machines > taken else None
        case Autoscaled(maximum=maximum) if maximum > taken:
            return replace(
                scaling,
                minimum=max(0, scaling.minimum - taken),
                maximum=maximum - taken,
                initial=max(0, scaling.initial - taken),
                floor=tuple(max(0, machines - taken) for machines in scaling.floor),
                beside=(beside,),
            )
        case DeadlineScaled(maximum=maximum) if maximum > taken:
            return replace(scaling, maximum=maximum - taken)
    return None
