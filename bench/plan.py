"""Time to solve plans of a day to a week, and its growth with the number of slots."""

import math
import time
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from meritorder.planner.model.demand import DeferrableDemand, Demand, Horizon, RealtimeDemand
from meritorder.planner.model.problem import Problem
from meritorder.planner.model.supply import MachinePayment, MachinePool, OnDemand, Reserved, SavingsPlan, Spot
from meritorder.planner.solve.highs import Effort
from meritorder.planner.solve.search import find_plan
from meritorder.units import HOURS_PER_DAY, SECONDS_PER_HOUR, SECONDS_PER_MINUTE

Floats = NDArray[np.float64]

DAYS: Final = (1, 2, 4, 7)
SLOT_S: Final = 15 * SECONDS_PER_MINUTE
REPLICAS: Final = 20.0
# The same gap at every size makes the times comparable.
GAP: Final = 0.02
# Work relative to an H200, and dollars an hour on demand, spot and reserved for eight GPUs.
HARDWARE: Final = {"h200": (1.0, 60.0, 25.0, 40.0), "b200": (0.5, 100.0, 50.0, 70.0), "h100": (1.6, 45.0, 20.0, 28.0)}
PLACES: Final = {"aws": 1.0, "gcp": 1.1}
# Name, hours of patience, and work relative to real time of the deferrable workloads.
DEFERRABLE: Final = (("hourly", 1, 0.2), ("by shift", 4, 0.4), ("by tomorrow", 24, 0.5))


def problem(days: float) -> Problem:
    """Return a problem of 12 offers and 4 workloads in slots of a quarter hour, with daily and weekly cycles."""
    horizon = Horizon(slot_s=SLOT_S, slots=round(days * HOURS_PER_DAY * SECONDS_PER_HOUR / SLOT_S))
    hour = np.arange(horizon.slots) * horizon.slot_h
    shape = 0.4 + 0.6 * np.exp(-(((hour % HOURS_PER_DAY - 14) / 5) ** 2))
    shape = np.where(hour // HOURS_PER_DAY % 7 >= 5, 0.5 * shape, shape)
    rng = np.random.default_rng(0)
    online_s = REPLICAS * SLOT_S * shape * rng.lognormal(0, 0.1, horizon.slots)
    workloads: list[Demand] = [RealtimeDemand(name="chat", model="m", work_s=_by_hardware(online_s))]
    for name, hours, share in DEFERRABLE:
        work_s = share * REPLICAS * SLOT_S * shape * rng.lognormal(0, 0.4, horizon.slots)
        due = np.arange(horizon.length) + hours * horizon.slots_per_hour - 1
        workloads.append(DeferrableDemand(name=name, model="m", work_s=_by_hardware(work_s), due=due))
    pools, payments = _supply()
    rates = {f"aws-{name}": 0.75 * prices[1] for name, prices in HARDWARE.items()}
    return Problem(
        horizon=horizon,
        workloads=tuple(workloads),
        pools=tuple(pools),
        payments=tuple(payments),
        savings_plans=(SavingsPlan(name="savings plan", usd_per_hour=rates),),
    )


def _by_hardware(work_s: Floats) -> dict[str, Floats]:
    return {name: work_s * factor for name, (factor, *_) in HARDWARE.items()}


def _supply() -> tuple[list[MachinePool], list[MachinePayment]]:
    pools: list[MachinePool] = []
    payments: list[MachinePayment] = []
    for hardware, (_, on_demand, spot, reserved) in HARDWARE.items():
        for provider, factor in PLACES.items():
            name = f"{provider}-{hardware}"
            machines = np.arange(61.0)
            pools.append(
                MachinePool(
                    name=name,
                    model="m",
                    replica=hardware,
                    machine=name,
                    provider=provider,
                    region="",
                    hardware=hardware,
                    gpus=8,
                    safe_load=0.9 * np.maximum(machines - 0.6 * np.sqrt(machines), 0.0),
                )
            )
            payments.append(OnDemand(name=f"{name} on demand", machine=name, usd_per_hour=on_demand * factor))
            if provider == "aws":
                payments.append(Reserved(name=f"{name} 1y", machine=name, usd_per_hour=reserved))
                payments.append(
                    Spot(
                        name=f"{name} spot",
                        machine=name,
                        usd_per_hour=spot,
                        available=np.array(2.0),
                        interruptions_per_hour=0.02,
                    )
                )
    return pools, payments


def run() -> dict[str, Any]:
    """Solve plans of one day to a week; print and return times, gaps and growth."""
    rows = []
    for days in DAYS:
        planning = problem(days)
        began, used = time.perf_counter(), time.process_time()
        plan = find_plan(planning, Effort(gap=GAP))
        rows.append(
            {
                "days": days,
                "slots": planning.horizon.slots,
                "seconds": time.perf_counter() - began,
                "cpu_s": time.process_time() - used,
                "gap": plan.gap,
            }
        )
        print(
            f"{days} days, {planning.horizon.slots:4d} slots: {rows[-1]['seconds']:5.1f} s "
            f"({rows[-1]['cpu_s']:.1f} s of CPU), gap {plan.gap:.2%}"
        )
    growth = math.log(rows[-1]["cpu_s"] / rows[0]["cpu_s"]) / math.log(rows[-1]["slots"] / rows[0]["slots"])
    print(f"CPU time grows with slots ^ {growth:.2f}")
    return {"rows": rows, "growth_exponent": growth}


if __name__ == "__main__":
    run()
