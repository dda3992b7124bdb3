"""The clock of leases: one for all gateways of a store, which no step of a machine's wall clock moves.

PostgreSQL has its own; a SQLite file belongs to one machine, whose time since its start is the same in every process.
"""

import time
from typing import Any, Final

from sqlalchemy import Connection, Float, select
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement

SQLITE_FUNCTION: Final = "steady_clock_s"
_BOOT_CLOCK: Final = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)  # Linux's goes on while a machine sleeps


def steady_s() -> float:
    """Return the seconds since this machine started."""
    return time.clock_gettime(_BOOT_CLOCK)


class lease_clock(FunctionElement[float]):  # noqa: N801 - an SQL function
    """The seconds of the clock of leases, as SQL."""

    type = Float()
    inherit_cache = True


@compiles(lease_clock, "sqlite")
def _sqlite(*_: object, **__: object) -> str:
    return f"{SQLITE_FUNCTION}()"


@compiles(lease_clock, "postgresql")
def _postgresql(*_: object, **__: object) -> str:
    return "CAST(EXTRACT(EPOCH FROM statement_timestamp()) AS DOUBLE PRECISION)"


def prepare_sqlite(connection: Any) -> None:  # noqa: ANN401 - the driver's
    """Give a connection to SQLite the clock of leases."""
    connection.create_function(SQLITE_FUNCTION, 0, steady_s)


def reference_s(connection: Connection) -> float:
    """Return the epoch seconds that all gateways of a store go by: PostgreSQL's, else this machine's."""
    if connection.dialect.name == "postgresql":
        return float(connection.execute(select(lease_clock())).scalar_one())
    return time.time()
