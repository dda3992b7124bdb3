"""What was rented is on record from its start, and its end is known as far as it was seen."""

import msgspec

from meritorder.gateway.store.billing import capacity
from meritorder.gateway.store.billing.capacity import CapacityRecord
from meritorder.gateway.store.database import Database

STARTED = CapacityRecord(
    id="capacity-1",
    venue="v",
    replica="r",
    machine="runpod 2x H100 SXM",
    pricing_model="on_demand",
    picousd_per_hour=5_980_000_000_000,
    minimum_billing_s=60.0,
    started_s=10.0,
    seen_s=10.0,
)


def _save(database: Database, *records: CapacityRecord) -> None:
    database.submit(lambda connection: capacity.save(connection, records)).result()


def test_records_are_renewed(database: Database) -> None:
    later = msgspec.structs.replace(STARTED, ready_s=15.0, seen_s=20.0)
    other = msgspec.structs.replace(STARTED, id="capacity-2", started_s=5.0)
    _save(database, STARTED)
    _save(database, later, other)
    assert database.read_now(capacity.records) == [other, later]


def test_end_is_when_last_seen(database: Database) -> None:
    _save(database, msgspec.structs.replace(STARTED, seen_s=20.0))
    (record,) = database.read_now(capacity.records)
    assert record.ended_s == 20.0
    assert msgspec.structs.replace(record, stopped_s=18.0).ended_s == 18.0
