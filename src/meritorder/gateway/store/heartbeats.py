"""Gateways that share a store. Whoever has not said lately that it lives has died, and its leases are over."""

from sqlalchemy import Connection, delete, insert, update

from meritorder.gateway.store.schema import INSTANCES


def beat(connection: Connection, me: str, *, alive_until_s: float) -> None:
    """Say that this gateway lives."""
    said = connection.execute(update(INSTANCES).where(INSTANCES.c.id == me).values(alive_until_s=alive_until_s))
    if said.rowcount == 0:
        connection.execute(insert(INSTANCES).values(id=me, alive_until_s=alive_until_s))


def stop(connection: Connection, me: str) -> None:
    """Say that this gateway stops."""
    connection.execute(delete(INSTANCES).where(INSTANCES.c.id == me))


def remove_expired(connection: Connection, *, now_s: float) -> None:
    """Forget gateways that have not said for long that they live."""
    connection.execute(delete(INSTANCES).where(INSTANCES.c.alive_until_s < now_s))


def remove_all(connection: Connection) -> None:
    """Forget every gateway; only for one that has the store for itself."""
    connection.execute(delete(INSTANCES))
