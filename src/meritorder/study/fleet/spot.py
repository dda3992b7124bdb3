"""Spot machines: cheaper, and interrupted at a stated rate or as in a recorded fleet."""

import math
from collections.abc import Iterable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from zlib import crc32

import numpy as np

from meritorder import catalog as facts
from meritorder.domain import PricingModel
from meritorder.errors import CatalogError, TraceError
from meritorder.records.evidence import Assumption
from meritorder.sim.pools import Interruptions
from meritorder.sim.state import MAX_CEILINGS
from meritorder.study.fleet.machines import CandidateMachine
from meritorder.study.fleet.options import ASSUMED_INTERRUPTIONS_PER_MONTH, CompareOptions
from meritorder.traces.spot import read_spot
from meritorder.units import SECONDS_PER_HOUR, format_duration, interruptions_per_hour


def spot_machines(
    catalog: facts.Catalog, machines: list[CandidateMachine], options: CompareOptions, horizon_s: float
) -> list[CandidateMachine]:
    """Return the same replicas on spot machines of every size worth renting, without those that have none.

    Args:
        catalog: Prices.
        machines: Replicas on machines without interruptions.
        options: Providers, regions, and the recorded fleet if there is one.
        horizon_s: Until when work may run.

    Raises:
        TraceError: The recorded fleet cannot be read.
    """
    recorded = _recorded(options.spot_trace, horizon_s) if options.spot_trace else None
    spot: list[CandidateMachine] = []
    for label, machine in {machine.profile.replica.label: machine for machine in machines}.items():
        profile = machine.profile
        try:
            offers = catalog.machine_sizes(
                profile.hardware, profile.gpus, (PricingModel.SPOT,), options.providers, options.regions
            )
        except CatalogError:
            continue
        for offer in offers:
            share = offer.interruptions_per_month
            share = ASSUMED_INTERRUPTIONS_PER_MONTH if share is None else share
            drawn = draw_interruptions(interruptions_per_hour(share), f"{label} {offer.label}", options.seed)
            spot.append(replace(machine, offer=offer, interruptions=recorded or drawn))
    return spot


def draw_interruptions(per_hour: float, machine: str, seed: int) -> Interruptions | None:
    """Draw exponential lifetimes of spot machines; each kind draws its own, whatever other machines there are.

    Args:
        per_hour: Expected interruptions of a machine in an hour.
        machine: Name of the replica and its offer.
        seed: Seed of all draws.
    """
    if per_hour <= 0:
        return None
    random = np.random.default_rng([seed, crc32(machine.encode())])
    return Interruptions.draw(SECONDS_PER_HOUR / per_hour, random)


def _recorded(path: Path, horizon_s: float) -> Interruptions:
    """Read how many machines were available over time, repeated until the horizon.

    The record begins with the trace of requests; at its last time it begins again.
    """
    from_s, counts = read_spot(path)
    period_s = from_s[-1]
    rounds = math.ceil(horizon_s / period_s) if period_s else 1
    if rounds * len(counts) > MAX_CEILINGS:
        raise TraceError(
            f"{len(counts)} changes in {format_duration(period_s)} are too many for {format_duration(horizon_s)}",
            where=str(path),
            fix="select a shorter window of the requests (--from, --to)",
        )
    once = list(zip(from_s, counts, strict=True))[: -1 if rounds > 1 else None]
    changes = [(lap * period_s + at_s, count) for lap in range(rounds) for at_s, count in once]
    kept = [changes[0], *(later for before, later in pairwise(changes) if later[1] != before[1])]
    return Interruptions(ceiling_from_s=tuple(at_s for at_s, _ in kept), ceiling=tuple(count for _, count in kept))


def spot_assumptions(machines: Iterable[CandidateMachine], options: CompareOptions) -> list[Assumption]:
    """Return what was assumed about the interruptions of the machines for deferrable work."""
    machine = next((machine for machine in machines if machine.interruptions), None)
    if machine is None or machine.interruptions is None:
        return []
    if options.spot_trace:
        most = max(machine.interruptions.ceiling)
        text = (
            f"spot machines are available as recorded in {options.spot_trace.name} (at most {most}), repeated from the "
            "first request on; those above that number are interrupted without warning, and their work is lost"
        )
        return [Assumption(text=text, option="--spot-trace")]
    share = machine.offer.interruptions_per_month
    text = (
        f"spot machines are interrupted at the rate that the provider states: {share:.1%} of them a month"
        if share is not None
        else f"spot machines are interrupted at an assumed rate of {ASSUMED_INTERRUPTIONS_PER_MONTH:.0%} a month"
    )
    return [Assumption(text=f"{text}, at random, and their work is lost", option="--spot")]
