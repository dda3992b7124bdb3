"""Small planning problems that tests share."""

import numpy as np
from numpy.typing import NDArray

from meritorder.domain import Access
from meritorder.planner.model.demand import DeferrableDemand, Horizon, OpenEnd, RealtimeDemand
from meritorder.planner.model.problem import Problem
from meritorder.planner.model.supply import MachinePool, OnDemand, Reserved

HOUR = 3600.0


def hours(count: int, **options: object) -> Horizon:
    return Horizon(slot_s=HOUR, slots=count, **options)  # type: ignore[arg-type]


def pool(name: str = "aws-h100", *, safe: list[float] | None = None, **options: object) -> MachinePool:
    values: dict[str, object] = {
        "name": name,
        "model": "m",
        "replica": "h100",
        "machine": name,
        "provider": name.partition("-")[0],
        "region": "here",
        "hardware": "h100",
        "gpus": 8,
        "safe_load": np.array(safe if safe is not None else [0.0, 0.5, 1.4, 2.3, 3.2, 4.1]),
        "startup_paid_s": 0.0,
        **options,
    }
    return MachinePool(**values)  # type: ignore[arg-type]


def realtime(
    work: list[float] | NDArray[np.float64], name: str = "chat", access: Access | None = None
) -> RealtimeDemand:
    """Real-time work by the hour, in saturated replicas."""
    return RealtimeDemand(
        name=name, model="m", work_s={"h100": np.asarray(work, float) * HOUR}, access=access or Access()
    )


def deferrable(
    work: list[float] | NDArray[np.float64], patience: int, name: str = "batch", access: Access | None = None
) -> DeferrableDemand:
    """Deferrable work by the hour, in saturated replicas, with a patience in hours."""
    return DeferrableDemand(
        name=name,
        model="m",
        work_s={"h100": np.asarray(work, float) * HOUR},
        due=np.arange(len(work)) + patience - 1,
        access=access or Access(),
    )


def on_demand(usd: float = 10.0, machine: str = "aws-h100", **options: object) -> OnDemand:
    return OnDemand(name=f"{machine} on demand", machine=machine, usd_per_hour=usd, **options)  # type: ignore[arg-type]


def reserved(usd: float = 6.0, machine: str = "aws-h100", **options: object) -> Reserved:
    return Reserved(name=f"{machine} reserved", machine=machine, usd_per_hour=usd, term="1y", **options)  # type: ignore[arg-type]


def small(
    realtime_work: list[float], deferrable_work: list[float], patience: int, *, cyclic: bool = False, **options: object
) -> Problem:
    """One pool on demand, one workload of each lane."""
    count = len(realtime_work)
    horizon = hours(count) if cyclic else hours(count, ends=OpenEnd())
    values: dict[str, object] = {
        "horizon": horizon,
        "workloads": (realtime(realtime_work), deferrable(deferrable_work, patience)),
        "pools": (pool(),),
        "payments": (on_demand(),),
        **options,
    }
    return Problem(**values)  # type: ignore[arg-type]


def steady() -> Problem:
    """Steady work of two machines, on demand or reserved."""
    return Problem(
        horizon=hours(4),
        workloads=(realtime([2.0, 2.0, 2.0, 2.0]),),
        pools=(pool(safe=list(range(10))),),
        payments=(on_demand(10.0), reserved(6.0)),
    )


def with_commitment(work: NDArray[np.float64]) -> Problem:
    """Real-time work by the hour on pools without pooling gains, on demand for $10 or reserved for $6."""
    return Problem(
        horizon=hours(len(work), ends=OpenEnd(warm=True)),
        workloads=(realtime(work),),
        pools=(pool(safe=[0.97 * n for n in range(6)], max_utilization=0.97),),
        payments=(on_demand(10.0), reserved(6.0)),
    )
