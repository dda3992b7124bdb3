"""The search for the cheapest schedule by the tick that keeps every promise, by simulation.

Each kind of machine is tried for real time: with as many requests in flight per replica as their SLO allows, and with
requests left out that may break it. What may wait runs in its gaps, at times when a machine is on for it anyway, or on
machines of its own. Machines are skipped that would cost more than what is known if they were on only when needed.
"""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from meritorder.domain import BackfillLimits
from meritorder.errors import InfeasibleError
from meritorder.sim.pools import DeadlineScaled, SimPool
from meritorder.study.bound.bound import realtime_bound
from meritorder.study.fleet.fleets import (
    Trial,
    autoscaler_targets,
    max_deadline_machines,
    rejudge,
    search_fixed_fleet,
    simulate_fleet,
)
from meritorder.study.fleet.load import TraceLoad
from meritorder.study.fleet.machines import CandidateMachine, check_slo, max_backfill, unrestricted_backfill
from meritorder.study.fleet.search import Search
from meritorder.study.hindsight.need import Clock, Need

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
Pools = tuple[tuple[CandidateMachine, SimPool], ...]

# Time that work which may wait gets beyond that of each request alone.
_MARGINS_S: Final = (0.0, 30.0, 120.0, 600.0)
# Machines that are rented at once for it.
_BATCH_COUNTS: Final = (1, 2, 4, 8)
# Machines tried for it beside those of real time. For loads of many requests few schedules are tried, on few machines.
_OTHERS: Final = 3
_MANY_REQUESTS: Final = 50_000
_MACHINES_OF_MANY: Final = 1
# Deferrable work beside real time that hardly disturbs it: sequences up to which it joins, and prompt tokens in a step.
_FEW: Final = ((16, 256), (4, 256), (4, 64), (1, 64))
# Rounds in which machines are added where requests break their SLO.
_REPAIRS: Final = 6


def search_schedule(search: Search, best: Trial) -> Trial:
    """Return the cheapest schedule that keeps every promise, or the fleet that is known if none is cheaper.

    Args:
        search: The requests, and the machines that may be rented.
        best: The cheapest fleet known.
    """
    load = search.load
    waiting = bool(load.deferrable.all())
    urgent = load if waiting else load.select(~load.deferrable)
    needs: list[tuple[float, Need]] = []
    for machine in search.batch_machines if waiting else search.machines:
        with suppress(InfeasibleError):
            check_slo(load, machine.profile, machine.limits)
            clock = Clock.of(load, machine)
            needs.append((Need.of(machine, urgent, clock).least_usd(), Need.of(machine, load, clock)))
    needs.sort(key=lambda pair: pair[0])
    for least_usd, need in needs[: _MACHINES_OF_MANY if len(load) > _MANY_REQUESTS else None]:
        if best.feasible and least_usd >= best.usd:
            break
        others = sorted(search.batch_machines, key=lambda machine: machine.price_work(load))[:_OTHERS]
        enough_usd = best.usd if best.feasible else np.inf
        for trial in _waiting_alone(need) if waiting else _beside_realtime(need, [need.machine, *others], enough_usd):
            if trial.feasible and (trial.usd < best.usd or not best.feasible):
                best = trial
    return best


def _waiting_alone(need: Need) -> Iterator[Trial]:
    """Yield schedules for requests that may all wait."""
    for count in _BATCH_COUNTS:
        kept = False
        for margin_s in _MARGINS_S:
            on = need.covered(margin_s)
            for stays in (on, need.extended(on, count)):
                trial = _simulated(need, stays * count, unrestricted_backfill(need.machine.limits))
                kept = kept or trial.feasible
                yield trial
            if kept:
                return


