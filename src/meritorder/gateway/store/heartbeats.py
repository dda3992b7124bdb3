"""Gateway heartbeats: a gateway is alive until it stops, or until another has removed it because its lease is over."""

from sqlalchemy import Connection, Select, delete, insert, or_, select, union_all, update

from meritorder.gateway.store.queue.requests import delete_call
from meritorder.gateway.store.schema import INSTANCES, PROVIDER_BATCHES, REQUESTS
from meritorder.gateway.store.sql.clock import lease_clock


def alive() -> Select[tuple[str]]:
    """Return the query of the ids of the gateways that are alive."""
    return select(INSTANCES.c.id)


def beat(connection: Connection, owner: str, *, lease_s: float) -> float | None:
    """Renew the lease of this gateway; return what was left of it, negative if it was over, None if it had none."""
    mine = INSTANCES.c.id == owner
    left_s = connection.execute(select(INSTANCES.c.alive_until_s - lease_clock()).where(mine)).scalar()
    values = {"alive_until_s": lease_clock() + lease_s}
    if connection.execute(update(INSTANCES).where(mine).values(values)).rowcount == 0:
        connection.execute(insert(INSTANCES).values({"id": owner, **values}))
    return left_s


def shorten(connection: Connection, *, lease_s: float) -> None:
    """Shorten all leases to some time from now; a gateway that is alive renews its own."""
    longest = lease_clock() + lease_s
    connection.execute(update(INSTANCES).where(INSTANCES.c.alive_until_s > longest).values(alive_until_s=longest))


def stop(connection: Connection, owner: str) -> None:
    """Remove this gateway, when it stops."""
    connection.execute(delete(INSTANCES).where(INSTANCES.c.id == owner))


def remove_expired(connection: Connection) -> None:
    """Remove the gateways whose lease is over."""
    connection.execute(delete(INSTANCES).where(INSTANCES.c.alive_until_s < lease_clock()))


def remove_all(connection: Connection) -> None:
    """Remove every gateway; only for one with exclusive use of the store."""
    connection.execute(delete(INSTANCES))


def delete_orphaned(connection: Connection) -> None:
    """Delete the calls whose clients were connected to a gateway that is not alive."""
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
