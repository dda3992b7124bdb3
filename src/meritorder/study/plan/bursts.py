"""How much more than its mean a slot's real-time load asks for, found by simulating the trace itself."""

from collections.abc import Callable
from typing import Final

import numpy as np
from numpy.typing import NDArray

from meritorder.latency import breaks_slo, tpot_s
from meritorder.planner.model.safe_load import min_machines
from meritorder.sim.pools import Scheduled
from meritorder.sim.run import simulate
from meritorder.study.fleet.load import TraceLoad
from meritorder.study.plan.supply import Serving

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_MOST_ROUNDS: Final = 24
# Share of the requests that may break the SLO which a round aims at.
AIM: Final = 0.8
# Machines added to a slot, as a share of those there, if all of its requests break the SLO.
_MORE: Final = 0.3
# By how much a slot is raised at least.
_LEAST: Final = 0.06


def bursts_for(load: TraceLoad, serving: Serving, slot_s: float, slots: int) -> Floats:
    """Return the load that the SLO has to hold under / the mean load of each slot, shape (slots,).

    The real-time lane runs alone on as many machines as c(n) asks for in each slot. Where its SLO breaks, requests came
    in bursts that a steady load of the same mean does not have: the slots with most broken promises get machines until
    the SLO holds. What comes out is a property of the traffic, and is asked of any machines.

    Args:
        load: Real-time requests.
        serving: Replicas to try it on.
        slot_s: Length of a slot.
        slots: Slots of the horizon.
    """
    slot = np.minimum((load.arrived_s / slot_s).astype(np.int64), slots - 1)
    mean = np.bincount(slot, weights=serving.machine.work_s(load), minlength=slots) / slot_s
    burst = np.ones(slots)
    for _ in range(_MOST_ROUNDS):
        wanted = mean * burst
        machines = np.array([_machines(serving, each) for each in wanted.tolist()])
        broken = _broken(load, serving, machines, slot_s)
        if broken is None:
            break
        burst = raised(
            burst,
            mean=mean,
            there=wanted,
            machines=machines,
            safe=lambda _: serving.safe,
            slot=slot,
            broken=broken,
            attainment=strictest(load),
        )
    return burst


def _machines(serving: Serving, load: float) -> int:
    """Return the machines that a load asks for; beyond the table c(n) goes on as it ends."""
    safe = serving.safe
    if load <= safe[-1]:
        return min_machines(safe, load)
    last = len(safe) - 1
    return last + int(np.ceil((load - safe[-1]) / (safe[-1] / last)))


def _broken(load: TraceLoad, serving: Serving, machines: Ints, slot_s: float) -> NDArray[np.bool_] | None:
    """Return which requests break the SLO, None if few enough do."""
    machine = serving.machine
    scaling = Scheduled(instances=tuple(machines.tolist()), slot_s=slot_s, ahead_s=machine.startup_s)
    none = np.zeros(len(load))
    result = simulate(
        load.requests(none, none),
        (machine.pool(scaling, realtime=True, backfill=None),),
        horizon_s=len(machines) * slot_s,
    )
    ttft_s = result.first_token_s - load.arrived_s
    pace_s = tpot_s(result.finished_s, result.first_token_s, load.output_tokens)
    if load.slo_attainment(ttft_s, pace_s)[1]:
        return None
    return breaks_slo(ttft_s, pace_s, load.ttft_limit_s, load.tpot_limit_s)


def raised(
    burst: Floats,
    *,
    mean: Floats,
    there: Floats,
    machines: Ints,
    safe: Callable[[int], Floats],
    slot: Ints,
    broken: NDArray[np.bool_],
    attainment: float,
) -> Floats:
    """Return the bursts that ask for more machines where most requests broke the SLO.

    As many slots, the worst first, as leave fewer requests that break it than may; in each so many machines more of the
    pool that serves most of it as the share of its requests that broke it asks for. What that pool would have to serve
    more is laid on all that arrives, for only a part of it may go there.

    Args:
        burst: As before, shape (slots,).
        mean: Mean load of each slot, in replicas' worth of the pool, shape (slots,).
        there: What was planned for the pool in each slot, bursts in it, in the same unit, shape (slots,).
        machines: Machines of the pool that were there, shape (slots,).
        safe: c(n) of the pool, by slot.
        slot: Slot of each request, shape (requests,).
        broken: Which broke the SLO, shape (requests,).
        attainment: Share that must keep it.
    """
    count = np.bincount(slot, minlength=len(burst))
    bad = np.bincount(slot, weights=broken, minlength=len(burst)).astype(np.float64)
    chosen = worst_slots(bad, AIM * (1 - attainment) * len(slot))
    share = _MORE * bad / np.maximum(count, 1)
    more = np.maximum(1, np.round(share * machines)).astype(np.int64)
    burst = burst.copy()
    for t in chosen[mean[chosen] > 0].tolist():
        # A hair more than the machines carry that are one short of what is wanted; and more than before in any case,
        # for what is split over machines and tokens can evade a machine.
        carried = _carried(safe(t), int(machines[t] + more[t]) - 1)
        burst[t] = max(burst[t] * (1 + max(share[t], _LEAST)), burst[t] + (carried * 1.001 - there[t]) / mean[t])
    return burst


def worst_slots(bad: Floats, leave: float) -> Ints:
    """Return as many slots, the worst first and one at least, as leave no more than so many requests in the others.

    Args:
        bad: Requests to be got rid of in each slot, shape (slots,).
        leave: How many of them may be left.
    """
    worst = np.argsort(-bad, kind="stable")
    left = bad.sum() - np.cumsum(bad[worst])
    return worst[: int(np.count_nonzero(left > leave)) + 1]


def _carried(safe: Floats, machines: int) -> float:
    last = len(safe) - 1
    return float(safe[machines]) if machines <= last else float(safe[-1] * machines / last)


def strictest(load: TraceLoad) -> float:
    """Return the strictest share of requests that any workload has to keep in time."""
    return max([load.attainment, *(one.slo.attainment for one in load.workloads if one.slo)])
