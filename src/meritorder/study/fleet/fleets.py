"""Fleets that serve a trace: simulated, priced, and searched for the cheapest that meets its SLO and deadlines."""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from meritorder.domain import BackfillLimits
from meritorder.latency import quantile
from meritorder.policy.replicas import DECISION_S
from meritorder.records.comparison import FrontierPoint
from meritorder.sim.pools import Autoscaled, DeadlineScaled, Fixed, SimPool, SimResult
from meritorder.sim.run import simulate
from meritorder.study.fleet.load import TraceLoad
from meritorder.study.fleet.machines import CandidateMachine, unrestricted_backfill
from meritorder.units import SECONDS_PER_HOUR, format_count

Floats = NDArray[np.float64]

MAX_REPLICAS: Final = 4096
"""The largest fleet that a search tries."""

# Size of the sample that a steady load is simulated with, in a coarse search too, and the precision of its utilization.
_STEADY_REQUESTS: Final = 20_000
_COARSE_STEADY_REQUESTS: Final = 8_000
_MAX_STEADY_MACHINES: Final = 8
_STEADY_PRECISION: Final = 0.01
# Number of targets that an autoscaler's is searched among.
_AUTOSCALER_TARGETS: Final = 16


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Trial:
    """One fleet, simulated and priced.

    Args:
        name: Kind of arrangement.
        label: Description for figures.
        pools: Machines and how they scale, in merit order.
        load: The requests that it served, with their SLOs and deadlines.
        result: Result of the simulation.
        usd: What was paid.
        slo_attainment: Share of real-time requests that met their SLO, None if there are none.
        feasible: Whether every SLO and deadline was met.
        deadlines_missed: Deferrable requests that finished late or never.
    """

    name: str
    label: str
    pools: tuple[tuple[CandidateMachine, SimPool], ...]
    load: TraceLoad
    result: SimResult
    usd: float
    slo_attainment: float | None
    feasible: bool
    deadlines_missed: int

    @property
    def machine(self) -> CandidateMachine:
        """The first machine in merit order: the real-time one if there is any."""
        return self.pools[0][0]

    @property
    def autoscales(self) -> bool:
        """Whether an autoscaler sets the number of machines."""
        return isinstance(self.pools[0][1].scaling, Autoscaled)

    @property
    def paid_s(self) -> float:
        """Replica-seconds paid."""
        return sum(pool.paid_s for pool in self.result.pools)

    @property
    def ttft_s(self) -> Floats:
        """Time to first token, shape (requests,)."""
        return self.load.latencies(self.result)[0]

    @property
    def tpot_s(self) -> Floats:
        """Time per output token after the first, nan at one token, shape (requests,)."""
        return self.load.latencies(self.result)[1]

    @property
    def e2e_s(self) -> Floats:
        """Arrival to last token, shape (requests,)."""
        return np.asarray(self.result.finished_s - self.load.arrived_s)


def simulate_fleet(
    name: str,
    label: str,
    load: TraceLoad,
    pools: tuple[tuple[CandidateMachine, SimPool], ...],
    *,
    decision_s: float = DECISION_S,
    tail_s: float = 0.0,
    known: Iterable[Trial] = (),
) -> Trial:
    """Simulate a fleet on a load, and price it.

    Args:
        name: Kind of arrangement.
        label: Description for figures.
        load: The requests.
        pools: Machines and how they scale, in merit order.
        decision_s: Time between scaling decisions.
        tail_s: Time after the span of the load in which machines may still be paid.
        known: Fleets of a constant number of machines; where an autoscaler never adds to these, they are its result.
    """
    for trial in known:
        if trial.load is load and _never_scales(pools, trial):
            return replace(trial, name=name, label=label, pools=pools)
    work_s = residence_s = np.zeros(len(load))
    if load.deferrable.any():
        last = pools[-1][0]  # the pool that scales for deadlines
        work_s, residence_s = last.work_s(load), last.residence_s(load)
    result = simulate(
        load.requests(work_s, residence_s),
        tuple(_paced(pool, load.pace) for _, pool in pools),
        horizon_s=load.span_s + tail_s,
        tick_s=decision_s / load.pace,
        bin_s=load.bin_s,
        limits=load.slo_limits(),
    )
    usd = sum(
        account.paid_s / SECONDS_PER_HOUR * machine.usd_per_replica_hour
        for (machine, _), account in zip(pools, result.pools, strict=True)
    )
    attainment, feasible, missed = _judge(load, result)
    return Trial(
        name=name,
        label=label,
        pools=pools,
        load=load,
        result=result,
        usd=usd,
        slo_attainment=attainment,
        feasible=feasible,
        deadlines_missed=missed,
    )


