"""API keys; only their digests are stored."""

import hashlib
from dataclasses import dataclass

from sqlalchemy import Connection, func, insert, select, update

from meritorder.gateway.store.schema import KEYS, LEDGER


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """An API key and its permissions.

    Args:
        id: Its public name, such as `key_1f2e`.
        name: Its display name.
        tenant: The tenant whose files and batches it can access.
        admin: Whether it can access metrics and status.
        deadline: Default deadline that makes its calls deferrable, such as `4h`; None for none.
        requests_per_minute: Most calls; None for no limit.
        tokens_per_minute: Most tokens; None for no limit.
        budget_picousd: Budget for all its calls; None for no limit.
    """

    id: str
    name: str
    tenant: str
    admin: bool = False
    deadline: str | None = None
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    budget_picousd: int | None = None


def digest(secret: str) -> bytes:
    """Return the digest of a key. Keys are long and random, so a plain hash resists search."""
    return hashlib.sha256(secret.encode()).digest()


def add(connection: Connection, key: Key, secret: str, *, now_s: float) -> None:
    """Add a key."""
    connection.execute(
        insert(KEYS).values(
            **{name: getattr(key, name) for name in Key.__dataclass_fields__},
            digest=digest(secret),
            created_s=now_s,
        )
    )


def valid(connection: Connection) -> dict[bytes, Key]:
    """Return the keys that are not revoked, by digest."""
    rows = connection.execute(select(KEYS).where(KEYS.c.revoked_s.is_(None)))
    return {row.digest: Key(**{name: row._mapping[name] for name in Key.__dataclass_fields__}) for row in rows}  # noqa: SLF001


def revoke(connection: Connection, key_id: str, *, now_s: float) -> bool:
    """Revoke a key."""
    change = update(KEYS).where(KEYS.c.id == key_id, KEYS.c.revoked_s.is_(None)).values(revoked_s=now_s)
    return connection.execute(change).rowcount == 1


def spent_picousd(connection: Connection) -> dict[str, int]:
    """Return the cost so far of each key's calls."""
    query = select(LEDGER.c.key_id, func.sum(LEDGER.c.cost_picousd)).where(LEDGER.c.key_id.is_not(None))
    return {key_id: int(cost or 0) for key_id, cost in connection.execute(query.group_by(LEDGER.c.key_id))}
