"""A policy: a floor from the forecast, a reactive rule above it, backfill, and machines for the backlog."""

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from meritorder.domain import BackfillLimits
from meritorder.sim.pools import Autoscaled, DeadlineScaled, SimPool
from meritorder.study.fleet.fleets import Trial, simulate_fleet
from meritorder.study.fleet.load import TraceLoad
from meritorder.study.fleet.machines import CandidateMachine, unrestricted_backfill
from meritorder.study.forward.forecast import Forecast
from meritorder.units import SECONDS_PER_HOUR, SECONDS_PER_MINUTE, format_count

Floats = NDArray[np.float64]

SLOT_S: Final = 15 * SECONDS_PER_MINUTE
"""Length of a slot of the floor."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetPolicy:
    """How many machines run at a load that is not known in advance.

    Args:
        machine: Machine of the real-time pool.
        batch_machine: Machine for deferrable work that does not fit into the real-time pool in time.
        target_in_flight: Requests in flight that one replica should have.
        minimum: Fewest machines at any time.
        maximum: Most machines at any time.
        stabilization_s: Scale-down waits until all recommendations of this window are lower.
        floor_quantile: Quantile of the forecast load that the floor serves; None for no floor.
        load_per_machine: Load that one machine of the floor serves, in saturated replicas.
        backfill: How much deferrable work a replica admits; None if it admits none.
        batch_maximum: Most machines for the backlog.
        batch_margin_s: Safety margin before each latest start.
    """

    machine: CandidateMachine
    batch_machine: CandidateMachine
    target_in_flight: float
    minimum: int
    maximum: int
    stabilization_s: float
    floor_quantile: float | None
    load_per_machine: float
    backfill: BackfillLimits | None
    batch_maximum: int
    batch_margin_s: float = 600.0

    @property
    def label(self) -> str:
        """Description for people."""
        floor = f", floor for {self.floor_quantile:.0%} of the forecast" if self.floor_quantile else ""
        return (
            f"{self.machine.profile.replica.label}, at least {self.minimum}{floor}, "
            f"{format_count(round(self.target_in_flight), 'request')} in flight per replica"
        )

    def machines_for(self, load: float) -> int:
        """Return the machines that serve a load in saturated replicas, within the bounds."""
        return min(self.maximum, max(self.minimum, math.ceil(load / self.load_per_machine - 1e-9)))

    def floor(self, forecast: Forecast | None) -> tuple[int, ...]:
        """Return the fewest machines in each slot of a day; empty without a floor or a forecast."""
        if self.floor_quantile is None or forecast is None:
            return ()
        return tuple(self.machines_for(load) for load in forecast.quantile(self.floor_quantile).tolist())

    def pools(
        self, floor: tuple[int, ...], initial: int
    ) -> tuple[tuple[CandidateMachine, SimPool], tuple[CandidateMachine, SimPool]]:
        """Return the pools for the simulator.

        Args:
            floor: The fewest machines in each slot; empty for none.
            initial: Machines on at time 0.
        """
        scaling = Autoscaled(
            target_in_flight=self.target_in_flight,
            minimum=self.minimum,
            maximum=self.maximum,
            initial=initial,
            stabilization_s=self.stabilization_s,
            floor=floor,
            slot_s=SLOT_S,
            ahead_s=self.machine.startup_s,
        )
        backlog = DeadlineScaled(maximum=self.batch_maximum, margin_s=self.batch_margin_s)
        everything = unrestricted_backfill(self.batch_machine.limits)
        return (
            (self.machine, self.machine.pool(scaling, realtime=True, backfill=self.backfill)),
            (self.batch_machine, self.batch_machine.pool(backlog, realtime=False, backfill=everything)),
        )

    def run(self, load: TraceLoad, forecast: Forecast | None, load_before: float) -> Trial:
        """Simulate a day under the policy.

        Args:
            load: The requests of the day.
            forecast: Load of the day's slots that was expected; None for no floor.
            load_before: Load just before the day, for which machines are on at its beginning.
        """
        floor = self.floor(forecast)
        return simulate_fleet("policy", self.label, load, self.pools(floor, self.machines_for(load_before)))


def slot_loads(machine: CandidateMachine, load: TraceLoad) -> Floats:
    """Return the real-time load of each slot in saturated replicas, shape (slots,)."""
    slots = math.ceil(load.span_s / SLOT_S - 1e-9)
    work_s = np.where(load.deferrable, 0.0, machine.work_s(load))
    slot = np.minimum((load.arrived_s / SLOT_S).astype(np.int64), slots - 1)
    return np.bincount(slot, weights=work_s, minlength=slots) / SLOT_S


def backlog_machines(machine: CandidateMachine, load: TraceLoad) -> int:
    """Return how many machines finish in time what may arrive to wait: all of the busiest time of one patience."""
    waits = load.deferrable
    if not waits.any():
        return 1
    work_s = machine.work_s(load)[waits]
    patience_s = float(np.min((load.deadline_s - load.arrived_s)[waits]))
    ends = np.searchsorted(load.arrived_s[waits], load.arrived_s[waits] + patience_s)
    total_s = np.concatenate(([0.0], np.cumsum(work_s)))
    busiest_s = float(np.max(total_s[ends] - total_s[:-1]))
    available_s = max(min(patience_s, SECONDS_PER_HOUR) / 2, patience_s - machine.startup_s - SECONDS_PER_HOUR)
    return 2 * math.ceil(busiest_s / available_s / machine.replicas) + 1
