"""The writer of the ledger, which commits many entries at once."""

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Final

from meritorder.gateway.errors import StoreUnavailableError
from meritorder.gateway.state.entries import Run, interrupted_entry
from meritorder.gateway.state.journal import Journal, left_behind
from meritorder.gateway.state.reservations import Spending
from meritorder.gateway.store.billing import ledger
from meritorder.gateway.store.billing.ledger import LedgerEntry
from meritorder.gateway.store.database import Database
from meritorder.gateway.store.queue.requests import ClaimedRequest

_INTERVAL_S: Final = 0.25
_COMMIT_SIZE: Final = 5000
_MAX_WAITING: Final = 200_000  # while the journal cannot be written; about 100 MB
_MAX_JOURNAL_BYTES: Final = 64 * 1024 * 1024
_log: Final = logging.getLogger(__name__)


class LedgerWriter:
    """Writes ledger entries: to the journal at once, and from there to the ledger, many in one transaction.

    Its `observers` are called with each valid entry. What a killed process leaves in its journal is added by the next
    gateway that starts on this machine, or by another that runs there.

    Args:
        database: The store.
        journal: The journal of this process.
        spending: Counts what the entries have cost.
    """

    def __init__(self, database: Database, journal: Journal, spending: Spending | None = None) -> None:
        self._database = database
        self._spending = spending
        self._journal = journal
        self._collected: list[bytes] = []
        self._waiting: list[bytes] = []
        self._synced_bytes = 0
        self._complete_s = time.monotonic()  # when the ledger last had every entry written by then
        self.dropped = 0
        self.set_aside = 0
        self.observers: list[Callable[[LedgerEntry], None]] = []
        self._flushing = asyncio.Lock()

    @property
    def delay_s(self) -> float:
        """How far the ledger is behind the journal; a fraction of a second while the store accepts entries."""
        return time.monotonic() - self._complete_s

    def add(self, entry: LedgerEntry) -> None:
        """Write an entry: when this returns, it survives this process."""
        self.collect(entry)
        self.write()

    def collect(self, entry: LedgerEntry) -> None:
        """Take an entry, to be written together with others."""
        line = ledger.encode(entry)
        self._collected.append(line)
        self._observe(line, stored=False)

    def write(self) -> None:
        """Write the collected entries: when this returns, they survive this process."""
        collected, self._collected = self._collected, []
        self._write(collected)

    async def write_together(self) -> None:
        """Write the collected entries as `write` does, with those of all calls that end in this turn of the loop."""
        collected = self._collected
        try:
            await asyncio.sleep(0)
        finally:
            if self._collected is collected:  # the first of these calls has written them all
                self.write()

    def add_interrupted(self, request: ClaimedRequest, run: Run, *, preempted: bool) -> None:
        """Write the entry of an attempt after which its request goes on; observers count requests, not attempts."""
        self._write([ledger.encode(interrupted_entry(request, run, preempted=preempted))])

    def observe(self, entry: LedgerEntry) -> None:
        """Report an entry that was added to the ledger with its answer, in one transaction."""
        self._observe(ledger.encode(entry), stored=True)

    async def run(self) -> None:
        """Add the entries of the journal to the ledger until cancelled."""
        while True:
            await asyncio.sleep(_INTERVAL_S)
            with contextlib.suppress(StoreUnavailableError):  # the database has logged it
                await self.flush()

    async def flush(self) -> None:
        """Add all entries to the ledger.

        Raises:
            StoreUnavailableError: The database cannot be written; the entries stay in the journal.
        """
        async with self._flushing:
            observed = 0 if self._spending is None else self._spending.observed
            began_s = time.monotonic()
            await self._flush()
            if not self._waiting:
                self._complete_s = began_s
            if self._spending is not None and not self._waiting:
                self._spending.settle(observed)

    async def _flush(self) -> None:
        waiting, self._waiting = self._waiting, []
        self._write(waiting)
        self.write()
        if self._journal.size > self._synced_bytes:
            self._synced_bytes = self._journal.size
            with contextlib.suppress(OSError):  # the database is about to have them
                await asyncio.to_thread(self._journal.sync)
        await self._add_all(self._journal)
        if self._journal.added > _MAX_JOURNAL_BYTES and self._journal.added == self._journal.size:
            journal_id = self._journal.id
            self._journal.restart()
            self._synced_bytes = 0
            await self._database.write(lambda connection: ledger.forget_journal(connection, journal_id))

    async def close(self) -> None:
        """Add all entries and remove the journal; if the database cannot be reached, leave it for the next process.

        Raises:
            StoreUnavailableError: The database cannot be written.
        """
        is_added = False
        try:
            await self.flush()
            is_added = not self._waiting
            await self._database.write(lambda connection: ledger.forget_journal(connection, self._journal.id))
        finally:
            self._journal.close(remove=is_added)

    async def recover(self, release: Callable[[str], Awaitable[None]]) -> None:
        """Add what gateways of this machine left in their journals when they were killed.

        Args:
            release: Called with the id of each once its entries are added; until then what it has reserved of budgets
                stands for them.

        Raises:
            StoreUnavailableError: The database cannot be written; the journals stay.
        """
        left = await asyncio.to_thread(lambda: list(left_behind(self._journal.path.parent)))
        try:
            for journal in left:
                await self._recover(journal)
                await release(journal.instance_id)
        finally:
            for journal in left:
                journal.close()

    async def _recover(self, journal: Journal) -> None:
        position = await self._database.read(lambda connection: ledger.journal_position(connection, journal.id))
        journal.added = position or journal.added
        entries = await self._add_all(journal)
        journal.close(remove=True)
        await self._database.write(lambda connection: ledger.forget_journal(connection, journal.id))
        if entries:
            _log.info("%d ledger entries of %s, which was killed, are in the ledger", entries, journal.instance_id)

    async def _add_all(self, journal: Journal) -> int:
        """Add the entries of a journal that are not in the ledger yet; return how many."""
        count = 0
        while journal.added < journal.size:
            start = journal.added
            lines, end = await asyncio.to_thread(journal.read, _COMMIT_SIZE)
            if end == start:
                break  # the last line is incomplete
            journal.added = await self._database.write(
                partial(ledger.add_from_journal, journal_id=journal.id, lines=lines, start=start, end=end)
            )
            count += len(lines)
        return count

    def _write(self, lines: Sequence[bytes]) -> None:
        """Write lines to the journal; those that it cannot take wait in memory."""
        written = 0
        try:
            while written < len(lines):
                written += self._journal.append(lines[written:])
        except OSError as error:
            if not self._waiting:
                _log.warning("the journal of the ledger cannot be written: %s", error)
            room = max(0, _MAX_WAITING - len(self._waiting))
            self._waiting += lines[written : written + room]
            self.dropped += max(0, len(lines) - written - room)

    def _observe(self, line: bytes, *, stored: bool) -> None:
        try:
            entry = ledger.decode(line)
        except ledger.InvalidEntryError as error:
            self.set_aside += 1
            _log.warning("a ledger entry is invalid and was set aside: %s", error)
            return
        if self._spending is not None:
            self._spending.observe(entry, stored=stored)
        for observe in self.observers:
            try:
                observe(entry)
            except Exception:  # noqa: BLE001 - an observer must not stop a request
                _log.exception("a ledger entry could not be counted")
