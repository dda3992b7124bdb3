"""How many machines requests need in each tick of the clock, and which of them to keep on between."""

from dataclasses import dataclass
from typing import Final, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from meritorder.domain import BackfillLimits
from meritorder.policy.replicas import DECISION_S
from meritorder.sim.pools import Scheduled, SimPool
from meritorder.sim.saturation import unloaded_latency
from meritorder.sim.state import MAX_SLOTS
from meritorder.study.bound.path import Stretch, cheapest_path, idle_until
from meritorder.study.fleet.load import TraceLoad
from meritorder.study.fleet.machines import CandidateMachine
from meritorder.units import SECONDS_PER_HOUR

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

# A replica takes this much longer for a request than alone on it, to be in time with some others beside it.
_BESIDE_OTHERS: Final = 1.1
_ROUNDING: Final = 1e-9
# Cost of a slot without the machine that it needs, in seconds of a machine.
_NEEDED: Final = 1e6


class Clock(NamedTuple):
    """Slots of a schedule: slot k is the time (k slot_s, (k + 1) slot_s], and its machines serve all of it."""

    slot_s: float
    slots: int

    @classmethod
    def of(cls, load: TraceLoad, machine: CandidateMachine) -> Self:
        """Return slots as short as a schedule permits, until all requests are due and could be served."""
        due_s = np.where(load.deferrable, load.deadline_s, load.arrived_s)
        last_s = max(load.span_s, float((due_s + _alone_s(load, machine)[1]).max()))
        slot_s = DECISION_S * float(np.ceil((last_s / DECISION_S + 2) / (MAX_SLOTS - 1)))
        return cls(slot_s=slot_s, slots=int(np.ceil(last_s / slot_s)) + 1)

    def slot_at(self, time_s: Floats) -> Ints:
        """Return the slot of each time."""
        return np.clip(np.ceil(time_s / self.slot_s).astype(np.int64) - 1, 0, self.slots - 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Need:
    """What requests need of one kind of machine over time.

    Args:
        machine: The machine.
        load: The requests.
        clock: The slots of its schedule.
        ttft_s: Time to first token of each request alone, shape (requests,).
        e2e_s: Time to its last token, shape (requests,).
    """

    machine: CandidateMachine
    load: TraceLoad
    clock: Clock
    ttft_s: Floats
    e2e_s: Floats

    @classmethod
    def of(cls, machine: CandidateMachine, load: TraceLoad, clock: Clock) -> Self:
        """Return what a load needs of a machine."""
        ttft_s, e2e_s = _alone_s(load, machine)
        return cls(machine=machine, load=load, clock=clock, ttft_s=ttft_s, e2e_s=e2e_s)

    def too_slow(self) -> Bools:
        """Return which requests that may wait are late even alone on a replica, shape (requests,)."""
        wait_s = self.load.deadline_s - self.load.arrived_s
        return np.asarray(self.load.deferrable & (_BESIDE_OTHERS * self.e2e_s > wait_s))

    def in_flight(self) -> Floats:
        """Return the mean number of real-time requests in flight in each slot, shape (slots,)."""
        realtime = ~self.load.deferrable
        arrived_s, e2e_s = self.load.arrived_s[realtime], self.e2e_s[realtime]
        ended_s = np.sort(arrived_s + e2e_s)
        edges_s = np.arange(self.clock.slots + 1, dtype=np.float64) * self.clock.slot_s
        since_s = _time_since(arrived_s, edges_s) - _time_since(ended_s, edges_s)
        return np.asarray(np.maximum(np.diff(since_s), 0.0) / self.clock.slot_s)

    def machines(self, target_in_flight: float, in_flight: Floats) -> Ints:
        """Return the machines that keep the real-time requests in flight per replica at a target, shape (slots,)."""
        return np.ceil(in_flight / (target_in_flight * self.machine.replicas) - 1e-9).astype(np.int64)

    def kept_on(self, needed: Ints) -> Ints:
        """Return machines that stay on where a restart would cost more, shape (slots,).

        Each of the n machines that are on at one time stays on by itself.
        """
        kept = np.zeros_like(needed)
        most = self.machine.startup_paid_s / self.clock.slot_s
        for level in range(1, int(needed.max(initial=0)) + 1):
            places = np.flatnonzero(needed >= level)
            on = np.zeros(len(needed) + 1, np.int64)
            gaps = np.diff(places, prepend=-1) - 1
            from_slot = np.where(gaps <= most, places - gaps, places)
            np.add.at(on, from_slot, 1)
            np.add.at(on, places + 1, -1)
            kept += np.cumsum(on)[:-1] > 0
        return kept

    def least_usd(self) -> float:
        """Return what one machine would cost that is on for these requests, if they were served at once."""
        on = self.covered(0.0)
        starts = int(np.count_nonzero(on[1:] & ~on[:-1]))
        paid_s = float(np.count_nonzero(on)) * self.clock.slot_s + starts * self.machine.startup_paid_s
        return max(paid_s * self.machine.offer.usd_per_hour / SECONDS_PER_HOUR, self.machine.price_work(self.load))

    def extended(self, on: Bools, count: int) -> Bools:
        """Return the slots of some stays, each of which lasts until all work that waits is done, shape (slots,).

        Args:
            on: Slots of the stays, shape (slots,).
            count: Machines that are on.
        """
        load, clock = self.load, self.clock
        work_s = np.where(load.deferrable, self.machine.work_s(load), 0.0)
        arrived_s = np.cumsum(np.bincount(clock.slot_at(load.arrived_s), weights=work_s, minlength=clock.slots))
        room_s = count * self.machine.replicas * clock.slot_s
        longer, done_s, slot = on.copy(), 0.0, 0
        for first in np.flatnonzero(on & ~np.append(False, on[:-1])).tolist():
            slot = max(slot, first)
            while slot < clock.slots and (on[slot] or arrived_s[slot] - done_s > _ROUNDING):
                longer[slot] = True
                done_s = min(done_s + room_s, float(arrived_s[slot]))
                slot += 1
        return longer

    def covered(self, margin_s: float, on: Bools | None = None, violation_s: float = _NEEDED) -> Bools:
        """Return the slots in which one machine is on, so that all requests find it on in time, at the least cost.

        Args:
            margin_s: Time that a request which may wait needs beyond that alone.
            on: Slots in which it is on in any case, shape (slots,).
            violation_s: Price of a request in real time that finds no machine, in seconds of a machine; it rents one.
        """
        load, clock = self.load, self.clock
        spare_s = np.maximum(load.ttft_limit_s - _BESIDE_OTHERS * self.ttft_s, 0.0)
        latest_s = np.where(
            load.deferrable, load.deadline_s - _BESIDE_OTHERS * self.e2e_s - margin_s, load.arrived_s + spare_s
        )
        latest_s = np.maximum(latest_s, load.arrived_s)
        # Requests in real time that no later slot serves in time.
        slot = clock.slot_at(load.arrived_s)
        now = ~load.deferrable & (latest_s < (slot + 1) * clock.slot_s)
        waits_s = np.where(now, load.arrived_s + self.machine.startup_s + clock.slot_s, latest_s)
        missed_s = np.bincount(slot[now], minlength=clock.slots) * violation_s
        if on is not None:
            missed_s[on] = _NEEDED
        done = np.zeros(clock.slots)
        np.maximum.at(done, slot[~load.deferrable], clock.slot_at(load.arrived_s + self.e2e_s)[~load.deferrable])
        rest_s = np.maximum(np.maximum.accumulate(done) - np.arange(clock.slots), 0.0) * clock.slot_s
        start = np.full(clock.slots, self.machine.startup_paid_s)
        start[0] = 0.0
        busy, nothing = np.flatnonzero(missed_s), np.zeros(clock.slots)
        _, path = cheapest_path(
            Stretch(
                window_s=np.full(clock.slots, clock.slot_s),
                start_usd=start,
                stop_usd=nothing,
                idle_until=idle_until(load.arrived_s, waits_s, clock.slot_s, clock.slots),
                paid=np.array([0.0, 1.0]),
                usd_per_s=np.array([0.0, 1.0]),
                rest_s=rest_s,
                busy=busy,
                busy_usd=np.column_stack((missed_s[busy], np.zeros(len(busy)))),
                late=busy[:0],
                late_usd=np.zeros((0, 2)),
                elsewhere=np.full((2, clock.slots), np.inf),
            )
        )
        return path > 0

    def pools(
        self, machines: Ints, *, realtime: bool, backfill: BackfillLimits | None
    ) -> tuple[tuple[CandidateMachine, SimPool], ...]:
        """Return pools that run these machines by slot; a second one if some start before others have stopped.

        A schedule keeps a machine on for the time of a start-up before it needs it again.
        """
        ahead_s = DECISION_S * float(np.ceil(self.machine.startup_s / DECISION_S))
        pools = []
        for counts in self._alternating(machines, round(ahead_s / self.clock.slot_s)):
            used = np.flatnonzero(counts)
            slots = (*counts[: int(used[-1]) + 1 if len(used) else 0].tolist(), 0)
            scaling = Scheduled(instances=slots, slot_s=self.clock.slot_s, ahead_s=ahead_s)
            pools.append((self.machine, self.machine.pool(scaling, realtime=realtime, backfill=backfill)))
        return tuple(pools)

    def _alternating(self, machines: Ints, ahead: int) -> list[Ints]:
        """Return the machines in two parts, so that in neither of them one starts again within its start-up."""
        parts = [np.zeros_like(machines), np.zeros_like(machines)]
        for level in range(1, int(machines.max(initial=0)) + 1):
            edges = np.diff(machines >= level, prepend=False, append=False)
            last, part = -ahead - 1, 0
            for first, after in np.flatnonzero(edges).reshape(-1, 2).tolist():
                part = 1 - part if first - last < ahead else 0
                parts[part][first:after] += 1
                last = after
        return parts if parts[1].any() else parts[:1]


def _alone_s(load: TraceLoad, machine: CandidateMachine) -> tuple[Floats, Floats]:
    """Return the time of each request alone on a replica until its first token, and until its last."""
    nothing_s = np.zeros(len(load))
    ttft_s, pace_s = unloaded_latency(load.requests(nothing_s, nothing_s), machine.profile, machine.limits)
    return ttft_s, ttft_s + load.output_tokens * pace_s


def _time_since(times_s: Floats, edges_s: Floats) -> Floats:
    """Return the time since each of some sorted times before an edge, summed, shape (edges,)."""
    count = np.searchsorted(times_s, edges_s)
    total_s = np.concatenate(([0.0], np.cumsum(times_s)))
    return np.asarray(count * edges_s - total_s[count])
