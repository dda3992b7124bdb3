"""Database access off the event loop: one thread writes, a few read.

The writer commits all pending changes in one transaction, so that hundreds of changes share one write to the disk. If
one fails, they are made again, each under its own savepoint: it is rolled back alone. Pending items of one kind share
their statements too.
"""

import asyncio
import contextlib
import logging
import queue
import threading
import time
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Final, NamedTuple, TypeVar

from sqlalchemy import Connection
from sqlalchemy.exc import (
    DataError,
    DBAPIError,
    OperationalError,
    ProgrammingError,
    SQLAlchemyError,
)

from meritorder.gateway.errors import StoreUnavailableError
from meritorder.gateway.store.sql.engine import WRITER, connect

T = TypeVar("T")
Item = TypeVar("Item")
Change = Callable[[Connection], Any]
BulkChange = Callable[[Connection, Sequence[Item]], Sequence[T]]
"""Changes many items at once, and returns the result of each."""


class _Pending(NamedTuple):
    """A change that waits for the writer; a change of an item is made together with those of the same kind."""

    change: Callable[..., Any]
    outcome: "Future[Any] | asyncio.Future[Any]"
    item: Any = None
    is_item: bool = False

    def start(self) -> bool:
        """Tell whether its caller still waits; from here on it cannot give up."""
        if isinstance(self.outcome, Future):
            return self.outcome.set_running_or_notify_cancel()
        return not self.outcome.cancelled()


_READING: Final = "read"
_WRITING: Final = "written"
_READERS: Final = 4
_MAX_COMMIT: Final = 1024
_MAX_WAITING: Final = 20_000  # changes of clients that wait, while the database hangs
_MAX_CONFLICTS: Final = 10
_CONFLICTS: Final = ("40001", "40P01")  # of PostgreSQL: another gateway changed the same rows; a repetition succeeds
_SOON_S: Final = 10.0  # longer than a healthy database takes
_log: Final = logging.getLogger(__name__)


class Database:
    """SQLite or PostgreSQL by URL.

    Args:
        url: `sqlite:///path` or `postgresql://user@host/name`.
    """

    def __init__(self, url: str) -> None:
        self.engine = connect(url, _READERS + 1)
        self.is_sqlite = self.engine.dialect.name == "sqlite"
        self._down_since_s: dict[str, float] = {}  # by what fails: a full disk can be read, but not written
        self._changes: queue.SimpleQueue[_Pending | None] = queue.SimpleQueue()
        self._readers = ThreadPoolExecutor(_READERS, thread_name_prefix="store-read")
        self._writer = threading.Thread(target=self._write_all, name=WRITER, daemon=True)
        self._writer.start()

    @property
    def is_up(self) -> bool:
        """Whether the last access reached the database."""
        return not self._down_since_s

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
        outcome: Future[T] = Future()
        self._put_soon(_Pending(change, outcome))
        try:
            return await self._soon(asyncio.wrap_future(outcome))
        except (StoreUnavailableError, asyncio.CancelledError):
            if undo is not None:
                outcome.add_done_callback(lambda late: self._undo(late, undo))
            raise

    async def write_item(self, change: BulkChange[Item, T], item: Item) -> T:
        """Change an item together with all others of its kind that wait; durable when this returns.

        Raises:
            StoreUnavailableError: The database cannot be reached or written; nothing was changed.
        """
        pending = _Pending(change, asyncio.get_running_loop().create_future(), item, is_item=True)
        self._changes.put(pending)
        return await pending.outcome  # type: ignore[no-any-return,misc]

    async def write_item_soon(self, change: BulkChange[Item, T], item: Item) -> T:
        """Change an item as `write_item` does, within a time limit, for a client that waits.

        Raises:
            StoreUnavailableError: As for `write_item`; or the time is up, and the change may still be made.
        """
        pending = _Pending(change, asyncio.get_running_loop().create_future(), item, is_item=True)
        self._put_soon(pending)
        return await self._soon(pending.outcome)  # type: ignore[arg-type]

    def _undo(self, late: "Future[T]", undo: Callable[[T], Change]) -> None:
        if not late.cancelled() and late.exception() is None:
            self.submit(undo(late.result()))

    def submit(self, change: Callable[[Connection], T]) -> "Future[T]":
        """Queue a change for the writer; may be called from any thread."""
        outcome: Future[T] = Future()
        self._changes.put(_Pending(change, outcome))
        return outcome

    def _put_soon(self, pending: _Pending) -> None:
        """Queue a change of a client that waits, unless too many wait already."""
        if self._changes.qsize() >= _MAX_WAITING:
            raise self._mark_down(_WRITING, f"{_MAX_WAITING:,} changes wait")
        self._changes.put(pending)

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

    def read_now(self, query: Callable[[Connection], T]) -> T:
        """Query; blocks the calling thread."""
        try:
            with self.engine.connect() as connection:
                result = query(connection)
        except (DataError, ProgrammingError):
            raise  # a bug in the query, not an outage
        except (DBAPIError, OSError) as error:
            raise self._mark_down(_READING, _why(error)) from error
        self._mark_up(_READING)
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
        group = [pending for pending in group if pending.start()]
        conflicts, attempt = 0, _make
        while True:
            try:
                with self.engine.connect() as connection, connection.begin():
                    outcomes = _make_all(connection, group, attempt)
                break
            except _ChangeFailedError:
                attempt = _make_alone
            except (SQLAlchemyError, OSError) as error:
                conflicts += 1
                if conflicts <= _MAX_CONFLICTS and _is_conflict(error):
                    continue
                unavailable = self._mark_down(_WRITING, _why(error))
                _fail_all(group, unavailable)
                return
            except Exception as error:  # noqa: BLE001 - the writer must survive whatever a driver raises
                _log.exception("changes of the store failed")
                _fail_all(group, error)
                return
        self._mark_up(_WRITING)
        _deliver(outcomes)

    async def _soon(self, outcome: Awaitable[T]) -> T:
        try:
            async with asyncio.timeout(_SOON_S):
                return await outcome
        except TimeoutError:
            raise self._mark_down(_WRITING, f"no answer within {_SOON_S:g} s") from None

    def _mark_down(self, action: str, why: str) -> StoreUnavailableError:
        """Record an outage, log it once, and return its error."""
        if action not in self._down_since_s:
            self._down_since_s[action] = time.monotonic()
            _log.warning("the database cannot be %s: %s", action, why)
        return StoreUnavailableError(why)

    def _mark_up(self, action: str) -> None:
        if (since_s := self._down_since_s.pop(action, None)) is not None:
            _log.warning("the database can be %s again, after %.0f s", action, time.monotonic() - since_s)


