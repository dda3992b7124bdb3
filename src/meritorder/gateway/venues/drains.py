"""Draining a venue whose machine will be taken away: nothing new, what fits is finished, the rest is queued again."""

import asyncio
import time
from typing import Final

import msgspec

from meritorder.gateway.peers import Peers
from meritorder.gateway.venues.venues import Venue, Venues

_ROUND_S: Final = 0.25
_FILE: Final = "drains"
_RETURN_SHARE: Final = 0.05
"""Share of the notice that is left when deferrable requests are returned: their leases end before the machine does."""
_MAX_RETURN_S: Final = 5.0


class Drains:
    """Returns the deferrable requests of draining venues before their notice ends.

    Args:
        venues: The venues.
        peers: The processes of this gateway, which drain together; None for one alone.
    """

    def __init__(self, venues: Venues, peers: Peers | None = None) -> None:
        self._venues = venues
        self._peers = peers
        self._return_s: dict[str, float | None] = {}

    def start(self, venue: Venue, notice_s: float) -> None:
        """Admit nothing more at a venue, and return what it has not finished shortly before the notice ends."""
        self._set(venue, time.monotonic() + notice_s - min(_MAX_RETURN_S, _RETURN_SHARE * notice_s))
        self._return_unfinished()

    def end(self, venue: Venue) -> None:
        """Admit requests at a venue again."""
        self._set(venue, None)

    async def run(self) -> None:
        """Return requests in rounds until cancelled."""
        while True:
            self._read()
            self._return_unfinished()
            await asyncio.sleep(_ROUND_S)

    def _set(self, venue: Venue, return_s: float | None) -> None:
        """Note when what is unfinished at a venue returns; None if it admits requests again."""
        self._read()
        self._return_s[venue.name] = return_s
        if self._peers is not None:
            self._peers.write(_FILE, msgspec.json.encode(self._return_s))
        self._apply()

    def _read(self) -> None:
        """Do as the process did that was asked last."""
        if self._peers is not None and (noted := self._peers.read(_FILE)) is not None:
            self._return_s = msgspec.json.decode(noted, type=dict[str, float | None])
            self._apply()

    def _apply(self) -> None:
        for venue in self._venues.all:
            venue.is_draining = self._return_s.get(venue.name) is not None

    def _return_unfinished(self) -> None:
        now_s = time.monotonic()
        for venue in self._venues.all:
            return_s = self._return_s.get(venue.name)
            if return_s is not None and return_s <= now_s:
                for running in venue.deferrable:
                    running.urgent = False  # an urgent one goes on elsewhere too
                venue.preempt(len(venue.deferrable))
