"""Undelivered webhook events, and when alerts were sent."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, delete, insert, or_, select, update
from sqlalchemy.exc import IntegrityError

from meritorder.gateway.store.schema import ALERTS, WEBHOOKS


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One event for one URL; `attempt` includes the current one."""

    id: str
    url: str
    body: bytes
    attempt: int = 0


def add(connection: Connection, event: Event, *, now_s: float) -> None:
    """Add an event, in the transaction of the change that it reports."""
    connection.execute(
        insert(WEBHOOKS).values(id=event.id, url=event.url, body=event.body, attempt=0, not_before_s=now_s)
    )


def is_news(connection: Connection, kind: str, subject: str, *, now_s: float, quiet_s: float, again_s: float) -> bool:
    """Return whether an alert that is seen now is to be sent.

    It is if it was not seen for `quiet_s`, or not sent for `again_s`; of several gateways, one learns that it is.
    """
    this = (ALERTS.c.kind == kind, ALERTS.c.subject == subject)
    is_due = or_(ALERTS.c.seen_s < now_s - quiet_s, ALERTS.c.sent_s < now_s - again_s)
    if connection.execute(update(ALERTS).where(*this, is_due).values(seen_s=now_s, sent_s=now_s)).rowcount:
        return True
    if connection.execute(update(ALERTS).where(*this).values(seen_s=now_s)).rowcount:
        return False
    try:
        with connection.begin_nested():
            connection.execute(insert(ALERTS).values(kind=kind, subject=subject, seen_s=now_s, sent_s=now_s))
    except IntegrityError:  # another gateway saw it at the same moment
        return False
    return True


def take(connection: Connection, free: Mapping[str, int], *, now_s: float, again_s: float) -> Sequence[Event]:
    """Take due events for delivery, at most as many for each URL; they are due again at `again_s` unless dropped."""
    is_due = WEBHOOKS.c.not_before_s <= now_s
    seqs: list[int] = []
    for url, count in free.items():
        due = (
            select(WEBHOOKS.c.seq)
            .where(is_due, WEBHOOKS.c.url == url)
            .order_by(WEBHOOKS.c.seq)
            .limit(count)
            .with_for_update(skip_locked=True)
        )
        seqs += connection.execute(due).scalars()
    if not seqs:
        return []
    postponed = (
        update(WEBHOOKS)
        .where(WEBHOOKS.c.seq.in_(seqs))
        .values(not_before_s=again_s, attempt=WEBHOOKS.c.attempt + 1)
        .returning(WEBHOOKS.c.id, WEBHOOKS.c.url, WEBHOOKS.c.body, WEBHOOKS.c.attempt)
    )
    return [Event(id=row.id, url=row.url, body=row.body, attempt=row.attempt) for row in connection.execute(postponed)]


def drop_others(connection: Connection, urls: Collection[str]) -> None:
    """Delete the events of URLs that are no longer configured."""
    connection.execute(delete(WEBHOOKS).where(WEBHOOKS.c.url.not_in(urls)))


def postpone(connection: Connection, event_id: str, *, not_before_s: float) -> None:
    """Postpone an event."""
    connection.execute(update(WEBHOOKS).where(WEBHOOKS.c.id == event_id).values(not_before_s=not_before_s))


def drop(connection: Connection, event_id: str) -> None:
    """Delete an event."""
    connection.execute(delete(WEBHOOKS).where(WEBHOOKS.c.id == event_id))
