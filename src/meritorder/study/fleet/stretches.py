"""Stretches of a long load, on which a fleet that is too small shows at a fraction of the cost."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Final, Self

import numpy as np

from meritorder.study.fleet.fleets import Trial
from meritorder.study.fleet.load import TraceLoad

Fleet = Callable[[TraceLoad], Trial]
"""Serves a load with a fleet."""

# Share of the requests that a stretch has, and the fewest; loads of no more than these are searched as a whole.
_STRETCH_SHARE: Final = 1 / 8
_MIN_REQUESTS: Final = 200_000


@dataclass(slots=True, kw_only=True)
class Stretches:
    """The stretches of a load that have shown fleets to be too small.

    A fleet that breaks the SLO in one stretch more often than the whole load permits breaks it in the whole load.

    Args:
        load: All requests.
        stretches: The busiest stretch, and the one in which the last fleet that was too small broke the SLO most.
    """

    load: TraceLoad
    stretches: list[TraceLoad] = field(default_factory=list)

    @classmethod
    def of(cls, load: TraceLoad) -> Self:
        """Return the busiest stretch of a load, or none if the load is short."""
        count = max(int(len(load) * _STRETCH_SHARE), _MIN_REQUESTS)
        if count >= len(load):
            return cls(load=load)
        whole = replace(load, verdict_suffices=False)
        return cls(load=whole, stretches=[_judged(load.busiest(count))])

    @property
    def busiest(self) -> TraceLoad:
        """The busiest stretch; all requests if they are few."""
        return self.stretches[0] if self.stretches else self.load

    def rule_out(self, fleet: Fleet) -> bool:
        """Return whether a stretch shows that a fleet breaks the SLO; late deferrable requests show nothing."""
        return any(breaks_slo(fleet(stretch)) for stretch in reversed(self.stretches))

    def add_worst(self, trial: Trial) -> None:
        """Add the stretch in which a fleet broke the SLO of the whole load most."""
        if not self.stretches:
            return
        count = len(self.busiest)
        served = np.isfinite(trial.result.finished_s)  # the simulation may have ended early
        broken = np.concatenate(([0], np.cumsum(served & self.load.broken(*self.load.latencies(trial.result)))))
        first = int(np.argmax(broken[count:] - broken[:-count]))
        self.stretches[1:] = [_judged(self.load.stretch(first, count))]


def _judged(stretch: TraceLoad) -> TraceLoad:
    """Return a stretch whose simulation ends once the SLO is broken, unless it must show late requests as well."""
    return replace(stretch, verdict_suffices=not stretch.deferrable.any())


def breaks_slo(trial: Trial) -> bool:
    """Return whether a fleet breaks the SLO, and serves all deferrable requests in time until then."""
    return trial.result.ended_early or (not trial.feasible and not trial.deadlines_missed)
