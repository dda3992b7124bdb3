"""Supervision of the gateway's tasks: long-lived ones restart when they fail, and work items fail alone."""

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable
from typing import Final, TypeVar

from meritorder.gateway.errors import StoreUnavailableError

Item = TypeVar("Item")

_OUTAGE_S: Final = 0.5
_MIN_BACKOFF_S: Final = 0.5
_MAX_BACKOFF_S: Final = 30.0
CLIENT_GONE: Final = 499  # as in nginx; appears only in the ledger
_STOPPING: Final = 503
_STEADY_S: Final = 10.0  # a task that ran this long since its last failure has recovered
_log: Final = logging.getLogger(__name__)


class Supervisor:
    """Runs the long-lived tasks of a gateway, and counts and logs the failures of all its work."""

    def __init__(self) -> None:
        self.failures: Counter[str] = Counter()
        self.is_stopping = False
        self._failed_s: dict[str, float] = {}
        self._logged: set[tuple[str, str, int]] = set()
        self._tasks: dict[str, asyncio.Task[None]] = {}

    @property
    def cut_off_status(self) -> int:
        """The status in the ledger of a call that was cut off: by the stop of the gateway, or by its client."""
        return _STOPPING if self.is_stopping else CLIENT_GONE

    def start(self, name: str, run: Callable[[], Awaitable[None]]) -> None:
        """Run a task until the gateway stops or it returns, and restart it after each failure."""
        self._tasks[name] = asyncio.create_task(self._supervise(name, run), name=name)

    async def stop(self) -> None:
        """Cancel all tasks and wait for their end."""
        self.is_stopping = True
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    def failing(self) -> list[str]:
        """Return the tasks that failed and have not recovered."""
        steady_since_s = time.monotonic() - _STEADY_S
        return sorted(name for name, failed_s in self._failed_s.items() if failed_s > steady_since_s)

    def record(self, name: str, error: BaseException) -> None:
        """Count an unexpected exception, and log it with its traceback the first time that it occurs in a place."""
        self.failures[name] += 1
        self._failed_s[name] = time.monotonic()
        place = error.__traceback__
        while place is not None and place.tb_next is not None:
            place = place.tb_next
        kind = (name, type(error).__name__, place.tb_lineno if place is not None else 0)
        if kind not in self._logged:
            self._logged.add(kind)
            # What the operating system refuses is explained by its message.
            traceback = None if isinstance(error, OSError) else error
            reason = str(error) or type(error).__name__
            _log.error("%s failed: %s; more failures of this kind are only counted", name, reason, exc_info=traceback)

    async def run_each(self, name: str, items: Iterable[Item], action: Callable[[Item], Awaitable[None]]) -> None:
        """Run an action for each item: one that fails does not stop the others.

        Raises:
            StoreUnavailableError: The store failed, which affects all items.
        """
        for item in items:
            try:
                await action(item)
            except StoreUnavailableError:
                raise
            except Exception as error:  # noqa: BLE001 - an item fails alone
                self.record(name, error)

    async def _supervise(self, name: str, run: Callable[[], Awaitable[None]]) -> None:
        backoff_s = _MIN_BACKOFF_S
        while True:
            started_s = time.monotonic()
            try:
                await run()
            except StoreUnavailableError:  # the database has logged it
                await asyncio.sleep(_OUTAGE_S)
                continue
            except asyncio.CancelledError as error:
                task = asyncio.current_task()
                if task is None or task.cancelling():
                    raise
                self.record(name, error)  # something that it waited for was cancelled
            except (KeyboardInterrupt, SystemExit, GeneratorExit):
                raise
            except BaseException as error:  # noqa: BLE001 - a task must not end; a panic of Rust is no Exception
                self.record(name, error)
            else:
                return
            if time.monotonic() - started_s > _STEADY_S:
                backoff_s = _MIN_BACKOFF_S
            await asyncio.sleep(backoff_s)
            self._failed_s[name] = time.monotonic()
            backoff_s = min(2 * backoff_s, _MAX_BACKOFF_S)
