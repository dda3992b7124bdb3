"""Paid capacity: what was rented when and at which price, as the gateways saw it."""

from collections.abc import Iterable, Sequence

import msgspec
from sqlalchemy import Connection, select, update

from meritorder.gateway.store.queries import insert_rows
from meritorder.gateway.store.schema import CAPACITY

REPLICA = "replica"
COMMITMENT = "commitment"


class CapacityRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A start of a replica, or a commitment, and how long it was paid. Times are epoch seconds."""

    id: str
    kind: str = REPLICA
    venue: str
    replica: str
    machine: str
    pricing_model: str
    picousd_per_hour: int
    minimum_billing_s: float
    started_s: float
    ready_s: float | None = None
    seen_s: float
    stopped_s: float | None = None

    @property
    def ended_s(self) -> float:
        """Until when it was paid, as far as is known."""
        return self.seen_s if self.stopped_s is None else self.stopped_s


def save(connection: Connection, records: Iterable[CapacityRecord]) -> None:
    """Add records, or renew what changes in them."""
    for record in records:
        times = {"ready_s": record.ready_s, "seen_s": record.seen_s, "stopped_s": record.stopped_s}
        renewed = connection.execute(update(CAPACITY).where(CAPACITY.c.id == record.id).values(**times))
        if renewed.rowcount == 0:
            insert_rows(connection, CAPACITY, CapacityRecord.__struct_fields__, [msgspec.structs.astuple(record)])


def records(connection: Connection) -> Sequence[CapacityRecord]:
    """Return all records, in order of their start."""
    query = select(CAPACITY).order_by(CAPACITY.c.started_s, CAPACITY.c.id)
    return [CapacityRecord(**row._mapping) for row in connection.execute(query)]  # noqa: SLF001 - SQLAlchemy's public name
