"""Files: their metadata; their contents are blobs."""

from dataclasses import dataclass
from typing import Final

from sqlalchemy import ColumnElement, Connection, Row, and_, delete, insert, select, update

from meritorder.gateway.store import heartbeats
from meritorder.gateway.store.schema import BATCHES, FILES, UPLOADS
from meritorder.gateway.store.sql.queries import Page, fetch_page

_REMOVE_SIZE: Final = 1000
_READING_INPUT: Final = ("validating", "in_progress", "cancelling", "finalizing")


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredFile:
    """One stored file."""

    id: str
    tenant: str
    filename: str
    purpose: str
    bytes: int
    blob: str
    created_s: float
    expires_s: float | None = None


def begin_upload(connection: Connection, blob: str, owner: str) -> None:
    """Record a blob before it is written."""
    connection.execute(insert(UPLOADS).values(blob=blob, owner=owner))


def abandon_upload(connection: Connection, blob: str) -> None:
    """Mark a blob that became no file; it is deleted later."""
    connection.execute(update(UPLOADS).where(UPLOADS.c.blob == blob).values(owner=None))


def abandoned_uploads(connection: Connection, owner: str, *, limit: int = 100) -> list[str]:
    """Return the blobs that became no file and no longer can: their upload failed, or its gateway, another, is gone."""
    lost = and_(UPLOADS.c.owner != owner, UPLOADS.c.owner.not_in(heartbeats.alive()))
    connection.execute(update(UPLOADS).where(lost).values(owner=None))
    return list(connection.execute(select(UPLOADS.c.blob).where(UPLOADS.c.owner.is_(None)).limit(limit)).scalars())


def finish_upload(connection: Connection, blob: str, owner: str) -> bool:
    """Delete the record of a blob that becomes a file; return whether it still can."""
    finished = delete(UPLOADS).where(UPLOADS.c.blob == blob, UPLOADS.c.owner == owner)
    return connection.execute(finished).rowcount == 1


def forget_upload(connection: Connection, blob: str) -> None:
    """Delete the record of a blob that is deleted."""
    connection.execute(delete(UPLOADS).where(UPLOADS.c.blob == blob))


def add(connection: Connection, file: StoredFile) -> None:
    """Add a file."""
    connection.execute(
        insert(FILES).values(
            id=file.id,
            tenant=file.tenant,
            filename=file.filename,
            purpose=file.purpose,
            bytes=file.bytes,
            blob=file.blob,
            created_s=file.created_s,
            expires_s=file.expires_s,
        )
    )


def get(connection: Connection, tenant: str, file_id: str, *, now_s: float) -> StoredFile | None:
    """Return a tenant's file; None if it does not exist or has expired."""
    row = connection.execute(
        select(FILES).where(FILES.c.id == file_id, FILES.c.tenant == tenant, FILES.c.deleted_s.is_(None))
    ).first()
    if row is None or (row.expires_s is not None and row.expires_s <= now_s):
        return None
    return _file(row)


def find_blob(connection: Connection, tenant: str, file_id: str) -> str | None:
    """Return the blob of a tenant's file, even if the file is deleted but still read by a batch."""
    return connection.execute(select(FILES.c.blob).where(FILES.c.id == file_id, FILES.c.tenant == tenant)).scalar()


def find_input_blob(connection: Connection, batch_seq: int) -> str | None:
    """Return the blob of a batch's input file."""
    query = select(FILES.c.blob).join(BATCHES, _is_input()).where(BATCHES.c.seq == batch_seq)
    return connection.execute(query).scalar()


def pages(
    connection: Connection,
    tenant: str,
    *,
    after: str | None,
    limit: int,
    ascending: bool,
    purpose: str | None,
    now_s: float,
) -> Page[StoredFile]:
    """Return a page of a tenant's files, the newest first unless `ascending`."""
    query = select(FILES).where(
        FILES.c.tenant == tenant,
        FILES.c.deleted_s.is_(None),
        (FILES.c.expires_s.is_(None)) | (FILES.c.expires_s > now_s),
    )
    if purpose is not None:
        query = query.where(FILES.c.purpose == purpose)
    page = fetch_page(connection, query, FILES, tenant, after=after, limit=limit, ascending=ascending)
    return Page(items=[_file(row) for row in page.items], has_more=page.has_more)


def remove(connection: Connection, tenant: str, file_id: str, *, now_s: float) -> bool:
    """Mark a tenant's file as deleted; its blob is deleted once no batch reads it."""
    changed = connection.execute(
        update(FILES)
        .where(FILES.c.id == file_id, FILES.c.tenant == tenant, FILES.c.deleted_s.is_(None))
        .values(deleted_s=now_s)
    )
    return changed.rowcount == 1


def remove_some(connection: Connection, *, before_s: float, now_s: float) -> bool:
    """Mark some files as deleted that were created before a time; return whether there were any."""
    old = select(FILES.c.seq).where(FILES.c.deleted_s.is_(None), FILES.c.created_s < before_s).limit(_REMOVE_SIZE)
    return connection.execute(update(FILES).where(FILES.c.seq.in_(old)).values(deleted_s=now_s)).rowcount > 0


def deletable(connection: Connection, *, now_s: float, limit: int = 100) -> list[StoredFile]:
    """Return the deleted or expired files that no batch reads any more."""
    reading = select(BATCHES.c.seq).where(_is_input(), BATCHES.c.status.in_(_READING_INPUT))
    query = select(FILES).where((FILES.c.deleted_s.is_not(None)) | (FILES.c.expires_s <= now_s), ~reading.exists())
    return [_file(row) for row in connection.execute(query.limit(limit))]


def delete_row(connection: Connection, tenant: str, file_id: str) -> None:
    """Delete the row of a file whose blob is deleted."""
    connection.execute(delete(FILES).where(FILES.c.id == file_id, FILES.c.tenant == tenant))


def _is_input() -> ColumnElement[bool]:
    """Return the condition that a file is the input of a batch."""
    return and_(BATCHES.c.input_file_id == FILES.c.id, BATCHES.c.tenant == FILES.c.tenant)


def _file(row: Row[tuple[object, ...]]) -> StoredFile:
    columns = row._mapping  # noqa: SLF001 - SQLAlchemy's public name for it
    return StoredFile(**{name: columns[name] for name in StoredFile.__dataclass_fields__})
