"""Choose the policy of tomorrow: the cheapest that would have kept every promise on past days, and on a busier one.

A policy consists of a design (machine, minimum, floor, how fast it scales down, backfill) and a level, the requests in
flight that a replica should have: the higher, the fewer machines. Of each design the highest level is kept that holds

    on every past day with half of the permitted SLO misses, and no deadline missed,
    on the hardest past day with the traffic of a day that nine in ten days stay below, if that is more.

Each past day gets the floor that a forecast from the days before it gives, so that no policy knows its own day.
"""

import math
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np

from meritorder.sim.pools import Autoscaled
from meritorder.study.fleet.machines import CandidateMachine
from meritorder.study.fleet.options import Progress
from meritorder.study.fleet.realtime import search_realtime
from meritorder.study.forward.baseline import PastBaseline, RealtimePolicy
from meritorder.study.forward.days import Day
from meritorder.study.forward.history import History
from meritorder.study.forward.policy import FleetPolicy
from meritorder.study.forward.simulations import Design, Simulations

# Past days that a policy must hold on.
_WINDOW: Final = 14
# Machines that designs are made of, and designs that are kept.
_MACHINES: Final = 3
_DESIGNS: Final = 4
_STABILIZATIONS_S: Final = (300.0, 900.0)
_BACKFILL_SHARES: Final = (0.5, 0.0)
# Floors that are tried: the quantile of the forecast, and the share of the safe load that each machine gets.
_FLOORS: Final = ((0.5, 1.0), (0.8, 0.8))
# Requests of the peak that machines are compared on.
_PEAK_REQUESTS: Final = 100_000
# Levels that a new design is raised by at most.
_CLIMB: Final = 8
# Requests in flight per replica that the search begins with where no autoscaled fleet is known.
_START_IN_FLIGHT: Final = 16.0
# The search of a design ends, and a design is dropped, where it costs this much more than the best one.
_TOO_EXPENSIVE: Final = 1.3
# Weights of past days: how fast they fall with the logarithmic distance of the loads, and from day to day.
_LIKENESS: Final = 2.0
_RECENCY: Final = 0.9
# A load that is taken as none.
_IDLE: Final = 1e-12
# Steps in which the surge is rounded up, so that simulations are reused.
_SURGE_STEP: Final = 0.1
_THREADS: Final = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class FittedPolicy:
    """A policy with the design and the level that it comes from."""

    design: Design
    level: int
    policy: FleetPolicy


@dataclass(frozen=True, slots=True, kw_only=True)
class ChosenPolicy:
    """The policy that the plan has, and the index of its real-time machine."""

    machine: int
    policy: FleetPolicy | RealtimePolicy


@dataclass(frozen=True, slots=True, kw_only=True)
class _Trials:
    """The days that policies are tried on.

    Args:
        places: Places of the past days.
        hardest: The place of the day with the highest load.
        surge: Factor on the traffic of that day.
        weights: Weight of each day's cost: days as busy as the forecast count most, and recent ones.
    """

    places: range
    hardest: int
    surge: float
    weights: tuple[float, ...]


