"""Database access off the event loop: one thread writes, a few read.

The writer commits all pending changes in one transaction, each under its own savepoint: a change that fails is rolled
back alone, and hundreds of changes share one write to the disk.
"""

import asyncio
import logging
import queue
import threading
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final, TypeVar

from sqlalchemy import Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import (
    ArgumentError,
    DataError,
    DBAPIError,
    NoSuchModuleError,
    OperationalError,
    ProgrammingError,
    SQLAlchemyError,
)

from meritorder.errors import ConfigError
from meritorder.gateway.errors import StoreUnavailableError

T = TypeVar("T")
Change = Callable[[Connection], Any]

_Pending = tuple[Change, "Future[Any]"]

_READERS: Final = 4
_MAX_COMMIT: Final = 512
_BUSY_TIMEOUT_S: Final = 30.0
_SOON_S: Final = 10.0  # longer than a healthy database takes
# A server whose machine vanishes is detected after seconds instead of minutes or hours.
_POSTGRES: Final = {
    "connect_timeout": 5,
    "keepalives_idle": 5,
    "keepalives_interval": 5,
    "keepalives_count": 2,
    "tcp_user_timeout": 15_000,  # milliseconds
}
_log: Final = logging.getLogger(__name__)


class Database:
    """SQLite or PostgreSQL by URL.

    Args:
        url: `sqlite:///path` or `postgresql://user@host/name`.
    """

    def __init__(self, url: str) -> None:
        self.engine = _engine(url)
        self.is_sqlite = self.engine.dialect.name == "sqlite"
        self._down_since_s: float | None = None
        self._changes: queue.SimpleQueue[_Pending | None] = queue.SimpleQueue()
        self._readers = ThreadPoolExecutor(_READERS, thread_name_prefix="store-read")
        self._writer = threading.Thread(target=self._write_all, name="store-write", daemon=True)
        self._writer.start()

    @property
    def is_up(self) -> bool:
        """Whether the last access reached the database."""
        return self._down_since_s is None

    async def write(self, change: Callable[[Connection], T]) -> T:
        """Make a durable change.

        Raises:
            StoreUnavailableError: The database cannot be reached or written; nothing was changed.
        """
        return await asyncio.wrap_future(self.submit(change))

    async def write_soon(self, change: Callable[[Connection], T], undo: Callable[[T], Change] | None = None) -> T:
        """Make a change within a time limit, for a client that waits.

        Args:
            change: The change.
            undo: Returns the change that reverts it, for a change that completes after the time limit.

        Raises:
            StoreUnavailableError: As for `write`; or the time is up, and the change may still be made.
        """
        outcome = self.submit(change)
        try:
            return await self._soon(asyncio.wrap_future(outcome))
        except (StoreUnavailableError, asyncio.CancelledError):
            if undo is not None:
                outcome.add_done_callback(lambda late: self._undo(late, undo))
            raise

    def _undo(self, late: "Future[T]", undo: Callable[[T], Change]) -> None:
        if not late.cancelled() and late.exception() is None:
            self.submit(undo(late.result()))

    def submit(self, change: Callable[[Connection], T]) -> "Future[T]":
        """Queue a change for the writer; may be called from any thread."""
        outcome: Future[T] = Future()
        self._changes.put((change, outcome))
        return outcome

    async def read(self, query: Callable[[Connection], T]) -> T:
        """Query the committed state.

        Raises:
            StoreUnavailableError: The database cannot be reached.
        """
        return await asyncio.get_running_loop().run_in_executor(self._readers, self.read_now, query)

    async def read_soon(self, query: Callable[[Connection], T]) -> T:
        """Query within a time limit, for a client that waits.

        Raises:
            StoreUnavailableError: The database cannot be reached or does not answer in time.
        """
        return await self._soon(self.read(query))

    async def settle(self) -> None:
        """Wait until all changes queued so far are committed, so that the next query sees them.

        Raises:
            StoreUnavailableError: The database cannot be reached or does not answer in time.
        """
        await self.write_soon(lambda _: None)

    def read_now(self, query: Callable[[Connection], T]) -> T:
        """Query; blocks the calling thread."""
        try:
            with self.engine.connect() as connection:
                result = query(connection)
        except (DataError, ProgrammingError):
            raise  # a bug in the query, not an outage
        except (DBAPIError, OSError) as error:
            raise self._mark_down(_why(error)) from error
        self._mark_up()
        return result

    def close(self) -> None:
        """Commit the pending changes and close."""
        self._changes.put(None)
        self._writer.join()
        self._readers.shutdown()
        self.engine.dispose()

    def _write_all(self) -> None:
        while True:
            first = self._changes.get()
            if first is None:
                return
            group, closed = [first], False
            while len(group) < _MAX_COMMIT:
                try:
                    another = self._changes.get_nowait()
                except queue.Empty:
                    break
                if another is None:
                    closed = True
                    break
                group.append(another)
            self._commit(group)
            if closed:
                return

    def _commit(self, group: list[_Pending]) -> None:
        # A caller that gave up before this point gets no change; from here on none can give up.
        group = [change for change in group if change[1].set_running_or_notify_cancel()]
        outcomes: list[tuple[Future[Any], Any, BaseException | None]] = []
        try:
            with self.engine.connect() as connection, connection.begin():
                for change, future in group:
                    outcomes.append((future, *_attempt(connection, change)))
        except (SQLAlchemyError, OSError) as error:
            unavailable = self._mark_down(_why(error))
            for _, future in group:
                future.set_exception(unavailable)
            return
        self._mark_up()
        for future, value, failure in outcomes:
            if failure is not None:
                future.set_exception(failure)
            else:
                future.set_result(value)

    async def _soon(self, outcome: Awaitable[T]) -> T:
        try:
            async with asyncio.timeout(_SOON_S):
                return await outcome
        except TimeoutError:
            raise self._mark_down(f"no answer within {_SOON_S:g} s") from None

    def _mark_down(self, why: str) -> StoreUnavailableError:
        """Record an outage, log it once, and return its error."""
        if self._down_since_s is None:
            self._down_since_s = time.monotonic()
            _log.warning("the database cannot be reached: %s", why)
        return StoreUnavailableError(why)

    def _mark_up(self) -> None:
        if self._down_since_s is not None:
            _log.warning("the database can be reached again, after %.0f s", time.monotonic() - self._down_since_s)
            self._down_since_s = None


