"""API keys, of which only digests are stored, and the limits of keys and teams."""

import hashlib
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from sqlalchemy import Connection, Row, delete, insert, select, update

from meritorder.gateway.store.schema import BUDGETS, KEYS, TEAM_RATES
from meritorder.policy.rates import RateLimit

TEAM_PREFIX: Final = "team:"


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """A limit on the calls of a key, or of all keys of a team.

    Args:
        id: Id of the key, or `team:` and the name of the team.
    """

    id: str

    @property
    def team(self) -> str | None:
        """The team whose limit it is; None for a key's."""
        return self.id.removeprefix(TEAM_PREFIX) if self.id.startswith(TEAM_PREFIX) else None

    @property
    def owner(self) -> str:
        """Whose limit it is, as in a message."""
        return "this key" if self.team is None else f"the team {self.team!r}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rates(Limit):
    """The rate limits of a key or of a team.

    Args:
        requests_per_minute: Most calls; None for no limit.
        tokens_per_minute: Most tokens; None for no limit.
    """

    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None

    @property
    def limit(self) -> RateLimit:
        """The limits."""
        return RateLimit(requests=self.requests_per_minute, tokens=self.tokens_per_minute)


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget(Limit):
    """The budget of a key or of a team.

    Args:
        amount_picousd: Most that may be spent in a period.
        period: After which it renews: hour, day, week or month; None for a total that does not renew.
        time_zone: Name of the time zone in which periods begin.
        soft_share: Share of the amount at which an event is sent; None for none.
        webhook: Receiver of the event; None for all of the tenant's.
        tenant: Tenant of the event; None for a team.
    """

    amount_picousd: int
    period: str | None = None
    time_zone: str = "UTC"
    soft_share: float | None = None
    webhook: str | None = None
    tenant: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """An API key and its permissions.

    Args:
        id: Its public name, such as `key_1f2e`.
        name: Its display name.
        tenant: The tenant whose files and batches it can access.
        admin: Whether it can access metrics and status.
        read_only: Whether it can read, but neither call a model nor change anything.
        deadline: Default deadline that makes its calls deferrable, such as `4h`; None for none.
        requests_per_minute: Most calls; None for no limit.
        tokens_per_minute: Most tokens; None for no limit.
        team: The team whose limits bound it; None for none.
        budgets: Its own budget and that of its team.
        team_rates: The rate limits of its team.

    Its `rates` are its own rate limits and those of its team.
    """

    id: str
    name: str
    tenant: str
    admin: bool = False
    read_only: bool = False
    deadline: str | None = None
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    team: str | None = None
    budgets: tuple[Budget, ...] = ()
    team_rates: Rates | None = None
    rates: tuple[Rates, ...] = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        """Put its own rate limits and those of its team together."""
        team = () if self.team_rates is None else (self.team_rates,)
        requests, tokens = self.requests_per_minute, self.tokens_per_minute
        own = Rates(id=self.id, requests_per_minute=requests, tokens_per_minute=tokens)
        object.__setattr__(self, "rates", team if requests is None and tokens is None else (own, *team))

    @property
    def has_quotas(self) -> bool:
        """Whether its calls have a budget or a rate limit."""
        return bool(self.budgets or self.rates)


@dataclass(frozen=True, slots=True, kw_only=True)
class Keys:
    """All keys: those that are valid by digest, and every one by its id, since work of a revoked key may be queued."""

    by_digest: dict[bytes, Key]
    by_id: dict[str, Key]


COLUMNS: Final = tuple(name for name in Key.__dataclass_fields__ if name not in {"budgets", "team_rates", "rates"})
"""Fields of a key that are columns of its row."""

_RATE_COLUMNS: Final = ("requests_per_minute", "tokens_per_minute")
_BUDGET_COLUMNS: Final = tuple(BUDGETS.c[name] for name in Budget.__dataclass_fields__)


def digest(secret: str) -> bytes:
    """Return the digest of a key. Keys are long and random, so a plain hash resists search."""
    return hashlib.sha256(secret.encode()).digest()


