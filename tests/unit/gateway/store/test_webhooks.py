"""Undelivered webhook events."""

from meritorder.gateway.store import webhooks
from meritorder.gateway.store.database import Database
from meritorder.gateway.store.webhooks import Event

EVENT = Event(id="evt_1", url="http://x", body=b"{}")


def take(database: Database, now_s: float) -> list[int]:
    taken = database.submit(lambda connection: webhooks.take(connection, now_s=now_s, again_s=now_s + 10.0)).result()
    return [event.attempt for event in taken]


def test_event_is_due_until_dropped(database: Database) -> None:
    database.submit(lambda connection: webhooks.add(connection, EVENT, now_s=1.0)).result()
    assert (take(database, 0.5), take(database, 1.0)) == ([], [1])
    assert (take(database, 5.0), take(database, 11.0)) == ([], [2])
    database.submit(lambda connection: webhooks.postpone(connection, "evt_1", not_before_s=50.0)).result()
    assert (take(database, 49.0), take(database, 50.0)) == ([], [3])
    database.submit(lambda connection: webhooks.drop(connection, "evt_1")).result()
    assert take(database, 1e6) == []
