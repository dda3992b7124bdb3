"""The search for the cheapest fleet of each arrangement."""

import math
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Final

from meritorder.domain import BackfillLimits
from meritorder.errors import InfeasibleError
from meritorder.study.fleet.fleets import (
    CandidateMachine,
    Trial,
    autoscaler_minimums,
    batch_fleet,
    fixed_fleet,
    max_backfill,
    max_utilization_within_slo,
    mixed_fleet,
    rejudge,
    search_autoscalers,
    search_fixed_fleet,
)
from meritorder.study.fleet.load import TraceLoad, check_slo

Progress = Callable[[str], None]

# Searches of autoscalers that run beside one another; each holds what became of all requests of one more trial.
_THREADS: Final = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchResult:
    """The fleets that the answer is made of.

    Args:
        fixed: Cheapest fleet that is always on and keeps the SLO for all.
        autoscaled: Cheapest autoscaled fleet that does; if none does, the one that comes nearest.
        baseline: The cheaper of the two.
        batch: All requests in batch.
        mix: Both lanes, the cheapest way found.
        alone: The real-time lane alone, None if there is none.
        slo_utilization: Utilisation of the baseline's replicas at the highest steady load that keeps the SLO.
        tried: Every fleet simulated.
    """

    fixed: Trial
    autoscaled: Trial
    baseline: Trial
    batch: Trial
    mix: Trial
    alone: Trial | None
    slo_utilization: float
    tried: list[Trial]


