"""The search for the cheapest fleet of each arrangement, by simulation."""

import math
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Final

from meritorder.domain import BackfillLimits
from meritorder.errors import InfeasibleError
from meritorder.study.fleet.fleets import (
    MAX_REPLICAS,
    Trial,
    autoscaler_minimums,
    batch_fleet,
    fixed_fleet,
    max_utilization_within_slo,
    mixed_fleet,
    rejudge,
    search_autoscalers,
    search_fixed_fleet,
)
from meritorder.study.fleet.load import TraceLoad
from meritorder.study.fleet.machines import CandidateMachine, check_slo, max_backfill
from meritorder.study.fleet.options import Progress

# Autoscaler searches that run at once; each holds the simulated requests of one more trial in memory.
_THREADS: Final = 2
# Shares of the largest backfill that are tried until the SLO holds.
_BACKFILL_SHARES: Final = (1.0, 0.75, 0.5, 0.25)


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchResult:
    """The cheapest fleet of each arrangement.

    Args:
        fixed: Cheapest fleet, always on, that meets the SLO for all requests.
        autoscaled: Cheapest autoscaled fleet that does; if none does, the one with the highest attainment.
        baseline: The cheaper of the two.
        batch: All requests in batch.
        mix: Both lanes, the cheapest fleet found.
        realtime_alone: The real-time lane alone, None if there is none.
        slo_utilization: Utilization of the baseline's replicas at the highest steady load that meets the SLO.
        trials: Every fleet that was simulated.
    """

    fixed: Trial
    autoscaled: Trial
    baseline: Trial
    batch: Trial
    mix: Trial
    realtime_alone: Trial | None
    slo_utilization: float
    trials: list[Trial]


