"""The fleets that a search found."""

from dataclasses import dataclass

from meritorder.records.comparison import FrontierPoint
from meritorder.records.planproof import Credit
from meritorder.study.fleet.fleets import Trial


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchResult:
    """The cheapest fleet of each arrangement.

    Args:
        fixed: The present fleet if there is one, else the cheapest that is always on and meets every SLO.
        autoscaled: Cheapest autoscaled fleet that does, at most as expensive as `always_on`; if none does, the one with
            the highest attainment.
        baseline: The present fleet if there is one, else the cheapest in real time.
        always_on: The cheapest fleet that is always on.
        realtime: The cheapest fleet in real time.
        batch: All requests in batch.
        mix: Both lanes, the cheapest fleet found.
        mix_on_demand: The same without spot machines.
        realtime_alone: The real-time lane alone, None if there is none.
        slo_utilization: Utilization of the baseline's replicas at the highest steady load that meets the SLO.
        tried: Every fleet that was simulated on all requests.
    """

    fixed: Trial
    autoscaled: Trial
    baseline: Trial
    always_on: Trial
    realtime: Trial
    batch: Trial
    mix: Trial
    mix_on_demand: Trial
    realtime_alone: Trial | None
    slo_utilization: float
    tried: list[FrontierPoint]

    @property
    def credited(self) -> list[Credit]:
        """What each cause saves; they add up to the difference between baseline and mix."""
        steps = [
            ("right-sizing the present fleet", self.baseline.usd - self.always_on.usd),
            ("autoscaling", self.always_on.usd - self.realtime.usd),
        ]
        if self.baseline is self.realtime:
            steps = []
        steps += [
            ("waiting", self.realtime.usd - self.mix_on_demand.usd),
            ("spot machines", self.mix_on_demand.usd - self.mix.usd),
        ]
        return [Credit(cause=cause, usd=usd) for cause, usd in steps if usd]