_Outcome = tuple["Future[Any] | asyncio.Future[Any]", Any, BaseException | None]
_Attempt = Callable[[Connection, Change], tuple[Any, BaseException | None]]
"""Makes a change; returns its result or its failure."""


class _ChangeFailedError(Exception):
    """A change failed, and what others of its group have changed is rolled back with it."""


def _make_all(connection: Connection, group: Sequence[_Pending], attempt: _Attempt) -> list[_Outcome]:
    """Make all changes of a group; those of items of one kind at the place of the first."""
    outcomes: list[_Outcome] = []
    by_kind: dict[Callable[..., Any], list[_Pending]] = {}
    for pending in group:
        if pending.is_item:
            by_kind.setdefault(pending.change, []).append(pending)
    for pending in group:
        if not pending.is_item:
            outcomes.append((pending.outcome, *attempt(connection, pending.change)))
        elif same := by_kind.pop(pending.change, None):
            outcomes += _change_items(connection, pending.change, same, attempt)
    return outcomes


def _change_items(
    connection: Connection, change: BulkChange[Any, Any], group: Sequence[_Pending], attempt: _Attempt
) -> list[_Outcome]:
    """Change items of one kind together; if that fails, each alone, so that an invalid one fails alone."""
    values, failure = attempt(connection, lambda connection: change(connection, [pending.item for pending in group]))
    if failure is None:
        return [(pending.outcome, value, None) for pending, value in zip(group, values, strict=True)]
    if len(group) == 1:
        return [(group[0].outcome, None, failure)]
    return [outcome for pending in group for outcome in _change_items(connection, change, [pending], attempt)]


def _deliver(outcomes: Sequence[_Outcome]) -> None:
    """Pass results to those that wait; a loop is woken once for all of its futures."""
    by_loop: dict[asyncio.AbstractEventLoop, list[_Outcome]] = {}
    for outcome in outcomes:
        if isinstance(outcome[0], Future):
            _resolve(outcome)
        else:
            by_loop.setdefault(outcome[0].get_loop(), []).append(outcome)
    for loop, of_loop in by_loop.items():
        with contextlib.suppress(RuntimeError):  # a closed loop has no callers any more
            loop.call_soon_threadsafe(_resolve_all, of_loop)


def _resolve_all(outcomes: Sequence[_Outcome]) -> None:
    for outcome in outcomes:
        if not outcome[0].done():
            _resolve(outcome)


def _resolve(outcome: _Outcome) -> None:
    future, value, failure = outcome
    if failure is not None:
        future.set_exception(failure)
    else:
        future.set_result(value)


def _fail_all(group: Sequence[_Pending], failure: Exception) -> None:
    _deliver([(pending.outcome, None, failure) for pending in group])


def _make(connection: Connection, change: Change) -> tuple[Any, BaseException | None]:
    """Make a change; if it fails, so does the transaction."""
    try:
        return change(connection), None
    except OperationalError:
        raise
    except Exception as error:
        raise _ChangeFailedError from error


def _make_alone(connection: Connection, change: Change) -> tuple[Any, BaseException | None]:
    """Make a change under a savepoint."""
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


def _is_conflict(error: BaseException) -> bool:
    return getattr(getattr(error, "orig", None), "sqlstate", None) in _CONFLICTS


def _why(error: Exception) -> str:
    message = str(getattr(error, "orig", None) or error).strip()
    return message.splitlines()[0] if message else type(error).__name__
