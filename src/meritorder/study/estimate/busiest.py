"""The fleet, always on, for traffic of which only a part of the rate is simulated: sized on its busiest minutes."""

from dataclasses import replace
from typing import Final

import numpy as np

from meritorder.errors import InfeasibleError
from meritorder.estimation import Way
from meritorder.study.compare.compare import SearchedTrace
from meritorder.study.fleet.fleets import Trial, search_fixed_fleet
from meritorder.study.fleet.load import TraceLoad
from meritorder.study.fleet.machines import CandidateMachine
from meritorder.traces.synthetic import Traffic
from meritorder.units import HOURS_PER_DAY, HOURS_PER_MONTH, SECONDS_PER_DAY, format_count, format_duration

# Requests of the busiest minutes, and the machines that are tried, those of the cheapest work.
_REQUESTS: Final = 150_000
_MACHINES: Final = 2


def always_on_way(searched: SearchedTrace, traffic: Traffic, certainty: str) -> Way | None:
    """Return the cheapest fleet that keeps the SLO at the full rate of the busiest hour; None if none does.

    Args:
        searched: The cheapest fleets of a part of the rate.
        traffic: The traffic as stated.
        certainty: How certain the speed of the machines is.
    """
    load = _busiest(searched.load.all_realtime(), traffic)
    found = [(machine, _smallest(machine, load)) for machine in searched.search.machines[:_MACHINES]]
    sized = [
        (trial.pools[0][1].max_instances * machine.offer.usd_per_hour, machine, trial)
        for machine, trial in found
        if trial is not None
    ]
    if not sized:
        return None
    usd_per_hour, machine, trial = min(sized, key=lambda entry: entry[0])
    usd = usd_per_hour * HOURS_PER_MONTH
    count = format_count(trial.pools[0][1].max_instances, "machine")
    return Way(
        name="realtime_fixed",
        title="Real time, always on",
        where=machine.offer.label,
        usd=usd,
        usd_per_request=usd / (traffic.requests_per_day * HOURS_PER_MONTH / HOURS_PER_DAY),
        in_time=True,
        certainty=certainty,
        note=f"{count}, sized on {format_duration(load.span_s)} of the busiest hour at the full rate",
    )


def _busiest(load: TraceLoad, traffic: Traffic) -> TraceLoad:
    """Return requests of these lengths that arrive as in the busiest hour, a Poisson process."""
    random = np.random.default_rng(0)
    chosen = load.select(np.sort(random.integers(0, len(load), _REQUESTS)))
    rate_per_s = traffic.requests_per_day * traffic.peak_to_mean / SECONDS_PER_DAY
    arrived_s = np.cumsum(random.exponential(1 / rate_per_s, _REQUESTS))
    return replace(chosen, arrived_s=arrived_s, span_s=float(arrived_s[-1]))


def _smallest(machine: CandidateMachine, load: TraceLoad) -> Trial | None:
    """Return the fewest machines that keep the SLO; None if no number does."""
    smallest = None
    try:
        for trial in search_fixed_fleet(machine, load):
            smallest = trial if trial.feasible else smallest
    except InfeasibleError:
        return None
    return smallest
