"""The search for the cheapest fleet of each arrangement, by simulation.

Every machine is tried for every part, and skipped only if it cannot be cheaper than a fleet that was found, so that
more machines never make an arrangement more expensive. A mix may have its real-time lane on a machine that does not
serve that lane cheapest. On long loads, a fleet for each lane is assumed to save at most a twentieth of the deferrable
lane's cost by serving late requests in the gaps of the other.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Final

from meritorder.catalog import Catalog
from meritorder.domain import BackfillLimits, Model, Replica
from meritorder.errors import CatalogError
from meritorder.offers import Offer
from meritorder.records.comparison import FrontierPoint
from meritorder.sim.pools import Fixed
from meritorder.study.fleet.fleets import (
    Trial,
    autoscaled_fleet,
    autoscaler_targets,
    batch_fleet,
    cheaper,
    fixed_fleet,
    frontier_point,
    machines_used,
    max_utilization_within_slo,
    mixed_fleet,
    rejudge,
    simulate_fleet,
)
from meritorder.study.fleet.load import TraceLoad
from meritorder.study.fleet.machines import CandidateMachine, by_batch, find_machines, max_backfill
from meritorder.study.fleet.options import CompareOptions, Progress
from meritorder.study.fleet.realtime import (
    COARSE_SAVING,
    RealtimeFleets,
    least_mix_usd,
    min_mix_usd,
    search_realtime,
    search_skipped,
)
from meritorder.study.fleet.result import SearchResult
from meritorder.study.fleet.spot import spot_machines
from meritorder.study.fleet.stretches import Stretches, breaks_slo
from meritorder.units import SECONDS_PER_DAY

_NO_SPOT: Final = "list them with meritorder prices --hardware NAME, or add a price with --catalog"
# Machines that a coarse search tries for deferrable requests beside a fleet. For batch, those of the cheapest work and
# of the cheapest hour, as many of each.
_COARSE_MACHINES: Final = 2
_COARSE_BATCHES: Final = 3
# How many times as much as the cheapest fleet one may cost whose machine a coarse search tries for one lane alone.
_COARSE_RATIO: Final = 2.5
# Shares of the largest backfill that are tried until the SLO holds.
_BACKFILL_SHARES: Final = (1.0, 0.75, 0.5, 0.25)
_COARSE_BACKFILL_SHARES: Final = (1.0, 0.25)
# Share of the cost of the deferrable lane that the other lane's gaps may save by serving its late requests.
_GAPS_SAVE: Final = 0.05


@dataclass(slots=True, kw_only=True)
class Search:
    """The search for the cheapest fleet of each arrangement.

    Args:
        load: The requests with their SLOs and deadlines.
        machines: Candidate machines for real time.
        batch_machines: Candidate machines for deferrable requests, spot machines included.
        patience_s: In batch, how long a request without a deadline can wait.
        progress: Receives each step.
        present_replicas: Replicas of the current real-time fleet; None searches for the cheapest.
        autoscale: Whether to search autoscalers as well.
        coarse: Whether deferrable requests are tried only on the machines whose work or hour is cheapest.
        tried: Every fleet simulated so far on all requests.
        lane_alone: Fleets of the real-time lane alone, once they were searched; deadlines do not change them.
        waiting_usd: Cost of the deferrable lane alone on a machine, for long loads.
    """

    load: TraceLoad
    machines: Sequence[CandidateMachine]
    batch_machines: Sequence[CandidateMachine]
    patience_s: float
    progress: Progress
    present_replicas: int | None = None
    autoscale: bool = True
    coarse: bool = False
    tried: list[FrontierPoint] = field(default_factory=list)
    lane_alone: RealtimeFleets | None = None
    waiting_usd: dict[tuple[Replica, Offer], float] = field(default_factory=dict)

    def run(self) -> SearchResult:
        """Find the cheapest fleet of every arrangement.

        Raises:
            InfeasibleError: No fleet meets the SLO; the message says what would help.
        """
        realtime = self.load.all_realtime()
        present = self._present(realtime)
        fleets = self._fleets(realtime, "real time")
        self.tried += fleets.tried
        cheapest = fleets.cheapest
        baseline = present or cheapest
        self.progress("simulating batch")
        alone, both = replace(self, tried=[]), replace(self, tried=[], machines=self._promising(fleets))
        on_demand = replace(both, batch_machines=[m for m in self.batch_machines if m.interruptions is None])
        with ThreadPoolExecutor(max_workers=1) as background:
            batch = background.submit(alone.patient_batch, self.load.all_deferrable(self.patience_s))
            slo_utilization = background.submit(max_utilization_within_slo, *baseline.pools[0], realtime)
            realtime_alone, mix_on_demand = on_demand.best_patient_mix(cheapest)
            both.lane_alone = self.lane_alone = on_demand.lane_alone
            mix = mix_on_demand
            if len(on_demand.batch_machines) < len(self.batch_machines):
                realtime_alone, mix = both.best_patient_mix(mix_on_demand)
        self.tried += alone.tried + both.tried
        return SearchResult(
            fixed=present or fleets.fixed[0],
            autoscaled=self._autoscaled(fleets, realtime),
            baseline=baseline,
            always_on=fleets.fixed[0],
            realtime=cheapest,
            batch=batch.result(),
            mix=mix,
            mix_on_demand=mix_on_demand,
            realtime_alone=realtime_alone,
            slo_utilization=slo_utilization.result(),
            tried=self.tried,
        )

    def _promising(self, fleets: RealtimeFleets) -> Sequence[CandidateMachine]:
        """Return the machines for the real-time lane alone; in a coarse search, those that do well for all requests."""
        if not self.coarse:
            return self.machines
        most_usd = _COARSE_RATIO * fleets.cheapest.usd
        return machines_used(*(trial for trial in (*fleets.fixed, *fleets.autoscaled) if trial.usd <= most_usd))

    def saving_share(self) -> float:
        """Find the share that deferral saves only: 1 - mix / real time.

        Raises:
            InfeasibleError: No fleet meets the SLO.
        """
        realtime = self.load.all_realtime()
        cheapest = self._fleets(realtime, "real time").cheapest
        baseline = self._present(realtime) or cheapest
        return 1 - self.best_patient_mix(cheapest)[1].usd / baseline.usd

    def _present(self, load: TraceLoad) -> Trial | None:
        """Return the present fleet if there is one: that many replicas of the machine with the cheapest work."""
        if self.present_replicas is None:
            return None
        machine = min(self.machines, key=lambda machine: machine.price_work(load))
        present = fixed_fleet(machine, load, math.ceil(self.present_replicas / machine.servers))
        self.tried.append(frontier_point(present))
        return present

    def _autoscaled(self, fleets: RealtimeFleets, load: TraceLoad) -> Trial:
        """Return the cheapest autoscaled fleet; one that never stops a machine where scaling down saves nothing."""
        fixed = fleets.fixed[0]
        cheapest = next(iter(fleets.autoscaled), fleets.best_attainment)
        if cheapest and cheapest.result.ended_early:
            whole = replace(load, verdict_suffices=False)
            cheapest = simulate_fleet(cheapest.name, cheapest.label, whole, cheapest.pools)
        if not self.autoscale:
            return cheapest or fixed
        if cheapest and cheapest.feasible and cheapest.usd <= fixed.usd:
            return cheapest
        instances = fixed.pools[0][1].max_instances
        target = autoscaler_targets(fixed.machine)[-1]
        constant = autoscaled_fleet(fixed.machine, load, target, instances, instances, known=(fixed,))
        return cheaper(cheapest, constant) if cheapest else constant

    def _fleets(self, load: TraceLoad, title: str) -> RealtimeFleets:
        return search_realtime(load, self.machines, self.progress, title=title, autoscale=self.autoscale)

    def best_mix(self, start: Trial) -> tuple[Trial | None, Trial]:
        """Return the cheapest fleet of the real-time lane alone, and of both lanes.

        Args:
            start: The cheapest fleet known: all in real time, or a mix.
        """
        deferrable = self.load.deferrable
        best = start if start.name == "mix" else rejudge(start, self.load, "mix", f"all in real time: {start.label}")
        if not deferrable.any() or not self.batch_machines:
            return start, best
        if deferrable.all():
            batch = replace(self.batch(self.load), name="mix")
            return None, cheaper(best, batch)
        if self.lane_alone is None:
            self.lane_alone = self._fleets(self.load.select(~deferrable), "real-time lane alone")
        stretches, on_one, fleets = Stretches.of(self.load), list[Trial](), self.lane_alone
        alone, best = fleets.all[0], self._best_on(fleets.all, best, stretches, on_one)
        for machine in () if self.coarse else fleets.skipped:
            if not best.feasible or min_mix_usd(machine, self.load, self.batch_machines) < best.usd:
                found = search_skipped(self.lane_alone, machine, self.progress, autoscale=self.autoscale)
                self.lane_alone, more = found
                best = self._best_on(more, best, stretches, on_one)
        return alone, best

    def _best_on(self, bases: Iterable[Trial], best: Trial, stretches: Stretches, on_one: list[Trial]) -> Trial:
        """Return the cheapest mix on some bases, the cheapest base first, or the best known if none is cheaper."""
        # Deferrable work never makes the fleet of the real-time lane cheaper.
        bounds = [
            (least_mix_usd(base, self.load, self.batch_machines) if self.coarse else base.usd, base) for base in bases
        ]
        for least_usd, base in sorted(bounds, key=lambda bound: bound[0]):
            if best.feasible and least_usd >= best.usd * (1 - COARSE_SAVING * self.coarse):
                break
            for trial in self._mixes(base, best, stretches, on_one):
                if not self.load.verdict_suffices:
                    self.tried.append(frontier_point(trial))
                best = cheaper(best, trial)
                if base.pools[0][1].scaling == Fixed(instances=1):
                    on_one.append(trial)
        return best

    def best_patient_mix(self, start: Trial) -> tuple[Trial | None, Trial]:
        """Return what `best_mix` does, the cheapest also if requests wait less than they can."""
        alone, best = self.best_mix(start)
        machines = machines_used(best)[-1:] if self.coarse else self.batch_machines
        for load in self.load.waiting_less():
            hasty = replace(self, load=load, batch_machines=machines, tried=[], lane_alone=self.lane_alone)
            best = cheaper(best, hasty.best_mix(best)[1])
            self.lane_alone = hasty.lane_alone
        return alone, rejudge(best, self.load, best.name, best.label)

    def patient_batch(self, load: TraceLoad) -> Trial:
        """Return what `batch` does, the cheapest also if requests wait less than they can."""
        best = self.batch(load)
        machines = machines_used(best) if self.coarse else self.batch_machines
        for hasty in load.waiting_less():
            best = cheaper(best, replace(self, batch_machines=machines, tried=[]).batch(hasty))
        return rejudge(best, load, best.name, best.label)

    def batch(self, load: TraceLoad) -> Trial:
        """Return the cheapest fleet that serves all requests as deferrable and on time, else the least late one."""
        best: Trial | None = None
        most = _COARSE_BATCHES if self.coarse else None
        for machine in by_batch(self.batch_machines, load, most):
            if best and best.feasible and machine.least_batch_usd(load) >= best.usd * (1 - COARSE_SAVING * self.coarse):
                break
            trial = batch_fleet(machine, load)
            if not load.verdict_suffices:
                self.tried.append(frontier_point(trial))
            if best is None or (not trial.feasible, trial.deadlines_missed, trial.usd) < (
                not best.feasible,
                best.deadlines_missed,
                best.usd,
            ):
                best = trial
        if best is None:
            raise ValueError("batch_machines: a search needs at least one")
        return best

    def _apart_usd(self, base: Trial, machine: CandidateMachine) -> float:
        """Return the least that separate lanes cost: each alone, less what late requests save in the other's gaps."""
        key = machine.profile.replica, machine.offer
        if key not in self.waiting_usd:
            self.waiting_usd[key] = batch_fleet(machine, self.load.select(self.load.deferrable)).usd
        return base.usd + (1 - _GAPS_SAVE) * self.waiting_usd[key]

    def _beside(self, base: Trial, best: Trial, *, backfill: bool) -> list[CandidateMachine]:
        """Return the machines to try for what can wait: those of the base first, then the cheapest work.

        Args:
            base: A fleet that meets the SLO of the real-time lane.
            best: The cheapest fleet known.
            backfill: Whether machines of the base can take some of it.
        """
        deferrable = self.load.select(self.load.deferrable)
        if self.coarse:
            priced = sorted(((m.least_batch_usd(deferrable), m) for m in self.batch_machines), key=lambda pair: pair[0])
            cheapest = [m for usd, m in priced if not best.feasible or base.usd + usd < best.usd][:_COARSE_MACHINES]
            own = [base.machine] if backfill else []
            return [*own, *(machine for machine in cheapest if machine not in own)]
        others = (machine for machine in self.batch_machines if machine is not base.machine)
        return [base.machine, *sorted(others, key=lambda machine: machine.price_work(deferrable))]

    def _mixes(self, base: Trial, best: Trial, stretches: Stretches, on_one: Sequence[Trial]) -> Iterator[Trial]:
        """Yield mixes on a base: beside each machine, with less and less backfill until the SLO holds, and without.

        Which backfill breaks the SLO is found beside machines of the base, so that it does not depend on the others.

        Args:
            base: A fleet that meets the SLO of the real-time lane.
            best: The cheapest fleet known.
            stretches: Stretches of the load that rule out backfill.
            on_one: Mixes on one machine that is always on, to which an autoscaler may never add another.
        """
        largest = max_backfill(base.machine, self.load)
        shares = (_COARSE_BACKFILL_SHARES if self.coarse else _BACKFILL_SHARES) if largest.sequences else ()
        sizes = [replace(largest, sequences=max(1, math.floor(largest.sequences * share))) for share in shares]
        backfills: list[BackfillLimits | None] = [*sizes, None]
        machines = self._beside(base, best, backfill=bool(shares))
        with ThreadPoolExecutor(max_workers=1) as background:
            for machine in machines:
                own, held = machine is base.machine, False
                if not own and best.feasible and base.usd + machine.least_start_usd(self.load) >= best.usd:
                    continue
                apart = None
                is_known = bool(stretches.stretches) or (machine.profile.replica, machine.offer) in self.waiting_usd
                if not is_known or not best.feasible or self._apart_usd(base, machine) < best.usd:
                    apart = background.submit(mixed_fleet, base, machine, self.load, None, on_one)
                for backfill in tuple(backfills):
                    if apart is None if backfill is None else held:
                        continue
                    fleet = partial(mixed_fleet, base, machine, backfill=backfill)
                    if own and backfill is not None and stretches.rule_out(fleet):
                        backfills.remove(backfill)
                        continue
                    trial = (
                        mixed_fleet(base, machine, self.load, backfill, on_one)
                        if backfill or not apart
                        else apart.result()
                    )
                    late = f"{trial.deadlines_missed} late"
                    self.progress(f"mix: {trial.label}, SLO met for {trial.slo_attainment or 1:.1%}, {late}")
                    yield trial
                    held = held or trial.feasible
                    if self.coarse and backfill is None and trial.feasible:
                        self.waiting_usd.setdefault((machine.profile.replica, machine.offer), trial.usd - base.usd)
                    best = cheaper(best, trial)
                    if own and backfill is not None and breaks_slo(trial):
                        stretches.add_worst(trial)
                        backfills.remove(backfill)


def build_search(
    catalog: Catalog, model: Model, load: TraceLoad, options: CompareOptions, progress: Progress
) -> Search:
    """Return the search over every machine that may serve some requests.

    Args:
        catalog: Prices, hardware, models.
        model: The model that serves them.
        load: The requests.
        options: What may be rented, the present fleet, spot machines.
        progress: Receives each step.

    Raises:
        MeritorderError: No machine serves the model; the message names what is available.
    """
    machines = find_machines(catalog, model, load, options, progress)
    spot: list[CandidateMachine] = []
    if options.spot or options.spot_trace:
        last_s = float(load.all_deferrable(options.patience_s).deadline_s.max())
        spot = spot_machines(catalog, machines, options, last_s + SECONDS_PER_DAY)
        if not spot and options.spot_trace:
            raise CatalogError("no spot machine is known for these replicas", where="--spot-trace", fix=_NO_SPOT)
    return Search(
        load=replace(load, verdict_suffices=options.coarse),
        machines=machines,
        batch_machines=[*machines, *spot],
        patience_s=options.patience_s,
        present_replicas=options.replicas,
        coarse=options.coarse,
        progress=progress,
    )
