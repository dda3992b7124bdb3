"""The volume at which one machine in real time costs as much as tokens."""

from collections.abc import Callable
from dataclasses import replace
from typing import Final

import numpy as np

from meritorder.errors import InfeasibleError
from meritorder.offers import TokenPrice
from meritorder.sim.pools import Fixed
from meritorder.study.compare.arrangements import price_tokens
from meritorder.study.compare.compare import SearchedTrace
from meritorder.study.fleet.fleets import fixed_fleet, max_utilization_within_slo
from meritorder.study.fleet.load import TraceLoad
from meritorder.study.fleet.machines import CandidateMachine
from meritorder.units import HOURS_PER_DAY, SECONDS_PER_DAY, SECONDS_PER_HOUR, format_usd

LoadOfVolume = Callable[[float], TraceLoad]
"""Makes the requests of a volume per day, all in real time."""

# Largest volume that is simulated, and the machines that are tried.
_MAX_REQUESTS: Final = 300_000
_MACHINES: Final = 3
# Machines and requests whose highest utilization within the SLO stands for that of a large fleet.
_LARGE_FLEET: Final = 8
_LARGE_FLEET_REQUESTS: Final = 8_000


def break_even_volume(
    searched: SearchedTrace, standard: TokenPrice | None, load_of: LoadOfVolume
) -> tuple[float | None, str]:
    """Return the requests per day at which real time on a machine costs as much as tokens, and a note.

    One machine, always on, is the least that real time costs. The volume at which tokens cost as much is the answer if
    the machine serves that volume within the SLO, which is simulated.

    Args:
        searched: The cheapest fleets of the traffic as stated.
        standard: The token price at the standard tier, None if there is none.
        load_of: Makes requests of any volume.
    """
    load = searched.load.all_realtime()
    if standard is None:
        return None, "no provider sells this model as tokens, so there is no price to break even with"
    token_usd = price_tokens(standard, load) / len(load)
    rate = f"{format_usd(1000 * token_usd)} per 1,000 requests ({standard.provider}, standard)"
    machines = searched.search.machines
    work_usd = min(machine.price_work(load) for machine in machines) / len(load)
    if work_usd >= token_usd:
        return None, (
            f"at no volume: even fully used, machines cost {format_usd(1000 * work_usd)} per 1,000 requests, "
            f"more than tokens at {rate}"
        )
    by_price = sorted(machines, key=lambda machine: machine.offer.usd_per_hour)[:_MACHINES]
    volumes = [machine.offer.usd_per_hour * HOURS_PER_DAY / token_usd for machine in by_price]
    for machine, volume in zip(by_price, volumes, strict=True):
        times = volume / len(load) * load.span_s / SECONDS_PER_DAY
        if not 1 <= volume <= _MAX_REQUESTS or times * _busiest_hour(machine, load) > 1:
            continue
        if _serves(machine, load_of(volume)):
            hourly = format_usd(machine.offer.usd_per_hour)
            return volume, f"one {machine.offer.label} at {hourly} an hour serves it, always on; tokens cost {rate}"
    first, volume = by_price[0], volumes[0]
    too_slow = volume <= _MAX_REQUESTS or first.price_work(load) / len(load) > token_usd
    but = "but does not serve them within the SLO" if too_slow else "more than are simulated"
    # A fleet that follows the load without a gap has the highest utilization that keeps the SLO.
    best = min(machines, key=lambda machine: machine.price_work(load))
    large = best.pool(Fixed(instances=_LARGE_FLEET), realtime=True, backfill=None)
    many = load_of(_LARGE_FLEET_REQUESTS)
    following_usd = best.price_work(many) / len(many) / max_utilization_within_slo(best, large, many)
    cheaper = "less" if following_usd < token_usd else "more"
    return None, (
        f"one {first.offer.label} costs as much as tokens at {volume:,.0f} requests a day, {but}; a large fleet of "
        f"{best.offer.label} that follows the load exactly would cost {format_usd(1000 * following_usd)} per 1,000 "
        f"requests, {cheaper} than tokens at {rate}"
    )


def _busiest_hour(machine: CandidateMachine, load: TraceLoad) -> float:
    """Return the work that arrives in the busiest hour / the work that one machine does in an hour."""
    hours = (load.arrived_s * load.pace // SECONDS_PER_HOUR).astype(np.int64)
    return float(np.bincount(hours, machine.work_s(load)).max()) * load.pace / SECONDS_PER_HOUR / machine.replicas


def _serves(machine: CandidateMachine, load: TraceLoad) -> bool:
    """Whether one machine, always on, serves a load within the SLO."""
    try:
        return fixed_fleet(machine, replace(load, verdict_suffices=True), 1).feasible
    except InfeasibleError:
        return False
