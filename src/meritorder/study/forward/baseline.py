"""Real time sized on the past: the arrangement that kept the SLO on past days at the least cost."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from meritorder.sim.pools import SimPool
from meritorder.study.fleet.fleets import Trial, rejudge, simulate_fleet
from meritorder.study.fleet.load import TraceLoad
from meritorder.study.fleet.machines import CandidateMachine
from meritorder.study.fleet.options import Progress
from meritorder.study.fleet.realtime import search_realtime
from meritorder.study.forward.days import Day
from meritorder.study.forward.forecast import Forecast

# The arrangements of each kind that a search adds.
_ADDED = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class RealtimePolicy:
    """A policy that serves every request as it arrives, by a fleet that is always on or autoscaled."""

    label: str
    machine: CandidateMachine
    pool: SimPool

    def floor(self, forecast: Forecast | None) -> tuple[int, ...]:
        """Return no floor: the fleet does not follow a forecast."""
        del forecast
        return ()

    def run(self, load: TraceLoad, forecast: Forecast | None = None, load_before: float = 0.0) -> Trial:
        """Simulate requests under the policy; neither a forecast nor the load before changes it."""
        del forecast, load_before
        trial = simulate_fleet("realtime", self.label, load.all_realtime(), ((self.machine, self.pool),))
        return rejudge(trial, load, "policy", self.label)


@dataclass(slots=True, kw_only=True)
class PastBaseline:
    """The real-time arrangements that were found on past days, and how they did on each.

    Real time is searched again on a day on which the present arrangement broke the SLO; of all that were found on
    past days, the cheapest is kept that held on the most of them.

    Args:
        days: The days, in order.
        machines: Candidate machines.
        progress: Receives each step.
    """

    days: Sequence[Day]
    machines: Sequence[CandidateMachine]
    progress: Progress
    _found: list[RealtimePolicy] = field(default_factory=list)
    _outcomes: dict[tuple[int, int], tuple[bool, float]] = field(default_factory=dict)

    def choose(self, count: int) -> int:
        """Return the arrangement for the day after the first `count` days."""
        last = count - 1
        if not self._found or not self.outcome(self._best(last), last)[0]:
            self._search(last)
        return self._best(count)

    def policy(self, arrangement: int) -> RealtimePolicy:
        """Return an arrangement as a policy."""
        return self._found[arrangement]

    def outcome(self, arrangement: int, place: int) -> tuple[bool, float]:
        """Return whether an arrangement held on a day, and what it cost."""
        if (arrangement, place) not in self._outcomes:
            self.run(arrangement, place)
        return self._outcomes[arrangement, place]

    def run(self, arrangement: int, place: int) -> Trial:
        """Serve all requests of a day in real time."""
        trial = self.run_on(arrangement, self.days[place].load)
        self._outcomes[arrangement, place] = trial.feasible, trial.usd
        return trial

    def run_on(self, arrangement: int, load: TraceLoad) -> Trial:
        """Serve all requests of any load in real time."""
        chosen = self._found[arrangement]
        return simulate_fleet("realtime", chosen.label, load.all_realtime(), ((chosen.machine, chosen.pool),))

    def _search(self, place: int) -> None:
        load = self.days[place].load.all_realtime()
        fleets = search_realtime(load, self.machines, self.progress, title="real time of the past")
        for trial in (*fleets.fixed[:_ADDED], *fleets.autoscaled[:_ADDED]):
            machine, pool = trial.pools[0]
            self._outcomes[len(self._found), place] = trial.feasible, trial.usd
            self._found.append(RealtimePolicy(label=trial.label, machine=machine, pool=pool))

    def _best(self, count: int) -> int:
        """Return the arrangement that held on the most of the first days, the cheapest of several."""
        if count == 0:
            return 0
        failures = {
            arrangement: sum(not self.outcome(arrangement, place)[0] for place in range(count))
            for arrangement in range(len(self._found))
        }
        fewest = min(failures.values())
        return min(
            (arrangement for arrangement, failed in failures.items() if failed == fewest),
            key=lambda arrangement: math.fsum(self.outcome(arrangement, place)[1] for place in range(count)),
        )