@dataclass(slots=True, kw_only=True)
class Search:
    """The search for the cheapest fleet of each arrangement.

    Args:
        load: The requests with their SLOs and deadlines.
        machines: Candidate machines for real time, cheapest work first.
        batch_machine: Machine with the cheapest work for deferrable requests.
        on_demand_machine: Machine without interruptions, used where work on `batch_machine` would be late; None if
            `batch_machine` has no interruptions either.
        patience_s: In batch, how long a request without a deadline can wait.
        progress: Receives each step.
        present_replicas: Replicas of the current real-time fleet; None searches for the cheapest.
        autoscale: Whether to search autoscalers as well.
        trials: Every fleet simulated so far.
    """

    load: TraceLoad
    machines: list[CandidateMachine]
    batch_machine: CandidateMachine
    patience_s: float
    progress: Progress
    on_demand_machine: CandidateMachine | None = None
    present_replicas: int | None = None
    autoscale: bool = True
    trials: list[Trial] = field(default_factory=list)

    def run(self) -> SearchResult:
        """Find the cheapest fleet of every arrangement.

        Raises:
            InfeasibleError: No fleet meets the SLO; the message says what would help.
        """
        realtime = self.load.all_realtime()
        fixed, autoscaled = self.realtime(realtime)
        baseline = self._baseline(fixed, autoscaled)
        self.progress("simulating batch")
        batch = self._batch(self.load.all_deferrable(self.patience_s))
        realtime_alone, mix = self._best_mix(baseline)
        return SearchResult(
            fixed=fixed,
            autoscaled=autoscaled,
            baseline=baseline,
            batch=batch,
            mix=mix,
            realtime_alone=realtime_alone,
            slo_utilization=max_utilization_within_slo(*baseline.pools[0], realtime),
            trials=self.trials,
        )

    def baseline(self) -> Trial:
        """Find the cheapest real-time fleet only.

        Raises:
            InfeasibleError: No fleet meets the SLO.
        """
        return self._baseline(*self.realtime(self.load.all_realtime()))

    def saving_share(self) -> float:
        """Find the share that deferral saves only: 1 - mix / real time.

        Raises:
            InfeasibleError: No fleet meets the SLO.
        """
        baseline = self.baseline()
        return 1 - self._best_mix(baseline)[1].usd / baseline.usd

    def _baseline(self, fixed: Trial, autoscaled: Trial) -> Trial:
        """Return the current fleet if there is one, else the cheaper feasible one of the two."""
        if self.present_replicas is None and autoscaled.feasible and autoscaled.usd < fixed.usd:
            return autoscaled
        return fixed

    def realtime(self, load: TraceLoad) -> tuple[Trial, Trial]:
        """Return the cheapest fleet that is always on, and the cheapest that is autoscaled."""
        if self.present_replicas is not None:
            machine = self.machines[0]
            fleets = [fixed_fleet(machine, load, math.ceil(self.present_replicas / machine.replicas))]
            self.trials += fleets
        else:
            fleets = self._fixed_fleets(load, "real time, always on")
        return fleets[0], self._best_autoscaled(fleets, load) if self.autoscale else fleets[0]

    def _fixed_fleets(self, load: TraceLoad, title: str) -> list[Trial]:
        """Search for the smallest fleet of each candidate machine, always on; the cheapest first.

        A machine whose work alone costs more than a whole fleet of another is skipped.
        """
        fleets: list[Trial] = []
        problem: InfeasibleError | None = None
        for machine in self.machines:
            try:
                check_slo(load, machine.profile, machine.limits)
            except InfeasibleError as error:
                problem = problem or error
                continue
            if fleets and machine.price_work(load) > min(trial.usd for trial in fleets):
                continue
            trials = []
            for trial in search_fixed_fleet(machine, load):
                self.progress(f"{title}: {trial.label}, SLO met for {trial.slo_attainment or 1:.1%}")
                trials.append(trial)
            self.trials += trials
            fleets += [trial for trial in trials if trial.feasible][-1:]
        if not fleets:
            raise problem or InfeasibleError(
                f"no fleet of up to {MAX_REPLICAS:,} replicas meets the SLO",
                fix="loosen it with --slo, or use faster hardware",
            )
        return sorted(fleets, key=lambda trial: trial.usd)

    def _best_autoscaled(self, fleets: list[Trial], load: TraceLoad) -> Trial:
        """Search for the cheapest autoscaler over the machines of feasible fixed fleets."""

        def search(machine: CandidateMachine, fixed: int, minimum: int) -> list[Trial]:
            trials = []
            for trial in search_autoscalers(machine, load, fixed, minimum):
                self.progress(f"real time, autoscaled: {trial.label}, SLO met for {trial.slo_attainment or 1:.1%}")
                trials.append(trial)
            return trials

        searches = [
            (machine, pool.max_instances, minimum)
            for machine, pool in (fleet.pools[0] for fleet in fleets)
            for minimum in autoscaler_minimums(pool.max_instances)
        ]
        # The simulator's kernel releases the interpreter lock.
        with ThreadPoolExecutor(max_workers=_THREADS) as threads:
            trials = [trial for group in threads.map(lambda args: search(*args), searches) for trial in group]
        self.trials += trials
        feasible = [trial for trial in trials if trial.feasible]
        if feasible:
            return min(feasible, key=lambda trial: trial.usd)
        return max(trials, key=lambda trial: trial.slo_attainment or 0.0)

    def _best_mix(self, baseline: Trial) -> tuple[Trial | None, Trial]:
        """Return the cheapest fleet of the real-time lane alone, and of both lanes."""
        deferrable = self.load.deferrable
        undeferred = rejudge(baseline, self.load, "mix", f"all in real time: {baseline.label}")
        if not deferrable.any():
            return baseline, undeferred
        if deferrable.all():
            batch = replace(self._batch(self.load), name="mix")
            return None, _cheapest_feasible((batch, undeferred), default=undeferred)
        lane = self.load.select(~deferrable)
        fleets = self._fixed_fleets(lane, "real-time lane alone")
        bases = [fleets[0]]
        if self.autoscale:
            bases += [trial for trial in [self._best_autoscaled(fleets, lane)] if trial.feasible]
        candidates = [undeferred]
        for base in bases:
            candidates += self._mixes(base)
        self.trials += candidates[1:]
        return min(bases, key=lambda trial: trial.usd), _cheapest_feasible(candidates, default=undeferred)

    def _batch(self, load: TraceLoad) -> Trial:
        """Serve all deferrable requests on the cheapest machine; without interruptions if it would be late there."""
        trial = batch_fleet(self.batch_machine, load)
        self.trials.append(trial)
        if trial.feasible or self.on_demand_machine is None:
            return trial
        on_demand = batch_fleet(self.on_demand_machine, load)
        self.trials.append(on_demand)
        return on_demand if on_demand.feasible else trial

    def _mix(self, base: Trial, backfill: BackfillLimits | None) -> Trial:
        """Serve both lanes with the cheapest temporary machine; without interruptions if it would be late there."""
        trial = mixed_fleet(base, self.batch_machine, self.load, backfill)
        if trial.feasible or self.on_demand_machine is None:
            return trial
        on_demand = mixed_fleet(base, self.on_demand_machine, self.load, backfill)
        return on_demand if on_demand.feasible else trial

    def _mixes(self, base: Trial) -> Iterable[Trial]:
        """Yield mixes with less and less backfill until the SLO holds, and one with separate lanes."""
        largest = max_backfill(base.machine, self.load)
        for share in _BACKFILL_SHARES:
            if largest.sequences == 0:
                break
            backfill = replace(largest, sequences=max(1, math.floor(largest.sequences * share)))
            trial = self._mix(base, backfill)
            late = f"{trial.deadlines_missed} late"
            self.progress(f"mix: {trial.label}, SLO met for {trial.slo_attainment or 1:.1%}, {late}")
            yield trial
            if trial.feasible:
                break
        yield self._mix(base, None)


def _cheapest_feasible(trials: Iterable[Trial], *, default: Trial) -> Trial:
    return min((trial for trial in trials if trial.feasible), key=lambda trial: trial.usd, default=default)
