"""Requests that wait in the queue: what may be dispatched now, and how much there is."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, Select, Table, case, func, or_, select, true

from meritorder.gateway.store.schema import BATCHES, REQUESTS

STARTABLE: Final = (BATCHES.c.status == "in_progress", BATCHES.c.paused_s.is_(None))
"""Whether requests of a batch may be started."""

_BATCHES_OF_WORK: Final = select(
    BATCHES.c.seq,
    BATCHES.c.tenant,
    BATCHES.c.key_id,
    BATCHES.c.model,
    BATCHES.c.expires_s,
    BATCHES.c.created_s,
    BATCHES.c.queued_tokens,
    (BATCHES.c.total - BATCHES.c.done - BATCHES.c.failed).label("count_"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class OverdueCall:
    """A single call that was not run before its deadline, with its key and tenant."""

    seq: int
    key_id: str | None
    tenant: str


@dataclass(frozen=True, slots=True, kw_only=True)
class QueuedRequests:
    """Queued requests that are dispatched as one entry: those of a batch, or a single call.

    Args:
        batch_seq: The batch; None for a single call.
        seq: The call; 0 for a batch.
        tenant: Their tenant.
        model: The model that they name.
        deadline_s: Their deadline.
        tokens: Estimated tokens of the unanswered requests.
        count: Number of unanswered requests.
        arrived_s: When they arrived.
        workload: The workload of a single call; None for a batch.
        key_id: The key that they count for.
    """

    batch_seq: int | None
    seq: int
    tenant: str
    model: str
    deadline_s: float
    tokens: int
    count: int
    arrived_s: float
    workload: str | None = None
    key_id: str | None = None


def queued_work(
    connection: Connection,
    *,
    now_s: float,
    limit: int = 200,
    blocked_keys: Collection[str] = (),
    full_models: Collection[str] = (),
) -> list[QueuedRequests]:
    """Return what may be dispatched now: the most urgent batches and single calls, and a batch of each tenant.

    However many batches are open, it reads as many as it returns.

    Args:
        connection: The transaction.
        now_s: Epoch seconds.
        limit: Most of each kind, and of tenants.
        blocked_keys: Keys whose quotas permit nothing now.
        full_models: Models whose venues have no capacity now; work that waits for them must not hide other work.
    """
    startable = [*STARTABLE, _has_queued(now_s), _not_blocked(BATCHES, blocked_keys)]
    startable.append(BATCHES.c.model.not_in(full_models))
    most_urgent = _BATCHES_OF_WORK.where(*startable).order_by(BATCHES.c.expires_s).limit(limit)
    batches = connection.execute(most_urgent).all()
    if len(batches) == limit:  # then the others of one tenant must not hide those of the next
        first = _first_of_tenants(startable, limit)
        batches = list({row.seq: row for row in (*batches, *connection.execute(first))}.values())
    calls = connection.execute(
        select(
            REQUESTS.c.seq,
            REQUESTS.c.tenant,
            REQUESTS.c.key_id,
            REQUESTS.c.model,
            REQUESTS.c.deadline_s,
            REQUESTS.c.arrived_s,
            REQUESTS.c.workload,
            (REQUESTS.c.input_tokens + REQUESTS.c.output_tokens).label("tokens"),
        )
        .where(REQUESTS.c.batch_seq.is_(None), REQUESTS.c.state == "queued", REQUESTS.c.not_before_s <= now_s)
        .where(_not_blocked(REQUESTS, blocked_keys), REQUESTS.c.model.not_in(full_models))
        .order_by(REQUESTS.c.deadline_s)
        .limit(limit)
    )
    of_batches = [
        QueuedRequests(
            batch_seq=row.seq,
            seq=0,
            tenant=row.tenant,
            model=row.model,
            deadline_s=row.expires_s,
            tokens=row.queued_tokens,
            count=row.count_,
            arrived_s=row.created_s,
            key_id=row.key_id,
        )
        for row in batches
    ]
    of_calls = [
        QueuedRequests(
            batch_seq=None,
            seq=row.seq,
            tenant=row.tenant,
            model=row.model,
            deadline_s=row.deadline_s,
            tokens=row.tokens,
            count=1,
            arrived_s=row.arrived_s,
            workload=row.workload,
            key_id=row.key_id,
        )
        for row in calls
    ]
    return of_batches + of_calls


def overdue_calls(connection: Connection, *, now_s: float) -> list[OverdueCall]:
    """Return the single calls that are still queued after their deadline."""
    query = select(REQUESTS.c.seq, REQUESTS.c.key_id, REQUESTS.c.tenant).where(
        REQUESTS.c.batch_seq.is_(None), REQUESTS.c.state == "queued", REQUESTS.c.deadline_s <= now_s
    )
    return [OverdueCall(seq=row.seq, key_id=row.key_id, tenant=row.tenant) for row in connection.execute(query)]


def queued_by_model(connection: Connection) -> dict[str, int]:
    """Return the number of queued requests by model."""
    return {model: queued for model, queued, _ in queue_depths(connection, due_by_s=0.0)}


def queue_depths(connection: Connection, *, due_by_s: float) -> list[tuple[str, int, int]]:
    """Return each model with its queued requests, and with how many of them are due by some time."""
    due = func.sum(case((REQUESTS.c.deadline_s <= due_by_s, 1), else_=0))
    query = select(REQUESTS.c.model, func.count(), due).where(REQUESTS.c.state == "queued").group_by(REQUESTS.c.model)
    return [(model, int(queued), int(due_soon)) for model, queued, due_soon in connection.execute(query)]


def _has_queued(now_s: float) -> ColumnElement[bool]:
    """Return the condition that a batch has a request to start; a subquery of each row, which no planner joins."""
    queued = select(REQUESTS.c.seq).where(
        REQUESTS.c.batch_seq == BATCHES.c.seq, REQUESTS.c.state == "queued", REQUESTS.c.not_before_s <= now_s
    )
    return queued.limit(1).scalar_subquery().is_not(None)


def _first_of_tenants(startable: Sequence[ColumnElement[bool]], limit: int) -> Select[Any]:
    """Return the query of the most urgent startable batch of each tenant; it steps from tenant to tenant."""
    following = select(func.min(BATCHES.c.tenant).label("tenant")).where(*STARTABLE)
    tenants = following.cte("tenants", recursive=True)
    after = following.where(BATCHES.c.tenant > tenants.c.tenant).scalar_subquery()
    tenants = tenants.union_all(select(after).where(tenants.c.tenant.is_not(None)))
    first = select(BATCHES.c.seq).where(BATCHES.c.tenant == tenants.c.tenant, *startable)
    first = first.order_by(BATCHES.c.expires_s).limit(1).correlate(tenants)
    firsts = select(first.scalar_subquery()).where(tenants.c.tenant.is_not(None)).limit(limit)
    return _BATCHES_OF_WORK.where(BATCHES.c.seq.in_(firsts))


def _not_blocked(table: Table, keys: Collection[str]) -> Any:  # noqa: ANN401 - a condition
    return or_(table.c.key_id.is_(None), table.c.key_id.not_in(keys)) if keys else true()
