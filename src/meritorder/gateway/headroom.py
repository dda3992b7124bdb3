"""How much deferrable work there is room for at each venue."""

import asyncio
import logging
import time
from typing import Final

from meritorder.gateway.config import Lanes
from meritorder.gateway.venues import Venue, Venues

_LOOK_S: Final = 0.25
_DOWN_S: Final = 1.0
_log: Final = logging.getLogger(__name__)


class Headroom:
    """Watches the load of the engines and the pace of real time.

    Args:
        venues: The venues.
        lanes: What is promised to real time.
    """

    def __init__(self, venues: Venues, lanes: Lanes) -> None:
        self._venues = venues
        self._lanes = lanes
        self._down_until_s: dict[str, float] = {}
        self._read: dict[str, bool] = {}

    def room(self, venue: Venue) -> int:
        """Return how many deferrable requests may begin now, behind everything that is real time."""
        if venue.is_engine and (not self._lanes.backfill or venue.load is None):
            return 0
        waiting = venue.load.waiting if venue.load is not None else 0
        return max(0, self.capacity(venue) - waiting)

    def capacity(self, venue: Venue) -> int:
        """Return how many may begin when nothing else keeps their deadline: every seat that nobody sits on."""
        if self._down_until_s.get(venue.name, 0.0) > time.monotonic():
            return 0
        return max(0, venue.seats - venue.realtime - len(venue.seated))

    def unavailable(self, venue: Venue, retry_after_s: float | None) -> None:
        """Leave a venue alone for a while."""
        self._down_until_s[venue.name] = time.monotonic() + (retry_after_s or _DOWN_S)

    async def keep_looking(self) -> None:
        """Read the load of the engines, until cancelled."""
        while True:
            await asyncio.gather(*(self._look(venue) for venue in self._venues.all if venue.is_engine))
            await asyncio.sleep(_LOOK_S)

    async def _look(self, venue: Venue) -> None:
        venue.load = await venue.upstream.load()
        readable = venue.load is not None
        if self._read.get(venue.name, True) != readable or (not readable and venue.name not in self._read):
            if readable:
                _log.info("the load of venue %s can be read again", venue.name)
            else:
                _log.warning("the load of venue %s cannot be read: no backfill there", venue.name)
        self._read[venue.name] = readable
