"""The interval of a saving, from the measured error of the performance model.

The error is known: the ratios of measured to simulated paces on data that a profile was not fitted to
(`perf.accuracy`). Such ratios are drawn, and at quantiles of the draws the search runs again with every step of each
replica longer or shorter by that factor. Whole machines are chosen anew each time, so the saving jumps.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Final

from meritorder.errors import InfeasibleError
from meritorder.perf.accuracy import Accuracy, expected_accuracy
from meritorder.records.evidence import Interval
from meritorder.sim.run import THREADS
from meritorder.study.fleet.fleets import machines_used
from meritorder.study.fleet.machines import CandidateMachine
from meritorder.study.fleet.result import SearchResult
from meritorder.study.fleet.search import Search
from meritorder.units import format_share

# Nine in ten draws lie between the first level and the last; those in between catch the jumps.
_LEVELS: Final = (0.05, 0.275, 0.725, 0.95)
# Loads of more requests need larger fleets, which jump less: the outer levels do.
_MANY_REQUESTS: Final = 500_000


def cost_interval(usd: float, machines: Sequence[CandidateMachine]) -> Interval | None:
    """Return the range of a cost that holds in eight of ten cases; None if a machine's speed was never measured.

    A cost is taken to grow with the time of a step, as work on machines that are full does.

    Args:
        usd: The cost.
        machines: The machines that it pays for; the least certain decides.
    """
    known = [expected_accuracy(machine.profile) for machine in machines]
    errors = [error for error in known if error is not None]
    if not errors or len(errors) < len(known):
        return None
    factors = [error.cost_factors() for error in errors]
    widest = max(range(len(factors)), key=lambda index: factors[index][1] / factors[index][0])
    low, high = factors[widest]
    basis = f"eight in ten servers of other sources, with the errors of {errors[widest].basis}"
    return Interval(low=usd * low, high=usd * high, basis=basis)


def saving_interval(result: SearchResult, search: Search, seed: int) -> Interval | None:
    """Return the range of the saving over nine in ten draws; None without a saving or without measurements.

    Args:
        result: The result of the search.
        search: The search.
        seed: Seed of the draws.
    """
    if result.mix.usd >= result.baseline.usd:
        return None
    used = machines_used(result.baseline, result.mix)
    known = [expected_accuracy(machine.profile) for machine in used]
    errors = [error for error in known if error is not None]
    if len(errors) < len(used):
        return None
    last = len(_LEVELS) - 1
    levels = range(last + 1) if len(search.load) <= _MANY_REQUESTS else (0, last)
    searches = [
        replace(
            search,
            load=replace(search.load, verdict_suffices=True),
            machines=[_slowed(machine, level, seed) for machine in used if machine.interruptions is None],
            batch_machines=[_slowed(machine, level, seed) for machine in used],
            autoscale=result.baseline.autoscales or result.mix.autoscales,
            tried=[],
            lane_alone=None,
            waiting_usd={},
        )
        for level in levels
    ]
    with ThreadPoolExecutor(max_workers=THREADS) as threads:
        slowed = [share for share in threads.map(_saving_share, searches) if share is not None]
    shares = [1 - result.mix.usd / result.baseline.usd, *slowed]
    return Interval(low=min(shares), high=max(shares), basis=_basis(errors, seed))


def _saving_share(search: Search) -> float | None:
    """Return the share that deferral saves, None if no fleet meets the SLO."""
    try:
        return search.saving_share()
    except InfeasibleError:
        return None


def _slowed(machine: CandidateMachine, level: int, seed: int) -> CandidateMachine:
    """Return a machine slowed by the error of its profile at a level."""
    known = expected_accuracy(machine.profile)
    return machine.slowed(float(known.factors(_LEVELS, seed)[level])) if known else machine


def _basis(errors: Sequence[Accuracy], seed: int) -> str:
    widest = max(errors, key=lambda accuracy: accuracy.error)
    first, *_, last = widest.factors(_LEVELS, seed)
    return (
        f"every step of a replica from {_change(float(first))} to {_change(float(last))} "
        f"({'nine in ten of ' if widest.pace_ratios else ''}{widest.basis}), whole machines chosen anew each time"
    )


def _change(factor: float) -> str:
    return f"{format_share(abs(factor - 1))} {'longer' if factor >= 1 else 'shorter'}"
