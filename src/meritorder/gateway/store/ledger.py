"""The ledger: one row for each request that was answered, rejected or discarded. It can be read as a trace."""

from collections.abc import Iterator, Sequence
from decimal import Decimal
from itertools import chain
from typing import Any, Final

import msgspec
from sqlalchemy import Connection, func, select

from meritorder.gateway.store.schema import LEDGER

_READ_SIZE: Final = 10_000
# A few sizes, so that each statement is prepared once; the largest within SQLite's limit on parameters.
_INSERT_SIZES: Final = (512, 64, 8, 1)


class LedgerEntry(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One row. Times are epoch seconds; `lost_tokens` were generated and discarded by preemption."""

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
    """Insert rows."""
    # Every request adds a row. Rows go to the driver directly, many in a statement, because after each statement the
    # driver has to reacquire the interpreter lock from the hot path.
    mark = "?" if connection.dialect.paramstyle == "qmark" else "%s"
    row = f"({', '.join([mark] * len(_NAMES))})"
    start = 0
    for size in _INSERT_SIZES:
        sql = f"INSERT INTO ledger ({', '.join(_NAMES)}) VALUES {', '.join([row] * size)}"  # noqa: S608 - ours
        while start + size <= len(entries):
            group = entries[start : start + size]
            connection.exec_driver_sql(sql, tuple(chain.from_iterable(map(msgspec.structs.astuple, group))))
            start += size


def rows(connection: Connection) -> Iterator[dict[str, Any]]:
    """Yield the rows in the order in which they were written."""
    last = 0
    while True:
        page = connection.execute(select(LEDGER).where(LEDGER.c.seq > last).order_by(LEDGER.c.seq).limit(_READ_SIZE))
        count = 0
        for row in page:
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
