"""Queued requests: claimed under a lease, answered once, and requeued if the gateway that claimed them is gone."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

import msgspec
from sqlalchemy import (
    BindParameter,
    Connection,
    Executable,
    bindparam,
    delete,
    insert,
    select,
    update,
)

from meritorder.gateway.store.queue.backlog import STARTABLE, QueuedRequests
from meritorder.gateway.store.schema import ANSWERS, BATCHES, REQUESTS
from meritorder.gateway.store.sql.queries import among


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


def is_running(connection: Connection, seq: int) -> bool:
    """Tell whether a request is running."""
    return connection.execute(select(REQUESTS.c.state).where(REQUESTS.c.seq == seq)).scalar() == "running"


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
        select(BATCHES.c.seq).where(BATCHES.c.seq == _OF_BATCH, *STARTABLE).exists(),
    )
    .order_by(REQUESTS.c.prefix, REQUESTS.c.seq)
    .limit(bindparam("at_most"))
    .with_for_update(skip_locked=True)
)
