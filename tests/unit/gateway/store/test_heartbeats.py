"""How long a gateway is alive, and what its end means for its requests."""

from functools import partial

from tests.unit.gateway.store.samples import LINES, answer, batch, claim

from meritorder.gateway.store import heartbeats
from meritorder.gateway.store.database import Database
from meritorder.gateway.store.queue import backlog, requests


def test_abandoned_claims_return_to_queue(database: Database) -> None:
    batch(database)
    (lost,) = claim(database, "a", 1)
    (renewed,) = claim(database, "b", 1)
    database.submit(lambda connection: heartbeats.stop(connection, "a")).result()
    assert database.submit(heartbeats.requeue_expired).result() == 1
    assert not answer(database, "a", lost)
    assert answer(database, "b", renewed)
    again = next(request for request in claim(database, "b", LINES, now_s=21.0) if request.seq == lost.seq)
    assert again.attempt == lost.attempt + 1
    assert not answer(database, "b", lost)
    assert answer(database, "b", again)


def test_orphaned_calls_are_deleted(database: Database) -> None:
    call = {"tenant": "t", "endpoint": "/v1/chat/completions", "model": "m", "body": b"{}", "body_bytes": 2}
    call |= {"input_tokens": 1, "output_tokens": 1, "prefix": 0, "arrived_s": 0.0, "deadline_s": 9.0}

    def add(holder: str | None) -> int:
        return database.submit(
            lambda connection: requests.add_call(connection, id=f"req_{holder}", holder=holder, **call)
        ).result()

    database.submit(lambda connection: heartbeats.beat(connection, "alive", lease_s=60.0)).result()
    add("gone")
    remaining = {add("alive"), add(None)}
    database.submit(heartbeats.delete_orphaned).result()
    left = database.read_now(lambda connection: backlog.queued_work(connection, now_s=1.0))
    assert {work.seq for work in left} == remaining


def test_lease_ends_with_its_removal(database: Database) -> None:
    for owner, lease_s in (("late", -1.0), ("alive", 60.0)):
        database.submit(partial(heartbeats.beat, owner=owner, lease_s=lease_s)).result()
    assert alive(database) == {"late", "alive"}
    database.submit(heartbeats.remove_expired).result()
    assert alive(database) == {"alive"}


def test_beat_tells_what_was_left(database: Database) -> None:
    beat = partial(heartbeats.beat, owner="a")
    assert database.submit(partial(beat, lease_s=60.0)).result() is None
    left_s = database.submit(partial(beat, lease_s=-1.0)).result()
    assert left_s is not None
    assert 0 < left_s <= 60
    left_s = database.submit(partial(beat, lease_s=60.0)).result()
    assert left_s is not None
    assert left_s <= -1


def test_long_lease_is_shortened(database: Database) -> None:
    database.submit(partial(heartbeats.beat, owner="a", lease_s=3600.0)).result()
    database.submit(partial(heartbeats.shorten, lease_s=-1.0)).result()
    database.submit(heartbeats.remove_expired).result()
    assert alive(database) == set()


def alive(database: Database) -> set[str]:
    return database.read_now(lambda connection: set(connection.execute(heartbeats.alive()).scalars()))
