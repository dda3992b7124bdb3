"""The fleet, always on, for traffic of which only a part of the rate is simulated: sized on its busiest minutes."""

import math
from dataclasses import replace
from typing import Final

import numpy as np

from meritorder.errors import InfeasibleError
from meritorder.records.estimation import Way
from meritorder.study.compare.certainty import cost_interval
from meritorder.study.compare.compare import SearchedTrace
from meritorder.study.fleet.fleets import Trial, search_fixed_fleet
from meritorder.study.fleet.load import TraceLoad
from meritorder.study.fleet.machines import CandidateMachine
from meritorder.traces.generated.synthetic import Traffic
from meritorder.units import HOURS_PER_DAY, HOURS_PER_MONTH, SECONDS_PER_DAY, format_count, format_duration

# Requests of the busiest minutes, and the machines that are tried beside that of separate fleets: of the cheapest work.
_REQUESTS: Final = 50_000
_MACHINES: Final = 2
# The minutes last this many times as long as a request; in a shorter time no queue shows.
_RESIDENCES: Final = 20
_ROUNDING: Final = 1e-9


def always_on_way(searched: SearchedTrace, traffic: Traffic, certainty: str) -> Way | None:
    """Return the cheapest fleet that keeps the SLO in the busiest hour; None if separate fleets cost less.

    Args:
        searched: The cheapest fleets of a part of the rate.
        traffic: The traffic as stated.
        certainty: How certain the speed of the machines is.
    """
    realtime = searched.load.all_realtime()
    rate_per_s = traffic.requests_per_day * traffic.peak_to_mean / SECONDS_PER_DAY
    apart = searched.result.always_on
    simulated = len(realtime) / realtime.span_s * SECONDS_PER_DAY
    count = math.ceil(apart.pools[0][1].max_instances * traffic.requests_per_day / simulated - _ROUNDING)
    most_usd_per_hour = count * apart.machine.offer.usd_per_hour
    smallest = None
    others = (machine for machine in searched.search.machines[:_MACHINES] if machine is not apart.machine)
    for machine in (apart.machine, *others):
        span_s = max(_REQUESTS / rate_per_s, _RESIDENCES * float(machine.residence_s(realtime).mean()))
        parts = rate_per_s * span_s / _REQUESTS
        most = most_usd_per_hour / machine.offer.usd_per_hour / parts
        trial = _smallest(machine, _busiest(realtime, _REQUESTS / span_s), most)
        if trial is not None:
            count = math.ceil(trial.pools[0][1].max_instances * parts - _ROUNDING)
            if count * machine.offer.usd_per_hour <= most_usd_per_hour:
                most_usd_per_hour, smallest = count * machine.offer.usd_per_hour, (count, parts, trial)
    if smallest is None:
        return None
    count, parts, trial = smallest
    usd = most_usd_per_hour * HOURS_PER_MONTH
    rate = f"one part in {parts:,.1f} of the rate" if parts > 1 + _ROUNDING else "the full rate"
    return Way(
        name="realtime_fixed",
        title="Real time, always on",
        where=trial.machine.offer.label,
        usd=usd,
        usd_per_request=usd / (traffic.requests_per_day * HOURS_PER_MONTH / HOURS_PER_DAY),
        in_time=True,
        certainty=certainty,
        usd_interval=cost_interval(usd, [trial.machine]),
        note=f"{format_count(count, 'machine')}, sized on {format_duration(trial.load.span_s)} of the busiest hour "
        f"at {rate}",
    )


def _busiest(load: TraceLoad, rate_per_s: float) -> TraceLoad:
    """Return requests of these lengths that arrive at a constant rate, a Poisson process."""
    random = np.random.default_rng(0)
    chosen = load.select(np.sort(random.integers(0, len(load), _REQUESTS)))
    arrived_s = np.cumsum(random.exponential(1 / rate_per_s, _REQUESTS))
    return replace(chosen, arrived_s=arrived_s, span_s=float(arrived_s[-1]), verdict_suffices=True)


def _smallest(machine: CandidateMachine, load: TraceLoad, most: float) -> Trial | None:
    """Return the fewest machines that keep the SLO; None if no number up to the most does."""
    smallest = None
    try:
        for trial in search_fixed_fleet(machine, load):
            if trial.feasible:
                smallest = trial
            elif smallest is None and trial.pools[0][1].max_instances >= most:
                return None
    except InfeasibleError:
        return None
    return smallest
