"""How much real-time work a pool carries within the SLO, from the simulator: c(n)."""

import math
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from meritorder.domain import BackfillLimits
from meritorder.latency import tpot_s
from meritorder.sim.pools import Fixed
from meritorder.sim.run import simulate
from meritorder.study.fleet.load import TraceLoad
from meritorder.study.fleet.machines import CandidateMachine, max_backfill

Floats = NDArray[np.float64]

# Pools of these sizes are tried; between them c(n) / n is interpolated, beyond them it stays.
_SIZES: Final = (1, 2, 4, 8, 16)
_FEWEST_REQUESTS: Final = 4_000
_MOST_REQUESTS: Final = 60_000
# A steady load is tried for so many times as long as a request takes; the first part is not judged.
_STAYS: Final = 24.0
_WARM_SHARE: Final = 0.25
_PRECISION: Final = 0.015
# How backfill is tried: on so many machines, and how finely its seats are searched.
_FILLED_MACHINES: Final = 2
_SEAT_PRECISION: Final = 0.06
# A deadline that no trial comes near.
_FAR_S: Final = 1e9
# Work is planned for this share of saturated throughput at most: what is planned has seams, and slots have ends.
FULLEST: Final = 0.97


def safe_load(machine: CandidateMachine, load: TraceLoad, most: int) -> Floats:
    """Return c(n): the real-time work, in replicas' worth, that n machines carry within the SLO, shape (most + 1,).

        c(n) = n replicas rho(n),    rho(n) = highest utilisation at which a steady load keeps the SLO

    Args:
        machine: The replica and its machine.
        load: Real-time requests whose lengths and promises are taken.
        most: Machines to go up to.
    """
    sizes = [size for size in _SIZES if size <= most] or [1]
    shares = [steady_utilization(machine, load, size) for size in sizes]
    # A larger pool can always be used as smaller ones.
    shares = np.maximum.accumulate(shares).tolist()
    machines = np.arange(1, most + 1)
    carried = machines * machine.replicas * np.interp(np.log(machines), np.log(sizes), shares)
    return np.concatenate((np.zeros(1), np.maximum.accumulate(carried)))


def steady_utilization(machine: CandidateMachine, load: TraceLoad, instances: int) -> float:
    """Return the highest utilisation, at most `FULLEST`, at which a steady load keeps the SLO; 0 if none does.

    Requests drawn from the load arrive as a Poisson process, for long enough that the fleet is in its steady state;
    bisection over the rate.
    """
    replicas = instances * machine.replicas
    work_s = float(machine.work_s(load).mean())
    stay_s = float(machine.residence_s(load).mean())
    count = int(np.clip(_STAYS * stay_s * replicas / work_s, _FEWEST_REQUESTS, _MOST_REQUESTS))
    rng = np.random.default_rng(0)
    sample = load.select(rng.integers(0, len(load), count))
    arrived = np.cumsum(rng.exponential(1.0, count)) * float(machine.work_s(sample).mean()) / replicas
    judged = np.arange(count) >= _WARM_SHARE * count

    def keeps(share: float) -> bool:
        return _keeps(machine, replace(sample, arrived_s=arrived / share), instances, judged)

    if keeps(FULLEST):
        return FULLEST
    low, high = 0.0, FULLEST
    while high - low > _PRECISION:
        middle = (low + high) / 2
        low, high = (middle, high) if keeps(middle) else (low, middle)
    return low


def _keeps(machine: CandidateMachine, steady: TraceLoad, instances: int, judged: NDArray[np.bool_]) -> bool:
    pool = machine.pool(Fixed(instances=instances), realtime=True, backfill=None)
    none = np.zeros(len(steady))
    result = simulate(steady.requests(none, none), (pool,), horizon_s=0.0)
    ttft_s = result.first_token_s - steady.arrived_s
    pace_s = tpot_s(result.finished_s, result.first_token_s, steady.output_tokens)
    return steady.select(judged).slo_attainment(ttft_s[judged], pace_s[judged])[1]


@dataclass(frozen=True, slots=True, kw_only=True)
class Filled:
    """How much deferrable work real-time replicas take beside their own, and how full that makes them.

    Args:
        backfill: Limits on the deferrable work of a replica.
        utilization: Work done / work that the replicas could have done, both lanes together.
    """

    backfill: BackfillLimits
    utilization: float


