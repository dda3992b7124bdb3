"""Fleets that serve a load, simulated and priced, and the search for the cheapest that keeps its promises."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final, Self

import numpy as np
from numpy.typing import NDArray

from meritorder.domain import BackfillLimits, Offer
from meritorder.latency import tpot_s
from meritorder.perf.profile import EngineLimits, Profile
from meritorder.policy.backfill import BACKFILL_KV_SHARE
from meritorder.sim.pools import Autoscaled, Fixed, ForDeadlines, Interruptions, Scaling, SimPool, SimResult
from meritorder.sim.run import simulate
from meritorder.sim.saturation import Saturation
from meritorder.study.fleet.load import TraceLoad
from meritorder.units import SECONDS_PER_DAY, SECONDS_PER_HOUR, SECONDS_PER_MINUTE

Floats = NDArray[np.float64]

# Beyond this many replicas a search has left what a fleet is.
_MOST_REPLICAS: Final = 4096
# Size of the sample on which a steady load is tried, and how finely.
_STEADY_REQUESTS: Final = 20_000
_MOST_STEADY_MACHINES: Final = 8
_STEADY_PRECISION: Final = 0.01
# Targets among which an autoscaler's is searched.
_AUTOSCALER_TARGETS: Final = 16
# Share of the promised pace that a decode step may take, and a step with a prompt chunk of deferrable work in it.
_DECODE_PACE_SHARE: Final = 0.7
_PACE_SHARE: Final = 0.9


@dataclass(frozen=True, slots=True, kw_only=True)
class CandidateMachine:
    """A replica's profile on a machine at a price.

    Args:
        profile: How fast a replica is.
        offer: What the machine costs.
        limits: The engine's limits.
        saturation: What this load's work takes on a full replica.
        startup_s: From the decision to rent until it serves.
        startup_paid_s: The part of that which is paid for.
        interruptions: How the provider takes such machines back; None if it does not.
    """

    profile: Profile
    offer: Offer
    limits: EngineLimits
    saturation: Saturation
    startup_s: float
    startup_paid_s: float
    interruptions: Interruptions | None = None

    @property
    def replicas(self) -> int:
        """Replicas on one machine."""
        return self.offer.gpus // self.profile.gpus

    @property
    def usd_per_replica_hour(self) -> float:
        """A replica's share of the machine's price."""
        return self.offer.usd_per_hour / self.replicas

    def work_s(self, load: TraceLoad) -> Floats:
        """Return the seconds of a full replica that each request takes."""
        return self.saturation.work_s(load.input_tokens, load.cached_tokens, load.output_tokens)

    def price_work(self, load: TraceLoad) -> float:
        """Return what a load would cost on full replicas, whole machines aside."""
        return float(self.work_s(load).sum()) / SECONDS_PER_HOUR * self.usd_per_replica_hour

    def residence_s(self, load: TraceLoad) -> Floats:
        """Return how long each request holds a seat on a full replica."""
        batch = max(self.saturation.sequences, 1.0)
        context = float(np.mean(load.input_tokens + load.output_tokens / 2))
        pace_s = float(self.profile.step_time_s(0, batch, batch * context))
        # Prompts of others are computed in between; a full replica's pace is slower by that share.
        crowded_s = batch * float(self.work_s(load).sum()) / max(float(load.output_tokens.sum()), 1.0)
        per_token_s = max(pace_s, crowded_s)
        step_s = float(self.profile.step_time_s(self.limits.max_num_batched_tokens, batch, batch * context))
        chunks = np.ceil(load.input_tokens / self.limits.max_num_batched_tokens)
        return np.asarray(load.output_tokens * per_token_s + (chunks + 1) * step_s)

    def slowed(self, factor: float) -> Self:
        """Return the machine with every step of its engine longer by this factor."""
        return replace(self, profile=self.profile.slowed(factor), saturation=self.saturation.slowed(factor))

    def pool(self, scaling: Scaling, *, realtime: bool, backfill: BackfillLimits | None) -> SimPool:
        """Return machines of this kind as a pool of the simulator."""
        return SimPool(
            profile=self.profile,
            scaling=scaling,
            limits=self.limits,
            replicas_per_instance=self.replicas,
            realtime=realtime,
            backfill=backfill,
            startup_s=self.startup_s,
            startup_paid_s=self.startup_paid_s,
            minimum_billing_s=self.offer.minimum_billing_s,
            interruptions=self.interruptions,
        )


def unrestricted_backfill(limits: EngineLimits) -> BackfillLimits:
    """Return what a replica takes that serves no real-time work."""
    return BackfillLimits(sequences=limits.max_num_seqs, prefill_tokens=limits.max_num_batched_tokens, kv_share=1.0)


def max_backfill(machine: CandidateMachine, load: TraceLoad) -> BackfillLimits:
    """Return the most deferrable work that leaves the real-time pace.

    The largest batch whose decode step takes at most 70 % of the strictest pace promised, and then the longest
    prompt chunk with which the step stays within 90 % of it.
    """
    pace_s = load.tightest_tpot_s
    context = float(np.mean(load.input_tokens + load.output_tokens / 2))
    batches = np.arange(1.0, machine.limits.max_num_seqs + 1)
    decode_s = machine.profile.step_time_s(0, batches, batches * context)
    seats = int(np.count_nonzero(decode_s <= _DECODE_PACE_SHARE * pace_s))
    chunks = np.arange(64.0, machine.limits.max_num_batched_tokens - seats + 1, 64.0)
    mixed_s = machine.profile.step_time_s(chunks, seats, seats * context, chunks * context / 2)
    tokens = int(64 * np.count_nonzero(mixed_s <= _PACE_SHARE * pace_s))
    return BackfillLimits(sequences=seats if tokens else 0, prefill_tokens=max(tokens, 64), kv_share=BACKFILL_KV_SHARE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """One fleet that was simulated.

    Args:
        name: Kind of arrangement.
        label: What it is, for figures.
        pools: Machines and how they scale, in merit order.
        load: What it served, with the promises.
        result: What became of it.
        usd: What was paid.
        attainment: Share of real-time requests that kept their SLO, None if there are none.
        kept: Whether all promises were kept: SLO and deadlines.
        missed: Deferrable requests that were late or never done.
    """

    name: str
    label: str
    pools: tuple[tuple[CandidateMachine, SimPool], ...]
    load: TraceLoad
    result: SimResult
    usd: float
    attainment: float | None
    kept: bool
    missed: int

    @property
    def machine(self) -> CandidateMachine:
        """Its first machine in merit order: the real-time one if it has any."""
        return self.pools[0][0]

    @property
    def autoscales(self) -> bool:
        """Whether an autoscaler decides how many of them there are."""
        return isinstance(self.pools[0][1].scaling, Autoscaled)

    @property
    def paid_s(self) -> float:
        """Replica-seconds paid."""
        return sum(pool.paid_s for pool in self.result.pools)

    @property
    def ttft_s(self) -> Floats:
        """Time to first token, shape (requests,)."""
        return np.asarray(self.result.first_token_s - self.load.arrived_s)

    @property
    def tpot_s(self) -> Floats:
        """Time per output token after the first, nan at one token, shape (requests,)."""
        return _tpot_s(self.load, self.result)

    @property
    def e2e_s(self) -> Floats:
        """Arrival to last token, shape (requests,)."""
        return np.asarray(self.result.finished_s - self.load.arrived_s)


def _tpot_s(load: TraceLoad, result: SimResult) -> Floats:
    return tpot_s(result.finished_s, result.first_token_s, load.output_tokens)


def simulate_fleet(
    name: str, label: str, load: TraceLoad, pools: tuple[tuple[CandidateMachine, SimPool], ...]
) -> Trial:
    """Simulate a fleet on a load, and price it."""
    last = pools[-1][0]  # the one that scales for deadlines, if any does
    bin_s = 900.0 if load.span_s >= SECONDS_PER_DAY else SECONDS_PER_MINUTE
    result = simulate(
        load.requests(last.work_s(load), last.residence_s(load)),
        tuple(pool for _, pool in pools),
        horizon_s=load.span_s,
        bin_s=bin_s,
    )
    usd = sum(
        account.paid_s / SECONDS_PER_HOUR * each.usd_per_replica_hour
        for (each, _), account in zip(pools, result.pools, strict=True)
    )
    attainment, kept, missed = _judge(load, result)
    return Trial(
        name=name,
        label=label,
        pools=pools,
        load=load,
        result=result,
        usd=usd,
        attainment=attainment,
        kept=kept,
        missed=missed,
    )


def rejudge(trial: Trial, load: TraceLoad, name: str, label: str) -> Trial:
    """Return a fleet that served the same requests, judged by other promises."""
    attainment, kept, missed = _judge(load, trial.result)
    return replace(trial, name=name, label=label, load=load, attainment=attainment, kept=kept, missed=missed)


def _judge(load: TraceLoad, result: SimResult) -> tuple[float | None, bool, int]:
    """Return the share of real-time requests in time, whether all promises were kept, and how many are late."""
    missed = int(np.count_nonzero(load.deferrable & ~(result.finished_s <= load.deadline_s)))
    attainment, enough = load.slo_attainment(result.first_token_s - load.arrived_s, _tpot_s(load, result))
    return attainment, enough and missed == 0, missed


def fixed_fleet(machine: CandidateMachine, load: TraceLoad, instances: int) -> Trial:
    """Serve all in real time with so many machines, always on."""
    label = f"{_count(instances * machine.replicas, 'replica')}, always on"
    pool = machine.pool(Fixed(instances=instances), realtime=True, backfill=None)
    return simulate_fleet("realtime_fixed", label, load, ((machine, pool),))


def search_fixed_fleet(machine: CandidateMachine, load: TraceLoad) -> Iterator[Trial]:
    """Search the fewest machines, always on, that keep every promise; the last trial with `kept` is the answer.

    From the work alone upwards until it holds, then by bisection. Yields every fleet tried.
    """
    work_s = float(machine.work_s(load).sum())
    failing = max(0, math.ceil(work_s / max(load.span_s, 1.0) / machine.replicas) - 1)
    holding, step = failing + 1, 1
    while True:
        trial = fixed_fleet(machine, load, holding)
        yield trial
        if trial.kept:
            break
        failing, holding, step = holding, holding + step, step * 2
        if holding * machine.replicas > _MOST_REPLICAS:
            return
    while holding - failing > 1:
        middle = (holding + failing) // 2
        trial = fixed_fleet(machine, load, middle)
        yield trial
        if trial.kept:
            holding = middle
        else:
            failing = middle


def max_utilization_within_slo(machine: CandidateMachine, pool: SimPool, load: TraceLoad) -> float:
    """Return the utilisation of a fleet at the highest steady load at which it keeps the SLO, at most 1.

    Requests of the load arrive as a Poisson process at a rate that bisection raises until too few keep the SLO.
    """
    instances = min(pool.max_instances, _MOST_STEADY_MACHINES)
    chosen = np.linspace(0, len(load), min(len(load), _STEADY_REQUESTS), endpoint=False).astype(np.int64)
    sample = load.select(chosen)
    gaps = np.random.default_rng(0).exponential(1.0, len(sample))
    work_s = float(machine.work_s(sample).mean()) / (instances * machine.replicas)
    low, high = 0.0, 1.0
    while high - low > _STEADY_PRECISION:
        middle = (low + high) / 2
        steady = replace(sample, arrived_s=np.cumsum(gaps) * work_s / middle)
        if fixed_fleet(machine, steady, instances).kept:
            low = middle
        else:
            high = middle
    return max(low, _STEADY_PRECISION)


def autoscaler_minimums(most: int) -> list[int]:
    """Return the fewest machines that autoscalers are tried with: one, and a third of the fixed fleet."""
    return sorted({1, math.ceil(most / 3)})


def search_autoscalers(machine: CandidateMachine, load: TraceLoad, most: int, fewest: int) -> Iterator[Trial]:
    """Search the highest target of an autoscaler that keeps the SLO; yields every one tried.

    The more requests in flight a replica should have, the fewer replicas there are; so by bisection.

    Args:
        machine: What is scaled.
        load: What is served.
        most: Machines that a fixed fleet takes; the scaler may go to half as many more, and starts with them.
        fewest: Machines that it always keeps.
    """
    targets = np.unique(np.geomspace(2, machine.limits.max_num_seqs, _AUTOSCALER_TARGETS).round().astype(int))
    low, high = -1, len(targets)
    while high - low > 1:
        middle = (low + high) // 2
        trial = _autoscaled_to(float(targets[middle]), fewest, machine, load, most)
        yield trial
        if trial.kept:
            low = middle
        else:
            high = middle


def _autoscaled_to(target: float, minimum: int, machine: CandidateMachine, load: TraceLoad, most: int) -> Trial:
    scaling = Autoscaled(target_in_flight=target, minimum=minimum, maximum=math.ceil(1.5 * most), initial=most)
    label = f"autoscaled to {target:.0f} requests in flight a replica, {_count(minimum, 'machine')} or more"
    pool = machine.pool(scaling, realtime=True, backfill=None)
    return simulate_fleet("realtime_autoscaled", label, load, ((machine, pool),))


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def max_deadline_machines(machine: CandidateMachine, load: TraceLoad) -> int:
    """Return the machines that temporary capacity may have: twice what the work asks for if spread evenly."""
    deferrable = load.deferrable
    if not deferrable.any():
        return 0
    work_s = float(machine.work_s(load)[deferrable].sum())
    patience_s = float(np.min(load.deadline_s[deferrable] - load.arrived_s[deferrable]))
    room_s = max(min(load.span_s, patience_s) - machine.startup_s, machine.startup_s)
    return min(2 * math.ceil(work_s / room_s / machine.replicas) + 1, _MOST_REPLICAS // machine.replicas)


def batch_fleet(machine: CandidateMachine, load: TraceLoad) -> Trial:
    """Serve all that may wait on capacity that is rented for it and given back."""
    whole = unrestricted_backfill(machine.limits)
    scaling = ForDeadlines(maximum=max_deadline_machines(machine, load))
    pool = machine.pool(scaling, realtime=False, backfill=whole)
    return simulate_fleet("batch", "rented for each run and given back", load, ((machine, pool),))


def mixed_fleet(
    base: Trial, batch_machine: CandidateMachine, load: TraceLoad, backfill: BackfillLimits | None
) -> Trial:
    """Serve the real-time lane with a fleet that holds for it alone, and what may wait in its gaps and beside it.

    Args:
        base: The fleet that keeps the SLO of the real-time lane.
        batch_machine: Temporary capacity for what does not fit into its gaps in time.
        load: Both lanes.
        backfill: How much of the gaps may be filled; None keeps the lanes apart.
    """
    machine, pool = base.pools[0]
    filled = machine.pool(pool.scaling, realtime=True, backfill=backfill)
    whole = unrestricted_backfill(batch_machine.limits)
    scaling = ForDeadlines(maximum=max_deadline_machines(batch_machine, load))
    beside = batch_machine.pool(scaling, realtime=False, backfill=whole)
    how = f"{backfill.sequences} seats filled" if backfill else "lanes apart"
    return simulate_fleet("mix", f"{base.label}, {how}", load, ((machine, filled), (batch_machine, beside)))