@dataclass(slots=True, kw_only=True)
class PolicyFit:
    """Policies fitted to more and more days; what was simulated once is not simulated again.

    Args:
        history: The days, in order; a policy is fitted to the first of them.
        simulations: The days under policies.
        progress: Receives each step.
    """

    history: History
    simulations: Simulations
    progress: Progress
    _levels: dict[Design, int] = field(default_factory=dict)
    _held: bool = False

    def fit(self, count: int) -> FittedPolicy:
        """Return the policy for the day after the first `count` days."""
        trials = self._trials(count)
        starts = self._levels if self._held else self._first_designs(trials)
        held = self._fitted(starts, trials, climb=not self._held)
        self._levels = self._best(held or starts, trials)
        varied = self._fitted(self._variations(count, held=bool(held)), trials, climb=True)
        if varied:
            self._levels = self._best(self._levels | varied if held else varied, trials)
        self._held = bool(held or varied)
        design, level = next(iter(self._levels.items()))
        policy = self.simulations.policy(design, level, count)
        self.progress(f"policy after {count} days: {policy.label}")
        return FittedPolicy(design=design, level=level, policy=policy)

    def or_realtime(self, fitted: FittedPolicy, baseline: PastBaseline, arrangement: int, count: int) -> ChosenPolicy:
        """Return a policy, or real time if that cost less on the first `count` days and held on as many of them.

        Args:
            fitted: The policy for the day after them.
            baseline: Real time on past days.
            arrangement: The arrangement for that day.
            count: Number of days.
        """
        trials = self._trials(count)
        own = [self.simulations.outcome(fitted.design, fitted.level, place) for place in trials.places]
        realtime = [baseline.outcome(arrangement, place) for place in trials.places]
        own_usd = math.fsum(weight * day.usd for weight, day in zip(trials.weights, own, strict=True))
        realtime_usd = math.fsum(weight * usd for weight, (_, usd) in zip(trials.weights, realtime, strict=True))
        failures = sum(not held for held, _ in realtime) - sum(not day.holds for day in own)
        if failures > 0 or realtime_usd >= own_usd:
            return ChosenPolicy(machine=fitted.design.machine, policy=fitted.policy)
        policy = baseline.policy(arrangement)
        machine = next(place for place, known in enumerate(self.history.machines) if known is policy.machine)
        return ChosenPolicy(machine=machine, policy=policy)

    def _fitted(self, starts: Mapping[Design, int], trials: _Trials, *, climb: bool) -> dict[Design, int]:
        """Return the highest level that holds of each design that has one, searched from a level of each.

        The search of a design ends where it costs much more on the last day than the first one does.
        """
        levels: dict[Design, int] = {}
        limit_usd = math.inf
        self.simulations.load(trials.hardest, trials.surge)  # once, before threads need it
        for design in list(starts)[:1]:
            level = levels[design] = self._highest_level(design, starts[design], trials, limit_usd, climb=climb)
            if level >= 0:
                limit_usd = _TOO_EXPENSIVE * self.simulations.outcome(design, level, trials.places[-1]).usd
        others = list(starts)[1:]
        with ThreadPoolExecutor(max_workers=_THREADS) as threads:
            fitted = threads.map(
                lambda design: self._highest_level(design, starts[design], trials, limit_usd, climb=climb), others
            )
            levels |= dict(zip(others, fitted, strict=True))
        return {design: level for design, level in levels.items() if level >= 0}

    def _trials(self, count: int) -> _Trials:
        places = range(max(0, count - _WINDOW), count)
        hardest = max(places, key=lambda place: float(np.quantile(self.history.loads(0, place), 0.99)))
        means = np.maximum([float(self.history.loads(0, place).mean()) for place in places], _IDLE)
        possible = self.history.possible_load(0, count)
        steps = math.ceil((possible / means[hardest - places.start] - 1) / _SURGE_STEP - 1e-9)
        distances = np.abs(np.log(means / max(self.history.expected_load(0, count), _IDLE)))
        weights = np.exp(-_LIKENESS * distances) * _RECENCY ** np.arange(len(places))[::-1]
        return _Trials(
            places=places, hardest=hardest, surge=1 + _SURGE_STEP * max(0, steps), weights=tuple(weights.tolist())
        )

    def _first_designs(self, trials: _Trials) -> dict[Design, int]:
        """Return a design with its level for each replica whose real-time fleets are cheap at the surged peak."""
        load = self.simulations.load(trials.hardest, trials.surge)
        realtime = load.select(~load.deferrable).busiest(_PEAK_REQUESTS)
        if not len(realtime):
            return {Design(machine=0, minimum=0): 0}
        fleets = search_realtime(realtime, self.history.machines, self.progress, title="policy")
        cheapest = sorted((*fleets.fixed, *fleets.autoscaled), key=lambda trial: trial.usd)
        places = {id(machine): place for place, machine in enumerate(self.history.machines)}
        designs: dict[str, Design] = {}
        levels: dict[Design, int] = {}
        for trial in cheapest:
            label, scaling = trial.machine.profile.replica.label, trial.pools[0][1].scaling
            design = designs.setdefault(label, Design(machine=places[id(trial.machine)]))
            target = scaling.target_in_flight if isinstance(scaling, Autoscaled) else _START_IN_FLIGHT
            targets = self.simulations.targets(design)
            level = min(int(np.searchsorted(targets, target)), len(targets) - 1)
            levels[design] = max(level, levels.get(design, 0))
        levels = dict(list(levels.items())[:_MACHINES])
        always_on = fleets.fixed[0]
        machine, minimum = places[id(always_on.machine)], always_on.pools[0][1].max_instances
        if minimum > 1:
            levels[Design(machine=machine, minimum=minimum)] = levels.get(Design(machine=machine), 0)
        return levels

    def _variations(self, count: int, *, held: bool) -> dict[Design, int]:
        """Return variations of the best design that were not tried yet, with its level."""
        best, level = next(iter(self._levels.items()))
        variations = [replace(best, stabilization_s=window_s) for window_s in _STABILIZATIONS_S]
        if count > 1:  # the first day has no forecast
            variations += [replace(best, floor=floor) for floor in _FLOORS]
        if not held:
            variations = [replace(best, backfill_share=share) for share in _BACKFILL_SHARES]
        tried = self.simulations.designs
        return {design: level for design in variations if design not in tried}

    def _best(self, levels: Mapping[Design, int], trials: _Trials) -> dict[Design, int]:
        """Return the best designs, the best first: those that fail on the fewest days, at the least weighted cost."""

        def rank(design: Design) -> tuple[int, float]:
            outcomes = [self.simulations.outcome(design, levels[design], place) for place in trials.places]
            usd = sum(weight * outcome.usd for weight, outcome in zip(trials.weights, outcomes, strict=True))
            return sum(not outcome.holds for outcome in outcomes), usd

        ranks = {design: rank(design) for design in levels}
        ranked = sorted(levels, key=lambda design: ranks[design])
        limit_usd = _TOO_EXPENSIVE * ranks[ranked[0]][1]
        return {design: levels[design] for design in ranked[:_DESIGNS] if ranks[design][1] <= limit_usd}

    def _highest_level(self, design: Design, start: int, trials: _Trials, limit_usd: float, *, climb: bool) -> int:
        """Return the highest level of a design that holds, searched from a level; -1 if none does.

        Args:
            design: The design.
            start: The level to begin with.
            trials: The days that it must hold on.
            limit_usd: The search ends, without a level, where the last day costs more.
            climb: Whether to search further than one level up.
        """
        level, step = max(start, 0), 1
        if self._holds(design, level, trials):
            top = min(len(self.simulations.targets(design)) - 1, level + (_CLIMB if climb else 1))
            highest = self._climbed(design, level, top, trials)
            return next(higher for higher in range(highest, -1, -1) if self._holds(design, higher, trials))
        while level > 0:
            if self.simulations.outcome(design, level, trials.places[-1]).usd > limit_usd:
                return -1
            level, step = max(0, level - step), step + 1
            if self._holds(design, level, trials):
                return level
        return -1

    def _climbed(self, design: Design, level: int, top: int, trials: _Trials) -> int:
        """Return the highest level up to the top that holds on the surged day, found by doubling and bisection."""
        low, high, step = level, top + 1, 1
        while low < high - 1:
            middle = min(low + step, top) if high > top else (low + high) // 2
            if self._holds_surged(design, middle, trials):
                low, step = middle, 2 * step
            else:
                high = middle
        return low

    def _holds(self, design: Design, level: int, trials: _Trials) -> bool:
        """Whether a policy keeps every promise on the surged day, and with a margin on every past day."""
        return self._holds_surged(design, level, trials) and all(
            self.simulations.outcome(design, level, place).holds_with_margin for place in reversed(trials.places)
        )

    def _holds_surged(self, design: Design, level: int, trials: _Trials) -> bool:
        if trials.surge == 1.0:
            return self.simulations.outcome(design, level, trials.hardest).holds_with_margin
        return self.simulations.outcome(design, level, trials.hardest, trials.surge).holds


def fit_policy(
    past: Sequence[Day],
    machines: Sequence[CandidateMachine],
    batch_machines: Sequence[CandidateMachine],
    progress: Progress = lambda _: None,
) -> FleetPolicy:
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
    simulations = Simulations(history=history, batch_machines=batch_machines, progress=progress)
    return PolicyFit(history=history, simulations=simulations, progress=progress).fit(len(past)).policy
