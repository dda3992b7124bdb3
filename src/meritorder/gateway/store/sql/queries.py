"""Queries that tables share: pages as in OpenAI's API, where `after` is the last id before, and many rows at once."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, Final, Generic, TypeVar

from sqlalchemy import (
    ARRAY,
    Column,
    ColumnElement,
    Connection,
    Float,
    Select,
    String,
    Table,
    any_,
    bindparam,
    select,
)

from meritorder.gateway.errors import UnknownCursorError

T = TypeVar("T")

# A few sizes, so that each statement is prepared once; the largest within SQLite's limit on parameters.
_INSERT_SIZES: Final = (512, 64, 8, 1)


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


def insert_rows(connection: Connection, table: Table, names: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Insert many rows with few statements, which are short enough for a driver to prepare them once.

    They go to the driver directly: after each statement it has to reacquire the interpreter lock from the event loop.
    """
    into = f"INSERT INTO {table.name} ({', '.join(names)})"
    if not rows:
        return
    if connection.dialect.name == "postgresql":
        arrays = ", ".join(f"%s::{_array_type(connection, table, name)}" for name in names)
        columns = [_column(table, name, values) for name, values in zip(names, zip(*rows, strict=True), strict=True)]
        connection.exec_driver_sql(f"{into} SELECT * FROM unnest({arrays})", tuple(columns))  # noqa: S608 - ours
        return
    start, row = 0, f"({', '.join('?' * len(names))})"
    for size in _INSERT_SIZES:
        sql = f"{into} VALUES {', '.join([row] * size)}"
        while start + size <= len(rows):
            connection.exec_driver_sql(sql, tuple(chain.from_iterable(rows[start : start + size])))
            start += size


def _array_type(connection: Connection, table: Table, name: str) -> str:
    kind = table.c[name].type
    # A cast to a type with a length would cut what is too long.
    return "text[]" if isinstance(kind, String) else f"{kind.compile(connection.dialect)}[]"


def _column(table: Table, name: str, values: Sequence[Any]) -> list[Any]:
    if isinstance(table.c[name].type, Float):
        return [None if value is None else float(value) for value in values]  # the driver takes one type only
    return list(values)


def among(dialect: str, column: Column[Any], parameter: str) -> ColumnElement[bool]:
    """Return the condition that a column has one of the keys in a parameter: one value if the database has arrays."""
    if dialect == "postgresql":
        return column == any_(bindparam(parameter, type_=ARRAY(column.type)))
    return column.in_(bindparam(parameter, expanding=True))
