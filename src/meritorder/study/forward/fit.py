"""Choose the policy of tomorrow: the cheapest that would have kept every promise on past days, and on a busier one.

A policy consists of a design (machine, minimum, floor, how fast it scales down, backfill) and a level, the requests in
flight that a replica should have: the higher, the fewer machines. Of each design the highest level is kept that holds

    on every past day with half of the permitted SLO misses, and no deadline missed,
    on the hardest past day with more traffic: as much more as levels change from day to day.

Each past day gets the floor that a forecast from the days before it gives, so that no policy knows its own day.
"""

import math
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np

from meritorder.domain import BackfillLimits
from meritorder.sim.pools import Autoscaled, Fixed
from meritorder.study.fleet.fleets import Trial, max_utilization_within_slo, rejudge
from meritorder.study.fleet.load import TraceLoad
from meritorder.study.fleet.machines import CandidateMachine, max_backfill
from meritorder.study.fleet.options import Progress
from meritorder.study.fleet.realtime import search_realtime
from meritorder.study.forward.days import Day, surged, with_margin
from meritorder.study.forward.forecast import surge_factor
from meritorder.study.forward.history import History
from meritorder.study.forward.policy import Policy, backlog_machines

# Past days that a policy must hold on.
_WINDOW: Final = 14
# Share of the permitted SLO misses that a policy may use on past days.
_MARGIN: Final = 0.5
# Ratio of neighboring levels.
_LEVEL_RATIO: Final = 1.2
# Machines that designs are made of, and designs that are kept.
_MACHINES: Final = 3
_DESIGNS: Final = 4
_STABILIZATIONS_S: Final = (300.0, 900.0)
_BACKFILL_SHARES: Final = (0.5, 0.0)
# Floors that are tried: the quantile of the forecast, and the share of the safe load that each machine gets.
_FLOORS: Final = ((0.5, 1.0), (0.8, 0.8))
# The share of the safe load that each machine gets at the beginning of a day.
_SAFE_SHARE: Final = 0.8
# Machines beyond those that twice the expected peak needs.
_SPARE: Final = 2
# Requests that prices of work are compared on.
_SAMPLE: Final = 10_000
# Levels that a new design is raised by at most.
_CLIMB: Final = 8
# Requests in flight per replica that the search begins with where no autoscaled fleet is known.
_START_IN_FLIGHT: Final = 16.0
# Steps in which the surge is rounded up, so that simulations are reused.
_SURGE_STEP: Final = 0.1
_THREADS: Final = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Design:
    """A family of policies that differ by their level.

    Args:
        machine: Index of the real-time machine.
        minimum: Fewest machines at any time.
        stabilization_s: Scale-down waits until all recommendations of this window are lower.
        floor: Quantile of the forecast, and share of the safe load on each machine; None for no floor.
        backfill_share: Share of the largest backfill.
    """

    machine: int
    minimum: int = 1
    stabilization_s: float = 900.0
    floor: tuple[float, float] | None = None
    backfill_share: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """A day under a policy.

    Args:
        usd: What was paid.
        holds: Whether every SLO and deadline was met.
        holds_with_margin: Whether half of the permitted misses would have been enough.
    """

    usd: float
    holds: bool
    holds_with_margin: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class FittedPolicy:
    """A policy with the design and the level that it comes from."""

    design: Design
    level: int
    policy: Policy


@dataclass(frozen=True, slots=True, kw_only=True)
class _Trials:
    """The days that policies are tried on.

    Args:
        places: Places of the past days.
        hardest: The place of the day with the highest load.
        surge: Factor on the traffic of that day.
    """

    places: range
    hardest: int
    surge: float


