"""What receipts are of: a batch, or a request outside batches."""

from dataclasses import dataclass

from sqlalchemy import Connection

from meritorder.gateway.store.billing import quotes, receipts
from meritorder.gateway.store.billing.quotes import StoredQuote
from meritorder.gateway.store.billing.receipts import EndedRequest, Rows
from meritorder.gateway.store.queue import batches
from meritorder.gateway.store.queue.batches import Batch


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """What a receipt is of: a batch, or a request outside batches.

    Args:
        id: Its id.
        batch: The batch; None for a request.
        tenant: Whose it is.
        model: Its model; empty if there are several or none.
        endpoint: Its endpoint.
        status: Its state.
        created_s: When it was created or arrived, epoch seconds.
        ended_s: When it ended; None while it runs.
        deadline_s: By when it has to end; None in real time.
        total: Its requests.
        completed: Of them, those with a result.
        failed: Of them, those that failed.
    """

    id: str
    batch: Batch | None
    tenant: str
    model: str
    endpoint: str
    status: str
    created_s: float
    ended_s: float | None
    deadline_s: float | None
    total: int
    completed: int
    failed: int

    @classmethod
    def of_batch(cls, batch: Batch) -> "Subject":
        """Return a batch."""
        return cls(
            id=batch.id,
            batch=batch,
            tenant=batch.tenant,
            model=batch.model or "",
            endpoint=batch.endpoint,
            status=batch.status,
            created_s=batch.created_s,
            ended_s=_ended_s(batch),
            deadline_s=batch.expires_s,
            total=batch.total,
            completed=batch.done,
            failed=batch.failed,
        )

    @classmethod
    def of_request(cls, tenant: str, request_id: str, request: EndedRequest) -> "Subject":
        """Return a request outside batches that has ended."""
        succeeded = request.status_code is not None and 200 <= request.status_code < 300
        return cls(
            id=request_id,
            batch=None,
            tenant=tenant,
            model=request.model,
            endpoint=request.endpoint,
            status="completed" if succeeded else "failed",
            created_s=request.arrived_s,
            ended_s=request.ended_s,
            deadline_s=request.deadline_s,
            total=1,
            completed=int(succeeded),
            failed=int(not succeeded),
        )

    @property
    def rows(self) -> Rows:
        """Which rows of the ledger are of it."""
        return receipts.of_request(self.tenant, self.id) if self.batch is None else receipts.of_batch(self.batch.seq)

    @property
    def batch_id(self) -> str:
        """The id of the batch; empty for a request."""
        return "" if self.batch is None else self.id

    @property
    def request_id(self) -> str:
        """The id of the request; empty for a batch."""
        return self.id if self.batch is None else ""

    def quote(self, connection: Connection) -> StoredQuote | None:
        """Return the quote that it uses."""
        return None if self.batch is None else quotes.of_batch(connection, self.tenant, self.id)


def _ended_s(batch: Batch) -> float | None:
    if batch.status not in batches.FINAL:
        return None
    return next(
        (at_s for at_s in (batch.completed_s, batch.failed_s, batch.expired_s, batch.cancelled_s) if at_s is not None),
        batch.created_s,
    )
