"""Events that somebody is to be told of, until they have been."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from sqlalchemy import Connection, delete, insert, select, update

from meritorder.gateway.store.schema import WEBHOOKS

_AT_A_TIME: Final = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One event for one address; `attempt` counts this one."""

    id: str
    url: str
    body: bytes
    attempt: int = 0


def add(connection: Connection, event: Event, *, now_s: float) -> None:
    """Note an event, in the transaction of what it tells of."""
    connection.execute(
        insert(WEBHOOKS).values(id=event.id, url=event.url, body=event.body, attempt=0, not_before_s=now_s)
    )


def take(connection: Connection, *, now_s: float, again_s: float) -> Sequence[Event]:
    """Take events that are due; they are due again at `again_s`, unless they are dropped before."""
    due = (
        select(WEBHOOKS.c.seq)
        .where(WEBHOOKS.c.not_before_s <= now_s)
        .order_by(WEBHOOKS.c.seq)
        .limit(_AT_A_TIME)
        .with_for_update(skip_locked=True)
    )
    seqs = list(connection.execute(due).scalars())
    if not seqs:
        return []
    taken = (
        update(WEBHOOKS)
        .where(WEBHOOKS.c.seq.in_(seqs))
        .values(not_before_s=again_s, attempt=WEBHOOKS.c.attempt + 1)
        .returning(WEBHOOKS.c.id, WEBHOOKS.c.url, WEBHOOKS.c.body, WEBHOOKS.c.attempt)
    )
    return [Event(id=row.id, url=row.url, body=row.body, attempt=row.attempt) for row in connection.execute(taken)]


def postpone(connection: Connection, event_id: str, *, not_before_s: float) -> None:
    """Try an event again later."""
    connection.execute(update(WEBHOOKS).where(WEBHOOKS.c.id == event_id).values(not_before_s=not_before_s))


def drop(connection: Connection, event_id: str) -> None:
    """Forget an event."""
    connection.execute(delete(WEBHOOKS).where(WEBHOOKS.c.id == event_id))
