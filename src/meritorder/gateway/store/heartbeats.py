"""Gateway heartbeats; an instance whose heartbeat expires loses its leases."""

from sqlalchemy import Connection, Select, delete, insert, or_, select, union_all, update

from meritorder.gateway.store.queue.requests import delete_call
from meritorder.gateway.store.schema import INSTANCES, PROVIDER_BATCHES, REQUESTS
from meritorder.gateway.store.sql.clock import lease_clock


def alive() -> Select[tuple[str]]:
    """Return the query of the ids of the gateways that are alive."""
    return select(INSTANCES.c.id).where(INSTANCES.c.alive_until_s >= lease_clock())


def beat(connection: Connection, owner: str, *, lease_s: float) -> None:
    """Record that this gateway is alive for some time."""
    values = {"alive_until_s": lease_clock() + lease_s}
    if connection.execute(update(INSTANCES).where(INSTANCES.c.id == owner).values(values)).rowcount == 0:
        connection.execute(insert(INSTANCES).values({"id": owner, **values}))


def stop(connection: Connection, owner: str) -> None:
    """Remove this gateway, when it stops."""
    connection.execute(delete(INSTANCES).where(INSTANCES.c.id == owner))


def remove_expired(connection: Connection) -> None:
    """Remove the gateways whose heartbeat has expired."""
    connection.execute(delete(INSTANCES).where(INSTANCES.c.alive_until_s < lease_clock()))


def remove_all(connection: Connection) -> None:
    """Remove every gateway; only for one with exclusive use of the store."""
    connection.execute(delete(INSTANCES))


def delete_orphaned(connection: Connection) -> None:
    """Delete the calls whose clients were connected to a gateway whose heartbeat has expired."""
    lost = select(REQUESTS.c.seq).where(REQUESTS.c.holder.is_not(None), REQUESTS.c.holder.not_in(alive()))
    for seq in list(connection.execute(lost).scalars()):
        delete_call(connection, seq)


def requeue_expired(connection: Connection) -> int:
    """`running → queued` for requests whose owner is neither a live gateway nor a provider batch.

    What their attempts generated is lost; how much is not known.
    """
    owners = union_all(alive(), select(PROVIDER_BATCHES.c.id))
    lost = update(REQUESTS).where(
        REQUESTS.c.state == "running", or_(REQUESTS.c.owner.is_(None), REQUESTS.c.owner.not_in(owners))
    )
    return connection.execute(
        lost.values(state="queued", owner=None, lost_attempts=REQUESTS.c.lost_attempts + 1)
    ).rowcount
