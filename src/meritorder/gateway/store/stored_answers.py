"""Answers that are kept to be retrieved: responses, in the background or stored, and stored chat completions."""

from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Connection, Row, delete, insert, select, update

from meritorder.gateway.store.pages import Page, page_of
from meritorder.gateway.store.requests import RequestAnswer
from meritorder.gateway.store.schema import KEPT

RESPONSE: Final = "response"
COMPLETION: Final = "completion"


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredAnswer:
    """One answer, or one to come.

    Args:
        id: As the client knows it.
        kind: `response` or `completion`.
        tenant: Whose.
        model: As the client asked for it.
        status: `queued`, `completed`, `failed` or `cancelled`.
        request: The body that was asked with.
        answer: The body that was answered; None while there is none.
        metadata: JSON, of the client's.
        created_s: When it was asked for.
        request_seq: The request that waits for it.
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


def add(connection: Connection, item: StoredAnswer, *, request_seq: int | None = None) -> None:
    """Keep an answer, or a place for the answer of a request."""
    values = {name: getattr(item, name) for name in StoredAnswer.__dataclass_fields__}
    connection.execute(insert(KEPT).values(**values | {"request_seq": request_seq}))


def get(connection: Connection, tenant: str, kind: str, item_id: str) -> StoredAnswer | None:
    """Return what a tenant keeps under an id."""
    query = select(KEPT).where(KEPT.c.id == item_id, KEPT.c.kind == kind, KEPT.c.tenant == tenant)
    row = connection.execute(query).first()
    return _kept(row) if row else None


def pages(
    connection: Connection, tenant: str, kind: str, *, after: str | None, limit: int, ascending: bool, model: str | None
) -> Page[StoredAnswer]:
    """List what a tenant keeps."""
    query = select(KEPT).where(KEPT.c.kind == kind, KEPT.c.tenant == tenant)
    if model is not None:
        query = query.where(KEPT.c.model == model)
    page = page_of(connection, query, KEPT, tenant, after=after, limit=limit, ascending=ascending)
    return Page(items=[_kept(row) for row in page.items], has_more=page.has_more)


def complete(connection: Connection, request_seq: int, given: RequestAnswer) -> StoredAnswer | None:
    """Keep the answer of a request, if a place is kept for it; return what it became."""
    row = connection.execute(
        update(KEPT)
        .where(KEPT.c.request_seq == request_seq, KEPT.c.status == "queued")
        .values(status="completed" if given.succeeded else "failed", answer=given.body or given.error())
        .returning(KEPT)
    ).first()
    return _kept(row) if row else None


def cancel(connection: Connection, tenant: str, item_id: str) -> int | None:
    """`queued → cancelled`; return the request that is not wanted any more, None if nothing was to be cancelled."""
    return connection.execute(
        update(KEPT)
        .where(KEPT.c.id == item_id, KEPT.c.tenant == tenant, KEPT.c.kind == RESPONSE, KEPT.c.status == "queued")
        .values(status="cancelled")
        .returning(KEPT.c.request_seq)
    ).scalar()


def set_metadata(connection: Connection, tenant: str, kind: str, item_id: str, metadata: str | None) -> bool:
    """Change the metadata of what is kept."""
    change = update(KEPT).where(KEPT.c.id == item_id, KEPT.c.kind == kind, KEPT.c.tenant == tenant)
    return connection.execute(change.values(metadata=metadata)).rowcount == 1


def remove(connection: Connection, tenant: str, kind: str, item_id: str) -> bool:
    """Keep it no longer."""
    change = delete(KEPT).where(KEPT.c.id == item_id, KEPT.c.kind == kind, KEPT.c.tenant == tenant)
    return connection.execute(change).rowcount == 1


def _kept(row: Row[Any]) -> StoredAnswer:
    known = row._mapping  # noqa: SLF001 - SQLAlchemy's public name for it
    return StoredAnswer(**{name: known[name] for name in StoredAnswer.__dataclass_fields__})