def _paced(pool: SimPool, pace: float) -> SimPool:
    """Return a pool on a clock on which all but serving passes this many times as fast."""
    scaling = pool.scaling
    if isinstance(scaling, Autoscaled):
        scaling = replace(scaling, stabilization_s=scaling.stabilization_s / pace)
    elif isinstance(scaling, DeadlineScaled):
        scaling = replace(scaling, margin_s=scaling.margin_s / pace)
    return replace(
        pool,
        scaling=scaling,
        startup_s=pool.startup_s / pace,
        startup_paid_s=pool.startup_paid_s / pace,
        minimum_billing_s=pool.minimum_billing_s / pace,
    )


def _never_scales(pools: tuple[tuple[CandidateMachine, SimPool], ...], constant: Trial) -> bool:
    """Whether an autoscaler that starts with its minimum would keep to it, as a fleet with that constant number shows.

    The requests in flight at a replica, which the autoscaler averages, never exceeded its target.
    """
    (machine, pool), *others = pools
    match pool.scaling:
        case Autoscaled(target_in_flight=target, minimum=minimum, initial=initial) if minimum == initial:
            first = machine, replace(pool, scaling=Fixed(instances=minimum))
            most = target * minimum * pool.replicas_per_instance
            return constant.result.pools[0].peak_in_flight <= most and constant.pools == (first, *others)
        case _:
            return False


def rejudge(trial: Trial, load: TraceLoad, name: str, label: str) -> Trial:
    """Return the trial of a fleet that served the same requests, judged by the SLOs and deadlines of another load."""
    attainment, feasible, missed = _judge(load, trial.result)
    return replace(
        trial,
        name=name,
        label=label,
        load=load,
        slo_attainment=attainment,
        feasible=feasible,
        deadlines_missed=missed,
    )


def _judge(load: TraceLoad, result: SimResult) -> tuple[float | None, bool, int]:
    """Return the SLO attainment, whether every SLO and deadline was met, and how many deadlines were missed."""
    missed = load.deadlines_missed(result.finished_s)
    attainment, enough = load.slo_attainment(*load.latencies(result))
    return attainment, enough and missed == 0, missed


def frontier_point(trial: Trial) -> FrontierPoint:
    """Return the cost and the latency of a fleet."""
    return FrontierPoint(
        arrangement=trial.name,
        label=trial.label,
        usd_per_request=trial.usd / len(trial.load),
        ttft_p99_s=quantile(trial.ttft_s[~trial.load.deferrable], 0.99),
        e2e_p50_s=quantile(trial.e2e_s, 0.5) or 0.0,
        keeps_promise=trial.feasible,
    )


def fixed_fleet(machine: CandidateMachine, load: TraceLoad, instances: int) -> Trial:
    """Serve all requests in real time on a fixed number of machines, always on."""
    label = f"{format_count(instances * machine.servers, 'replica')}, always on"
    pool = machine.pool(Fixed(instances=instances), realtime=True, backfill=None)
    return simulate_fleet("realtime_fixed", label, load, ((machine, pool),))


def search_fixed_fleet(machine: CandidateMachine, load: TraceLoad) -> Iterator[Trial]:
    """Search for the fewest machines, always on, that meet every SLO; the last feasible trial is the answer.

    Doubles from what the work alone needs until a fleet is feasible, then bisects. Yields every trial.
    """
    work_s = float(machine.work_s(load).sum())
    failing = max(0, math.ceil(work_s / max(load.span_s, 1.0) / machine.replicas) - 1)
    holding, step = failing + 1, 1
    while True:
        trial = fixed_fleet(machine, load, holding)
        yield trial
        if trial.feasible:
            break
        failing, holding, step = holding, holding + step, step * 2
        if holding * machine.replicas > MAX_REPLICAS:
            return
    while holding - failing > 1:
        middle = (holding + failing) // 2
        trial = fixed_fleet(machine, load, middle)
        yield trial
        if trial.feasible:
            holding = middle
        else:
            failing = middle


def max_utilization_within_slo(machine: CandidateMachine, pool: SimPool, load: TraceLoad) -> float:
    """Return the utilization of a fleet at the highest steady load at which it meets the SLO, at most 1.

    Requests of the load arrive as a Poisson process; the rate is found by bisection.
    """
    most = _COARSE_STEADY_REQUESTS if load.verdict_suffices else _STEADY_REQUESTS
    instances = min(pool.max_instances, _MAX_STEADY_MACHINES)
    chosen = np.linspace(0, len(load), min(len(load), most), endpoint=False).astype(np.int64)
    sample = load.select(chosen)
    gaps = np.random.default_rng(0).exponential(1.0, len(sample))
    work_s = float(machine.work_s(sample).mean()) / (instances * machine.replicas)
    low, high = 0.0, 1.0
    while high - low > _STEADY_PRECISION:
        middle = (low + high) / 2
        steady = replace(sample, arrived_s=np.cumsum(gaps) * work_s / middle, verdict_suffices=True)
        if fixed_fleet(machine, steady, instances).feasible:
            low = middle
        else:
            high = middle
    return max(low, _STEADY_PRECISION)


