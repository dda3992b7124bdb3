"""Sums the ledger by day, and deletes what is older than the configuration keeps, in small pieces."""

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Final

from sqlalchemy import Connection

from meritorder.gateway.config import duration_s
from meritorder.gateway.state.context import Context
from meritorder.gateway.store import files
from meritorder.gateway.store.billing import capacity, daily
from meritorder.gateway.store.billing.subjects import Subject
from meritorder.gateway.store.queue import batches
from meritorder.gateway.store.responses import stored_answers
from meritorder.gateway.workers.daily_costs import sum_days
from meritorder.gateway.workers.receipts import Receipts
from meritorder.units import SECONDS_PER_DAY

_ROUND_S: Final = 60.0
_PAUSE_S: Final = 0.01  # between pieces, in which others write


class Retention:
    """Keeps the sums by day, and applies the retention of the configuration.

    Args:
        context: The shared state.
        receipts: Issues the receipts of batches, which need their rows.
    """

    def __init__(self, context: Context, receipts: Receipts) -> None:
        self._context = context
        self._receipts = receipts

    async def run(self) -> None:
        """Repeat until cancelled."""
        while True:
            await self.clean()
            await asyncio.sleep(_ROUND_S)

    async def clean(self) -> None:
        """Sum the days that are over, and delete what is too old.

        Raises:
            StoreUnavailableError: The store cannot be reached.
        """
        retention, now_s = self._context.settings.retention, self._context.now_s()
        await sum_days(self._context.database, now_s)
        if retention.bodies:
            before_s = now_s - duration_s(retention.bodies)
            await self._repeat(partial(files.remove_some, before_s=before_s, now_s=now_s))
            await self._repeat(partial(stored_answers.remove_some, before_s=before_s))
        if retention.ledger:
            await self._delete_rows(before=int((now_s - duration_s(retention.ledger)) // SECONDS_PER_DAY))
        if retention.sums:
            before = int((now_s - duration_s(retention.sums)) // SECONDS_PER_DAY)
            await self._repeat(partial(daily.delete_some_costs, before=before))

    async def _delete_rows(self, *, before: int) -> None:
        database = self._context.database
        for day in await database.read(partial(daily.sealable, before=before)):
            if not await self._have_receipts(day):
                break
            await database.write(partial(daily.seal, day=day))
        venues = {record.venue for record in await database.read(capacity.paid)}
        await self._repeat(partial(daily.delete_some_rows, venues=venues))

    async def _have_receipts(self, day: int) -> bool:
        """Issue the receipts of the batches that ran until a day; return whether they all have one."""
        database = self._context.database
        for seq in await database.read(partial(daily.batches_without_receipt, before=day + 1)):
            batch = await database.read(partial(batches.by_seq, seq=seq))
            if batch is not None and await self._receipts.of(Subject.of_batch(batch)) is None:
                return False
        return True

    async def _repeat(self, delete_some: Callable[[Connection], bool]) -> None:
        while await self._context.database.write(delete_some):
            await asyncio.sleep(_PAUSE_S)
