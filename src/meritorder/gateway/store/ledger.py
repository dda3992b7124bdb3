"""The ledger: one row for each request that was answered, or refused, or thrown away. It is a trace."""

from collections.abc import Iterator, Sequence
from decimal import Decimal
from itertools import chain
from typing import Any, Final

import msgspec
from sqlalchemy import Connection, func, select

from meritorder.gateway.store.schema import LEDGER

_ROWS_AT_A_TIME: Final = 10_000
# A few sizes, so that each is prepared once; the largest within what SQLite takes of parameters.
_ROWS_IN_A_STATEMENT: Final = (512, 64, 8, 1)


class LedgerEntry(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One row. Times are epoch seconds; `lost_tokens` were made and thrown away when real time wanted the seat."""

    request_id: str
    arrived_s: float
    started_s: float | None
    ended_s: float
    ttft_s: float | None
    lane: str
    tenant: str
    key_id: str | None
    model: str
    endpoint: str
    venue: str | None
    batch_id: str | None = None
    workload: str | None = None
    deadline_s: float | None = None
    status_code: int | None
    input_tokens: int
    cached_tokens: int = 0
    output_tokens: int
    lost_tokens: int = 0
    counted: bool
    cost_picousd: int | None = None


_NAMES: Final = LedgerEntry.__struct_fields__


def add(connection: Connection, entries: Sequence[LedgerEntry]) -> None:
    """Write rows."""
    # Every request has one. They go to the driver as they are, many in a statement: after each statement the driver
    # waits for its turn with the interpreter, which the hot path does not like to give up.
    mark = "?" if connection.dialect.paramstyle == "qmark" else "%s"
    row = f"({', '.join([mark] * len(_NAMES))})"
    at = 0
    for size in _ROWS_IN_A_STATEMENT:
        sql = f"INSERT INTO ledger ({', '.join(_NAMES)}) VALUES {', '.join([row] * size)}"  # noqa: S608 - ours
        while at + size <= len(entries):
            some = entries[at : at + size]
            connection.exec_driver_sql(sql, tuple(chain.from_iterable(map(msgspec.structs.astuple, some))))
            at += size


def rows(connection: Connection) -> Iterator[dict[str, Any]]:
    """Yield the ledger in the order in which it was written."""
    last = 0
    while True:
        some = connection.execute(
            select(LEDGER).where(LEDGER.c.seq > last).order_by(LEDGER.c.seq).limit(_ROWS_AT_A_TIME)
        )
        count = 0
        for row in some:
            count += 1
            last = row.seq
            yield {name: row._mapping[name] for name in _NAMES}  # noqa: SLF001 - SQLAlchemy's public name for it
        if count == 0:
            return


def totals(connection: Connection) -> list[dict[str, Any]]:
    """Return requests, tokens and cost by lane, model and venue."""
    by = (LEDGER.c.lane, LEDGER.c.model, LEDGER.c.venue)
    query = select(
        *by,
        func.count().label("requests"),
        func.sum(LEDGER.c.input_tokens).label("input_tokens"),
        func.sum(LEDGER.c.output_tokens).label("output_tokens"),
        func.sum(LEDGER.c.lost_tokens).label("lost_tokens"),
        func.sum(LEDGER.c.cost_picousd).label("cost_picousd"),
    ).group_by(*by)
    # PostgreSQL sums big integers as decimals.
    return [
        {name: int(value) if isinstance(value, Decimal) else value for name, value in row._mapping.items()}  # noqa: SLF001
        for row in connection.execute(query.order_by(*by))
    ]
