"""API keys. Only a digest of each is kept."""

import hashlib
from dataclasses import dataclass

from sqlalchemy import Connection, func, insert, select, update

from meritorder.gateway.store.schema import KEYS, LEDGER


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """A key and what it may do.

    Args:
        id: Its public name, such as `key_1f2e`.
        name: The user's name for it.
        tenant: Whose files and batches it sees.
        admin: Whether it sees metrics and status.
        deadline: Makes its calls deferrable, such as `4h`; None leaves them as they are.
        requests_per_minute: Most calls; None for no limit.
        tokens_per_minute: Most tokens; None for no limit.
        budget_picousd: Most that its calls may cost; None for no limit.
    """

    id: str
    name: str
    tenant: str
    admin: bool = False
    deadline: str | None = None
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    budget_picousd: int | None = None


def digest_of(secret: str) -> bytes:
    """Return what is kept of a key. Keys are random and long, so that a plain hash cannot be searched."""
    return hashlib.sha256(secret.encode()).digest()


def add(connection: Connection, key: Key, secret: str, *, now_s: float) -> None:
    """Add a key."""
    connection.execute(
        insert(KEYS).values(
            **{name: getattr(key, name) for name in Key.__dataclass_fields__},
            digest=digest_of(secret),
            created_s=now_s,
        )
    )


def valid(connection: Connection) -> dict[bytes, Key]:
    """Return every key that is not revoked, by digest."""
    rows = connection.execute(select(KEYS).where(KEYS.c.revoked_s.is_(None)))
    return {row.digest: Key(**{name: row._mapping[name] for name in Key.__dataclass_fields__}) for row in rows}  # noqa: SLF001


def revoke(connection: Connection, key_id: str, *, now_s: float) -> bool:
    """Take a key back."""
    change = update(KEYS).where(KEYS.c.id == key_id, KEYS.c.revoked_s.is_(None)).values(revoked_s=now_s)
    return connection.execute(change).rowcount == 1


def spent_picousd(connection: Connection) -> dict[str, int]:
    """Return what the calls of each key have cost so far."""
    query = select(LEDGER.c.key_id, func.sum(LEDGER.c.cost_picousd)).where(LEDGER.c.key_id.is_not(None))
    return {key_id: int(cost or 0) for key_id, cost in connection.execute(query.group_by(LEDGER.c.key_id))}
