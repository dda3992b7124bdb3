"""Reads the plan again while it is carried out: when its file changes, and on SIGHUP.

A plan that cannot be carried out here is refused with one line in the log, and the one before is carried out further.
"""

import asyncio
import contextlib
import logging
import signal
from pathlib import Path
from typing import Any, Final

from meritorder.errors import MeritorderError
from meritorder.gateway.config import Settings
from meritorder.gateway.state.metrics import Gauge
from meritorder.gateway.venues import plan as planned
from meritorder.gateway.venues.plan_executor import PlanExecutor

_LOOK_S: Final = 2.0
_log: Final = logging.getLogger(__name__)

_Mark = tuple[int, int, int] | None
"""By which a file is told from what it was; None if there is none."""


class PlanReloader:
    """Watches the plan's file.

    Args:
        settings: What the plan is read against.
        plan_executor: Who carries it out.
    """

    def __init__(self, settings: Settings, plan_executor: PlanExecutor) -> None:
        self._settings = settings
        self._plan_executor = plan_executor
        self._path = Path(settings.plan)
        self._mark = _mark_of(self._path)
        self._asked = asyncio.Event()
        self._taken = self._refused = 0
        self._fault: str | None = None

    async def run(self) -> None:
        """Look at the file again and again, until cancelled."""
        if not self._settings.plan:
            return
        loop = asyncio.get_running_loop()
        # Not possible outside of the main thread, where nobody sends signals to us.
        with contextlib.suppress(NotImplementedError, RuntimeError, ValueError):
            loop.add_signal_handler(signal.SIGHUP, self._asked.set)
        while True:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._asked.wait(), _LOOK_S)
            # Marked before it is read: what is written meanwhile is another change.
            mark = await asyncio.to_thread(_mark_of, self._path)
            if mark != self._mark or self._asked.is_set():
                self._asked.clear()
                self._mark = mark
                await self._read()

    async def _read(self) -> None:
        try:
            plan = await asyncio.to_thread(planned.read, self._settings)
        except MeritorderError as error:
            self._refused += 1
            self._fault = str(error)
            _log.warning("the plan was not taken, and the one before stays: %s", error)
            return
        self._taken += 1
        self._fault = None
        self._plan_executor.replace_plan(plan)

    def status(self) -> dict[str, Any]:
        """Return how often the plan was read again, and what is wrong with what the file has now."""
        return {"reread": self._taken, "refused": self._refused, "fault": self._fault}

    def gauges(self) -> list[Gauge]:
        """Return how often the plan was read again, and whether the file has another than is carried out."""
        if not self._settings.plan:
            return []
        reads: list[tuple[tuple[str, ...], float]] = [(("taken",), self._taken), (("refused",), self._refused)]
        fault: list[tuple[tuple[str, ...], float]] = [((), float(self._fault is not None))]
        return [
            ("meritorder_plan_reads", "Times that the plan was read again, by what became of it.", ("outcome",), reads),
            ("meritorder_plan_fault", "1: the plan's file cannot be carried out, the plan before is.", (), fault),
        ]


def _mark_of(path: Path) -> _Mark:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns
