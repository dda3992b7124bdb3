"""How many real-time requests of a window break their SLO with at most n machines, at least: from isolated windows.

The requests of a window are served alone, by n machines that are idle before. That is the best that can happen to them
if fewer other requests and more machines never do harm, which the simulator keeps but for small effects of order.
"""

import math
from dataclasses import dataclass, replace
from typing import Final, Self

import numpy as np
from numpy.typing import NDArray

from meritorder.latency import breaks_slo, tpot_s
from meritorder.sim.pools import Requests, Scheduled, SimPool
from meritorder.sim.run import simulate
from meritorder.sim.saturation import unloaded_latency
from meritorder.study.fleet.load import TraceLoad

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

# A request alone is this much faster than computed at the least.
_ALONE_MARGIN: Final = 0.97
# Time for a window's requests to drain, in multiples of the slowest of them alone, and of their work.
_DRAIN_LATENCIES: Final = 3.0
_DRAIN_WORK: Final = 2.0
# Slots of one simulation of windows.
_MAX_SLOTS: Final = 24_576
# A violation that its workload does not permit counts as this many times more than are allowed.
_STRICT: Final = 100
_ROUNDING: Final = 1e-9


@dataclass(slots=True, kw_only=True)
class WindowCurves:
    """Violations in each window with requests, by number of machines, as far as they are simulated.

    A request belongs to the window in which it arrives, or to the one in which it must have its first token, if windows
    before that each is simulated with reach back to its arrival.

    Args:
        load: Real-time requests, sorted by arrival.
        pool: One machine.
        window_s: Length of a window, a multiple of the tick. Window k is (k window_s, (k + 1) window_s], since an
            arrival comes before a tick at the same time.
        tick_s: Time between changes in the number of machines.
        work_s: Seconds of a saturated replica that each request takes.
        weight: As how many violations one of each request counts.
        batch_s: Time that the first token may take longer: requests that wait for a machine are prefilled at once.
        busy: Windows with requests, increasing.
        place: Position of each request's window among `busy`.
        before: Windows before that a window is simulated with; the number of machines is the largest in all of them.
        entries: What is simulated of each busy window: requests, the window's position among `busy`, and the time since
            the first window begins that is simulated with it; in order of window and time.
        judged: Requests that are judged in their window if it has machines.
        unserved: Violations in each busy window if it has no machines.
        late: The curves of requests that machines of the next window serve in time if their own has none, as if they
            arrived when it begins; None if there are no such requests.
        alone: Violations if every request has a replica for itself, at the least.
        alone_s: Time of each request alone.
        machines: Numbers simulated, shape (busy, rounds).
        violations: Violations with these, shape (busy, rounds).
    """

    load: TraceLoad
    pool: SimPool
    window_s: float
    tick_s: float
    work_s: Floats
    weight: Ints
    batch_s: Floats
    busy: Ints
    place: Ints
    before: int
    entries: tuple[Ints, Ints, Floats]
    judged: Bools
    unserved: Ints
    late: Self | None
    alone: Ints
    alone_s: Floats
    machines: Ints
    violations: Ints

    @classmethod
    def of(
        cls,
        load: TraceLoad,
        pool: SimPool,
        work_s: Floats,
        *,
        window_s: float,
        tick_s: float,
        before: int,
        weight: Ints | None = None,
        batch_s: Floats | None = None,
    ) -> Self:
        """Return the curves of a load before any simulation; without weights each violation counts once."""
        weight = np.ones(len(load), np.int64) if weight is None else weight
        window, due = (_window(times_s, window_s) for times_s in (load.arrived_s, load.arrived_s + load.ttft_limit_s))
        own = np.minimum(due, window + before)
        busy, place = np.unique(own, return_inverse=True)
        # A machine that serves for a whole tick takes all arrivals of the tick, one of a longer window may be too late.
        judged = (due == own) | (window_s == tick_s and before == 0)
        wait_s = np.where(due > window, _longest_s(load, pool, window), 0.0)

        def count(chosen: Bools) -> Ints:
            return np.bincount(place, weights=chosen * weight, minlength=len(busy)).astype(np.int64)

        late, next_late = None, (due == window + 1) & (before == 0)
        if next_late.any():
            late = cls.of(
                _moved(load.select(next_late), (window[next_late] + 1) * window_s),
                pool,
                work_s[next_late],
                window_s=window_s,
                tick_s=tick_s,
                before=0,
                weight=weight[next_late],
                batch_s=wait_s[next_late],
            )
        nothing = np.zeros((len(busy), 0), np.int64)
        return cls(
            load=load,
            pool=pool,
            window_s=window_s,
            tick_s=tick_s,
            work_s=work_s,
            weight=weight,
            batch_s=(wait_s if before else np.zeros(len(load))) if batch_s is None else batch_s,
            busy=busy,
            place=place,
            before=before,
            entries=_entries(load.arrived_s, window, busy, window_s=window_s, before=before),
            judged=judged,
            unserved=count(due == own),
            late=late,
            alone=count(judged & _slow_alone(load, pool)),
            alone_s=latency_alone_s(load, pool),
            machines=nothing,
            violations=nothing,
        )

    @property
    def most_machines(self) -> int:
        """The largest number simulated."""
        return int(self.machines.max(initial=1))

    def least_machines(self) -> Ints:
        """Return the machines that a saturated fleet would need for each busy window, shape (busy,)."""
        work_s = np.bincount(self.place, weights=self.work_s, minlength=len(self.busy))
        machines = np.ceil(work_s / self.window_s / self.pool.replicas_per_instance)
        return np.asarray(np.maximum(machines, 1), np.int64)

    def rest_s(self, windows: int, horizon_s: float) -> Floats:
        """Return the time after each window until all requests that arrived so far are done at the earliest.

        A machine serves the requests of a window whose length is one tick; in a longer one it may stop before they
        come. It stops at a tick, or when it is done after the horizon.
        """
        if self.window_s > self.tick_s or self.before:
            return np.zeros(windows)
        _, pace_s = _unloaded(self.load, self.pool)
        done_s = self.load.arrived_s + _ALONE_MARGIN * (self.load.output_tokens - 1) * pace_s
        last_s = np.zeros(windows)
        np.maximum.at(last_s, self.busy[self.place], done_s)
        last_s = np.maximum.accumulate(last_s)
        stopped_s = np.ceil(last_s / self.tick_s) * self.tick_s
        last_s = np.where(stopped_s <= horizon_s, stopped_s, last_s)
        return np.asarray(np.maximum(last_s - (np.arange(windows) + 1) * self.window_s, 0.0))

    def at_least(self, numbers: int) -> Ints:
        """Return the violations with at most n machines, at the least, shape (busy, numbers).

        With n machines there are as many violations as with the next larger number simulated, or alone.
        """
        table = np.repeat(self.alone[:, None], numbers, axis=1)
        order = np.argsort(-self.machines, axis=1, kind="stable")
        machines = np.take_along_axis(self.machines, order, axis=1)
        violations = np.take_along_axis(self.violations, order, axis=1)
        violations[machines == 0] = self.weight.sum()
        for column in range(machines.shape[1]):
            # Fewer machines may have fewer violations by chance, which then bound those of more machines as well.
            least = violations[:, column:].min(axis=1, keepdims=True)
            below = np.arange(numbers) <= machines[:, column, None]
            table = np.where(below, least, table)
        table[:, 0] = self.unserved
        return table

    def simulate(self, machines: Ints) -> None:
        """Simulate each busy window with a number of machines; 0 omits it."""
        violations = np.zeros(len(self.busy), np.int64)
        pending = np.flatnonzero(machines)
        pending = pending[np.argsort(-machines[pending], kind="stable")]
        slots = self._slots(machines)
        while len(pending):
            chunk = pending[: max(1, int(np.searchsorted(np.cumsum(slots[pending]), _MAX_SLOTS, side="right")))]
            broken, drained = self._simulate_chunk(chunk, machines[chunk], slots[chunk])
            violations[chunk[drained]] = broken[drained]
            slots[chunk[~drained]] = np.minimum(2 * slots[chunk[~drained]], _MAX_SLOTS)
            again = chunk[~drained]
            pending = np.concatenate((again, pending[len(chunk) :]))
        self.machines = np.column_stack((self.machines, machines))
        self.violations = np.column_stack((self.violations, violations))

    @property
    def _slot_s(self) -> float:
        return (1 + self.before) * self.window_s + 2 * self.tick_s

    def _slots(self, machines: Ints) -> Ints:
        """Return for how many slots each busy window is simulated, shape (busy,)."""
        members, of, since_s = self.entries
        work_s = np.bincount(of, weights=self.work_s[members], minlength=len(self.busy))
        work_s = work_s / (np.maximum(machines, 1) * self.pool.replicas_per_instance)
        longest_s, last_s = np.zeros(len(self.busy)), np.zeros(len(self.busy))
        np.maximum.at(longest_s, of, self.alone_s[members])
        np.maximum.at(last_s, of, since_s)
        drain_s = last_s + _DRAIN_LATENCIES * longest_s + _DRAIN_WORK * work_s
        slots = np.ceil((self.tick_s + drain_s) / self._slot_s)
        return np.asarray(np.minimum(slots, _MAX_SLOTS), np.int64)

    def _simulate_chunk(self, chunk: Ints, machines: Ints, slots: Ints) -> tuple[Ints, Bools]:
        """Simulate some windows one after another, each from an empty fleet.

        Returns:
            broken: Violations in each window.
            drained: Whether the window was alone: what came before it was done, and so was it before the next.
        """
        first_slot = np.cumsum(slots) - slots
        begins_s, ends_s = first_slot * self._slot_s, (first_slot + slots) * self._slot_s
        position = np.full(len(self.busy), -1, np.int64)
        position[chunk] = np.arange(len(chunk))
        members, of, since_s = self.entries
        chosen = position[of] >= 0
        members, of = members[chosen], position[of[chosen]]
        arrived_s = begins_s[of] + self.tick_s + since_s[chosen]
        order = np.argsort(arrived_s, kind="stable")
        members, of, arrived_s = members[order], of[order], arrived_s[order]
        own = self.place[members] == chunk[of]
        load = self.load
        requests = Requests(
            arrived_s=arrived_s,
            input_tokens=load.input_tokens[members],
            cached_tokens=load.cached_tokens[members],
            output_tokens=load.output_tokens[members],
            latest_start_s=np.full(len(members), np.inf),
            work_s=np.zeros(len(members)),
        )
        scaling = Scheduled(instances=tuple(np.repeat(machines, slots).tolist()), slot_s=self._slot_s)
        end_s = float(ends_s[-1])
        pool = replace(self.pool, scaling=scaling)
        result = simulate(requests, (pool,), horizon_s=end_s, tick_s=self.tick_s, bin_s=end_s)
        pace_s = tpot_s(result.finished_s, result.first_token_s, requests.output_tokens)
        waited_s = result.first_token_s - arrived_s
        limit_s = load.ttft_limit_s[members] + self.batch_s[members]
        broken = breaks_slo(waited_s, pace_s, limit_s, load.tpot_limit_s[members])
        counted = np.where(broken & own & self.judged[members], self.weight[members], 0)
        violations = np.bincount(of, weights=counted, minlength=len(chunk)).astype(np.int64)
        done_s = np.zeros(len(chunk))
        np.maximum.at(done_s, of, np.nan_to_num(result.finished_s, nan=np.inf))
        before_s = np.concatenate(([0.0], np.maximum.accumulate(done_s)[:-1]))
        done_s[-1] = 0.0  # nothing follows the last window, whose machines stay until its requests are done
        return violations, (done_s <= ends_s) & (before_s <= begins_s)