def autoscaler_minimums(fixed: int) -> list[int]:
    """Return the minimum numbers of machines that autoscalers are tried with: one, and a third of the fixed fleet."""
    return sorted({1, math.ceil(fixed / 3)})


def autoscaler_targets(machine: CandidateMachine) -> list[float]:
    """Return the targets of requests in flight per replica that autoscalers are tried with, rising."""
    targets = np.geomspace(2, machine.limits.max_num_seqs, _AUTOSCALER_TARGETS).round()
    rising: list[float] = np.unique(targets).tolist()
    return rising


def autoscaled_fleet(
    machine: CandidateMachine, load: TraceLoad, target: float, fixed: int, minimum: int, *, known: Iterable[Trial] = ()
) -> Trial:
    """Serve all requests in real time on machines that an autoscaler sets.

    Args:
        machine: What is scaled.
        load: What is served.
        target: Requests in flight that one replica should have.
        fixed: Machines of the fixed fleet; the autoscaler starts with them and may add half as many.
        minimum: Machines that always run.
        known: Fleets that are always on.
    """
    scaling = Autoscaled(target_in_flight=target, minimum=minimum, maximum=math.ceil(1.5 * fixed), initial=fixed)
    in_flight, machines = format_count(round(target), "request"), format_count(minimum, "machine")
    label = f"autoscaled to {in_flight} in flight per replica, at least {machines}"
    pool = machine.pool(scaling, realtime=True, backfill=None)
    return simulate_fleet("realtime_autoscaled", label, load, ((machine, pool),), known=known)


def max_deadline_machines(machine: CandidateMachine, load: TraceLoad) -> int:
    """Return the limit of temporary machines: twice what the deferrable work needs if spread evenly."""
    deferrable = load.deferrable
    if not deferrable.any():
        return 0
    work_s = float(machine.work_s(load)[deferrable].sum())
    patience_s = float(np.min(load.deadline_s[deferrable] - load.arrived_s[deferrable]))
    startup_s = machine.startup_s / load.pace
    available_s = max(min(load.span_s, patience_s) - startup_s, startup_s)
    return min(2 * math.ceil(work_s / available_s / machine.replicas) + 1, MAX_REPLICAS // machine.replicas)


def batch_fleet(machine: CandidateMachine, load: TraceLoad) -> Trial:
    """Serve all deferrable requests on machines that are rented for each run and released after it."""
    scaling = DeadlineScaled(maximum=max_deadline_machines(machine, load))
    pool = machine.pool(scaling, realtime=False, backfill=unrestricted_backfill(machine.limits))
    return simulate_fleet("batch", "rented for each run and released after it", load, ((machine, pool),))


def mixed_fleet(
    base: Trial,
    batch_machine: CandidateMachine,
    load: TraceLoad,
    backfill: BackfillLimits | None,
    known: Iterable[Trial] = (),
) -> Trial:
    """Serve the real-time lane on its own fleet, and deferrable requests in its gaps and on temporary machines.

    Args:
        base: A fleet that meets the SLO of the real-time lane.
        batch_machine: Temporary machine for what does not fit into the gaps in time.
        load: Both lanes.
        backfill: How much of the gaps may be filled; None keeps the lanes apart.
        known: Mixes on fleets that are always on.
    """
    machine, pool = base.pools[0]
    realtime = machine.pool(pool.scaling, realtime=True, backfill=backfill)
    scaling = DeadlineScaled(maximum=max_deadline_machines(batch_machine, load))
    temporary = batch_machine.pool(scaling, realtime=False, backfill=unrestricted_backfill(batch_machine.limits))
    how = f"backfill up to {format_count(backfill.sequences, 'sequence')}" if backfill else "separate lanes"
    return simulate_fleet(
        "mix", f"{base.label}, {how}", load, ((machine, realtime), (batch_machine, temporary)), known=known
    )


def cheaper(first: Trial, second: Trial) -> Trial:
    """Return the cheaper feasible trial; the first if both cost the same, or if the second is not feasible."""
    if not second.feasible or (first.feasible and first.usd <= second.usd):
        return first
    return second


def machines_used(*trials: Trial) -> list[CandidateMachine]:
    """Return the distinct machines of some fleets."""
    used: list[CandidateMachine] = []
    for machine in (machine for trial in trials for machine, _ in trial.pools):
        if machine not in used:
            used.append(machine)
    return used