def _beside_realtime(need: Need, others: list[CandidateMachine], enough_usd: float) -> Iterator[Trial]:
    """Yield schedules of one kind of machine for real time, with what may wait in its gaps or on other machines."""
    load, machine = need.load, need.machine
    many = len(load) > _MANY_REQUESTS
    lane = _RealtimeLane(need=Need.of(machine, load.select(~load.deferrable), need.clock), enough_usd=enough_usd)
    yield from lane.trials() if not load.deferrable.any() else ()
    if not load.deferrable.any():
        return
    everything = _RealtimeLane(need=Need.of(machine, load.all_realtime(), need.clock), enough_usd=enough_usd)
    for trial in everything.trials():
        yield rejudge(trial, load, trial.name, f"all in real time, {trial.label}")
    for _ in lane.trials():
        pass
    if lane.machines is None:
        return
    for backfill in _backfills(machine, load):
        trials = list(_together(need, lane.machines, backfill, others))
        yield from trials
        for other in others[: 1 if many else None]:
            yield from _apart(need, lane.machines, other, backfill)
        if any(trial.feasible for trial in trials):
            break  # less of it in the gaps saves nothing
    for other in others[: 1 if many else None]:
        yield from _apart(need, lane.machines, other, None)


def _together(need: Need, machines: Ints, backfill: BackfillLimits, others: list[CandidateMachine]) -> Iterator[Trial]:
    """Yield schedules of one kind of machine for both lanes, on when it is needed in real time and when work is due.

    Args:
        need: What all requests need.
        machines: Machines by slot that keep the SLO of the real-time lane alone.
        backfill: How much of the gaps may be filled.
        others: Other machines, for requests that are late even alone on these.
    """
    load, late = need.load, need.too_slow()
    own = Need.of(need.machine, load.select(~late), need.clock)
    for beside in _beside(need, late, others):
        for margin_s in _MARGINS_S if len(load) <= _MANY_REQUESTS else _MARGINS_S[:1]:
            on = own.covered(margin_s, machines > 0)
            kept = False
            for stays in (on, own.extended(on, 1)):
                pools = need.pools(np.maximum(machines, stays), realtime=True, backfill=backfill)
                trial = _fleet(load, (*beside, *pools))
                kept = kept or trial.feasible
                yield trial
            if kept:
                break


def _beside(need: Need, late: Bools, others: list[CandidateMachine]) -> Iterator[Pools]:
    """Yield pools of other machines that serve some requests in time; no pools if there are none such requests."""
    if not late.any():
        yield ()
        return
    for other in others:
        waiting = Need.of(other, need.load.select(late), need.clock)
        if not waiting.too_slow().any():
            # They are on when the requests arrive, which would start on the slower machines otherwise.
            stays = waiting.covered(np.inf).astype(np.int64)
            yield waiting.pools(stays, realtime=False, backfill=unrestricted_backfill(other.limits))


def _backfills(machine: CandidateMachine, load: TraceLoad) -> list[BackfillLimits]:
    """Return limits on deferrable work beside real time, from none to hardly any; a simulation shows what is kept."""
    everything, largest = unrestricted_backfill(machine.limits), max_backfill(machine, load)
    if len(load) > _MANY_REQUESTS:
        return [largest] if largest.sequences else []
    few = [
        BackfillLimits(sequences=sequences, prefill_tokens=tokens, kv_share=1.0)
        for sequences, tokens in _FEW
        if sequences < everything.sequences
    ]
    return [everything, *([largest] if largest.sequences else []), *few]


def _apart(need: Need, machines: Ints, other: CandidateMachine, backfill: BackfillLimits | None) -> Iterator[Trial]:
    """Yield schedules of real time with backfill, and of other machines for what it does not serve in time.

    Args:
        need: What all requests need.
        machines: Machines by slot that keep the SLO of the real-time lane alone.
        other: The other machines.
        backfill: How much of the gaps may be filled; None keeps the lanes apart.
    """
    load = need.load
    realtime = need.pools(machines, realtime=True, backfill=backfill)
    everything = unrestricted_backfill(other.limits)
    rented = DeadlineScaled(maximum=max_deadline_machines(other, load))
    first = _fleet(load, (*realtime, (other, other.pool(rented, realtime=False, backfill=everything))))
    yield first
    replicas = sum(pool.max_instances * machine.replicas for machine, pool in realtime)
    served = (first.result.replica < replicas) & (first.result.finished_s <= load.deadline_s)
    rest = load.deferrable & ~served
    if backfill is None or not rest.any() or len(load) > _MANY_REQUESTS:
        return
    waiting = Need.of(other, load.select(rest), need.clock)
    for margin_s in _MARGINS_S:
        stays = waiting.extended(waiting.covered(margin_s), 1).astype(np.int64)
        trial = _fleet(load, (*waiting.pools(stays, realtime=False, backfill=everything), *realtime))
        yield trial
        if trial.feasible:
            return


