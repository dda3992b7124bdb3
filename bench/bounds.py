"""Lower bound on cost against the cheapest arrangement known: random loads, fleets of `compare`, searched schedules."""

import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from meritorder import catalog as facts
from meritorder.domain import Lane, Slo, Workload
from meritorder.errors import MeritorderError
from meritorder.sim.pools import DeadlineScaled, Scheduled
from meritorder.study.bound.bound import lower_bound_usd
from meritorder.study.bound.supplies import Supply
from meritorder.study.fleet.fleets import Trial, max_deadline_machines, rejudge, search_fixed_fleet, simulate_fleet
from meritorder.study.fleet.load import TraceLoad
from meritorder.study.fleet.machines import CandidateMachine, find_machines, max_backfill, unrestricted_backfill
from meritorder.study.fleet.options import CompareOptions
from meritorder.study.fleet.search import Search
from meritorder.units import SECONDS_PER_HOUR

Floats = NDArray[np.float64]

LOADS: Final = 60
MODELS: Final = ("llama-3.1-8b", "qwen3-32b", "llama-3.1-70b")
HARDWARE: Final = (("a100",), ("h100",), ("a100", "h100"), ("l40s", "h100"))
DEFER_SHARES: Final = (0.0, 0.0, 0.3, 1.0)
SLOTS_S: Final = (15.0, 60.0, 300.0)
TICK_S: Final = 15.0
MOVES: Final = 300
RUNS_S: Final = (15.0, 60.0, 180.0, 600.0)
MAX_SLOTS: Final = 4000
# What rounding may leave between two sums.
TOLERANCE: Final = 1 + 1e-9


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A load and the machines that may serve it."""

    name: str
    load: TraceLoad
    machines: list[CandidateMachine]


def draw_case(seed: int, most_requests: float) -> Case:
    """Draw arrivals (Poisson, bursts, clockwork or a daily cycle), lengths, promises, a model and its machines."""
    rng = np.random.default_rng(seed)
    count = round(10 ** rng.uniform(0, np.log10(most_requests)))
    span_s = float(rng.choice([0.5, 2, 8, 24])) * SECONDS_PER_HOUR
    kind = str(rng.choice(["poisson", "bursts", "clockwork", "day"]))
    arrived_s = _arrivals(kind, count, span_s, rng)
    input_tokens = np.clip(rng.lognormal(np.log(rng.choice([200, 1200])), 0.8, count), 1, 6000).astype(np.int32)
    output_tokens = np.clip(rng.lognormal(np.log(rng.choice([50, 300])), 0.8, count), 1, 2000).astype(np.int32)
    slo = Slo(ttft_s=float(rng.choice([1.0, 2.0, 5.0])), tpot_s=0.1, attainment=float(rng.choice([0.9, 0.99])))
    share, patience_s = float(rng.choice(DEFER_SHARES)), float(rng.choice([1, 4])) * SECONDS_PER_HOUR
    waits = rng.random(count) < share
    workloads = (
        Workload(name="chat", lane=Lane.REALTIME, slo=slo),
        Workload(name="jobs", lane=Lane.DEFERRABLE, deadline="4h"),
    )
    load = TraceLoad(
        arrived_s=arrived_s,
        input_tokens=input_tokens,
        cached_tokens=np.zeros(count, np.int32),
        output_tokens=output_tokens,
        deadline_s=np.where(waits, arrived_s + patience_s, np.inf),
        ttft_limit_s=np.full(count, slo.ttft_s),
        tpot_limit_s=np.full(count, slo.tpot_s),
        workload=waits.astype(np.int32),
        workloads=workloads,
        attainment=slo.attainment,
        span_s=span_s,
    )
    model, hardware = str(rng.choice(MODELS)), HARDWARE[int(rng.integers(len(HARDWARE)))]
    catalog = facts.load(())
    options = CompareOptions(model=model, hardware=hardware)
    machines = find_machines(catalog, catalog.find_model(model), load, options, lambda _: None)
    name = (
        f"{seed}: {count:,} {kind}, {span_s / SECONDS_PER_HOUR:g} h, {model}, {'+'.join(hardware)}, {share:.0%} waits"
    )
    return Case(name=name, load=load, machines=machines[:4])


def _arrivals(kind: str, count: int, span_s: float, rng: np.random.Generator) -> Floats:
    match kind:
        case "clockwork":
            at_s = np.linspace(0, span_s, count, endpoint=False)
        case "bursts":
            centers_s = rng.uniform(0, 0.9 * span_s, max(1, count // 40))
            at_s = rng.choice(centers_s, count) + rng.exponential(20.0, count)
        case "day":
            at_s = span_s * np.clip(rng.normal(0.5, 0.15, count), 0, 1)
        case _:
            at_s = rng.uniform(0, span_s, count)
    return np.sort(np.clip(at_s, 0, span_s))


def known_arrangements(case: Case) -> list[Trial]:
    """Return the feasible fleets of `compare`, and those that are found by local search over schedules."""
    load, machines = case.load, case.machines
    search = Search(
        load=load,
        machines=machines,
        batch_machines=machines,
        patience_s=4 * SECONDS_PER_HOUR,
        progress=lambda _: None,
    )
    try:
        found = search.run()
    except MeritorderError:
        return []
    realtime = [rejudge(trial, load, trial.name, trial.label) for trial in (found.fixed, found.autoscaled)]
    trials = [found.mix, *realtime]
    rng = np.random.default_rng(0)
    for machine in machines if not load.deferrable.all() else []:
        fixed = [trial for trial in search_fixed_fleet(machine, load.select(~load.deferrable)) if trial.feasible]
        if fixed:
            instances = fixed[-1].pools[0][1].max_instances
            trials += [search_schedule(case, machine, instances, slot_s, rng) for slot_s in SLOTS_S]
    if load.deferrable.all():
        trials += [trial for machine in machines for trial in batch_schedules(load, machine)]
    return [trial for trial in trials if trial.feasible]


def batch_schedules(load: TraceLoad, machine: CandidateMachine) -> Iterator[Trial]:
    """Yield schedules of deferrable work alone: a few machines for a while, as late as the next deadline allows."""
    for run_s in RUNS_S:
        for instances in (1, 2, 4):
            for margin_s in (30.0, 120.0):
                counts = np.zeros(int(load.deadline_s.max() / TICK_S) + 1, np.int64)
                served_s = -np.inf
                for due_s, arrived_s in sorted(zip(load.deadline_s, load.arrived_s, strict=True)):
                    if arrived_s > served_s:
                        served_s = max(due_s - run_s - margin_s, arrived_s)
                        counts[int(served_s / TICK_S) + 1 : int((served_s + run_s) / TICK_S) + 2] = instances
                slot_s = TICK_S * np.ceil(len(counts) / MAX_SLOTS)
                counts = np.maximum.reduceat(counts, np.arange(0, len(counts), int(slot_s / TICK_S)))
                scaling = Scheduled(instances=(*counts.tolist(), 0), slot_s=slot_s, ahead_s=machine.startup_s)
                pool = machine.pool(scaling, realtime=False, backfill=unrestricted_backfill(machine.limits))
                yield simulate_fleet("schedule", "batch", load, ((machine, pool),))


def search_schedule(
    case: Case, machine: CandidateMachine, instances: int, slot_s: float, rng: np.random.Generator
) -> Trial:
    """Remove machines from random stretches of a schedule as long as it keeps every promise and costs less."""
    load = case.load
    slot_s = max(slot_s, np.ceil(load.span_s / MAX_SLOTS / TICK_S) * TICK_S)
    slots = int(np.ceil(load.span_s / slot_s)) + 1
    arrives = np.ceil(load.arrived_s[~load.deferrable] / slot_s).astype(np.int64) - 1
    candidates = [np.full(slots, level) for level in range(1, instances + 1)]
    for tail in (0, 1, 3):
        needed = np.zeros(slots, np.int64)
        for later in range(tail + 1):
            needed[np.clip(arrives + later, 0, slots - 1)] = 1
        for gap_s in (0.0, machine.startup_paid_s, 2 * machine.startup_paid_s):
            bridged = _bridged(needed, int(gap_s / slot_s))
            candidates += [level * bridged for level in {1, 2, instances}]
    trials = [(_scheduled(case, machine, counts, slot_s), counts) for counts in candidates]
    best, counts = min(trials, key=lambda pair: (not pair[0].feasible, pair[0].usd))
    for move in range(MOVES):
        tried = counts.copy()
        begins = np.flatnonzero(np.diff(counts, prepend=0) > 0)
        if move % 2 and len(begins):
            # A whole stay of machines.
            first = int(rng.choice(begins))
            drops = np.flatnonzero(counts[first:] < counts[first])
            length = int(drops[0]) if len(drops) else slots - first
        else:
            length = int(np.ceil(slots ** rng.random()))
            first = int(rng.integers(-length + 1, slots))
        tried[max(first, 0) : first + length] = np.maximum(tried[max(first, 0) : first + length] - 1, 0)
        if (tried == counts).all():
            continue
        trial = _scheduled(case, machine, tried, slot_s)
        if trial.feasible and trial.usd < best.usd:
            best, counts = trial, tried
    return best


def _bridged(needed: NDArray[np.int64], longest: int) -> NDArray[np.int64]:
    """Return the slots that need machines, with gaps closed that are no longer than a number of slots."""
    bridged, places = needed.copy(), np.flatnonzero(needed)
    for before, after in pairwise(places.tolist()):
        if after - before - 1 <= longest:
            bridged[before:after] = 1
    return bridged


def _scheduled(case: Case, machine: CandidateMachine, counts: NDArray[np.int64], slot_s: float) -> Trial:
    load = case.load
    if not counts.any():
        counts = np.concatenate(([1], counts[1:]))
    scaling = Scheduled(instances=tuple(counts.tolist()), slot_s=slot_s, ahead_s=machine.startup_s)
    if not load.deferrable.any():
        pool = machine.pool(scaling, realtime=True, backfill=None)
        return simulate_fleet("schedule", "searched", load, ((machine, pool),))
    batch = min(case.machines, key=lambda machine: machine.price_work(load))
    extra = batch.pool(
        DeadlineScaled(maximum=max_deadline_machines(batch, load)),
        realtime=False,
        backfill=unrestricted_backfill(batch.limits),
    )
    pool = machine.pool(scaling, realtime=True, backfill=max_backfill(machine, load))
    return simulate_fleet("schedule", "searched", load, ((machine, pool), (batch, extra)))


def run(loads: int = LOADS, most_requests: float = 2000.0, first: int = 0) -> dict[str, Any]:
    """Bound random loads and search for arrangements below; print one row each, and return the shares."""
    rows = []
    for seed in range(first, first + loads):
        case = draw_case(seed, most_requests)
        trials = known_arrangements(case)
        if not trials:
            continue
        best = min(trials, key=lambda trial: trial.usd)
        began = time.perf_counter()
        bound_usd = lower_bound_usd(case.load, [Supply(machine=machine) for machine in case.machines])
        seconds = time.perf_counter() - began
        ratio = bound_usd / best.usd
        rows.append({"seed": seed, "bound_usd": bound_usd, "known_usd": best.usd, "ratio": ratio, "seconds": seconds})
        mark = "  BELOW THE BOUND" if best.usd * TOLERANCE < bound_usd else ""
        print(
            f"{bound_usd:10.4f} {best.usd:10.4f} {ratio:6.3f} {seconds:5.2f} s  {case.name}; {best.name}{mark}",
            flush=True,
        )
    ratios = np.array([row["ratio"] for row in rows])
    return {
        "loads": len(rows),
        "undercut": int(np.count_nonzero(ratios > TOLERANCE)),
        "median_ratio": float(np.median(ratios)),
        "share_within_5_percent": float(np.mean(ratios > 0.95)),
        "slowest_s": max(row["seconds"] for row in rows),
    }


if __name__ == "__main__":
    print(run(*map(int, sys.argv[1:])))
