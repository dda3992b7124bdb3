"""Provider batches: requests submitted together to a provider's batch API. Each function is one transition.

    (queued requests) ──create──► created ──mark_submitted──► submitted ──finish──► (answered, or queued again)

A provider batch is recorded, with its requests claimed, before anything is sent, and `mark_sent` is recorded before the
submission. After a crash it is submitted again under the same id; if it may have been sent, the provider is first asked
for that id.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from sqlalchemy import Connection, delete, func, insert, or_, select, update

from meritorder.gateway.store import heartbeats
from meritorder.gateway.store.queue.backlog import QueuedRequests
from meritorder.gateway.store.queue.requests import ClaimedRequest, claim
from meritorder.gateway.store.schema import BATCHES, PROVIDER_BATCHES, REQUESTS, TURNAROUNDS

KEPT_TURNAROUNDS: Final = 50
"""Turnarounds that are remembered for each venue."""

_CLAIM_SIZE: Final = 1000
_LINE_OVERHEAD_BYTES: Final = 512  # ids, names and what a translation adds around a body in a provider's file
_UPDATE_SIZE: Final = 5000  # databases limit the number of values in a statement


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderBatch:
    """One provider batch.

    Args:
        id: Our id: the owner of its requests, and the tag under which the provider knows it.
        venue: The venue that it is submitted to.
        batch_seq: The batch of its requests.
        provider_id: The provider's id; None if it is not known to be submitted.
        created_s: When it was created.
        sent_s: When it was first sent, whether it arrived or not; None if never.
        cancelled: Whether the provider was asked to cancel it.
    """

    id: str
    venue: str
    batch_seq: int
    provider_id: str | None
    created_s: float
    cancelled: bool
    sent_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class WantedRequests:
    """The requests of a provider batch that are still to be answered.

    Args:
        model: The model that they name.
        tokens: Their estimated tokens.
        arrived_s: When they arrived.
        deadline_s: Their deadline.
    """

    model: str
    tokens: int
    arrived_s: float
    deadline_s: float


def claim_within(
    connection: Connection, owner: str, work: QueuedRequests, *, max_lines: int, max_bytes: int, now_s: float
) -> tuple[list[ClaimedRequest], list[ClaimedRequest]]:
    """Claim what a provider takes in one batch, at least one request; return it, and what was claimed in excess."""
    accepted: list[ClaimedRequest] = []
    size_bytes = 0
    while len(accepted) < max_lines:
        limit = min(_CLAIM_SIZE, max_lines - len(accepted))
        claimed = claim(connection, owner, work, limit=limit, now_s=now_s)
        for index, request in enumerate(claimed):
            size_bytes += request.body_bytes + _LINE_OVERHEAD_BYTES  # translated bodies are about as long as OpenAI's
            if accepted and size_bytes > max_bytes:
                return accepted, claimed[index:]
            accepted.append(request)
        if len(claimed) < limit:
            break
    return accepted, []


def create(connection: Connection, owner: str, batch: ProviderBatch, requests: Sequence[ClaimedRequest]) -> None:
    """Create a provider batch of requests that this gateway has claimed."""
    connection.execute(
        insert(PROVIDER_BATCHES).values(
            id=batch.id, venue=batch.venue, batch_seq=batch.batch_seq, created_s=batch.created_s, owner=owner
        )
    )
    mine = (REQUESTS.c.state == "running", REQUESTS.c.owner == owner)
    for start in range(0, len(requests), _UPDATE_SIZE):
        seqs = [request.seq for request in requests[start : start + _UPDATE_SIZE]]
        connection.execute(update(REQUESTS).where(REQUESTS.c.seq.in_(seqs), *mine).values(owner=batch.id))


def adopt(connection: Connection, owner: str) -> list[ProviderBatch]:
    """Adopt the provider batches of gateways that are gone; return all that this gateway owns, the oldest first."""
    lost = update(PROVIDER_BATCHES).where(
        or_(PROVIDER_BATCHES.c.owner.is_(None), PROVIDER_BATCHES.c.owner.not_in(heartbeats.alive()))
    )
    connection.execute(lost.values(owner=owner))
    names = list(ProviderBatch.__dataclass_fields__)
    query = (
        select(*(PROVIDER_BATCHES.c[name] for name in names))
        .where(PROVIDER_BATCHES.c.owner == owner)
        .order_by(PROVIDER_BATCHES.c.seq)
    )
    return [ProviderBatch(**row._mapping) for row in connection.execute(query)]  # noqa: SLF001 - SQLAlchemy's public name


def mark_sent(connection: Connection, batch_id: str, *, now_s: float) -> None:
    """Record that it is about to be sent to the provider."""
    connection.execute(update(PROVIDER_BATCHES).where(PROVIDER_BATCHES.c.id == batch_id).values(sent_s=now_s))


def mark_submitted(connection: Connection, batch_id: str, provider_id: str) -> None:
    """Record the provider's id."""
    connection.execute(
        update(PROVIDER_BATCHES).where(PROVIDER_BATCHES.c.id == batch_id).values(provider_id=provider_id)
    )