@dataclass(slots=True, kw_only=True)
class _RealtimeLane:
    """Schedules for requests in real time alone.

    Args:
        need: What they need.
        enough_usd: Cost of a fleet that is known: what costs more is not tried.
        best: The cheapest schedule so far that keeps the SLO.
        machines: Its machines by slot.
    """

    need: Need
    enough_usd: float
    best: Trial | None = None
    machines: Ints | None = None

    def trials(self) -> Iterator[Trial]:
        """Yield schedules: first with as many in flight per replica as the SLO allows, then with requests left out."""
        need = self.need
        in_flight, one = need.in_flight(), need.covered(0.0)
        targets = autoscaler_targets(need.machine)
        low, middle, high = -1, len(targets) - 1, len(targets)
        too_few, enough = None, None
        while high - low > 1:
            counts = need.machines(targets[middle], in_flight)
            trial = self._tried(np.where(counts > 1, counts, one))
            yield trial
            if trial.feasible:
                low, enough = middle, counts
            else:
                high, too_few = middle, np.where(counts > 1, counts, one)
            middle = (low + high) // 2
        if len(need.load) > _MANY_REQUESTS:
            return
        if too_few is not None:
            yield from self._repaired(too_few)
        if self.best is None:
            yield from self._on_while_busy(in_flight)
        if enough is not None:
            yield from self._with_violations(enough)
        bound = realtime_bound(need.load, need.machine, need.clock.slot_s)
        if bound.refine(self.enough_usd) < self.enough_usd:
            machines = np.zeros(need.clock.slots, np.int64)
            machines[: len(bound.path)] = bound.path[: len(machines)]
            yield from self._repaired(machines)

    def _tried(self, needed: Ints) -> Trial:
        machines = self.need.kept_on(needed)
        trial = _simulated(self.need, machines, None)
        if trial.feasible and (self.best is None or trial.usd < self.best.usd):
            self.best, self.machines = trial, machines
        return trial

    def _repaired(self, needed: Ints) -> Iterator[Trial]:
        """Yield schedules with more and more machines where requests break their SLO, until enough keep it."""
        load, needed = self.need.load, self.need.kept_on(needed)
        for _ in range(_REPAIRS):
            trial = self._tried(needed)
            yield trial
            if trial.feasible:
                return
            broken = load.broken(*load.latencies(trial.result))
            # Where no machine is on, those of the next slot may serve in time.
            slot, due = (
                self.need.clock.slot_at(times_s[broken])
                for times_s in (load.arrived_s, load.arrived_s + load.ttft_limit_s)
            )
            needed = needed.copy()
            needed[np.unique(np.where(needed[slot] > 0, slot, due))] += 1

    def _on_while_busy(self, in_flight: Floats) -> Iterator[Trial]:
        """Yield the smallest fleet that keeps the SLO always on, but off while no request is in flight."""
        smallest = None
        for fleet in search_fixed_fleet(self.need.machine, self.need.load):
            smallest = fleet if fleet.feasible else smallest
        if smallest is not None:
            yield self._tried(np.where(in_flight > 0, smallest.pools[0][1].max_instances, 0))

    def _with_violations(self, counts: Ints) -> Iterator[Trial]:
        """Yield schedules where the first request of some stays finds no machine, the fewer the more that costs."""
        need = self.need
        low_s, high_s = 0.0, 2 * need.machine.startup_paid_s
        while high_s - low_s > 2 * need.clock.slot_s:
            middle_s = (low_s + high_s) / 2
            one = need.covered(0.0, violation_s=middle_s)
            trial = self._tried(np.where(counts > 1, counts, one))
            yield trial
            low_s, high_s = (low_s, middle_s) if trial.feasible else (middle_s, high_s)


def _simulated(need: Need, machines: Ints, backfill: BackfillLimits | None) -> Trial:
    """Serve all requests on the machines of a schedule."""
    realtime = not need.load.deferrable.all()
    return _fleet(need.load, need.pools(machines, realtime=realtime, backfill=backfill))


def _fleet(load: TraceLoad, pools: Pools) -> Trial:
    return simulate_fleet("schedule", "scheduled by the tick", load, pools)
