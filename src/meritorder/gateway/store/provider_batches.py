"""Chunks: requests that were handed to a provider's batch API together. Each function is one transition.

    (queued requests) ──add──► made ──submitted──► submitted ──drop──► (answered, or queued again)

A chunk is made, and its requests are its own, before anything is sent, and that it is about to be sent is written down
before it is: after a crash it is submitted again under the same id, and if it may have been sent, the provider is asked
first whether it knows that id.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from sqlalchemy import Connection, delete, func, insert, or_, select, update

from meritorder.gateway.store.requests import ClaimedRequest
from meritorder.gateway.store.schema import BATCHES, CHUNKS, INSTANCES, REQUESTS

_ROWS_AT_A_TIME: Final = 5000  # databases bound how many values a statement may have


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderBatch:
    """One chunk.

    Args:
        id: Ours; the requests' owner, and the tag under which the provider knows it.
        venue: Where it was handed to.
        batch_seq: The batch that its requests are of.
        provider_id: The provider's id; None if it is not known to be submitted.
        created_s: When it was made.
        sent_s: When it was sent to the provider first, whether that got there or not; None if never.
        cancelled: Whether the provider was asked to cancel it.
    """

    id: str
    venue: str
    batch_seq: int
    provider_id: str | None
    created_s: float
    cancelled: bool
    sent_s: float | None = None


def create(connection: Connection, me: str, chunk: ProviderBatch, requests: Sequence[ClaimedRequest]) -> None:
    """Make a chunk of requests that this gateway has claimed."""
    connection.execute(
        insert(CHUNKS).values(
            id=chunk.id, venue=chunk.venue, batch_seq=chunk.batch_seq, created_s=chunk.created_s, owner=me
        )
    )
    mine = (REQUESTS.c.state == "running", REQUESTS.c.owner == me)
    for start in range(0, len(requests), _ROWS_AT_A_TIME):
        seqs = [request.seq for request in requests[start : start + _ROWS_AT_A_TIME]]
        connection.execute(update(REQUESTS).where(REQUESTS.c.seq.in_(seqs), *mine).values(owner=chunk.id))


def adopt(connection: Connection, me: str, *, now_s: float) -> list[ProviderBatch]:
    """Take the chunks that no living gateway looks after; return all that this one does, the oldest first."""
    alive = select(INSTANCES.c.id).where(INSTANCES.c.alive_until_s >= now_s)
    lost = update(CHUNKS).where(or_(CHUNKS.c.owner.is_(None), CHUNKS.c.owner.not_in(alive)))
    connection.execute(lost.values(owner=me))
    names = list(ProviderBatch.__dataclass_fields__)
    query = select(*(CHUNKS.c[name] for name in names)).where(CHUNKS.c.owner == me).order_by(CHUNKS.c.seq)
    return [ProviderBatch(**row._mapping) for row in connection.execute(query)]  # noqa: SLF001 - SQLAlchemy's public name


def mark_sent(connection: Connection, chunk_id: str, *, now_s: float) -> None:
    """Write down that it is about to be sent to the provider."""
    connection.execute(update(CHUNKS).where(CHUNKS.c.id == chunk_id).values(sent_s=now_s))


def mark_submitted(connection: Connection, chunk_id: str, provider_id: str) -> None:
    """Write down what the provider calls it."""
    connection.execute(update(CHUNKS).where(CHUNKS.c.id == chunk_id).values(provider_id=provider_id))


def mark_cancelled(connection: Connection, chunk_id: str) -> None:
    """Write down that the provider was asked to cancel it."""
    connection.execute(update(CHUNKS).where(CHUNKS.c.id == chunk_id).values(cancelled=True))


def provider_ids(connection: Connection, venue: str) -> list[str]:
    """Return the provider's ids of the chunks at a venue."""
    query = select(CHUNKS.c.provider_id).where(CHUNKS.c.venue == venue, CHUNKS.c.provider_id.is_not(None))
    return list(connection.execute(query).scalars())


def is_wanted(connection: Connection, chunk: ProviderBatch) -> bool:
    """Tell whether the batch of a chunk is still in progress and waits for answers of it."""
    waits = select(func.count()).select_from(REQUESTS).where(REQUESTS.c.owner == chunk.id)
    status = select(BATCHES.c.status).where(BATCHES.c.seq == chunk.batch_seq)
    return connection.execute(status).scalar() == "in_progress" and bool(connection.execute(waits).scalar())


def finish(connection: Connection, chunk_id: str, *, now_s: float, fault: bool) -> None:
    """`running → queued` for what was not answered, and forget the chunk."""
    rest = update(REQUESTS).where(REQUESTS.c.owner == chunk_id, REQUESTS.c.state == "running")
    faults = REQUESTS.c.faults + (1 if fault else 0)
    connection.execute(rest.values(state="queued", owner=None, not_before_s=now_s, faults=faults))
    connection.execute(delete(CHUNKS).where(CHUNKS.c.id == chunk_id))
