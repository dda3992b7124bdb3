"""Keys, and what they may spend: budgets, their leases, and rates."""

from typing import Final

from sqlalchemy import BigInteger, Boolean, Column, Float, Integer, LargeBinary, String, Table, Text, false

from meritorder.gateway.store.schema.metadata import METADATA, seq

KEYS: Final = Table(
    "keys",
    METADATA,
    seq(),
    Column("id", String(64), nullable=False, unique=True),
    Column("name", Text, nullable=False),
    Column("digest", LargeBinary, nullable=False, unique=True),
    Column("tenant", Text, nullable=False),
    Column("admin", Boolean, nullable=False),
    Column("read_only", Boolean, nullable=False, server_default=false()),
    Column("deadline", Text),  # default deadline of its calls, such as "4h"
    Column("requests_per_minute", Integer),
    Column("tokens_per_minute", Integer),
    Column("team", Text),
    Column("created_s", Float, nullable=False),
    Column("revoked_s", Float),
    sqlite_autoincrement=True,
)

# Budgets of keys and teams, with what was spent in the current period.
BUDGETS: Final = Table(
    "budgets",
    METADATA,
    Column("id", String(96), primary_key=True),  # the id of a key, or `team:NAME`
    Column("amount_picousd", BigInteger, nullable=False),
    Column("period", Text),  # hour, day, week or month; null for a total
    Column("time_zone", Text, nullable=False),
    Column("soft_share", Float),  # share of the budget that is announced when it is spent
    Column("webhook", Text),  # receiver of that event; null for all of the tenant's
    Column("tenant", Text),  # whose receivers get the event; null for a team
    Column("period_start_s", Float, nullable=False),
    Column("spent_picousd", BigInteger, nullable=False),
    Column("exhausted_s", Float),  # since when nothing is left
    Column("announced_s", Float),  # start of the period in which the soft limit was announced
)

# Parts of a budget that a gateway or a provider batch may spend; void when their holder is gone.
BUDGET_LEASES: Final = Table(
    "budget_leases",
    METADATA,
    Column("budget_id", String(96), primary_key=True),
    Column("holder", String(64), primary_key=True),
    Column("amount_picousd", BigInteger, nullable=False),
)

# Rate limits of teams; those of keys are in their rows.
TEAM_RATES: Final = Table(
    "team_rates",
    METADATA,
    Column("id", String(96), primary_key=True),  # `team:NAME`
    Column("requests_per_minute", Integer),
    Column("tokens_per_minute", Integer),
)

# Requests and tokens of a key or a team in the last minute.
RATE_WINDOWS: Final = Table(
    "rate_windows",
    METADATA,
    Column("id", String(96), primary_key=True),  # the id of a key, or `team:NAME`
    Column("buckets", LargeBinary, nullable=False),
)
