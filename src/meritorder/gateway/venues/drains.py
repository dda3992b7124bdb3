"""Draining a venue whose machine will be taken away: nothing new, what fits is finished, the rest is queued again."""

import asyncio
import time
from typing import Final

from meritorder.gateway.venues.venues import Venue, Venues

_ROUND_S: Final = 0.25
_RETURN_SHARE: Final = 0.05
"""Share of the notice that is left when deferrable requests are returned: their leases end before the machine does."""
_MAX_RETURN_S: Final = 5.0


class Drains:
    """Returns the deferrable requests of draining venues before their notice ends.

    Args:
        venues: The venues.
    """

    def __init__(self, venues: Venues) -> None:
        self._venues = venues
        self._return_s: dict[str, float] = {}

    def start(self, venue: Venue, notice_s: float) -> None:
        """Admit nothing more at a venue, and return what it has not finished shortly before the notice ends."""
        venue.is_draining = True
        self._return_s[venue.name] = time.monotonic() + notice_s - min(_MAX_RETURN_S, _RETURN_SHARE * notice_s)
        self._return_unfinished()

    def end(self, venue: Venue) -> None:
        """Admit requests at a venue again."""
        venue.is_draining = False
        self._return_s.pop(venue.name, None)

    async def run(self) -> None:
        """Return requests in rounds until cancelled."""
        while True:
            self._return_unfinished()
            await asyncio.sleep(_ROUND_S)

    def _return_unfinished(self) -> None:
        now_s = time.monotonic()
        for venue in self._venues.all:
            if self._return_s.get(venue.name, now_s + 1) <= now_s:
                for running in venue.deferrable:
                    running.urgent = False  # an urgent one goes on elsewhere too
                venue.preempt(len(venue.deferrable))
