"""Cursor pagination as in OpenAI's API: `after` is the last id of the previous page."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from sqlalchemy import Connection, Select, Table, select

from meritorder.gateway.errors import UnknownCursorError

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Page(Generic[T]):
    """One page of a list."""

    items: Sequence[T]
    has_more: bool


def fetch_page(
    connection: Connection,
    query: Select[Any],
    table: Table,
    tenant: str,
    *,
    after: str | None,
    limit: int,
    ascending: bool = False,
) -> Page[Any]:
    """Return the rows of a query that follow one of the tenant's objects.

    Raises:
        UnknownCursorError: The tenant has no object with the id `after`.
    """
    seq = table.c.seq
    if after:
        cursor = connection.execute(select(seq).where(table.c.id == after, table.c.tenant == tenant)).scalar()
        if cursor is None:
            raise UnknownCursorError(after)
        query = query.where(seq > cursor if ascending else seq < cursor)
    rows = connection.execute(query.order_by(seq if ascending else seq.desc()).limit(limit + 1)).all()
    return Page(items=rows[:limit], has_more=len(rows) > limit)
