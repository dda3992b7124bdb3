"""How sure a saving is: what becomes of it where replicas are as fast as those that were measured.

The performance model errs, and how far is known: the ratios of measured to simulated paces on what a profile was not
fitted to (`perf.accuracy`). Such ratios are drawn, and at quantiles of the draws the search is run again with every
step of each replica longer or shorter by so much. Whole machines are bought anew each time, so that the saving jumps.
"""

from dataclasses import replace
from typing import Final

from meritorder.errors import InfeasibleError
from meritorder.evidence import Interval
from meritorder.perf.accuracy import Accuracy, accuracy
from meritorder.study.fleet.fleets import CandidateMachine
from meritorder.study.fleet.search import Search, SearchResult
from meritorder.units import format_share

# Nine in ten draws lie between the first level and the last; those in between catch the jumps.
_LEVELS: Final = (0.05, 0.275, 0.725, 0.95)


def saving_interval(found: SearchResult, search: Search, seed: int) -> Interval | None:
    """Return between what the saving lies in nine of ten draws; None if there is none, or if nothing was measured.

    Args:
        found: The answer.
        search: The search that found it.
        seed: Of the draws.
    """
    if found.mix.usd >= found.baseline.usd:
        return None
    used = _machines_of(found)
    errors = [each for each in (accuracy(machine.profile) for machine in used) if each is not None]
    if len(errors) < len(used):
        return None
    shares = [1 - found.mix.usd / found.baseline.usd]
    for level in range(len(_LEVELS)):
        again = replace(
            search,
            machines=[_at(level, machine, seed) for machine in used if machine.interruptions is None],
            batch_machine=_at(level, search.batch_machine, seed),
            on_demand_machine=search.on_demand_machine and _at(level, search.on_demand_machine, seed),
            autoscale=found.baseline.autoscales or found.mix.autoscales,
            tried=[],
        )
        try:
            shares.append(again.saving_share())
        except InfeasibleError:
            continue
    return Interval(low=min(shares), high=max(shares), basis=_basis(errors, seed))


def _machines_of(found: SearchResult) -> list[CandidateMachine]:
    used: list[CandidateMachine] = []
    for machine in (machine for trial in (found.baseline, found.mix) for machine, _ in trial.pools):
        if machine not in used:
            used.append(machine)
    return used


def _at(level: int, machine: CandidateMachine, seed: int) -> CandidateMachine:
    """Return a machine that is as slow as its profile's residuals are at a level."""
    known = accuracy(machine.profile)
    return machine.slowed(float(known.factors(_LEVELS, seed)[level])) if known else machine


def _basis(errors: list[Accuracy], seed: int) -> str:
    widest = max(errors, key=lambda each: each.error)
    first, *_, last = widest.factors(_LEVELS, seed)
    return (
        f"every step of a replica from {_change(float(first))} to {_change(float(last))} "
        f"({'nine in ten of ' if widest.pace_ratios else ''}{widest.basis}), whole machines bought anew each time"
    )


def _change(factor: float) -> str:
    return f"{format_share(abs(factor - 1))} {'longer' if factor >= 1 else 'shorter'}"
