"""The real-time fleets of requests: for each machine the cheapest that is always on, and the cheapest autoscaled one.

`compare`, `plan`, `sweep` and `audit` all find real time here. Each machine is searched by itself, and skipped only if
it cannot be cheaper than the fleet, always on, that was found:

    cost >= max(work on saturated replicas, one machine for the whole time)

so that a machine more among the candidates never makes a fleet of either kind more expensive. What is skipped may still
be the best base of a mix, and is named.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import islice
from typing import Final

import numpy as np

from meritorder.errors import InfeasibleError
from meritorder.records.comparison import FrontierPoint
from meritorder.sim.pools import Autoscaled
from meritorder.sim.run import THREADS
from meritorder.study.fleet.fleets import (
    MAX_REPLICAS,
    Trial,
    autoscaled_fleet,
    autoscaler_minimums,
    autoscaler_targets,
    fixed_fleet,
    frontier_point,
    search_fixed_fleet,
)
from meritorder.study.fleet.load import TraceLoad
from meritorder.study.fleet.machines import CandidateMachine, check_slo
from meritorder.study.fleet.options import Progress
from meritorder.study.fleet.stretches import Fleet, Stretches
from meritorder.units import SECONDS_PER_HOUR

COARSE_SAVING: Final = 0.05
"""Share of the lowest cost that must be left to save for a coarse search to go on."""

# Machines added at most to the fleet of the busiest stretch until the whole load keeps the SLO.
_MAX_ADDED: Final = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class RealtimeFleets:
    """Real-time fleets of the same requests.

    Args:
        fixed: By machine, the smallest fleet, always on, that meets every SLO; the cheapest first.
        autoscaled: By machine, the cheapest autoscaled fleet that meets every SLO; the cheapest first.
        best_attainment: The autoscaled fleet with the highest attainment, whether or not it meets every SLO.
        skipped: Machines some of whose fleets were not searched, since they cannot be the cheapest.
        tried: Every fleet that was simulated on all requests.
    """

    fixed: tuple[Trial, ...]
    autoscaled: tuple[Trial, ...]
    best_attainment: Trial | None = None
    skipped: tuple[CandidateMachine, ...] = ()
    tried: tuple[FrontierPoint, ...] = ()

    @property
    def all(self) -> list[Trial]:
        """All fleets that meet every SLO, the cheapest first."""
        return sorted((*self.fixed, *self.autoscaled), key=_usd)

    @property
    def cheapest(self) -> Trial:
        """The cheapest fleet; one that is always on if two cost the same."""
        return min((*self.fixed[:1], *self.autoscaled[:1]), key=lambda trial: trial.usd)


def min_fleet_usd(machine: CandidateMachine, load: TraceLoad) -> float:
    """Return a lower bound on the cost of any fleet of a machine that always has at least one of them."""
    return max(machine.price_work(load), machine.offer.usd_per_hour * load.span_s / SECONDS_PER_HOUR)


def min_mix_usd(machine: CandidateMachine, load: TraceLoad, batch_machines: Iterable[CandidateMachine]) -> float:
    """Return a lower bound on the cost of both lanes with the real-time lane on a machine."""
    realtime, waiting = load.select(~load.deferrable), load.select(load.deferrable)
    waiting_usd = min(each.price_work(waiting) for each in (machine, *batch_machines))
    return max(min_fleet_usd(machine, realtime), machine.price_work(realtime) + waiting_usd)


def least_mix_usd(base: Trial, load: TraceLoad, batch_machines: Sequence[CandidateMachine]) -> float:
    """Return the least that a mix costs on a fleet: what can wait fills its gaps, the rest the cheapest machines."""
    waiting = load.select(load.deferrable)
    idle_s = base.paid_s - float(base.machine.work_s(base.load).sum())
    left = max(0.0, 1 - idle_s / float(base.machine.work_s(waiting).sum()))
    return base.usd + left * min(machine.price_work(waiting) for machine in batch_machines)


def search_realtime(
    load: TraceLoad, machines: Sequence[CandidateMachine], progress: Progress, *, title: str, autoscale: bool = True
) -> RealtimeFleets:
    """Find the cheapest real-time fleets over all machines.

    Args:
        load: Real-time requests.
        machines: The candidates.
        progress: Receives each fleet that was simulated.
        title: What is searched, for progress.
        autoscale: Whether to search autoscalers as well.

    Raises:
        InfeasibleError: No fleet meets the SLO; the message says what would help.
    """
    stretches = Stretches.of(load)
    search = _Search(load=stretches.load, stretches=stretches, progress=progress, title=title)
    bounds_usd = [min_fleet_usd(machine, load) for machine in machines]
    problems: dict[int, InfeasibleError] = {}
    order = iter(sorted(range(len(machines)), key=bounds_usd.__getitem__))
    candidates = _able(load, machines, order, problems)
    found: list[_MachineFleets] = []
    skipped: list[CandidateMachine] = []
    best_usd = math.inf
    with ThreadPoolExecutor(max_workers=THREADS) as threads:
        while some := list(islice(candidates, THREADS)):
            affordable = [machines[place] for place in some if bounds_usd[place] <= best_usd]
            skipped += [machines[place] for place in some if bounds_usd[place] > best_usd]
            sized = list(threads.map(partial(search.size, limit_usd=best_usd), affordable))
            best_usd = min([best_usd, *(fleets.fixed.usd for fleets in sized if fleets.fixed)])
            if not autoscale:
                found += sized
            elif load.verdict_suffices:
                search.autoscale_in_turn(sized, found)
            else:
                found += threads.map(partial(search.autoscale, limit_usd=best_usd), sized)
            if bounds_usd[some[-1]] > best_usd:
                skipped += [machines[place] for place in order]
                break
    fixed = sorted((fleets.fixed for fleets in found if fleets.fixed), key=_usd)
    if not fixed:
        raise (
            problems[min(problems)]
            if problems
            else InfeasibleError(
                f"no fleet of up to {MAX_REPLICAS:,} replicas meets the SLO",
                fix="loosen it with --slo, or use faster hardware",
            )
        )
    autoscaled = [trial for fleets in found for trial in fleets.autoscaled]
    return RealtimeFleets(
        fixed=tuple(fixed),
        autoscaled=tuple(sorted((trial for trial in autoscaled if trial.feasible), key=_usd)),
        best_attainment=max(autoscaled, key=lambda trial: trial.slo_attainment or 0.0, default=None),
        skipped=(*(fleets.machine for fleets in found if not fleets.complete), *skipped),
        tried=tuple(point for fleets in found for point in fleets.tried),
    )


def search_skipped(
    fleets: RealtimeFleets, machine: CandidateMachine, progress: Progress, *, autoscale: bool
) -> tuple[RealtimeFleets, list[Trial]]:
    """Return the fleets joined by those of a machine that was skipped, and these alone, the cheapest first."""
    known = replace(fleets, skipped=tuple(each for each in fleets.skipped if each is not machine))
    try:
        found = search_realtime(
            fleets.fixed[0].load, [machine], progress, title="real-time lane alone", autoscale=autoscale
        )
    except InfeasibleError:
        return known, []
    fixed, autoscaled = ((*known.fixed, *found.fixed), (*known.autoscaled, *found.autoscaled))
    joined = replace(known, fixed=tuple(sorted(fixed, key=_usd)), autoscaled=tuple(sorted(autoscaled, key=_usd)))
    return joined, found.all


def _able(
    load: TraceLoad, machines: Sequence[CandidateMachine], places: Iterable[int], problems: dict[int, InfeasibleError]
) -> Iterator[int]:
    """Yield the places of the machines on which an idle replica meets the SLO.

    Args:
        load: Real-time requests.
        machines: The machines.
        places: Their places, in the order of the search.
        problems: Receives, by place, why a machine is left out.
    """
    for place in places:
        try:
            check_slo(load, machines[place].profile, machines[place].limits)
        except InfeasibleError as error:
            problems[place] = error
            continue
        yield place


def _usd(trial: Trial) -> float:
    return trial.usd


@dataclass(frozen=True, slots=True, kw_only=True)
class _MachineFleets:
    """The fleets of one machine.

    Args:
        machine: The machine.
        stretches: The stretches that have shown its fleets to be too small.
        tried: Every fleet that was simulated on all requests.
        smallest: The smallest fleet, always on, that meets the SLO on the busiest stretch; None if there is none.
        fixed: The smallest that meets it on all requests; None if there is none, or if it cannot be the cheapest.
        autoscaled: The autoscaled fleets.
        complete: Whether none is missing because it cannot be the cheapest.
    """

    machine: CandidateMachine
    stretches: Stretches
    tried: list[FrontierPoint] = field(default_factory=list)
    smallest: Trial | None = None
    fixed: Trial | None = None
    autoscaled: tuple[Trial, ...] = ()
    complete: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class _Search:
    """The search over the fleets of one machine.

    Args:
        load: The requests.
        stretches: Their busiest stretch, on which fleets are searched before they are confirmed on all requests.
        progress: Receives each fleet that was simulated.
        title: What is searched, for progress.
    """

    load: TraceLoad
    stretches: Stretches
    progress: Progress
    title: str

    def size(self, machine: CandidateMachine, *, limit_usd: float) -> _MachineFleets:
        """Return the smallest fleet, always on, of a machine; one that costs more than the limit may be missing."""
        stretches = Stretches(load=self.load, stretches=list(self.stretches.stretches))
        fleets = _MachineFleets(machine=machine, stretches=stretches)
        smallest = None
        for trial in search_fixed_fleet(machine, stretches.busiest):
            self._report(trial, fleets.tried)
            smallest = trial if trial.feasible else smallest
            if self._is_too_dear(trial, limit_usd) and smallest is None:
                break
        fixed, complete = None if stretches.stretches else smallest, True
        if smallest and not fixed:
            instances = smallest.pools[0][1].max_instances
            complete = instances * self._always_on_usd(machine) <= limit_usd
            if complete:
                larger = [partial(fixed_fleet, machine, instances=instances + added) for added in range(_MAX_ADDED + 1)]
                confirmed = self._confirmed(larger, stretches, fleets.tried)
                fixed = confirmed if confirmed.feasible else None
        return replace(fleets, smallest=smallest, fixed=fixed, complete=complete)

    def autoscale_in_turn(self, sized: Sequence[_MachineFleets], found: list[_MachineFleets]) -> None:
        """Add to what was found machines with their autoscaled fleets, if these can cost notably less than the rest."""
        for fleets in sorted(sized, key=lambda fleets: fleets.fixed.usd if fleets.fixed else math.inf):
            usd = [trial.usd for other in found for trial in other.autoscaled if trial.feasible]
            usd += [other.fixed.usd for other in (*sized, *found) if other.fixed]
            found.append(self.autoscale(fleets, limit_usd=min(usd, default=math.inf) * (1 - COARSE_SAVING)))

    def autoscale(self, fleets: _MachineFleets, *, limit_usd: float) -> _MachineFleets:
        """Add the cheapest autoscaled fleets of a machine; those that cost more than the limit may be missing."""
        machine, stretches, fixed, smallest = fleets.machine, fleets.stretches, fleets.fixed, fleets.smallest
        coarse = self.load.verdict_suffices
        least_usd = min_fleet_usd(machine, self.load) if coarse else machine.price_work(self.load)
        if smallest is None or (fixed and least_usd > fixed.usd):
            return fleets
        if least_usd > limit_usd:
            return replace(fleets, complete=False)
        if coarse and fixed and fixed.usd * self._mean_to_peak > limit_usd:
            return fleets
        known = [smallest, fixed] if fixed else [smallest]
        instances = known[-1].pools[0][1].max_instances
        autoscaled: list[Trial] = []
        for minimum in autoscaler_minimums(instances):
            targets = _autoscalers(machine, instances, minimum, known)
            if (coarse or stretches.stretches) and autoscaled and autoscaled[-1].feasible:
                # More machines at least are cheaper only under a higher target.
                targets = [fleet for fleet in targets if fleet.keywords["target"] > _target(autoscaled[-1])]
                if not targets or stretches.rule_out(targets[0]):
                    continue
                if coarse and not targets[0](self.load).feasible:
                    continue
            autoscaled.append(self._autoscaled(targets, stretches, fleets.tried))
        return replace(fleets, autoscaled=tuple(autoscaled))

    def _always_on_usd(self, machine: CandidateMachine) -> float:
        """Return the cost of one machine for the whole time."""
        return machine.offer.usd_per_hour * self.load.span_s / SECONDS_PER_HOUR

    def _is_too_dear(self, trial: Trial, limit_usd: float) -> bool:
        """Return whether as many machines cost more than the limit, for a coarse search also if they are autoscaled."""
        if not self.load.verdict_suffices:
            return False
        always_on_usd = trial.pools[0][1].max_instances * self._always_on_usd(trial.machine)
        return always_on_usd * self._mean_to_peak > limit_usd

    @property
    def _mean_to_peak(self) -> float:
        """Requests in a mean hour / in the busiest one.

        An autoscaler uses its machines no better on average than a fleet that is always on does in its busiest hour,
        so that it saves no more than this leaves.
        """
        hours = np.bincount((self.load.arrived_s * self.load.pace // SECONDS_PER_HOUR).astype(np.int64))
        return float(hours.mean() / hours.max())

    def _autoscaled(self, fleets: Sequence[Fleet], stretches: Stretches, tried: list[FrontierPoint]) -> Trial:
        """Return the fleet with the highest target that meets the SLO; the one that misses it least if none does.

        A higher target of requests in flight per replica means fewer replicas, so the target is found by bisection.

        Args:
            fleets: The autoscaled fleets, the lowest target first.
            stretches: The stretches that rule out fleets.
            tried: Receives each fleet that was simulated on all requests.
        """
        low, high, best = -1, len(fleets), None
        while high - low > 1:
            middle = (low + high) // 2
            trial = fleets[middle](stretches.busiest)
            self._report(trial, tried)
            if trial.feasible:
                low, best = middle, trial
            else:
                high, best = middle, best if best and best.feasible else trial
        if best and not stretches.stretches:
            return best
        return self._confirmed(fleets[max(low, 0) :: -1], stretches, tried)

    def _confirmed(self, fleets: Sequence[Fleet], stretches: Stretches, tried: list[FrontierPoint]) -> Trial:
        """Return the smallest fleet that keeps the SLO of all requests, or else the largest.

        Args:
            fleets: The fleets, the smallest first; the first is the smallest that keeps it on the busiest stretch.
            stretches: The stretches that rule out fleets.
            tried: Receives each fleet that was simulated on all requests.
        """
        last = len(fleets) - 1
        low, place, step, best = -1, 0, 1, None
        while best is None or place > low:
            if 0 < place < last and stretches.rule_out(fleets[place]):
                low = place
            else:
                # The last one is the answer even if it breaks the SLO.
                verdict = replace(self.load, verdict_suffices=place < last or self.load.verdict_suffices)
                trial = replace(fleets[place](verdict), load=self.load)
                self._report(trial, tried)
                if not trial.feasible and place == last:
                    return trial
                if trial.feasible:
                    best, high = trial, place
                else:
                    low = place
                    stretches.add_worst(trial)
            place = min(low + step, last) if best is None else (low + high) // 2
            step *= 2
        return best

    def _report(self, trial: Trial, tried: list[FrontierPoint]) -> None:
        met = "SLO broken" if trial.result.ended_early else f"SLO met for {trial.slo_attainment or 1:.1%}"
        self.progress(f"{self.title}: {trial.label}, {met}")
        whole = len(trial.load) == len(self.load) and not trial.result.ended_early
        if whole and not self.load.verdict_suffices:
            tried.append(frontier_point(trial))


def _target(trial: Trial) -> float:
    """Return the requests in flight per replica that an autoscaled fleet aims for."""
    scaling = trial.pools[0][1].scaling
    return scaling.target_in_flight if isinstance(scaling, Autoscaled) else math.inf


def _autoscalers(machine: CandidateMachine, fixed: int, minimum: int, known: Sequence[Trial]) -> list[partial[Trial]]:
    """Return the fleets of a machine under each target of an autoscaler, the lowest first."""
    return [
        partial(autoscaled_fleet, machine, target=target, fixed=fixed, minimum=minimum, known=known)
        for target in autoscaler_targets(machine)
    ]
