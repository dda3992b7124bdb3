"""Erasure of what is stored of a tenant; what was paid stays, without the tenant's name, keys and ids.

Each step changes some rows and returns how many; it is repeated until there are none, so that an erasure that is
interrupted is completed by another.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, String, Table, cast, delete, func, literal, or_, select, update

from meritorder.gateway.store.schema import (
    ALERTS,
    ANSWERS,
    BATCHES,
    BUDGET_LEASES,
    BUDGETS,
    DAILY_COSTS,
    FILES,
    KEYS,
    LEDGER,
    LEDGER_REJECTED,
    PROVIDER_BATCHES,
    QUOTES,
    RATE_WINDOWS,
    RECEIPTS,
    REQUESTS,
    STORED_ANSWERS,
)

ERASED: Final = "(erased)"
"""Stands for the tenant in what was paid."""

Step = Callable[[Connection], int]
_SIZE: Final = 500


def steps(tenant: str) -> Mapping[str, Step]:
    """Return the steps of an erasure by what they erase, in the order in which rows refer to each other.

    Files come separately: their contents are deleted first.
    """
    keys = select(KEYS.c.id).where(KEYS.c.tenant == tenant)
    own_batches = select(BATCHES.c.seq).where(BATCHES.c.tenant == tenant)
    own_requests = select(REQUESTS.c.seq).where(REQUESTS.c.tenant == tenant)
    budgets = or_(BUDGETS.c.tenant == tenant, BUDGETS.c.id.in_(keys))
    number = func.coalesce(LEDGER.c.request_seq, LEDGER.c.seq)
    unnamed = {"tenant": ERASED, "key_id": None, "workload": None}
    return {
        "answers": partial(
            _delete_some, table=ANSWERS, key="request_seq", where=ANSWERS.c.request_seq.in_(own_requests)
        ),
        "requests": partial(_delete_some, table=REQUESTS, where=REQUESTS.c.tenant == tenant),
        "provider batches": partial(
            _delete_some, table=PROVIDER_BATCHES, where=PROVIDER_BATCHES.c.batch_seq.in_(own_batches)
        ),
        "batches": partial(_delete_some, table=BATCHES, where=BATCHES.c.tenant == tenant),
        "stored answers": partial(_delete_some, table=STORED_ANSWERS, where=STORED_ANSWERS.c.tenant == tenant),
        "receipts": partial(_delete_some, table=RECEIPTS, key="subject_id", where=RECEIPTS.c.tenant == tenant),
        "quotes": partial(
            _change_some,
            table=QUOTES,
            key="id",
            where=QUOTES.c.tenant == tenant,
            values={"tenant": ERASED, "input_file_id": "", "body": b"{}", "batch_id": None, "key_id": None},
        ),
        "ledger rows": partial(
            _change_some,
            table=LEDGER,
            where=LEDGER.c.tenant == tenant,
            values=unnamed | {"batch_id": None, "request_id": literal("erased-") + cast(number, String)},
        ),
        "rejected ledger rows": partial(_delete_rejected, tenant=tenant),
        "sums by day": partial(_change_some, table=DAILY_COSTS, where=DAILY_COSTS.c.tenant == tenant, values=unnamed),
        "alerts": partial(_delete_some, table=ALERTS, key="subject", where=ALERTS.c.subject == tenant),
        "rates": partial(_delete_some, table=RATE_WINDOWS, key="id", where=RATE_WINDOWS.c.id.in_(keys)),
        "budget leases": partial(
            _delete_some,
            table=BUDGET_LEASES,
            key="budget_id",
            where=BUDGET_LEASES.c.budget_id.in_(select(BUDGETS.c.id).where(budgets)),
        ),
        "budgets": partial(_delete_some, table=BUDGETS, key="id", where=budgets),
        "keys": partial(_delete_some, table=KEYS, where=KEYS.c.tenant == tenant),
    }


def revoke_keys(connection: Connection, tenant: str, *, now_s: float) -> None:
    """Let no key of a tenant be used any more."""
    valid = (KEYS.c.tenant == tenant, KEYS.c.revoked_s.is_(None))
    connection.execute(update(KEYS).where(*valid).values(revoked_s=now_s))


def some_blobs(connection: Connection, tenant: str) -> list[tuple[str, str]]:
    """Return the ids and blobs of some files of a tenant."""
    query = select(FILES.c.id, FILES.c.blob).where(FILES.c.tenant == tenant).limit(_SIZE)
    return [(file_id, blob) for file_id, blob in connection.execute(query)]


def running(connection: Connection, tenant: str) -> int:
    """Return how many requests of a tenant run: each will add a row to the ledger."""
    query = select(func.count()).where(REQUESTS.c.tenant == tenant, REQUESTS.c.state == "running")
    return connection.execute(query).scalar_one()


def _delete_some(connection: Connection, table: Table, where: ColumnElement[bool], key: str = "seq") -> int:
    _overwrite_deleted(connection)
    some = select(table.c[key]).where(where).limit(_SIZE)
    return connection.execute(delete(table).where(where, table.c[key].in_(some.scalar_subquery()))).rowcount


def _change_some(
    connection: Connection, table: Table, where: ColumnElement[bool], values: Mapping[str, Any], key: str = "seq"
) -> int:
    _overwrite_deleted(connection)
    some = select(table.c[key]).where(where).limit(_SIZE)
    return connection.execute(update(table).where(table.c[key].in_(some.scalar_subquery())).values(values)).rowcount


def _delete_rejected(connection: Connection, tenant: str) -> int:
    """Delete the entries that no row could hold and that name a tenant; there are few."""
    _overwrite_deleted(connection)
    rows = connection.execute(select(LEDGER_REJECTED.c.seq, LEDGER_REJECTED.c.entry))
    own = [seq for seq, entry in rows if tenant.encode() in entry]
    return connection.execute(delete(LEDGER_REJECTED).where(LEDGER_REJECTED.c.seq.in_(own[:_SIZE]))).rowcount


def _overwrite_deleted(connection: Connection) -> None:
    """Let SQLite overwrite what is deleted, which it would otherwise leave in free pages of the file."""
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql("PRAGMA secure_delete=ON")