@dataclass(slots=True, kw_only=True)
class Search:
    """The search for the cheapest fleet of each arrangement, by simulation.

    Args:
        load: The requests with their promises.
        machines: Replicas on machines to choose from for real time, cheapest work first.
        batch_machine: Replica on the machine with the cheapest work, for what can wait.
        on_demand_machine: The same on a machine that is not taken back, for where work on the first would be late; None
            if the first is not taken back either.
        patience_s: How long a request may wait in batch that has no deadline of its own.
        progress: Told what is being tried.
        present_replicas: Replicas of the fleet that real time runs on now; None searches the cheapest.
        autoscale: Whether to search autoscalers as well.
        tried: Every fleet simulated so far.
    """

    load: TraceLoad
    machines: list[CandidateMachine]
    batch_machine: CandidateMachine
    patience_s: float
    progress: Progress
    on_demand_machine: CandidateMachine | None = None
    present_replicas: int | None = None
    autoscale: bool = True
    tried: list[Trial] = field(default_factory=list)

    def run(self) -> SearchResult:
        """Find all arrangements.

        Raises:
            InfeasibleError: No fleet keeps the SLO; says what would help.
        """
        realtime = self.load.all_realtime()
        always, scaled = self.realtime(realtime)
        baseline = self._baseline(always, scaled)
        self.progress("simulating batch")
        batched = self._batch(self.load.all_deferrable(self.patience_s))
        alone, mixed = self._best_mix(baseline)
        return SearchResult(
            fixed=always,
            autoscaled=scaled,
            baseline=baseline,
            batch=batched,
            mix=mixed,
            alone=alone,
            slo_utilization=max_utilization_within_slo(*baseline.pools[0], realtime),
            tried=self.tried,
        )

    def baseline(self) -> Trial:
        """Find only what real time costs.

        Raises:
            InfeasibleError: No fleet keeps the SLO.
        """
        return self._baseline(*self.realtime(self.load.all_realtime()))

    def saving_share(self) -> float:
        """Find only what letting some wait saves: 1 - mix / real time.

        Raises:
            InfeasibleError: No fleet keeps the SLO.
        """
        baseline = self.baseline()
        return 1 - self._best_mix(baseline)[1].usd / baseline.usd

    def _baseline(self, always: Trial, scaled: Trial) -> Trial:
        """Return the present fleet if there is one, else the cheaper of the two that keep the SLO."""
        if self.present_replicas is None and scaled.kept and scaled.usd < always.usd:
            return scaled
        return always

    def realtime(self, load: TraceLoad) -> tuple[Trial, Trial]:
        """Return the cheapest fleet that is always on, and the cheapest that is autoscaled."""
        if self.present_replicas is not None:
            machine = self.machines[0]
            fleets = [fixed_fleet(machine, load, math.ceil(self.present_replicas / machine.replicas))]
            self.tried += fleets
        else:
            fleets = self._fixed_fleets(load, "real time, always on")
        return fleets[0], self._best_autoscaled(fleets, load) if self.autoscale else fleets[0]

    def _fixed_fleets(self, load: TraceLoad, what: str) -> list[Trial]:
        """Search the smallest fleet that is always on, for each replica at hand; the cheapest first.

        A replica whose work alone costs more than a whole fleet of another is left out.
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
                self.progress(f"{what}: {trial.label}, SLO kept for {trial.attainment or 1:.1%}")
                trials.append(trial)
            self.tried += trials
            fleets += [trial for trial in trials if trial.kept][-1:]
        if not fleets:
            raise problem or InfeasibleError(
                "no fleet of up to 4,096 replicas keeps the SLO", fix="loosen it with --slo, or use faster hardware"
            )
        return sorted(fleets, key=lambda trial: trial.usd)

    def _best_autoscaled(self, fleets: list[Trial], load: TraceLoad) -> Trial:
        """Search the cheapest autoscaler over the replicas of fleets that hold, always on."""

        def search(machine: CandidateMachine, most: int, fewest: int) -> list[Trial]:
            trials = []
            for trial in search_autoscalers(machine, load, most, fewest):
                self.progress(f"real time, autoscaled: {trial.label}, SLO kept for {trial.attainment or 1:.1%}")
                trials.append(trial)
            return trials

        searches = [
            (machine, pool.max_instances, fewest)
            for machine, pool in (always.pools[0] for always in fleets)
            for fewest in autoscaler_minimums(pool.max_instances)
        ]
        # The simulator's kernel leaves the interpreter to other threads.
        with ThreadPoolExecutor(max_workers=_THREADS) as threads:
            trials = [trial for found in threads.map(lambda args: search(*args), searches) for trial in found]
        self.tried += trials
        kept = [trial for trial in trials if trial.kept]
        if kept:
            return min(kept, key=lambda trial: trial.usd)
        return max(trials, key=lambda trial: trial.attainment or 0.0)

    def _best_mix(self, baseline: Trial) -> tuple[Trial | None, Trial]:
        """Return the real-time lane alone, and the cheapest way found to serve both lanes."""
        deferrable = self.load.deferrable
        whole = rejudge(baseline, self.load, "mix", f"all in real time: {baseline.label}")
        if not deferrable.any():
            return baseline, whole
        if deferrable.all():
            apart = replace(self._batch(self.load), name="mix")
            return None, min((t for t in (apart, whole) if t.kept), key=lambda t: t.usd, default=whole)
        lane = self.load.select(~deferrable)
        fleets = self._fixed_fleets(lane, "real-time lane alone")
        bases = [fleets[0]]
        if self.autoscale:
            bases += [trial for trial in [self._best_autoscaled(fleets, lane)] if trial.kept]
        candidates = [whole]
        for base in bases:
            candidates += self._mixes(base)
        self.tried += candidates[1:]
        alone = min(bases, key=lambda trial: trial.usd)
        return alone, min((trial for trial in candidates if trial.kept), key=lambda trial: trial.usd, default=whole)

    def _batch(self, load: TraceLoad) -> Trial:
        """Serve all that may wait on the cheapest machines; on steady ones if it would be late on those."""
        trial = batch_fleet(self.batch_machine, load)
        self.tried.append(trial)
        if trial.kept or self.on_demand_machine is None:
            return trial
        steady = batch_fleet(self.on_demand_machine, load)
        self.tried.append(steady)
        return steady if steady.kept else trial

    def _mix(self, base: Trial, backfill: BackfillLimits | None) -> Trial:
        """Serve both lanes, with the cheapest machines beside; with steady ones if work would be late on those."""
        trial = mixed_fleet(base, self.batch_machine, self.load, backfill)
        if trial.kept or self.on_demand_machine is None:
            return trial
        steady = mixed_fleet(base, self.on_demand_machine, self.load, backfill)
        return steady if steady.kept else trial

    def _mixes(self, base: Trial) -> Iterable[Trial]:
        """Fill the gaps of a real-time fleet, less and less until its SLO holds; and the lanes apart."""
        room = max_backfill(base.machine, self.load)
        for share in (1.0, 0.75, 0.5, 0.25):
            if room.sequences == 0:
                break
            filled = replace(room, sequences=max(1, math.floor(room.sequences * share)))
            trial = self._mix(base, filled)
            self.progress(f"mix: {trial.label}, SLO kept for {trial.attainment or 1:.1%}, {trial.missed} late")
            yield trial
            if trial.kept:
                break
        yield self._mix(base, None)