def team_id(team: str) -> str:
    """Return the id of a team's limits."""
    return TEAM_PREFIX + team


def add(connection: Connection, key: Key, secret: str, *, now_s: float) -> None:
    """Add a key, without its budgets."""
    values = {name: getattr(key, name) for name in COLUMNS}
    connection.execute(insert(KEYS).values(**values, digest=digest(secret), created_s=now_s))


def replace_all(connection: Connection, key: Key, secret: str, *, now_s: float) -> None:
    """Let a key be the only one."""
    connection.execute(delete(KEYS))
    add(connection, key, secret, now_s=now_s)


def change(connection: Connection, key_id: str, values: dict[str, Any]) -> bool:
    """Change columns of a valid key; return whether there is one."""
    found = KEYS.c.id == key_id, KEYS.c.revoked_s.is_(None)
    if not values:
        return connection.execute(select(KEYS.c.seq).where(*found)).first() is not None
    return connection.execute(update(KEYS).where(*found).values(**values)).rowcount == 1


def read(connection: Connection) -> Keys:
    """Return all keys."""
    # Keys first: one that is created in between is missing, rather than without its budget.
    rows = list(connection.execute(select(KEYS)))
    budgets = {row.id: Budget(**row._mapping) for row in connection.execute(select(*_BUDGET_COLUMNS))}  # noqa: SLF001
    rates = {team.id: team for team in team_rates(connection)}
    by_id = {row.id: _key(row, budgets, rates) for row in rows}
    return Keys(by_digest={row.digest: by_id[row.id] for row in rows if row.revoked_s is None}, by_id=by_id)


def revoke(connection: Connection, key_id: str, *, now_s: float) -> bool:
    """Revoke a key."""
    change = update(KEYS).where(KEYS.c.id == key_id, KEYS.c.revoked_s.is_(None)).values(revoked_s=now_s)
    return connection.execute(change).rowcount == 1


def bounded_by(connection: Connection, key_ids: Sequence[str]) -> dict[str, list[str]]:
    """Return the keys that each budget bounds: a key's own, and its team's, whether they exist or not."""
    query = select(KEYS.c.id, KEYS.c.team).where(KEYS.c.id.in_(key_ids))
    bounded: defaultdict[str, list[str]] = defaultdict(list)
    for key_id, team in connection.execute(query):
        bounded[key_id].append(key_id)
        if team is not None:
            bounded[team_id(team)].append(key_id)
    return bounded


def team_rates(connection: Connection) -> list[Rates]:
    """Return the rate limits of all teams."""
    rows = connection.execute(select(TEAM_RATES).order_by(TEAM_RATES.c.id))
    return [Rates(**row._mapping) for row in rows]  # noqa: SLF001


def change_team_rates(connection: Connection, team: str, values: dict[str, int | None]) -> None:
    """Change rate limits of a team; it has none any more if all are None."""
    same = TEAM_RATES.c.id == team_id(team)
    row = connection.execute(select(TEAM_RATES).where(same)).first()
    rates = ({} if row is None else dict(row._mapping)) | values  # noqa: SLF001
    connection.execute(delete(TEAM_RATES).where(same))
    if any(rates.get(name) is not None for name in _RATE_COLUMNS):
        connection.execute(insert(TEAM_RATES).values(rates | {"id": team_id(team)}))


def remove_budget(connection: Connection, budget_id: str) -> None:
    """Remove a budget."""
    connection.execute(delete(BUDGETS).where(BUDGETS.c.id == budget_id))


def _key(row: Row[Any], budgets: dict[str, Budget], rates: dict[str, Rates]) -> Key:
    own = [row.id] if row.team is None else [row.id, team_id(row.team)]
    return Key(
        **{name: row._mapping[name] for name in COLUMNS},  # noqa: SLF001
        budgets=tuple(budgets[budget_id] for budget_id in own if budget_id in budgets),
        team_rates=None if row.team is None else rates.get(team_id(row.team)),
    )
