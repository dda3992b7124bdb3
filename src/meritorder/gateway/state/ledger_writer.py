"""The ledger: its entries by lane, and their writer, which commits many at once."""

import asyncio
import contextlib
import logging
from collections.abc import Callable
from typing import Final

from meritorder.gateway.config import DEFERRABLE, REALTIME
from meritorder.gateway.errors import StoreUnavailableError
from meritorder.gateway.state.request import Request
from meritorder.gateway.store import ledger
from meritorder.gateway.store.database import Database
from meritorder.gateway.store.ledger import LedgerEntry
from meritorder.gateway.store.requests import ClaimedRequest, RequestAnswer
from meritorder.gateway.wire.usage import Usage

_INTERVAL_S: Final = 0.25
_COMMIT_SIZE: Final = 5000
_MAX_PENDING: Final = 200_000  # while the database is unreachable; about 100 MB
_log: Final = logging.getLogger(__name__)


class LedgerWriter:
    """Writes ledger entries; its `observers` are called with each entry at once.

    A killed process loses the entries of the last interval.

    Args:
        database: The store.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._pending: list[LedgerEntry] = []
        self.dropped = 0
        self.observers: list[Callable[[LedgerEntry], None]] = []

    def add(self, entry: LedgerEntry) -> None:
        """Queue an entry for writing."""
        for observe in self.observers:
            observe(entry)
        if len(self._pending) < _MAX_PENDING:
            self._pending.append(entry)
        else:
            self.dropped += 1

    async def run(self) -> None:
        """Write pending entries until cancelled."""
        while True:
            await asyncio.sleep(_INTERVAL_S)
            with contextlib.suppress(StoreUnavailableError):
                await self.flush()

    async def flush(self) -> None:
        """Write all pending entries.

        Raises:
            StoreUnavailableError: The database cannot be written; the entries stay pending.
        """
        while self._pending:
            batch = self._pending[:_COMMIT_SIZE]
            await self._database.write(lambda connection, batch=batch: ledger.add(connection, batch))  # type: ignore[misc]
            del self._pending[: len(batch)]


def realtime_entry(
    request: Request, venue: str, usage: Usage, *, e2e_s: float, cost_picousd: int | None
) -> LedgerEntry:
    """Return the ledger entry of a real-time request.

    Args:
        request: The request, with its status.
        venue: The venue that served it.
        usage: Its tokens.
        e2e_s: Time from its arrival to the end of its answer.
        cost_picousd: What it cost; None if the venue has no price.
    """
    return LedgerEntry(
        request_id=request.id,
        arrived_s=request.arrived_s,
        started_s=request.arrived_s,
        ended_s=request.arrived_s + e2e_s,
        ttft_s=request.ttft_s,
        lane=REALTIME,
        tenant=request.key.tenant,
        key_id=request.key.id,
        model=request.call.model or "",
        endpoint=request.endpoint,
        venue=venue,
        status_code=request.status,
        input_tokens=usage.input_tokens,
        cached_tokens=usage.cached_tokens,
        output_tokens=usage.output_tokens,
        counted=usage.counted,
        cost_picousd=cost_picousd,
    )


def deferrable_entry(
    request: ClaimedRequest,
    answer: RequestAnswer,
    venue: str | None,
    *,
    started_s: float,
    ended_s: float,
    cost_picousd: int | None,
    lost_tokens: int = 0,
    stored: bool = True,
) -> LedgerEntry:
    """Return the ledger entry of a deferrable request that was answered.

    Args:
        request: The request.
        answer: Its answer.
        venue: The venue that answered; None if none did.
        started_s: When it was sent, epoch seconds.
        ended_s: When the answer arrived.
        cost_picousd: What the answer cost; None if the venue has no price.
        lost_tokens: Tokens that were generated and discarded.
        stored: Whether the answer was stored: if another attempt was faster, its output tokens count as lost.
    """
    return LedgerEntry(
        request_id=answer.request_id,
        arrived_s=request.arrived_s,
        started_s=started_s,
        ended_s=ended_s,
        ttft_s=None,
        lane=DEFERRABLE,
        tenant=request.tenant,
        key_id=request.key_id,
        model=request.model,
        endpoint=request.endpoint,
        venue=venue,
        workload=request.workload,
        deadline_s=request.deadline_s,
        status_code=answer.status_code,
        input_tokens=answer.input_tokens,
        cached_tokens=answer.cached_tokens,
        output_tokens=answer.output_tokens if stored else 0,
        lost_tokens=lost_tokens + (0 if stored else answer.output_tokens),
        counted=answer.input_tokens > 0,
        cost_picousd=cost_picousd,
    )