def _attempt(connection: Connection, change: Callable[[Connection], Any]) -> tuple[Any, BaseException | None]:
    savepoint = connection.begin_nested()
    try:
        value = change(connection)
        savepoint.commit()
    except Exception as error:
        if isinstance(error, OperationalError):
            raise
        savepoint.rollback()
        return None, error  # raised to the caller that queued the change
    return value, None


def _why(error: Exception) -> str:
    message = str(getattr(error, "orig", None) or error).strip()
    return message.splitlines()[0] if message else type(error).__name__


def _engine(url: str) -> Engine:
    try:
        parsed = make_url(url)
        kind = parsed.get_backend_name()
    except (ArgumentError, NoSuchModuleError):
        kind = None
    if kind in {"postgresql", "postgres"}:
        return create_engine(
            parsed.set(drivername="postgresql+psycopg"),
            connect_args={name: value for name, value in _POSTGRES.items() if name not in parsed.query},
            pool_pre_ping=True,
            pool_size=_READERS + 1,
            max_overflow=2,
        )
    if kind != "sqlite":
        raise ConfigError(
            "not the URL of a store", where="store.url", fix="write sqlite:///FILE or postgresql://USER@HOST/NAME"
        )
    if not parsed.database or parsed.database == ":memory:":
        raise ConfigError(
            "names no file", where="store.url", fix="write sqlite:///FILE: queued requests must survive a restart"
        )
    Path(parsed.database).parent.mkdir(parents=True, exist_ok=True)
    engine = create_engine(
        parsed, connect_args={"check_same_thread": False, "timeout": _BUSY_TIMEOUT_S}, pool_size=_READERS + 1
    )
    event.listen(engine, "connect", _prepare_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def _prepare_sqlite(connection: Any, _record: object) -> None:  # noqa: ANN401 - the driver's
    connection.isolation_level = None  # _begin_sqlite begins transactions
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "cache_size=-32768"):
        connection.execute(f"PRAGMA {pragma}")


def _begin_sqlite(connection: Connection) -> None:
    writer = threading.current_thread().name == "store-write"
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writer else "BEGIN")
