"""Batches and their states. Each function is one transition and returns whether it took place.

`validating → failed | in_progress → finalizing → completed`, `→ expired`, `→ cancelling → cancelled`.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Connection, Row, and_, delete, func, insert, or_, select, update

from meritorder.gateway.store import heartbeats
from meritorder.gateway.store.schema import ANSWERS, BATCHES, OPEN_BATCH, REQUESTS
from meritorder.gateway.store.sql.queries import Page, fetch_page

ENDINGS: Final = {"completed": "completed_s", "expired": "expired_s", "cancelled": "cancelled_s"}
PAUSABLE: Final = ("validating", "in_progress")
FINAL: Final = ("failed", "completed", "expired", "cancelled")
_DELETE_SIZE: Final = 5000


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """One batch, as stored."""

    seq: int
    id: str
    tenant: str
    key_id: str | None
    endpoint: str
    completion_window: str
    input_file_id: str
    output_file_id: str | None
    error_file_id: str | None
    status: str
    ending: str | None
    model: str | None
    metadata: str | None
    errors: str | None
    output_expires_after_s: float | None
    trace: str | None
    created_s: float
    expires_s: float
    in_progress_s: float | None
    finalizing_s: float | None
    completed_s: float | None
    failed_s: float | None
    expired_s: float | None
    cancelling_s: float | None
    cancelled_s: float | None
    paused_s: float | None
    total: int
    done: int
    failed: int
    queued_tokens: int
    input_tokens: int
    cached_tokens: int
    output_tokens: int
    reasoning_tokens: int


def add(connection: Connection, **fields: Any) -> Batch:  # noqa: ANN401 - columns of BATCHES
    """Add a batch as `validating`: its input is still to be read."""
    row = connection.execute(insert(BATCHES).values(status="validating", **fields).returning(*_COLUMNS)).one()
    return _from_row(row)


def get(connection: Connection, tenant: str, batch_id: str) -> Batch | None:
    """Return a tenant's batch."""
    row = connection.execute(select(*_COLUMNS).where(BATCHES.c.id == batch_id, BATCHES.c.tenant == tenant)).first()
    return _from_row(row) if row else None


def by_seq(connection: Connection, seq: int) -> Batch | None:
    """Return a batch of any tenant."""
    row = connection.execute(select(*_COLUMNS).where(BATCHES.c.seq == seq)).first()
    return _from_row(row) if row else None


def pages(connection: Connection, tenant: str, *, after: str | None, limit: int) -> Page[Batch]:
    """Return a page of a tenant's batches, the newest first."""
    query = select(*_COLUMNS).where(BATCHES.c.tenant == tenant)
    page = fetch_page(connection, query, BATCHES, tenant, after=after, limit=limit)
    return Page(items=[_from_row(row) for row in page.items], has_more=page.has_more)


def claim(connection: Connection, owner: str, status: str, *, without: Collection[int] = ()) -> Batch | None:
    """Claim the oldest batch that no other live gateway reads (`validating`) or writes (`finalizing`), except some."""
    lost = BATCHES.c.owner.not_in(heartbeats.alive())
    free = or_(BATCHES.c.owner.is_(None), BATCHES.c.owner == owner, lost)
    seq = connection.execute(
        select(BATCHES.c.seq)
        .where(OPEN_BATCH, BATCHES.c.status == status, free, BATCHES.c.seq.not_in(without))
        .order_by(BATCHES.c.seq)
        .limit(1)
        .with_for_update(skip_locked=True)
    ).scalar()
    if seq is None:
        return None
    row = connection.execute(update(BATCHES).where(BATCHES.c.seq == seq).values(owner=owner).returning(*_COLUMNS)).one()
    return _from_row(row)


def unclaim(connection: Connection, owner: str, seq: int) -> None:
    """Drop the claim on a batch that could not be read or written now."""
    connection.execute(update(BATCHES).where(BATCHES.c.seq == seq, BATCHES.c.owner == owner).values(owner=None))


def input_state(connection: Connection, seq: int) -> bytes | None:
    """Return how far the input of a batch was read; None if it was not."""
    return connection.execute(select(BATCHES.c.input_state).where(BATCHES.c.seq == seq)).scalar()


def set_input_state(connection: Connection, owner: str, seq: int, state: bytes) -> bool:
    """Record how far the input of a `validating` batch was read; false if this gateway should read it no more."""
    return _move(connection, seq, ("validating",), owner=owner, values={"input_state": state})


def custom_ids(connection: Connection, seq: int) -> set[str]:
    """Return the ids of the stored requests of a batch."""
    rows = connection.execute(select(REQUESTS.c.custom_id).where(REQUESTS.c.batch_seq == seq))
    return {custom_id for custom_id in rows.scalars() if custom_id is not None}


def begin(
    connection: Connection,
    owner: str,
    seq: int,
    *,
    total: int,
    tokens: int,
    model: str | None,
    now_s: float,
    limit_tokens: int = 0,
    failed: int = 0,
) -> bool:
    """`validating → in_progress`: every line was read and is valid; some may have failed already."""
    return _move(
        connection,
        seq,
        ("validating",),
        owner=owner,
        values={
            "status": "in_progress",
            "in_progress_s": now_s,
            "total": total,
            "failed": failed,
            "queued_tokens": tokens,
            "limit_tokens": limit_tokens,
            "model": model,
            "input_state": None,
            "owner": None,
        },
    )


