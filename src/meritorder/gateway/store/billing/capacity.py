"""Paid capacity: what was rented when and at which price, as the gateways saw it."""

from collections.abc import Iterable, Sequence

import msgspec
from sqlalchemy import Connection, select, update

from meritorder.gateway.store.schema import CAPACITY
from meritorder.gateway.store.sql.queries import insert_rows
from meritorder.metering.capacity import Paid, PaidCapacity, PaidCommitment
from meritorder.metering.words import COMMITMENT, REPLICA
from meritorder.units import exact_usd


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


def paid(connection: Connection) -> list[Paid]:
    """Return what was rented and paid by time, as far as is known."""
    return [to_paid(record) for record in records(connection)]


def to_paid(record: CapacityRecord) -> Paid:
    """Return what a record says was paid."""
    return _commitment(record) if record.kind == COMMITMENT else _replica(record)


def _replica(record: CapacityRecord) -> PaidCapacity:
    return PaidCapacity(
        venue=record.venue,
        replica=record.replica,
        started_s=record.started_s,
        ready_s=record.ready_s,
        ended_s=record.ended_s,
        usd_per_hour=exact_usd(record.picousd_per_hour),
        minimum_billing_s=record.minimum_billing_s,
        pricing_model=record.pricing_model,
        machine=record.machine,
    )


def _commitment(record: CapacityRecord) -> PaidCommitment:
    return PaidCommitment(
        venue=record.venue,
        name=record.venue,
        started_s=record.started_s,
        ended_s=record.ended_s,
        usd_per_hour=exact_usd(record.picousd_per_hour),
        pricing_model=record.pricing_model,
    )
