"""Writes the ledger: entries are gathered for a moment, so that a thousand requests make one transaction."""

import asyncio
import contextlib
import logging
from collections.abc import Callable
from typing import Final

from meritorder.gateway.errors import StoreUnavailableError
from meritorder.gateway.store import ledger
from meritorder.gateway.store.database import Database
from meritorder.gateway.store.ledger import Entry

_PAUSE_S: Final = 0.25
_MOST_AT_A_TIME: Final = 5000
_MOST_HELD: Final = 200_000  # while the database is gone; about 100 MB
_log: Final = logging.getLogger(__name__)


class LedgerWriter:
    """The ledger, as it is written; those in `seen` are told of each entry at once.

    What it holds for a moment is lost if the process is killed in that moment.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._entries: list[Entry] = []
        self.dropped = 0
        self.seen: list[Callable[[Entry], None]] = []

    def add(self, entry: Entry) -> None:
        """Take an entry; it is written soon."""
        for see in self.seen:
            see(entry)
        if len(self._entries) < _MOST_HELD:
            self._entries.append(entry)
        else:
            self.dropped += 1

    async def keep_writing(self) -> None:
        """Write what comes in, until cancelled."""
        while True:
            await asyncio.sleep(_PAUSE_S)
            with contextlib.suppress(StoreUnavailableError):
                await self.write()

    async def write(self) -> None:
        """Write what is held.

        Raises:
            StoreUnavailableError: The database cannot be written; the entries are held on.
        """
        while self._entries:
            some = self._entries[:_MOST_AT_A_TIME]
            await self._database.write(lambda connection, some=some: ledger.add(connection, some))  # type: ignore[misc]
            del self._entries[: len(some)]
