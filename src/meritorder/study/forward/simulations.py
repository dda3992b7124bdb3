"""Past days simulated under policies, each once: what was paid, and whether every promise was kept."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np

from meritorder.domain import BackfillLimits
from meritorder.sim.pools import Fixed
from meritorder.study.fleet.fleets import Trial, max_utilization_within_slo, rejudge
from meritorder.study.fleet.load import TraceLoad
from meritorder.study.fleet.machines import CandidateMachine, max_backfill
from meritorder.study.fleet.options import Progress
from meritorder.study.forward.days import surged, with_margin
from meritorder.study.forward.history import History
from meritorder.study.forward.policy import FleetPolicy, backlog_machines

# Share of the permitted SLO misses that a policy may use on past days.
_MARGIN: Final = 0.5
# Ratio of neighboring levels.
_LEVEL_RATIO: Final = 1.2
# The share of the safe load that each machine gets at the beginning of a day.
_SAFE_SHARE: Final = 0.8
# The most machines serve this many times the highest load of past days, and some more run.
_GROWTH: Final = 3.0
_SPARE: Final = 2
# Requests that prices of work are compared on.
_SAMPLE: Final = 10_000


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
class DayOutcome:
    """A day under a policy.

    Args:
        usd: What was paid.
        holds: Whether every SLO and deadline was met.
        holds_with_margin: Whether half of the permitted misses would have been enough.
    """

    usd: float
    holds: bool
    holds_with_margin: bool


@dataclass(slots=True, kw_only=True)
class Simulations:
    """Days under policies; what was simulated once is not simulated again.

    Args:
        history: The days, in order.
        batch_machines: Machines for deferrable work.
        progress: Receives each step.
    """

    history: History
    batch_machines: Sequence[CandidateMachine]
    progress: Progress
    _outcomes: dict[tuple[Design, int, int, float], DayOutcome] = field(default_factory=dict)
    _safe: dict[int, float] = field(default_factory=dict)
    _surged: dict[tuple[int, float], TraceLoad] = field(default_factory=dict)
    _backlogs: dict[tuple[int, int], int] = field(default_factory=dict)

    @property
    def designs(self) -> set[Design]:
        """The designs that were simulated."""
        return {design for design, *_ in self._outcomes}

    def best_usd(self, place: int) -> float | None:
        """Return the least that a simulated policy paid on a day and kept every promise; None if none did."""
        kept = [
            outcome.usd
            for (_, _, day, surge), outcome in self._outcomes.items()
            if day == place and surge == 1.0 and outcome.holds
        ]
        return min(kept, default=None)

    def targets(self, design: Design) -> list[float]:
        """Return the requests in flight per replica of each level, rising."""
        most = self.history.machines[design.machine].limits.max_num_seqs
        steps = math.ceil(math.log(most / 2) / math.log(_LEVEL_RATIO)) + 1 if most > _LEVEL_RATIO * 2 else 1
        rising: list[float] = np.unique(np.geomspace(min(2, most), most, steps).round()).tolist()
        return rising

    def load(self, place: int, surge: float) -> TraceLoad:
        """Return the requests of a day, with `surge` times its traffic."""
        load = self.history.days[place].load
        if surge == 1.0:
            return load
        if (place, surge) not in self._surged:
            self._surged = {(place, surge): surged(load, surge)}
        return self._surged[place, surge]

    def outcome(self, design: Design, level: int, place: int, surge: float = 1.0) -> DayOutcome:
        """Return how a day was under a policy that knows it, but for its floor."""
        key = design, level, place, surge
        if key not in self._outcomes:
            self.run(design, level, self.policy(design, level, place + 1), place, surge)
        return self._outcomes[key]

    def run(self, design: Design, level: int, policy: FleetPolicy, place: int, surge: float = 1.0) -> Trial:
        """Simulate a day under a policy, and remember the outcome."""
        load = self.load(place, surge)
        forecast = self.history.forecast(design.machine, place)
        trial = policy.run(load, forecast, self.history.load_before(design.machine, place) * surge)
        strict = rejudge(trial, with_margin(load, _MARGIN), trial.name, trial.label)
        self._outcomes[design, level, place, surge] = DayOutcome(
            usd=trial.usd, holds=trial.feasible, holds_with_margin=strict.feasible
        )
        what = f"day {place + 1}" if surge == 1.0 else f"day {place + 1} with {surge:.0%} of its traffic"
        self.progress(f"{what}: {policy.label}, SLO met for {trial.slo_attainment or 1:.1%}")
        return trial

    def policy(self, design: Design, level: int, count: int) -> FleetPolicy:
        """Return the policy of a design and a level, with bounds from the first `count` days."""
        machine, last = self.history.machines[design.machine], self.history.days[count - 1].load
        quantile, share = design.floor or (None, _SAFE_SHARE)
        per_machine = share * self._safe_load(design.machine, last) * machine.replicas
        peak = max(float(self.history.loads(design.machine, place).max()) for place in range(count))
        batch = self._batch_machine()
        return FleetPolicy(
            machine=machine,
            batch_machine=self.batch_machines[batch],
            target_in_flight=self.targets(design)[level],
            minimum=design.minimum,
            maximum=max(design.minimum, _SPARE + math.ceil(_GROWTH * peak / per_machine)),
            stabilization_s=design.stabilization_s,
            floor_quantile=quantile,
            load_per_machine=per_machine,
            backfill=_backfill(machine, last, design.backfill_share),
            batch_maximum=max(self._backlog_machines(batch, place) for place in range(count)),
        )

    def _safe_load(self, machine: int, load: TraceLoad) -> float:
        """Return the highest steady load of a replica within the SLO, in saturated replicas."""
        if machine not in self._safe:
            served, realtime = self.history.machines[machine], load.select(~load.deferrable)
            pool = served.pool(Fixed(instances=2), realtime=True, backfill=None)
            self._safe[machine] = max_utilization_within_slo(served, pool, realtime) if len(realtime) else 1.0
        return self._safe[machine]

    def _batch_machine(self) -> int:
        """Return the index of the machine with the cheapest work, by the first day."""
        sample = self.history.days[0].load.sample(_SAMPLE)
        return min(range(len(self.batch_machines)), key=lambda index: self.batch_machines[index].price_work(sample))

    def _backlog_machines(self, machine: int, place: int) -> int:
        if (machine, place) not in self._backlogs:
            needed = backlog_machines(self.batch_machines[machine], self.history.days[place].load)
            self._backlogs[machine, place] = needed
        return self._backlogs[machine, place]


def _backfill(machine: CandidateMachine, load: TraceLoad, share: float) -> BackfillLimits | None:
    largest = max_backfill(machine, load) if share else None
    if largest is None or largest.sequences == 0:
        return None
    return replace(largest, sequences=max(1, math.floor(largest.sequences * share)))