def allowed_violations(load: TraceLoad, members: Bools) -> tuple[int, Ints]:
    """Return the violations among some real-time requests that keep the SLO of each workload and of all.

    Returns:
        allowed: How many.
        weight: As how many one of each request counts: as more than are allowed where its workload permits none.
    """
    realtime = ~load.deferrable
    by_workload = np.zeros(len(load.workloads), np.int64)
    for index, workload in enumerate(load.workloads):
        count = int(np.count_nonzero(realtime & members & (load.workload == index)))
        share = 1 - workload.slo.attainment if workload.slo else 1.0
        by_workload[index] = math.floor(count * share + _ROUNDING)
    all_allowed = math.floor(np.count_nonzero(realtime) * (1 - load.attainment) + _ROUNDING)
    allowed = min(int(by_workload.sum()), all_allowed)
    return allowed, np.where(by_workload[load.workload] > 0, 1, _STRICT * (allowed + 1))


def _window(times_s: Floats, window_s: float) -> Ints:
    """Return the window of each time; an arrival comes before a tick at the same time."""
    return np.maximum(np.ceil(times_s / window_s).astype(np.int64) - 1, 0)


def _longest_s(load: TraceLoad, pool: SimPool, window: Ints) -> Floats:
    """Return the longest time to first token, alone, of the requests in the window of each."""
    longest_s = np.zeros(int(window.max(initial=0)) + 1)
    np.maximum.at(longest_s, window, _unloaded(load, pool)[0])
    return longest_s[window]


