"""The tables. Times are epoch seconds, money is in picodollars: exact, and summed by the database."""

from meritorder.gateway.store.schema.access import BUDGET_LEASES, BUDGETS, KEYS, RATE_WINDOWS, TEAM_RATES
from meritorder.gateway.store.schema.billing import (
    CAPACITY,
    DAILY_COSTS,
    JOURNALS,
    LEDGER,
    LEDGER_DAYS,
    LEDGER_REJECTED,
    QUOTES,
    RECEIPTS,
)
from meritorder.gateway.store.schema.metadata import METADATA
from meritorder.gateway.store.schema.queue import (
    ANSWERS,
    BATCHES,
    FILES,
    INSTANCES,
    OPEN_BATCH,
    PROVIDER_BATCHES,
    REQUESTS,
    TURNAROUNDS,
    UPLOADS,
)
from meritorder.gateway.store.schema.responses import ALERTS, STORED_ANSWERS, WEBHOOKS

__all__ = [
    "ALERTS",
    "ANSWERS",
    "BATCHES",
    "BUDGETS",
    "BUDGET_LEASES",
    "CAPACITY",
    "DAILY_COSTS",
    "FILES",
    "INSTANCES",
    "JOURNALS",
    "KEYS",
    "LEDGER",
    "LEDGER_DAYS",
    "LEDGER_REJECTED",
    "METADATA",
    "OPEN_BATCH",
    "PROVIDER_BATCHES",
    "QUOTES",
    "RATE_WINDOWS",
    "RECEIPTS",
    "REQUESTS",
    "STORED_ANSWERS",
    "TEAM_RATES",
    "TURNAROUNDS",
    "UPLOADS",
    "WEBHOOKS",
]
