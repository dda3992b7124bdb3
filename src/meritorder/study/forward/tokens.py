"""Days that were not seen, on which what can wait is bought as tokens where that has cost less so far."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

from meritorder.study.forward.walk import UnseenDays, WalkDay


@dataclass(frozen=True, slots=True, kw_only=True)
class TokensByDay:
    """Requests that may be bought as tokens, against serving them.

    Args:
        served: The days with all requests on machines.
        rest: The days of the requests that are not bought; None if there are none.
        usd: What the tokens of each day cost, by its index.
    """

    served: UnseenDays
    rest: UnseenDays | None
    usd: Mapping[int, float]

    def are_bought_after(self, index: int) -> bool:
        """Return whether tokens and machines for the rest cost less on all days up to this one."""
        past = [day for day in self.served.best_usd if day <= index]
        on_machines_usd = math.fsum(_known(self.served.best_usd[day]) for day in past)
        bought_usd = math.fsum(self.usd.get(day, 0.0) + self._rest_usd(day) for day in past)
        return bought_usd < on_machines_usd

    def _rest_usd(self, index: int) -> float:
        return 0.0 if self.rest is None else _known(self.rest.best_usd.get(index))

    @property
    def days(self) -> tuple[WalkDay, ...]:
        """The days, on each of which the cheaper way of the days before is taken."""
        rest = {} if self.rest is None else {day.index: day for day in self.rest.days}
        return tuple(
            self._bought(day, rest.get(day.index))
            if (self.rest is None or day.index in rest) and self.are_bought_after(day.index - 1)
            else day
            for day in self.served.days
        )

    def _bought(self, day: WalkDay, rest: WalkDay | None) -> WalkDay:
        """Return a day with its tokens, and what is not bought on machines."""
        tokens_usd = self.usd.get(day.index, 0.0)
        best_usd = min(_known(day.best_usd), tokens_usd + (_known(rest.best_usd) if rest else 0.0))
        return replace(
            day,
            policy=f"{rest.policy}, and tokens" if rest else "tokens",
            policy_usd=tokens_usd + (rest.policy_usd if rest else 0.0),
            best_usd=None if math.isinf(best_usd) else best_usd,
            slo_attainment=rest.slo_attainment if rest else None,
            slo_kept=rest.slo_kept if rest else True,
            deadlines_missed=rest.deadlines_missed if rest else 0,
        )


def _known(usd: float | None) -> float:
    return math.inf if usd is None else usd
