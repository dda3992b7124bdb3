"""Queued requests: claimed under a lease, answered once, and requeued if the gateway that claimed them is gone."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

import msgspec
from sqlalchemy import (
    BindParameter,
    ColumnElement,
    Connection,
    Executable,
    Select,
    Table,
    bindparam,
    case,
    delete,
    func,
    insert,
    or_,
    select,
    true,
    update,
)

from meritorder.gateway.store.queries import among
from meritorder.gateway.store.schema import ANSWERS, BATCHES, REQUESTS


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimedRequest:
    """A request that its owner may run until its lease expires."""

    seq: int
    batch_seq: int | None
    line: int
    id: str | None
    tenant: str
    key_id: str | None
    custom_id: str | None
    endpoint: str
    model: str
    body_at: int | None
    body_bytes: int
    body: bytes | None
    input_tokens: int
    output_tokens: int
    arrived_s: float
    deadline_s: float
    workload: str | None
    trace: str | None
    attempt: int
    faults: int
    expected_picousd: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class OverdueCall:
    """A single call that was not run before its deadline, and its key."""

    seq: int
    key_id: str | None


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


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestAnswer:
    """The answer to a request, or the reason why there is none.

    Args:
        request_id: Our id of this answer.
        status_code: The venue's HTTP status; None without an answer.
        body: Body of the venue's answer.
        error_code: Why there is no answer.
        error_message: The same as a sentence.
        venue: The venue that answered.
        input_tokens: Input tokens.
        cached_tokens: Input tokens read from a cache.
        output_tokens: Output tokens.
        reasoning_tokens: Output tokens of hidden reasoning.
        counted: Whether the venue reported the tokens; otherwise they are estimated.
    """

    request_id: str
    status_code: int | None
    body: bytes | None = None
    error_code: str | None = None
    error_message: str | None = None
    venue: str | None = None
    input_tokens: int = 0
    cached_tokens: int = 0
    output_tokens: int = 0
    reasoning_tokens: int = 0
    counted: bool = False

    @property
    def succeeded(self) -> bool:
        """Whether it goes to the output file of its batch; otherwise to the error file."""
        return self.status_code is not None and 200 <= self.status_code < 300

    def error(self) -> bytes:
        """Return the error object of a request without an answer."""
        error = {"message": self.error_message, "type": "server_error", "param": None, "code": self.error_code}
        return msgspec.json.encode({"error": error})


def add(connection: Connection, rows: Sequence[dict[str, Any]]) -> None:
    """Add requests as `queued`."""
    connection.execute(insert(REQUESTS), rows)


def add_call(connection: Connection, **fields: Any) -> int:  # noqa: ANN401 - columns of REQUESTS
    """Add a single call as `queued`; return its key."""
    added = insert(REQUESTS).values(state="queued", **fields).returning(REQUESTS.c.seq)
    return int(connection.execute(added).scalar_one())


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
    startable = [*_STARTABLE, _has_queued(now_s), _not_blocked(BATCHES, blocked_keys)]
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


def claim(
    connection: Connection, owner: str, work: QueuedRequests, *, limit: int, now_s: float
) -> list[ClaimedRequest]:
    """`queued → running`: claim some requests; those with a common prefix come together."""
    if work.batch_seq is None:
        claimable = connection.execute(_CLAIMABLE_CALL, {"call_seq": work.seq})
    else:
        claimable = connection.execute(
            _CLAIMABLE_LINES, {"of_batch": work.batch_seq, "at_s": now_s, "at_most": max(0, limit)}
        )
    seqs = list(claimable.scalars())
    if not seqs:
        return []
    claimed = connection.execute(_claim(connection.dialect.name), {"seqs": seqs, "claimed_by": owner})
    return [ClaimedRequest(**dict(zip(_NAMES, row, strict=True))) for row in claimed.all()]


@cache
def _claim(dialect: str) -> Executable:
    """Return the statement that claims requests which this transaction has locked as queued.

    It does not repeat that: PostgreSQL might then read all of the index of queued requests to find a few.
    """
    claimed = update(REQUESTS).where(among(dialect, REQUESTS.c.seq, "seqs"))
    claimed = claimed.values(state="running", owner=bindparam("claimed_by"), attempt=REQUESTS.c.attempt + 1)
    return claimed.returning(*_COLUMNS)


def unclaim(connection: Connection, seqs: Sequence[int]) -> None:
    """`running → queued` for requests that were claimed in this transaction and may not run now."""
    if seqs:
        change = update(REQUESTS).where(REQUESTS.c.seq.in_(seqs))
        connection.execute(change.values(state="queued", owner=None, attempt=REQUESTS.c.attempt - 1))


def requeue(
    connection: Connection,
    owner: str,
    request: ClaimedRequest,
    *,
    not_before_s: float,
    fault: bool,
    lost_tokens: int = 0,
) -> bool:
    """`running → queued`: return an unanswered request to the queue.

    Args:
        connection: The transaction.
        owner: Who claimed it.
        request: The request.
        not_before_s: When it may run again.
        fault: Whether the attempt counts against its limit.
        lost_tokens: Tokens that the attempt generated.
    """
    values = {
        "state": "queued",
        "owner": None,
        "not_before_s": not_before_s,
        "faults": REQUESTS.c.faults + (1 if fault else 0),
        "lost_tokens": REQUESTS.c.lost_tokens + lost_tokens,
    }
    return _leave_running(connection, owner, request, values)


def end(connection: Connection, seq: int) -> bool:
    """`queued | running → ended`: the answer of this call is no longer wanted."""
    changed = update(REQUESTS).where(REQUESTS.c.seq == seq, REQUESTS.c.state.in_(("queued", "running")))
    return connection.execute(changed.values(state="ended", owner=None)).rowcount == 1


def delete_call(connection: Connection, seq: int) -> None:
    """Delete a single call and its answer."""
    connection.execute(delete(ANSWERS).where(ANSWERS.c.request_seq == seq))
    connection.execute(delete(REQUESTS).where(REQUESTS.c.seq == seq, REQUESTS.c.batch_seq.is_(None)))


def end_and_delete(connection: Connection, seq: int) -> None:
    """End and delete a call whose client has disconnected."""
    end(connection, seq)
    delete_call(connection, seq)


def requeue_unstarted(connection: Connection, owner: str, seqs: Collection[int]) -> None:
    """`running → queued` for requests that this gateway has claimed but does not run."""
    lost = update(REQUESTS).where(REQUESTS.c.seq.in_(seqs), REQUESTS.c.state == "running", REQUESTS.c.owner == owner)
    connection.execute(lost.values(state="queued", owner=None))


def claimed_by(connection: Connection, owner: str) -> list[ClaimedRequest]:
    """Return the requests claimed by an owner, a gateway or a provider batch."""
    query = select(*_COLUMNS).where(REQUESTS.c.state == "running", REQUESTS.c.owner == owner).order_by(REQUESTS.c.seq)
    return [ClaimedRequest(**dict(zip(_NAMES, row, strict=True))) for row in connection.execute(query)]


def claimed_seqs(connection: Connection, owner: str) -> set[int]:
    """Return the keys of the requests that this gateway has claimed."""
    query = select(REQUESTS.c.seq).where(REQUESTS.c.state == "running", REQUESTS.c.owner == owner)
    return set(connection.execute(query).scalars())


def overdue_calls(connection: Connection, *, now_s: float) -> list[OverdueCall]:
    """Return the single calls that are still queued after their deadline."""
    query = select(REQUESTS.c.seq, REQUESTS.c.key_id).where(
        REQUESTS.c.batch_seq.is_(None), REQUESTS.c.state == "queued", REQUESTS.c.deadline_s <= now_s
    )
    return [OverdueCall(seq=row.seq, key_id=row.key_id) for row in connection.execute(query)]


def is_running(connection: Connection, seq: int) -> bool:
    """Tell whether a request is running."""
    return connection.execute(select(REQUESTS.c.state).where(REQUESTS.c.seq == seq)).scalar() == "running"


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
    following = select(func.min(BATCHES.c.tenant).label("tenant")).where(*_STARTABLE)
    tenants = following.cte("tenants", recursive=True)
    after = following.where(BATCHES.c.tenant > tenants.c.tenant).scalar_subquery()
    tenants = tenants.union_all(select(after).where(tenants.c.tenant.is_not(None)))
    first = select(BATCHES.c.seq).where(BATCHES.c.tenant == tenants.c.tenant, *startable)
    first = first.order_by(BATCHES.c.expires_s).limit(1).correlate(tenants)
    firsts = select(first.scalar_subquery()).where(tenants.c.tenant.is_not(None)).limit(limit)
    return _BATCHES_OF_WORK.where(BATCHES.c.seq.in_(firsts))


def _not_blocked(table: Table, keys: Collection[str]) -> Any:  # noqa: ANN401 - a condition
    return or_(table.c.key_id.is_(None), table.c.key_id.not_in(keys)) if keys else true()


def _leave_running(connection: Connection, owner: str, request: ClaimedRequest, values: dict[str, Any]) -> bool:
    leased = (
        REQUESTS.c.seq == request.seq,
        REQUESTS.c.state == "running",
        REQUESTS.c.owner == owner,
        REQUESTS.c.attempt == request.attempt,
    )
    return connection.execute(update(REQUESTS).where(*leased).values(**values)).rowcount == 1


_NAMES: Final = tuple(ClaimedRequest.__dataclass_fields__)
_COLUMNS: Final = tuple(REQUESTS.c[name] for name in _NAMES)
_STARTABLE: Final = (BATCHES.c.status == "in_progress", BATCHES.c.paused_s.is_(None))
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
# Built once: to build a statement takes longer than SQLite needs to execute it.
_OF_BATCH: Final[BindParameter[int]] = bindparam("of_batch")
_CLAIMABLE_CALL: Final = (
    select(REQUESTS.c.seq)
    .where(REQUESTS.c.seq == bindparam("call_seq"), REQUESTS.c.state == "queued")
    .with_for_update(skip_locked=True)
)
_CLAIMABLE_LINES: Final = (
    select(REQUESTS.c.seq)
    .where(
        REQUESTS.c.batch_seq == _OF_BATCH,
        REQUESTS.c.state == "queued",
        REQUESTS.c.not_before_s <= bindparam("at_s"),
        select(BATCHES.c.seq).where(BATCHES.c.seq == _OF_BATCH, *_STARTABLE).exists(),
    )
    .order_by(REQUESTS.c.prefix, REQUESTS.c.seq)
    .limit(bindparam("at_most"))
    .with_for_update(skip_locked=True)
)
