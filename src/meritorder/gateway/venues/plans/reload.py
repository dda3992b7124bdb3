"""Reloads the plan while the gateway runs: when its file changes, and on SIGHUP.

A plan that cannot be executed here is rejected with one line in the log, and the previous plan stays in force.
"""

import asyncio
import contextlib
import logging
import signal
from pathlib import Path
from typing import Any, Final

from meritorder.errors import MeritorderError
from meritorder.gateway.config import Settings
from meritorder.gateway.state.clock import wait_until_set
from meritorder.gateway.state.metrics import Gauge
from meritorder.gateway.venues.plans.executor import PlanExecutor
from meritorder.gateway.venues.plans.matching import read_plan

_CHECK_S: Final = 2.0
_log: Final = logging.getLogger(__name__)

_Fingerprint = tuple[int, int, int] | None
"""Inode, size and modification time of a file; None if there is no file."""


class PlanReloader:
    """Watches the plan's file.

    Args:
        settings: The settings that the plan must match.
        plan_executor: Receives each new plan.

    `fault` is what is wrong with the file as it is now; None if nothing is.
    """

    def __init__(self, settings: Settings, plan_executor: PlanExecutor) -> None:
        self._settings = settings
        self._plan_executor = plan_executor
        self._path = Path(settings.plan)
        self._fingerprint = _fingerprint(self._path)
        self._requested = asyncio.Event()
        self._accepted = self._rejected = 0
        self.fault: str | None = None

    async def run(self) -> None:
        """Check the file in rounds until cancelled."""
        if not self._settings.plan:
            return
        loop = asyncio.get_running_loop()
        # Impossible outside of the main thread, which receives no signals.
        with contextlib.suppress(NotImplementedError, RuntimeError, ValueError):
            loop.add_signal_handler(signal.SIGHUP, self._requested.set)
        while True:
            await wait_until_set(self._requested, _CHECK_S)
            # Taken before the file is read, so that a write in the meantime counts as another change.
            fingerprint = await asyncio.to_thread(_fingerprint, self._path)
            if fingerprint != self._fingerprint or self._requested.is_set():
                self._requested.clear()
                self._fingerprint = fingerprint
                await self._reload()

    async def _reload(self) -> None:
        try:
            plan = await asyncio.to_thread(read_plan, self._settings)
        except MeritorderError as error:
            self._rejected += 1
            self.fault = str(error)
            _log.warning("the new plan was rejected and the previous one stays in force: %s", error)
            return
        self._accepted += 1
        self.fault = None
        self._plan_executor.replace_plan(plan)

    def status(self) -> dict[str, Any]:
        """Return how often the plan was reloaded, and what is wrong with the file as it is now."""
        return {"reread": self._accepted, "refused": self._rejected, "fault": self.fault}

    def gauges(self) -> list[Gauge]:
        """Return how often the plan was reloaded, and whether the file differs from the plan in force."""
        if not self._settings.plan:
            return []
        reads: list[tuple[tuple[str, ...], float]] = [(("taken",), self._accepted), (("refused",), self._rejected)]
        fault: list[tuple[tuple[str, ...], float]] = [((), float(self.fault is not None))]
        return [
            ("meritorder_plan_reads", "Reloads of the plan, by outcome.", ("outcome",), reads),
            ("meritorder_plan_fault", "1: the plan's file was rejected, and the previous plan is in force.", (), fault),
        ]


def _fingerprint(path: Path) -> _Fingerprint:
    try:
        stat = path.stat()
    except OSError:
        return None
    return stat.st_ino, stat.st_size, stat.st_mtime_ns
