"""The baseline of a plan: the cheapest real-time arrangement, or the present fleet."""

from dataclasses import replace
from typing import Final

import numpy as np

from meritorder.domain import Access, PricingModel
from meritorder.errors import InfeasibleError
from meritorder.study.fleet.fleets import Trial, fixed_fleet, simulate_fleet
from meritorder.study.fleet.load import TraceLoad
from meritorder.study.fleet.machines import CandidateMachine
from meritorder.study.fleet.options import CompareOptions, Progress
from meritorder.study.fleet.search import Search
from meritorder.study.plan.case import PlanningCase

# Larger loads are searched on their busiest stretch of this many requests, and confirmed on all.
_MAX_REQUESTS: Final = 2_000_000
# Machines added at most until a fleet is confirmed.
_MAX_ADDED: Final = 4


def find_baselines(case: PlanningCase, options: CompareOptions, progress: Progress) -> dict[str, Trial]:
    """Return the cheapest real-time arrangement, or the present fleet, by model.

    Workloads with different access have a fleet each, by name of the workloads.
    """
    baselines: dict[str, Trial] = {}
    for model, load in case.loads.items():
        if len(load.accesses) == 1 or options.replicas is not None:
            servings = case.servings[model]
            machines = [serving.machine for serving in servings if serving.realtime]
            machines = machines or [serving.machine for serving in servings]
            baselines[model] = find_baseline(load, machines, options, progress)
            continue
        for index, access in enumerate(load.accesses):
            requests = load.select(load.access == index)
            names = " + ".join(workload.name for workload in load.workloads if workload.access == access)
            baselines[names] = find_baseline(requests, _permitted(case, model, access), options, progress)
    return baselines


def _permitted(case: PlanningCase, model: str, access: Access) -> list[CandidateMachine]:
    """Return each kind of replica on its cheapest permitted machine; only kinds for real time if there are any.

    Raises:
        InfeasibleError: No machine is permitted.
    """
    cheapest: dict[str, CandidateMachine] = {}
    for site in case.sites.values():
        pool, machine = site.pool, site.serving.machine
        if pool.model != model or not access.permits(pool.provider, pool.region, pool.hardware):
            continue
        for offer in site.offers:
            before = cheapest.get(site.serving.kind)
            if offer.pricing_model is PricingModel.ON_DEMAND and (
                before is None or offer.usd_per_gpu_hour < before.offer.usd_per_gpu_hour
            ):
                cheapest[site.serving.kind] = replace(machine, offer=offer)
    realtime = {site.serving.kind for site in case.sites.values() if site.serving.realtime}
    machines = [machine for kind, machine in cheapest.items() if kind in realtime] or list(cheapest.values())
    if not machines:
        raise InfeasibleError(
            f"no on-demand machine may serve some requests for {model}, so there is no baseline for them",
            where="--workloads",
            fix="loosen allow and deny, or name more hardware and providers",
        )
    return machines


def find_baseline(
    load: TraceLoad, machines: list[CandidateMachine], options: CompareOptions, progress: Progress
) -> Trial:
    """Return the cheaper of the cheapest fixed and the cheapest autoscaled real-time fleet.

    Args:
        load: The requests.
        machines: Replicas, each on its cheapest machine.
        options: The present fleet, if any.
        progress: Receives one line per trial.
    """
    realtime = load.all_realtime()
    search = Search(
        load=realtime,
        machines=sorted(machines, key=lambda machine: machine.price_work(load)),
        batch_machine=machines[0],
        patience_s=options.patience_s,
        progress=progress,
        present_replicas=options.replicas,
    )
    if len(load) <= _MAX_REQUESTS:
        return search.baseline()
    stretch = _busiest(realtime, _MAX_REQUESTS)
    always, scaled = replace(search, load=stretch).realtime(stretch)
    confirmed = _confirm_fixed(always, realtime, search)
    if search.present_replicas is None and scaled.feasible:
        whole = simulate_fleet(scaled.name, scaled.label, realtime, scaled.pools)
        if whole.feasible and whole.usd < confirmed.usd:
            return whole
    return confirmed


def _busiest(load: TraceLoad, count: int) -> TraceLoad:
    """Return the shortest stretch of this many requests; it may break the SLO as often as the whole load."""
    first = int(np.argmin(load.arrived_s[count - 1 :] - load.arrived_s[: len(load) - count + 1]))
    stretch = load.select(np.arange(first, first + count))
    begin_s = float(stretch.arrived_s[0])
    arrived = stretch.arrived_s - begin_s
    allowed = min(0.5, (1 - load.attainment) * len(load) / count)
    return replace(
        stretch,
        arrived_s=arrived,
        deadline_s=stretch.deadline_s - begin_s,
        span_s=float(arrived[-1]),
        attainment=1 - allowed,
    )


def _confirm_fixed(candidate: Trial, load: TraceLoad, search: Search) -> Trial:
    """Simulate a fixed fleet on the whole load, and add machines until it keeps the SLO."""
    machine, pool = candidate.pools[0]
    for added in range(_MAX_ADDED):
        trial = fixed_fleet(machine, load, pool.max_instances + added)
        search.progress(f"real time, always on, the whole trace: {trial.label}")
        if trial.feasible or search.present_replicas is not None:
            return trial
    raise InfeasibleError("no fixed fleet keeps the SLO", fix="loosen it with --slo, or use faster hardware")