def mark_cancelled(connection: Connection, batch_id: str) -> None:
    """Record that the provider was asked to cancel it."""
    connection.execute(update(PROVIDER_BATCHES).where(PROVIDER_BATCHES.c.id == batch_id).values(cancelled=True))


def provider_ids(connection: Connection) -> list[str]:
    """Return the providers' ids of all known batches; those of several venues may be of one account."""
    query = select(PROVIDER_BATCHES.c.provider_id).where(PROVIDER_BATCHES.c.provider_id.is_not(None))
    return list(connection.execute(query).scalars())


def wanted(connection: Connection, batch: ProviderBatch) -> WantedRequests | None:
    """Return the requests whose answers are still wanted; None if there are none, or their batch is not in progress."""
    row = connection.execute(
        select(
            func.min(REQUESTS.c.model).label("model"),
            func.sum(REQUESTS.c.input_tokens + REQUESTS.c.output_tokens).label("tokens"),
            func.min(REQUESTS.c.arrived_s).label("arrived_s"),
            func.min(REQUESTS.c.deadline_s).label("deadline_s"),
        ).where(
            REQUESTS.c.owner == batch.id,
            REQUESTS.c.state == "running",
            select(BATCHES.c.seq).where(BATCHES.c.seq == batch.batch_seq, BATCHES.c.status == "in_progress").exists(),
        )
    ).one()
    if row.model is None:
        return None
    return WantedRequests(model=row.model, tokens=int(row.tokens), arrived_s=row.arrived_s, deadline_s=row.deadline_s)


def finish(connection: Connection, batch_id: str, *, faulty: Sequence[int] = ()) -> None:
    """`running → queued` for its unanswered requests; count a fault of the faulty ones; delete the provider batch."""
    unanswered = update(REQUESTS).where(REQUESTS.c.owner == batch_id, REQUESTS.c.state == "running")
    for start in range(0, len(faulty), _UPDATE_SIZE):
        seqs = faulty[start : start + _UPDATE_SIZE]
        connection.execute(unanswered.where(REQUESTS.c.seq.in_(seqs)).values(faults=REQUESTS.c.faults + 1))
    connection.execute(unanswered.values(state="queued", owner=None))
    connection.execute(delete(PROVIDER_BATCHES).where(PROVIDER_BATCHES.c.id == batch_id))


def record_turnaround(connection: Connection, venue: str, turnaround_s: float) -> None:
    """Remember how long a provider batch took, and forget the oldest of its venue."""
    connection.execute(insert(TURNAROUNDS).values(venue=venue, turnaround_s=turnaround_s))
    of_venue = TURNAROUNDS.c.venue == venue
    latest = select(TURNAROUNDS.c.seq).where(of_venue).order_by(TURNAROUNDS.c.seq.desc()).limit(KEPT_TURNAROUNDS)
    connection.execute(delete(TURNAROUNDS).where(of_venue, TURNAROUNDS.c.seq.not_in(latest)))


def turnarounds(connection: Connection) -> list[tuple[str, float]]:
    """Return the venue and the turnaround of all remembered provider batches, the oldest first."""
    query = select(TURNAROUNDS.c.venue, TURNAROUNDS.c.turnaround_s).order_by(TURNAROUNDS.c.seq)
    return [(row.venue, row.turnaround_s) for row in connection.execute(query)]
