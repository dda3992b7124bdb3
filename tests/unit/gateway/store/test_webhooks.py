"""Undelivered webhook events."""

from meritorder.gateway.store import webhooks
from meritorder.gateway.store.database import Database
from meritorder.gateway.store.webhooks import Event

EVENT = Event(id="evt_1", url="http://x", body=b"{}")


def take(database: Database, now_s: float) -> list[int]:
    free = {"http://x": 2}
    taken = database.submit(
        lambda connection: webhooks.take(connection, free, now_s=now_s, again_s=now_s + 10.0)
    ).result()
    return [event.attempt for event in taken]


def test_event_is_due_until_dropped(database: Database) -> None:
    database.submit(lambda connection: webhooks.add(connection, EVENT, now_s=1.0)).result()
    assert (take(database, 0.5), take(database, 1.0)) == ([], [1])
    assert (take(database, 5.0), take(database, 11.0)) == ([], [2])
    database.submit(lambda connection: webhooks.postpone(connection, "evt_1", not_before_s=50.0)).result()
    assert (take(database, 49.0), take(database, 50.0)) == ([], [3])
    database.submit(lambda connection: webhooks.drop(connection, "evt_1")).result()
    assert take(database, 1e6) == []


def test_each_url_gets_its_share(database: Database) -> None:
    for number in range(6):
        event = Event(id=f"evt_{number}", url="http://y" if number == 5 else "http://x", body=b"{}")
        database.submit(lambda connection, event=event: webhooks.add(connection, event, now_s=1.0)).result()
    free = {"http://x": 2, "http://y": 2}
    taken = database.submit(lambda connection: webhooks.take(connection, free, now_s=2.0, again_s=9.0)).result()
    assert sorted(event.id for event in taken) == ["evt_0", "evt_1", "evt_5"]


def test_events_of_removed_urls_are_dropped(database: Database) -> None:
    database.submit(lambda connection: webhooks.add(connection, EVENT, now_s=1.0)).result()
    database.submit(lambda connection: webhooks.drop_others(connection, ["http://y"])).result()
    assert take(database, 5.0) == []
