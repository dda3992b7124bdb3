"""Answers that clients retrieve later: stored and background responses, and stored chat completions."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Connection, Row, delete, insert, select, update

from meritorder.gateway.store.queue.requests import RequestAnswer
from meritorder.gateway.store.schema import STORED_ANSWERS
from meritorder.gateway.store.sql.queries import Page, fetch_page, insert_rows

RESPONSE: Final = "response"
COMPLETION: Final = "completion"
CONVERSATION: Final = "conversation"
_REMOVE_SIZE: Final = 1000
_LOCK: Final = 0x6D65726975  # an arbitrary lock number


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredAnswer:
    """A stored answer, or the place for one that is pending.

    Args:
        id: Its id in the API.
        kind: `response` or `completion`.
        tenant: Its tenant.
        model: The model that the client named.
        status: `queued`, `completed`, `failed` or `cancelled`.
        request: Body of the request.
        answer: Body of the answer; None while it is pending.
        metadata: The client's metadata as JSON.
        created_s: When the request arrived.
        request_seq: The queued request that produces it.
    """

    id: str
    kind: str
    tenant: str
    model: str | None
    status: str
    request: bytes
    answer: bytes | None = None
    metadata: str | None = None
    created_s: float
    request_seq: int | None = None

    @property
    def size_bytes(self) -> int:
        """Size of its bodies."""
        return len(self.request) + len(self.answer or b"")


def add(connection: Connection, item: StoredAnswer, *, request_seq: int | None = None) -> None:
    """Store an answer, or a place for the pending answer of a request."""
    values = {name: getattr(item, name) for name in StoredAnswer.__dataclass_fields__}
    connection.execute(insert(STORED_ANSWERS).values(**values | {"request_seq": request_seq}))


def add_all(connection: Connection, items: Sequence[StoredAnswer]) -> Sequence[None]:
    """Store many answers; a later answer with the id of an earlier one takes its place."""
    if connection.dialect.name == "postgresql":
        # Rows must be committed in the order of their keys: a page after a known answer has all that follow.
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_LOCK})")
    ids: defaultdict[tuple[str, str], dict[str, StoredAnswer]] = defaultdict(dict)
    for item in items:
        ids[item.tenant, item.kind][item.id] = item
    rows = []
    for (tenant, kind), by_id in ids.items():
        connection.execute(
            delete(STORED_ANSWERS).where(
                STORED_ANSWERS.c.id.in_(list(by_id)), STORED_ANSWERS.c.kind == kind, STORED_ANSWERS.c.tenant == tenant
            )
        )
        rows += [[getattr(item, name) for name in _NAMES] for item in by_id.values()]
    insert_rows(connection, STORED_ANSWERS, _NAMES, rows)
    return [None] * len(items)


def get(connection: Connection, tenant: str, kind: str, item_id: str) -> StoredAnswer | None:
    """Return a tenant's stored answer by its id."""
    query = select(STORED_ANSWERS).where(
        STORED_ANSWERS.c.id == item_id, STORED_ANSWERS.c.kind == kind, STORED_ANSWERS.c.tenant == tenant
    )
    row = connection.execute(query).first()
    return _from_row(row) if row else None


def pages(
    connection: Connection, tenant: str, kind: str, *, after: str | None, limit: int, ascending: bool, model: str | None
) -> Page[StoredAnswer]:
    """Return a page of a tenant's stored answers."""
    query = select(STORED_ANSWERS).where(STORED_ANSWERS.c.kind == kind, STORED_ANSWERS.c.tenant == tenant)
    if model is not None:
        query = query.where(STORED_ANSWERS.c.model == model)
    page = fetch_page(connection, query, STORED_ANSWERS, tenant, after=after, limit=limit, ascending=ascending)
    return Page(items=[_from_row(row) for row in page.items], has_more=page.has_more)


def complete(connection: Connection, request_seq: int, answer: RequestAnswer) -> StoredAnswer | None:
    """`queued → completed | failed`: store the answer of a request if it has a place; return the stored answer."""
    row = connection.execute(
        update(STORED_ANSWERS)
        .where(STORED_ANSWERS.c.request_seq == request_seq, STORED_ANSWERS.c.status == "queued")
        .values(status="completed" if answer.succeeded else "failed", answer=answer.body or answer.error())
        .returning(STORED_ANSWERS)
    ).first()
    return _from_row(row) if row else None


def cancel(connection: Connection, tenant: str, item_id: str) -> int | None:
    """`queued → cancelled`: return the request whose answer is no longer wanted; None if nothing was cancelled."""
    return connection.execute(
        update(STORED_ANSWERS)
        .where(
            STORED_ANSWERS.c.id == item_id,
            STORED_ANSWERS.c.tenant == tenant,
            STORED_ANSWERS.c.kind == RESPONSE,
            STORED_ANSWERS.c.status == "queued",
        )
        .values(status="cancelled")
        .returning(STORED_ANSWERS.c.request_seq)
    ).scalar()


def set_metadata(connection: Connection, tenant: str, kind: str, item_id: str, metadata: str | None) -> bool:
    """Replace the metadata of a stored answer."""
    change = update(STORED_ANSWERS).where(
        STORED_ANSWERS.c.id == item_id, STORED_ANSWERS.c.kind == kind, STORED_ANSWERS.c.tenant == tenant
    )
    return connection.execute(change.values(metadata=metadata)).rowcount == 1


def remove(connection: Connection, tenant: str, kind: str, item_id: str) -> bool:
    """Delete a stored answer."""
    change = delete(STORED_ANSWERS).where(
        STORED_ANSWERS.c.id == item_id, STORED_ANSWERS.c.kind == kind, STORED_ANSWERS.c.tenant == tenant
    )
    return connection.execute(change).rowcount == 1


def remove_some(connection: Connection, *, before_s: float) -> bool:
    """Delete some stored answers of before a time that are not pending; return whether there were any."""
    old = select(STORED_ANSWERS.c.seq).where(STORED_ANSWERS.c.created_s < before_s, STORED_ANSWERS.c.status != "queued")
    some = delete(STORED_ANSWERS).where(STORED_ANSWERS.c.seq.in_(old.limit(_REMOVE_SIZE)))
    return connection.execute(some).rowcount > 0


def _from_row(row: Row[Any]) -> StoredAnswer:
    columns = row._mapping  # noqa: SLF001 - SQLAlchemy's public name for it
    return StoredAnswer(**{name: columns[name] for name in StoredAnswer.__dataclass_fields__})


_NAMES: Final = tuple(StoredAnswer.__dataclass_fields__)
