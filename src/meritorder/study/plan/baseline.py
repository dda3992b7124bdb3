"""What the plan is compared with: the cheapest real-time arrangement, or the fleet that there is."""

from dataclasses import replace
from typing import Final

import numpy as np

from meritorder.errors import InfeasibleError
from meritorder.study.fleets import Trial, fixed, serve
from meritorder.study.load import Load
from meritorder.study.options import Options
from meritorder.study.plan.supply import Serving
from meritorder.study.search import Progress, Search

# Loads of more requests are searched on their busiest stretch of about so many, and confirmed on all.
_MOST_REQUESTS: Final = 2_000_000
_MOST_CONFIRMED: Final = 4


def baseline_for(load: Load, servings: list[Serving], options: Options, progress: Progress) -> Trial:
    """Return the cheapest arrangement in which nothing waits: always on or autoscaled, whichever is cheaper.

    Args:
        load: The requests.
        servings: Kinds of replicas; each is tried on its cheapest machine.
        options: The present fleet, if there is one.
        progress: Told what is being tried.
    """
    realtime = load.all_realtime()
    machines = [one.machine for one in servings if one.realtime] or [one.machine for one in servings]
    search = Search(
        load=realtime,
        machines=sorted(machines, key=lambda machine: machine.usd_of_work(load)),
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
    if search.present_replicas is None and scaled.kept and scaled.usd / stretch.span_s < confirmed.usd / load.span_s:
        whole = serve(scaled.name, scaled.label, realtime, scaled.pools)
        if whole.kept and whole.usd < confirmed.usd:
            return whole
    return confirmed


def _busiest(load: Load, count: int) -> Load:
    """Return the stretch of so many requests that takes least time, in which as many may break the SLO as in all."""
    first = int(np.argmin(load.arrived_s[count - 1 :] - load.arrived_s[: len(load) - count + 1]))
    stretch = load.only(np.arange(first, first + count))
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


def _confirm_fixed(found: Trial, load: Load, search: Search) -> Trial:
    """Try a fleet that is always on on the whole load, with a machine more until it holds."""
    machine, pool = found.pools[0]
    for more in range(_MOST_CONFIRMED):
        trial = fixed(machine, load, pool.most_instances + more)
        search.progress(f"real time, always on, the whole trace: {trial.label}")
        if trial.kept or search.present_replicas is not None:
            return trial
    raise InfeasibleError(
        "no fleet that is always on keeps the SLO", fix="loosen it with --slo, or use faster hardware"
    )
