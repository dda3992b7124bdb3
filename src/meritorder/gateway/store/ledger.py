"""The ledger: one row for each request that was answered, rejected or discarded. It can be read as a trace."""

from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import Any, Final

import msgspec
from sqlalchemy import Connection, func, select

from meritorder.gateway.store.database import insert_rows
from meritorder.gateway.store.schema import LEDGER

_READ_SIZE: Final = 10_000


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
    insert_rows(connection, LEDGER, _NAMES, [msgspec.structs.astuple(entry) for entry in entries])


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
