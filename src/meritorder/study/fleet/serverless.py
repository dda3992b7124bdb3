"""Serverless GPUs: workers that are billed by the second, start when a request comes, and stop when they are idle.

A worker starts cold, stays warm for a time after its last request, and is paid from its start to its end. Its cold
starts are simulated and count against the SLO as any other wait.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from meritorder import catalog as facts
from meritorder.domain import PricingModel
from meritorder.errors import CatalogError
from meritorder.records.evidence import Assumption
from meritorder.sim.pools import Autoscaled
from meritorder.study.fleet.fleets import Trial, autoscaler_targets, simulate_fleet
from meritorder.study.fleet.load import TraceLoad
from meritorder.study.fleet.machines import CandidateMachine
from meritorder.study.fleet.options import CompareOptions, Progress
from meritorder.units import format_count, format_duration

# Serverless platforms start a worker when a request waits, not at the next of a controller's decisions.
_DECISION_S: Final = 1.0
_MAX_WORKERS: Final = 256
# Workers that always run: none, and one that answers while others start.
_ALWAYS_ON: Final = (0, 1)
# Assumed where a provider states no default: that of Modal (scaledown_window, docs of 2026).
_ASSUMED_KEEP_WARM_S: Final = 60.0
_FIX: Final = "list them with meritorder prices --pricing-model serverless, or add a price with --catalog"


def serverless_machines(
    catalog: facts.Catalog, machines: Sequence[CandidateMachine], options: CompareOptions
) -> list[CandidateMachine]:
    """Return the same replicas on serverless workers.

    Raises:
        CatalogError: No provider has a serverless price for these replicas.
    """
    start_s = options.cold_start_s
    workers: list[CandidateMachine] = []
    for machine in {machine.profile.replica.label: machine for machine in machines}.values():
        profile = machine.profile
        # All of them: the cheapest by the hour may stay warm for longest.
        offers = catalog.select_offers(
            profile.hardware, options.providers or None, options.regions or None, PricingModel.SERVERLESS, profile.gpus
        )
        # A worker is one replica.
        workers += [
            replace(machine, offer=offer, startup_s=start_s, startup_paid_s=start_s, interruptions=None)
            for offer in offers
            if offer.gpus == profile.gpus
        ]
    if not workers:
        named = ", ".join(dict.fromkeys(machine.profile.replica.label for machine in machines))
        raise CatalogError(f"no serverless price is known for {named}", where="--serverless", fix=_FIX)
    return workers


def keep_warm_s(machine: CandidateMachine, options: CompareOptions) -> float:
    """Return how long a worker stays warm after its last request."""
    if options.keep_warm_s is not None:
        return options.keep_warm_s
    stated = machine.offer.keep_warm_s
    return _ASSUMED_KEEP_WARM_S if stated is None else stated


def serverless_fleet(
    machine: CandidateMachine, load: TraceLoad, target: float, minimum: int, *, warm_s: float
) -> Trial:
    """Serve all requests in real time on workers that start for them.

    Args:
        machine: The worker.
        load: What is served.
        target: Requests in flight that one worker should have.
        minimum: Workers that always run.
        warm_s: How long a worker stays warm after its last request.
    """
    workers = min(_MAX_WORKERS, len(load))
    scaling = Autoscaled(
        target_in_flight=target, minimum=minimum, maximum=workers, initial=minimum, stabilization_s=warm_s
    )
    always_on = format_count(minimum, "worker") if minimum else "no worker"
    label = (
        f"{always_on} always on, one more for {format_count(round(target), 'request')} in flight, "
        f"cold start {format_duration(machine.startup_s)}, warm for {format_duration(warm_s)}"
    )
    pool = machine.pool(scaling, realtime=True, backfill=None)
    # The last workers are paid until they are no longer warm; a worker that always runs is paid for the span alone.
    tail_s = 0.0 if minimum else machine.startup_s + float(machine.residence_s(load).max()) + warm_s + _DECISION_S
    return simulate_fleet("realtime_serverless", label, load, ((machine, pool),), decision_s=_DECISION_S, tail_s=tail_s)


def search_serverless(
    load: TraceLoad, machines: Sequence[CandidateMachine], options: CompareOptions, progress: Progress
) -> Trial:
    """Return the cheapest serverless fleet that meets every SLO; if none does, the one with the highest attainment.

    Args:
        load: Requests, all in real time.
        machines: The workers, at least one.
        options: How long workers stay warm.
        progress: Receives each fleet that was simulated.
    """
    best: Trial | None = None
    for machine in machines:
        for minimum in _ALWAYS_ON:
            trial = _fewest_workers(machine, load, minimum, keep_warm_s(machine, options), progress)
            if best is None or _rank(trial) < _rank(best):
                best = trial
    if best is None:
        raise ValueError("machines: a search needs at least one")
    return best


def _fewest_workers(
    machine: CandidateMachine, load: TraceLoad, minimum: int, warm_s: float, progress: Progress
) -> Trial:
    """Return the fleet with the highest target of requests in flight that meets the SLO, found by bisection."""
    targets = autoscaler_targets(machine)
    low, high, best = -1, len(targets), None
    while high - low > 1:
        middle = (low + high) // 2
        trial = serverless_fleet(machine, load, targets[middle], minimum, warm_s=warm_s)
        progress(f"serverless: {machine.offer.label}, SLO met for {trial.slo_attainment or 1:.1%}")
        if trial.feasible:
            low = middle
        else:
            high = middle
        if best is None or _rank(trial) < _rank(best):
            best = trial
    if best is None:
        raise ValueError("targets: a search needs at least one")
    return best


def _rank(trial: Trial) -> tuple[bool, float, float]:
    """Order fleets: those that meet the SLO by cost, the others by how many requests do."""
    return not trial.feasible, 0.0 if trial.feasible else -(trial.slo_attainment or 0.0), trial.usd


def serverless_assumptions(trial: Trial | None, options: CompareOptions) -> list[Assumption]:
    """Return what was assumed about the workers of a fleet."""
    if trial is None:
        return []
    machine = trial.machine
    lines = [
        Assumption(
            text=f"a serverless worker serves {format_duration(machine.startup_s)} after the request that starts it, "
            "and is paid from its start",
            option="--cold-start",
        )
    ]
    if options.keep_warm_s is None:
        source = "its provider's default" if machine.offer.keep_warm_s is not None else "assumed"
        warm = format_duration(keep_warm_s(machine, options))
        lines.append(
            Assumption(text=f"it stays warm for {warm} after its last request ({source})", option="--keep-warm")
        )
    return lines
