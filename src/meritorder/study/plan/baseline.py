"""What the plan is compared with: the cheapest real-time arrangement, or the fleet that there is."""

from dataclasses import replace
from typing import Final

import numpy as np

from meritorder.domain import Access, PricingModel
from meritorder.errors import InfeasibleError
from meritorder.study.fleet.fleets import Trial, fixed_fleet, simulate_fleet
from meritorder.study.fleet.load import TraceLoad
from meritorder.study.fleet.machines import CandidateMachine
from meritorder.study.fleet.options import Options, Progress
from meritorder.study.fleet.search import Search
from meritorder.study.plan.problem import Asked

# Loads of more requests are searched on their busiest stretch of about so many, and confirmed on all.
_MOST_REQUESTS: Final = 2_000_000
_MOST_CONFIRMED: Final = 4


def baselines_of(asked: Asked, options: Options, progress: Progress) -> dict[str, Trial]:
    """Return the cheapest arrangement in which nothing waits, or the fleet that there is, for each model.

    Workloads that may not run in the same places have a fleet each. By name of the model, or of the workloads.
    """
    found: dict[str, Trial] = {}
    for model, load in asked.loads.items():
        if len(load.accesses) == 1 or options.replicas is not None:
            servings = asked.servings[model]
            machines = [one.machine for one in servings if one.realtime] or [one.machine for one in servings]
            found[model] = baseline_for(load, machines, options, progress)
            continue
        for place, access in enumerate(load.accesses):
            mine = load.select(load.access == place)
            names = " + ".join(one.name for one in load.workloads if one.access == access)
            found[names] = baseline_for(mine, _permitted(asked, model, access), options, progress)
    return found


def _permitted(asked: Asked, model: str, access: Access) -> list[CandidateMachine]:
    """Return each kind of replica on the cheapest machine that is permitted, of those for real time if there are any.

    Raises:
        InfeasibleError: There is none.
    """
    found: dict[str, CandidateMachine] = {}
    for site in asked.sites.values():
        pool, machine = site.pool, site.serving.machine
        if pool.model != model or not access.permits(pool.provider, pool.region, pool.hardware):
            continue
        for offer in site.offers:
            before = found.get(site.serving.kind)
            if offer.pricing_model is PricingModel.ON_DEMAND and (
                before is None or offer.usd_per_gpu_hour < before.offer.usd_per_gpu_hour
            ):
                found[site.serving.kind] = replace(machine, offer=offer)
    realtime = {site.serving.kind for site in asked.sites.values() if site.serving.realtime}
    machines = [machine for kind, machine in found.items() if kind in realtime] or list(found.values())
    if not machines:
        raise InfeasibleError(
            f"no machine on demand may serve some requests for {model}, so that nothing tells what they cost today",
            where="--workloads",
            fix="loosen allow and deny, or name more hardware and providers",
        )
    return machines


def baseline_for(load: TraceLoad, machines: list[CandidateMachine], options: Options, progress: Progress) -> Trial:
    """Return the cheapest arrangement in which nothing waits: always on or autoscaled, whichever is cheaper.

    Args:
        load: The requests.
        machines: Replicas, each on its cheapest machine.
        options: The present fleet, if there is one.
        progress: Told what is being tried.
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
    if len(load) <= _MOST_REQUESTS:
        return search.baseline()
    stretch = _busiest(realtime, _MOST_REQUESTS)
    always, scaled = replace(search, load=stretch).realtime(stretch)
    confirmed = _confirm_fixed(always, realtime, search)
    if search.present_replicas is None and scaled.feasible:
        whole = simulate_fleet(scaled.name, scaled.label, realtime, scaled.pools)
        if whole.feasible and whole.usd < confirmed.usd:
            return whole
    return confirmed


def _busiest(load: TraceLoad, count: int) -> TraceLoad:
    """Return the stretch of so many requests that takes least time, in which as many may break the SLO as in all."""
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


def _confirm_fixed(found: Trial, load: TraceLoad, search: Search) -> Trial:
    """Try a fleet that is always on on the whole load, with a machine more until it holds."""
    machine, pool = found.pools[0]
    for more in range(_MOST_CONFIRMED):
        trial = fixed_fleet(machine, load, pool.max_instances + more)
        search.progress(f"real time, always on, the whole trace: {trial.label}")
        if trial.feasible or search.present_replicas is not None:
            return trial
    raise InfeasibleError(
        "no fleet that is always on keeps the SLO", fix="loosen it with --slo, or use faster hardware"
    )
