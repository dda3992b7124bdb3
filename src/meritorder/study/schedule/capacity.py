"""What replicas can serve within the SLO, measured in the simulator: safe loads c(n) and limits on backfill."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from meritorder.catalog import Catalog
from meritorder.domain import BackfillLimits, Model
from meritorder.errors import InfeasibleError
from meritorder.policy.backfill import BACKFILL_KV_SHARE
from meritorder.sim.pools import Fixed
from meritorder.sim.run import simulate
from meritorder.study.fleet.load import SATURATION_REQUESTS, TraceLoad
from meritorder.study.fleet.machines import CandidateMachine, check_slo, find_machines, max_backfill
from meritorder.study.fleet.options import CompareOptions, Progress

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

MAX_UTILIZATION: Final = 0.97
"""Share of saturated throughput that is planned at most: it leaves slack for the ends of slots."""

# Pool sizes that are measured. c(n) / n is interpolated between them and constant beyond them.
_SIZES: Final = (1, 2, 4, 8, 16)
# Bounds on the requests of one measurement.
_MIN_REQUESTS: Final = 4_000
_MAX_REQUESTS: Final = 60_000
# Length of a measurement in mean residence times, and the warm-up share of it that is not judged.
_RESIDENCES: Final = 24.0
_WARM_UP_SHARE: Final = 0.25
# Width of utilization at which bisection ends.
_PRECISION: Final = 0.015
# Backfill is measured on a pool of this size; bisection over its sequences ends at this relative width.
_BACKFILL_MACHINES: Final = 2
_SEQUENCE_PRECISION: Final = 0.06
# A deadline that no measurement reaches.
_FAR_S: Final = 1e9
_NO_BACKFILL: Final = BackfillLimits(sequences=0, prefill_tokens=64, kv_share=BACKFILL_KV_SHARE)
# Machines in a table of safe loads beyond those that the busiest slot needs.
_SPARE_MACHINES: Final = 2
# Reduced backfill is measured at this many shares for each halving of its sequences.
_MEASURED_PER_HALVING: Final = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Serving:
    """A kind of replica that serves a model, with its measured capacity.

    Args:
        machine: The replica on its cheapest machine.
        safe: c(n): the real-time work that 0, 1, 2, ... machines serve within the SLO, shape (machines + 1,), or (1,)
            for a replica that serves no real-time work.
        backfill: Deferrable work that a replica may hold beside real-time work; no sequences if none.
        max_utilization: Share of its saturated throughput that may be planned.
    """

    machine: CandidateMachine
    safe: Floats
    backfill: BackfillLimits
    max_utilization: float

    @property
    def realtime(self) -> bool:
        """Whether it serves real-time work."""
        return len(self.safe) > 1

    @property
    def deferrable(self) -> bool:
        """Whether it serves deferrable work."""
        return not self.realtime or self.backfill.sequences > 0

    @property
    def kind(self) -> str:
        """The kind of replica: the key of the work tables."""
        label = self.machine.profile.replica.label
        return label if self.realtime else f"{label} in batch"


def measure_servings(
    catalog: Catalog, model: Model, load: TraceLoad, *, options: CompareOptions, slot_s: float, progress: Progress
) -> list[Serving]:
    """Return the candidate replicas of a plan: of each hardware, the one with the cheapest work and the smallest one.

    Raises:
        MeritorderError: No replica serves the model, or none keeps the SLO even alone.
    """
    sample = load.sample(SATURATION_REQUESTS)
    machines = find_machines(catalog, model, load, options, progress)
    # The smallest machine of each replica stands for all sizes: c(n) is rescaled to the others.
    machines = list(
        {machine.profile.replica.label: machine for machine in sorted(machines, key=_largest_first)}.values()
    )
    realtime = sample.select(~sample.deferrable)
    servings: list[Serving] = []
    first_error: InfeasibleError | None = None
    for hardware in dict.fromkeys(machine.profile.hardware for machine in machines):
        candidates = [machine for machine in machines if machine.profile.hardware == hardware]
        usd_per_s: dict[str, float] = {}
        for machine in candidates if len(realtime) else ():
            try:
                check_slo(realtime, machine.profile, machine.limits)
            except InfeasibleError as error:
                first_error = first_error or error
                continue
            progress(f"measuring {machine.profile.replica.label} within the SLO")
            utilization = steady_utilization(machine, realtime, max(1, 2 // machine.replicas))
            if utilization > 0:
                usd_per_s[machine.profile.replica.label] = machine.price_work(realtime) / utilization
        fitting = [machine for machine in candidates if machine.profile.replica.label in usd_per_s]
        if fitting:
            cheapest = min(fitting, key=lambda machine: usd_per_s[machine.profile.replica.label])
            smallest = min(fitting, key=lambda machine: machine.offer.usd_per_hour)
            for machine in (cheapest,) if smallest is cheapest else (cheapest, smallest):
                progress(f"measuring pools of {machine.profile.replica.label}")
                peak = _peak_work_s(machine, load, slot_s) / slot_s
                servings.append(_realtime_serving(machine, sample, realtime, peak))
        if sample.deferrable.any():
            machine = min(candidates, key=lambda machine: machine.price_work(sample))
            servings.append(
                Serving(machine=machine, safe=np.zeros(1), backfill=_NO_BACKFILL, max_utilization=MAX_UTILIZATION)
            )
    if first_error and not any(serving.realtime for serving in servings):
        raise first_error
    return servings


def _largest_first(machine: CandidateMachine) -> float:
    return -machine.offer.gpus


def _peak_work_s(machine: CandidateMachine, load: TraceLoad, slot_s: float) -> float:
    """Return the real-time work of the busiest slot in seconds of saturated replicas."""
    work_s = np.where(load.deferrable, 0.0, machine.work_s(load))
    return float(np.bincount((load.arrived_s / slot_s).astype(np.int64), weights=work_s).max())


def _realtime_serving(machine: CandidateMachine, load: TraceLoad, realtime: TraceLoad, peak: float) -> Serving:
    of_one = safe_load(machine, realtime, 1)[1]
    max_machines = math.ceil(peak / max(float(of_one), 1e-3)) + _SPARE_MACHINES
    measured = MeasuredBackfill(limits=_NO_BACKFILL, utilization=MAX_UTILIZATION)
    if load.deferrable.any():
        measured = safe_backfill(machine, load)
    safe = safe_load(machine, realtime, max_machines)
    # Real-time work alone may use a replica more than both lanes together do.
    alone = float((safe[1:] / (machine.replicas * np.arange(1, max_machines + 1))).max())
    utilization = min(MAX_UTILIZATION, max(measured.utilization, alone))
    return Serving(machine=machine, safe=safe, backfill=measured.limits, max_utilization=utilization)


def safe_load(machine: CandidateMachine, load: TraceLoad, max_machines: int) -> Floats:
    """Return c(n): the real-time work, in replicas, that n machines serve within the SLO, shape (max_machines + 1,).

        c(n) = n replicas rho(n),    rho(n) = highest utilization at which a steady load keeps the SLO

    Args:
        machine: The replica and its machine.
        load: Real-time requests; their lengths and SLOs are used.
        max_machines: The largest n.
    """
    sizes = [size for size in _SIZES if size <= max_machines] or [1]
    shares = [steady_utilization(machine, load, size) for size in sizes]
    # A larger pool can always run as several smaller ones.
    shares = np.maximum.accumulate(shares).tolist()
    machines = np.arange(1, max_machines + 1)
    safe = machines * machine.replicas * np.interp(np.log(machines), np.log(sizes), shares)
    return np.concatenate((np.zeros(1), np.maximum.accumulate(safe)))


def steady_utilization(machine: CandidateMachine, load: TraceLoad, instances: int) -> float:
    """Return the highest utilization, at most `MAX_UTILIZATION`, at which a steady load keeps the SLO; 0 if none does.

    Bisects over the rate of Poisson arrivals drawn from the load, for long enough to reach the steady state.
    """
    replicas = instances * machine.replicas
    work_s = float(machine.work_s(load).mean())
    residence_s = float(machine.residence_s(load).mean())
    count = int(np.clip(_RESIDENCES * residence_s * replicas / work_s, _MIN_REQUESTS, _MAX_REQUESTS))
    rng = np.random.default_rng(0)
    sample = load.select(rng.integers(0, len(load), count))
    arrived_s = np.cumsum(rng.exponential(1.0, count)) * float(machine.work_s(sample).mean()) / replicas
    judged = np.arange(count) >= _WARM_UP_SHARE * count
    pool = machine.pool(Fixed(instances=instances), realtime=True, backfill=None)
    none = np.zeros(count)

    def keeps(utilization: float) -> bool:
        steady = replace(sample, arrived_s=arrived_s / utilization)
        result = simulate(steady.requests(none, none), (pool,), horizon_s=0.0)
        ttft_s, tpot_s = steady.latencies(result)
        return steady.select(judged).slo_attainment(ttft_s[judged], tpot_s[judged])[1]

    if keeps(MAX_UTILIZATION):
        return MAX_UTILIZATION
    low, high = 0.0, MAX_UTILIZATION
    while high - low > _PRECISION:
        middle = (low + high) / 2
        low, high = (middle, high) if keeps(middle) else (low, middle)
    return low


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasuredBackfill:
    """Limits on backfill, and the utilization that they allow.

    Args:
        limits: Limits on the deferrable work of a replica.
        utilization: Work done / work that the replicas could have done, both lanes together.
    """

    limits: BackfillLimits
    utilization: float


def safe_backfill(machine: CandidateMachine, load: TraceLoad) -> MeasuredBackfill:
    """Return the most deferrable work that replicas can hold all the time while real-time work keeps its SLO.

    Two machines serve real-time requests at half of their saturated throughput and always have more deferrable
    requests waiting than they can admit; bisects over the number of sequences.

    Args:
        machine: The replica and its machine.
        load: Both lanes; their lengths and SLOs are used.
    """
    largest = max_backfill(machine, load)
    trial = _BackfillTrial.draw(machine, load)
    best = MeasuredBackfill(limits=replace(largest, sequences=0), utilization=MAX_UTILIZATION)
    low, high = 0, largest.sequences + 1
    while high - low > max(1, largest.sequences * _SEQUENCE_PRECISION):
        sequences = largest.sequences if low == 0 and high > largest.sequences else (low + high) // 2
        limits = replace(largest, sequences=sequences)
        utilization, kept = trial.run(limits)
        if kept:
            low, best = sequences, MeasuredBackfill(limits=limits, utilization=utilization)
        else:
            high = sequences
    return best


def backfill_utilization(machine: CandidateMachine, load: TraceLoad, limits: BackfillLimits) -> float:
    """Return the utilization of replicas under limits on backfill, measured as in `safe_backfill`."""
    return _BackfillTrial.draw(machine, load).run(limits)[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class _BackfillTrial:
    """Real-time requests for half of a small pool, and more deferrable requests than fit beside them.

    Args:
        machine: The machine.
        load: The requests.
        until_s: Arrival of the last real-time request.
    """

    machine: CandidateMachine
    load: TraceLoad
    until_s: float

    @classmethod
    def draw(cls, machine: CandidateMachine, load: TraceLoad) -> "_BackfillTrial":
        """Draw the requests of a trial: real-time ones arrive as a Poisson process, deferrable ones at the start."""
        replicas = _BACKFILL_MACHINES * machine.replicas
        rng = np.random.default_rng(0)
        realtime, deferrable = (load.select(np.flatnonzero(lane)) for lane in (~load.deferrable, load.deferrable))
        work_s, residence_s = float(machine.work_s(realtime).mean()), float(machine.residence_s(realtime).mean())
        count = int(np.clip(_RESIDENCES * residence_s * replicas / work_s / 2, _MIN_REQUESTS, _MAX_REQUESTS // 2))
        arriving = realtime.select(rng.integers(0, len(realtime), count))
        gaps_s = rng.exponential(1.0, count) * float(machine.work_s(arriving).mean()) / (replicas / 2)
        until_s = float(gaps_s.sum())
        enough = math.ceil(1.5 * until_s * replicas / float(machine.work_s(deferrable).mean()))
        waiting = deferrable.select(rng.integers(0, len(deferrable), min(enough, _MAX_REQUESTS)))
        both = replace(
            arriving.joined(waiting),
            arrived_s=np.concatenate((np.zeros(len(waiting)), np.cumsum(gaps_s))),
            deadline_s=np.concatenate((np.full(len(waiting), _FAR_S), np.full(count, np.inf))),
        )
        return cls(machine=machine, load=both, until_s=until_s)

    def run(self, limits: BackfillLimits) -> tuple[float, bool]:
        """Return the utilization under these limits, and whether the SLO is kept."""
        load, machine, begin_s = self.load, self.machine, _WARM_UP_SHARE * self.until_s
        pool = machine.pool(Fixed(instances=_BACKFILL_MACHINES), realtime=True, backfill=limits)
        none = np.zeros(len(load))
        result = simulate(load.requests(none, none), (pool,), horizon_s=0.0)
        judged = ~load.deferrable & (load.arrived_s >= begin_s)
        ttft_s, tpot_s = load.latencies(result)
        residence_s = result.finished_s - result.admitted_s
        within_s = np.minimum(result.finished_s, self.until_s) - np.maximum(result.admitted_s, begin_s)
        done_s = float((machine.work_s(load) * np.clip(within_s / residence_s, 0.0, 1.0)).sum())
        utilization = done_s / ((self.until_s - begin_s) * _BACKFILL_MACHINES * machine.replicas)
        return min(MAX_UTILIZATION, utilization), load.select(judged).slo_attainment(ttft_s[judged], tpot_s[judged])[1]


class ReducedBackfill:
    """The utilization of replicas under a share of their backfill limits, each measured once.

    Args:
        loads: Requests by model.
    """

    def __init__(self, loads: Mapping[str, TraceLoad]) -> None:
        self._samples = {model: load.sample(SATURATION_REQUESTS) for model, load in loads.items()}
        self._measured: dict[tuple[str, str, int], float] = {}

    def utilization(self, serving: Serving, shares: Floats) -> Floats:
        """Return the utilization of a replica at each share of its backfill limits, interpolated; shapes (slots,)."""
        steps = -np.log2(shares) * _MEASURED_PER_HALVING
        below = np.floor(steps + 1e-9).astype(np.int64)
        measured = np.unique([below, below + 1])
        return np.asarray(np.interp(steps, measured, [self._at(serving, step) for step in measured.tolist()]))

    def _at(self, serving: Serving, step: int) -> float:
        if step == 0:
            return serving.max_utilization
        machine = serving.machine
        key = machine.profile.model, serving.kind, step
        if key not in self._measured:
            limits = serving.backfill.scaled(2.0 ** (-step / _MEASURED_PER_HALVING))
            utilization = backfill_utilization(machine, self._samples[machine.profile.model], limits)
            self._measured[key] = min(serving.max_utilization, utilization)
        return self._measured[key]