def filled_within_slo(machine: CandidateMachine, load: TraceLoad) -> Filled:
    """Return the most deferrable work that replicas take at all times and keep the SLO of real-time work beside it.

    Two machines serve real-time requests at half of their saturated throughput, arriving as a Poisson process, and
    always have more deferrable requests waiting than they can take; bisection over the seats of these.

    Args:
        machine: The replica and its machine.
        load: Both lanes, whose lengths and promises are taken.
    """
    room = max_backfill(machine, load)
    trial = _half_and_half(machine, load)
    best = Filled(backfill=replace(room, sequences=0), utilization=FULLEST)
    low, high = 0, room.sequences + 1
    while high - low > max(1, room.sequences * _SEAT_PRECISION):
        seats = room.sequences if low == 0 and high > room.sequences else (low + high) // 2
        backfill = replace(room, sequences=seats)
        utilization, kept = trial.run(backfill)
        if kept:
            low, best = seats, Filled(backfill=backfill, utilization=utilization)
        else:
            high = seats
    return best


def filled_with(machine: CandidateMachine, load: TraceLoad, backfill: BackfillLimits) -> Filled:
    """Return how full replicas are with so much deferrable work, in the trial of `filled_within_slo`."""
    return Filled(backfill=backfill, utilization=_half_and_half(machine, load).run(backfill)[0])


@dataclass(frozen=True, slots=True, kw_only=True)
class _Trial:
    """Real-time requests for half of a few machines, and more deferrable ones than fit beside them.

    Args:
        machine: The machine.
        load: The requests.
        until_s: When the last real-time request arrives.
    """

    machine: CandidateMachine
    load: TraceLoad
    until_s: float

    def run(self, backfill: BackfillLimits) -> tuple[float, bool]:
        """Return the utilisation with this backfill, and whether the SLO is kept."""
        load, machine, begin_s = self.load, self.machine, _WARM_SHARE * self.until_s
        pool = machine.pool(Fixed(instances=_FILLED_MACHINES), realtime=True, backfill=backfill)
        none = np.zeros(len(load))
        result = simulate(load.requests(none, none), (pool,), horizon_s=0.0)
        judged = ~load.deferrable & (load.arrived_s >= begin_s)
        ttft_s = result.first_token_s - load.arrived_s
        pace_s = tpot_s(result.finished_s, result.first_token_s, load.output_tokens)
        held_s = result.finished_s - result.admitted_s
        within_s = np.minimum(result.finished_s, self.until_s) - np.maximum(result.admitted_s, begin_s)
        done_s = float((machine.work_s(load) * np.clip(within_s / held_s, 0.0, 1.0)).sum())
        utilization = done_s / ((self.until_s - begin_s) * _FILLED_MACHINES * machine.replicas)
        return min(FULLEST, utilization), load.select(judged).slo_attainment(ttft_s[judged], pace_s[judged])[1]


def _half_and_half(machine: CandidateMachine, load: TraceLoad) -> _Trial:
    replicas = _FILLED_MACHINES * machine.replicas
    rng = np.random.default_rng(0)
    lanes = [load.select(np.flatnonzero(lane)) for lane in (~load.deferrable, load.deferrable)]
    work_s, stay_s = (float(each(lanes[0]).mean()) for each in (machine.work_s, machine.residence_s))
    count = int(np.clip(_STAYS * stay_s * replicas / work_s / 2, _FEWEST_REQUESTS, _MOST_REQUESTS // 2))
    realtime = lanes[0].select(rng.integers(0, len(lanes[0]), count))
    gaps_s = rng.exponential(1.0, count) * float(machine.work_s(realtime).mean()) / (replicas / 2)
    until_s = float(gaps_s.sum())
    waiting = math.ceil(1.5 * until_s * replicas / float(machine.work_s(lanes[1]).mean()))
    deferrable = lanes[1].select(rng.integers(0, len(lanes[1]), min(waiting, _MOST_REQUESTS)))
    both = replace(
        realtime.joined(deferrable),
        arrived_s=np.concatenate((np.zeros(len(deferrable)), np.cumsum(gaps_s))),
        deadline_s=np.concatenate((np.full(len(deferrable), _FAR_S), np.full(count, np.inf))),
    )
    return _Trial(machine=machine, load=both, until_s=until_s)