def fail(connection: Connection, owner: str, seq: int, *, errors: str, now_s: float) -> bool:
    """`validating | finalizing → failed`: its input is invalid, or a file cannot be read or written for `errors`."""
    values = {"status": "failed", "failed_s": now_s, "errors": errors, "input_state": None, "owner": None}
    return _move(connection, seq, ("validating", "finalizing"), owner=owner, values=values)


def cancel(connection: Connection, seq: int, *, now_s: float) -> bool:
    """`validating | in_progress → cancelling`: running requests may finish, no more start."""
    return _move(
        connection,
        seq,
        ("validating", "in_progress"),
        values={"status": "cancelling", "cancelling_s": now_s, "owner": None},
    )


def finalize(connection: Connection, seq: int, *, ending: str, now_s: float, errors: str | None = None) -> bool:
    """`in_progress | cancelling → finalizing`: nothing runs any more, and the files are to be written.

    Requests that still run lose their claim, so that a late answer is not stored. `errors` is why it ends, if it says.
    """
    before = ("cancelling",) if ending == "cancelled" else ("in_progress", "cancelling", "validating")
    values = {"status": "finalizing", "finalizing_s": now_s, "ending": ending, "owner": None}
    if errors is not None:
        values["errors"] = errors
    if not _move(connection, seq, before, values=values):
        return False
    connection.execute(
        update(REQUESTS).where(REQUESTS.c.batch_seq == seq, REQUESTS.c.state == "running").values(state="ended")
    )
    return True


def conclude(
    connection: Connection, owner: str, batch: Batch, *, output: str | None, error: str | None, now_s: float
) -> bool:
    """`finalizing → completed | expired | cancelled`: the files are written."""
    ending = batch.ending or "completed"
    values = {
        "status": ending,
        ENDINGS[ending]: now_s,
        "output_file_id": output,
        "error_file_id": error,
        "ending": None,
        "owner": None,
    }
    return _move(connection, batch.seq, ("finalizing",), owner=owner, values=values)


def pause(connection: Connection, seq: int, *, paused_s: float | None) -> bool:
    """Pause a batch, or resume it with `paused_s` None."""
    return _move(connection, seq, PAUSABLE, values={"paused_s": paused_s})


def open_batches(connection: Connection) -> list[Batch]:
    """Return the batches whose requests may be running."""
    rows = connection.execute(select(*_COLUMNS).where(OPEN_BATCH, BATCHES.c.status.in_(("in_progress", "cancelling"))))
    return [_from_row(row) for row in rows]


def any_open(connection: Connection) -> bool:
    """Tell whether a batch has not ended."""
    return connection.execute(select(BATCHES.c.seq).where(OPEN_BATCH).limit(1)).first() is not None


def any_to_work_on(connection: Connection) -> bool:
    """Tell whether an input is to be read, or an output to be written, by whichever gateway."""
    query = select(BATCHES.c.seq).where(OPEN_BATCH, BATCHES.c.status.in_(("validating", "finalizing"))).limit(1)
    return connection.execute(query).first() is not None


def to_end(connection: Connection, *, now_s: float) -> list[Batch]:
    """Return the batches whose window has closed, and those that are being cancelled."""
    is_overdue = and_(BATCHES.c.status == "in_progress", BATCHES.c.expires_s <= now_s)
    is_cancelled = and_(OPEN_BATCH, BATCHES.c.status == "cancelling")
    ending = (select(*_COLUMNS).where(condition) for condition in (is_overdue, is_cancelled))
    return [_from_row(row) for query in ending for row in connection.execute(query)]


def running_in(connection: Connection, seq: int) -> int:
    """Return the number of running requests of a batch."""
    query = select(func.count()).where(REQUESTS.c.batch_seq == seq, REQUESTS.c.state == "running")
    return connection.execute(query).scalar_one()


def delete_some_requests(connection: Connection, seq: int) -> bool:
    """Delete some requests of a batch and their answers; return whether there were any."""
    some = list(
        connection.execute(select(REQUESTS.c.seq).where(REQUESTS.c.batch_seq == seq).limit(_DELETE_SIZE)).scalars()
    )
    if some:
        connection.execute(delete(ANSWERS).where(ANSWERS.c.request_seq.in_(some)))
        connection.execute(delete(REQUESTS).where(REQUESTS.c.seq.in_(some)))
    return bool(some)


def finished_with_requests(connection: Connection) -> list[int]:
    """Return the ended batches whose requests are not deleted yet."""
    remaining = select(REQUESTS.c.seq).where(REQUESTS.c.batch_seq == BATCHES.c.seq)
    query = select(BATCHES.c.seq).where(BATCHES.c.status.in_(FINAL), remaining.exists())
    return list(connection.execute(query).scalars())


def _from_row(row: Row[Any]) -> Batch:
    """Return a batch from its row."""
    return Batch(**dict(zip(_NAMES, row, strict=True)))


def _move(
    connection: Connection, seq: int, before: Sequence[str], *, values: dict[str, Any], owner: str | None = None
) -> bool:
    change = update(BATCHES).where(BATCHES.c.seq == seq, BATCHES.c.status.in_(before)).values(**values)
    if owner is not None:
        change = change.where(BATCHES.c.owner == owner)
    return connection.execute(change).rowcount == 1


_NAMES: Final = tuple(Batch.__dataclass_fields__)
_COLUMNS: Final = tuple(BATCHES.c[name] for name in _NAMES)