@dataclass(slots=True, kw_only=True)
class PolicyFit:
    """Policies fitted to more and more days; what was simulated once is not simulated again.

    Args:
        history: The days, in order; a policy is fitted to the first of them.
        batch_machines: Machines for deferrable work.
        progress: Receives each step.
    """

    history: History
    batch_machines: Sequence[CandidateMachine]
    progress: Progress
    _levels: dict[Design, int] = field(default_factory=dict)
    _outcomes: dict[tuple[Design, int, int, float], Outcome] = field(default_factory=dict)
    _safe: dict[int, float] = field(default_factory=dict)
    _surged: dict[tuple[int, float], TraceLoad] = field(default_factory=dict)

    def fit(self, count: int) -> FittedPolicy:
        """Return the policy for the day after the first `count` days."""
        trials = self._trials(count)
        if not self._levels:
            self._levels = self._fitted(self._first_designs(trials), trials, climb=True)
        self._levels |= self._fitted(self._levels, trials, climb=False) | self._fitted(
            self._variations(count), trials, climb=True
        )
        ranked = sorted(self._levels, key=lambda design: self._rank(design, trials))
        self._levels = {design: self._levels[design] for design in ranked[:_DESIGNS]}
        design, level = ranked[0], max(self._levels[ranked[0]], 0)
        policy = self._policy(design, level, trials)
        self.progress(f"policy after {count} days: {policy.label}")
        return FittedPolicy(design=design, level=level, policy=policy)

    def _fitted(self, starts: Mapping[Design, int], trials: _Trials, *, climb: bool) -> dict[Design, int]:
        """Return the highest level of each design that holds, searched from a level of each; -1 if none holds."""
        with ThreadPoolExecutor(max_workers=_THREADS) as threads:
            levels = threads.map(
                lambda design: self._highest_level(design, starts[design], trials, climb=climb), starts
            )
            return dict(zip(starts, levels, strict=True))

    def run(self, fitted: FittedPolicy, place: int) -> Trial:
        """Simulate a day under a policy."""
        return self._simulate(fitted.design, fitted.level, fitted.policy, place, 1.0)

    def best_usd(self, place: int) -> float | None:
        """Return the least that a simulated policy paid on a day and kept every promise; None if none did."""
        kept = [
            outcome.usd
            for (_, _, day, surge), outcome in self._outcomes.items()
            if day == place and surge == 1.0 and outcome.holds
        ]
        return min(kept, default=None)

    def _trials(self, count: int) -> _Trials:
        places = range(max(0, count - _WINDOW), count)
        hardest = max(places, key=lambda place: float(np.quantile(self.history.loads(0, place), 0.99)))
        levels = np.array([self.history.loads(0, place).mean() for place in places])
        surge = math.ceil(surge_factor(levels) / _SURGE_STEP - 1e-9) * _SURGE_STEP
        return _Trials(places=places, hardest=hardest, surge=surge)

    def _first_designs(self, trials: _Trials) -> dict[Design, int]:
        """Return a design with its level for each machine whose real-time fleets are cheap on the surged day."""
        load = self._load(trials.hardest, trials.surge)
        realtime = load.select(~load.deferrable)
        if not len(realtime):
            return {Design(machine=0, minimum=0): 0}
        fleets = search_realtime(realtime, self.history.machines, self.progress, title="policy")
        designs: dict[Design, int] = {}
        for trial in sorted((*fleets.fixed, *fleets.autoscaled), key=lambda trial: trial.usd):
            machine = next(i for i, known in enumerate(self.history.machines) if known is trial.machine)
            design = Design(machine=machine)
            scaling = trial.pools[0][1].scaling
            target = scaling.target_in_flight if isinstance(scaling, Autoscaled) else _START_IN_FLIGHT
            if not trial.autoscales or design not in designs:
                designs.setdefault(design, int(np.searchsorted(self._targets(design), target)))
        return dict(list(designs.items())[:_MACHINES])

    def _variations(self, count: int) -> dict[Design, int]:
        """Return variations of the best design that were not tried yet, with its level."""
        best, level = next(iter(self._levels.items()))
        variations = [replace(best, stabilization_s=window_s) for window_s in _STABILIZATIONS_S]
        if count > 1:  # the first day has no forecast
            variations += [replace(best, floor=floor) for floor in _FLOORS]
        if level < 0:
            variations += [replace(best, backfill_share=share) for share in _BACKFILL_SHARES]
        tried = {design for design, *_ in self._outcomes}
        return {design: max(level, 0) for design in variations if design not in tried}

    def _rank(self, design: Design, trials: _Trials) -> tuple[bool, int, float]:
        """Order designs: those that hold first, then by the days that they fail on, then by their cost."""
        level = max(self._levels[design], 0)
        outcomes = [self._outcome(design, level, place, 1.0) for place in trials.places]
        failed = sum(not outcome.holds for outcome in outcomes)
        return self._levels[design] < 0, failed, sum(outcome.usd for outcome in outcomes)

    def _highest_level(self, design: Design, start: int, trials: _Trials, *, climb: bool) -> int:
        """Return the highest level of a design that holds, searched from a level; -1 if none does.

        Args:
            design: The design.
            start: The level to begin with.
            trials: The days that it must hold on.
            climb: Whether to search further than one level up.
        """
        level, top = max(start, 0), len(self._targets(design)) - 1
        while level >= 0 and not self._holds(design, level, trials):
            level -= 1
            climb = False
        while 0 <= level < top and level - start < (_CLIMB if climb else 1) and level >= start:
            if not self._holds(design, level + 1, trials):
                break
            level += 1
        return level

    def _holds(self, design: Design, level: int, trials: _Trials) -> bool:
        """Whether a policy keeps every promise on the surged day, and with a margin on every past day."""
        return self._outcome(design, level, trials.hardest, trials.surge).holds and all(
            self._outcome(design, level, place, 1.0).holds_with_margin for place in reversed(trials.places)
        )

    def _outcome(self, design: Design, level: int, place: int, surge: float) -> Outcome:
        key = design, level, place, surge
        if key not in self._outcomes:
            self._simulate(design, level, self._policy(design, level, self._trials(place + 1)), place, surge)
        return self._outcomes[key]

    def _simulate(self, design: Design, level: int, policy: Policy, place: int, surge: float) -> Trial:
        load = self._load(place, surge)
        forecast = self.history.forecast(design.machine, place)
        trial = policy.run(load, forecast, self.history.load_before(design.machine, place) * surge)
        strict = rejudge(trial, with_margin(load, _MARGIN), trial.name, trial.label)
        self._outcomes[design, level, place, surge] = Outcome(
            usd=trial.usd, holds=trial.feasible, holds_with_margin=strict.feasible
        )
        what = f"day {place + 1}" if surge == 1.0 else f"day {place + 1} with {surge:.0%} of its traffic"
        self.progress(f"{what}: {policy.label}, SLO met for {trial.slo_attainment or 1:.1%}")
        return trial

    def _load(self, place: int, surge: float) -> TraceLoad:
        """Return the requests of a day, with more traffic than it had."""
        load = self.history.days[place].load
        if surge == 1.0:
            return load
        if (place, surge) not in self._surged:
            self._surged = {(place, surge): surged(load, surge)}
        return self._surged[place, surge]

    def _targets(self, design: Design) -> list[float]:
        """Return the requests in flight per replica of each level, rising."""
        most = self.history.machines[design.machine].limits.max_num_seqs
        steps = math.ceil(math.log(most / 2) / math.log(_LEVEL_RATIO)) + 1 if most > _LEVEL_RATIO * 2 else 1
        rising: list[float] = np.unique(np.geomspace(min(2, most), most, steps).round()).tolist()
        return rising

    def _policy(self, design: Design, level: int, trials: _Trials) -> Policy:
        machine = self.history.machines[design.machine]
        loads = [self.history.days[place].load for place in trials.places]
        quantile, share = design.floor or (None, _SAFE_SHARE)
        per_machine = share * self._safe_load(design.machine, loads[-1]) * machine.replicas
        peak = max(float(self.history.loads(design.machine, place).max()) for place in trials.places)
        batch = min(self.batch_machines, key=lambda machine: machine.price_work(loads[-1].sample(_SAMPLE)))
        return Policy(
            machine=machine,
            batch_machine=batch,
            target_in_flight=self._targets(design)[level],
            minimum=design.minimum,
            maximum=max(design.minimum, _SPARE + math.ceil(2 * trials.surge * peak / per_machine)),
            stabilization_s=design.stabilization_s,
            floor_quantile=quantile,
            load_per_machine=per_machine,
            backfill=_backfill(machine, loads[-1], design.backfill_share),
            batch_maximum=max(backlog_machines(batch, load) for load in loads),
        )

    def _safe_load(self, machine: int, load: TraceLoad) -> float:
        """Return the highest steady load of a replica within the SLO, in saturated replicas."""
        if machine not in self._safe:
            realtime = load.select(~load.deferrable)
            pool = self.history.machines[machine].pool(Fixed(instances=2), realtime=True, backfill=None)
            self._safe[machine] = (
                max_utilization_within_slo(self.history.machines[machine], pool, realtime) if len(realtime) else 1.0
            )
        return self._safe[machine]


def fit_policy(
    past: Sequence[Day],
    machines: Sequence[CandidateMachine],
    batch_machines: Sequence[CandidateMachine],
    progress: Progress = lambda _: None,
) -> Policy:
    """Return the policy for the day after some days.

    Args:
        past: The days, the oldest first.
        machines: Machines for real time.
        batch_machines: Machines for deferrable work.
        progress: Receives each step.

    Raises:
        InfeasibleError: No fleet keeps the SLO.
    """
    history = History(days=past, machines=machines)
    return PolicyFit(history=history, batch_machines=batch_machines, progress=progress).fit(len(past)).policy


def _backfill(machine: CandidateMachine, load: TraceLoad, share: float) -> BackfillLimits | None:
    largest = max_backfill(machine, load) if share else None
    if largest is None or largest.sequences == 0:
        return None
    return replace(largest, sequences=max(1, math.floor(largest.sequences * share)))