def _moved(load: TraceLoad, to_s: Floats) -> TraceLoad:
    """Return requests as if they arrived just after a later time, with less time to their first token."""
    arrived_s = np.nextafter(to_s, np.inf)
    return replace(load, arrived_s=arrived_s, ttft_limit_s=load.ttft_limit_s - (arrived_s - load.arrived_s))


def _entries(arrived_s: Floats, window: Ints, busy: Ints, *, window_s: float, before: int) -> tuple[Ints, Ints, Floats]:
    """Return what is simulated of each busy window (`WindowCurves.entries`)."""
    members, of = [], []
    for lag in range(before + 1):
        place = np.minimum(np.searchsorted(busy, window + lag), len(busy) - 1)
        earlier = np.flatnonzero(busy[place] == window + lag)
        members.append(earlier)
        of.append(place[earlier])
    member, place = np.concatenate(members), np.concatenate(of)
    since_s = arrived_s[member] - (busy[place] - before) * window_s
    order = np.lexsort((since_s, place))
    return member[order], place[order], since_s[order]


def _slow_alone(load: TraceLoad, pool: SimPool) -> Bools:
    """Return which requests break their SLO even alone on a replica that is a little faster than computed."""
    ttft_s, pace_s = _unloaded(load, pool)
    pace_s = np.where(load.output_tokens > 1, pace_s, np.nan)
    return breaks_slo(_ALONE_MARGIN * ttft_s, _ALONE_MARGIN * pace_s, load.ttft_limit_s, load.tpot_limit_s)


def latency_alone_s(load: TraceLoad, pool: SimPool) -> Floats:
    """Return the time of each request alone on a replica, as computed."""
    ttft_s, pace_s = _unloaded(load, pool)
    return ttft_s + load.output_tokens * pace_s


def _unloaded(load: TraceLoad, pool: SimPool) -> tuple[Floats, Floats]:
    nothing_s = np.zeros(len(load))
    return unloaded_latency(load.requests(nothing_s, nothing_s), pool.profile, pool.limits)
