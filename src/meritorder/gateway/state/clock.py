"""The time of a gateway, by which deadlines and periods of budgets are judged, and waits that it limits."""

import asyncio
import contextlib
import logging
import time
from typing import Final

from meritorder.gateway.store.sql.clock import steady_s

_STEP_S: Final = 5.0  # more than a clock is ever corrected by unnoticed
_LASTING_S: Final = 600.0
_log: Final = logging.getLogger(__name__)


class Clock:
    """A clock that goes on evenly from one reference: a step of that is followed, and said, only once it has lasted.

    So a clock that is set by mistake, for some minutes, makes no deadline pass.
    """

    def __init__(self) -> None:
        self._offset_s = time.time() - steady_s()
        self._is_set = False
        self._stepped_s: float | None = None  # when the reference stepped, by the steady clock
        self.step_s = 0.0

    def now_s(self) -> float:
        """Return the epoch seconds."""
        return steady_s() + self._offset_s

    @property
    def has_stepped(self) -> bool:
        """Whether the reference has stepped, and is not followed yet."""
        return self._stepped_s is not None

    def follow(self, reference_s: float) -> None:
        """Compare with the reference, and follow it: at first and by little at once, by a step when it has lasted."""
        ahead_s, now_s = reference_s - self.now_s(), steady_s()
        if not self._is_set or abs(ahead_s) <= _STEP_S:
            self._set(ahead_s)
            return
        if self._stepped_s is None:
            self._stepped_s = now_s
            _log.warning(
                "the clock was set %s by %.0f s; if it stays, deadlines and periods of budgets follow it in %.0f s",
                "forward" if ahead_s > 0 else "back",
                abs(ahead_s),
                _LASTING_S,
            )
        elif now_s - self._stepped_s >= _LASTING_S:
            _log.warning("deadlines and periods of budgets follow the clock by %+.0f s now", ahead_s)
            self._set(ahead_s)
            return
        self.step_s = ahead_s

    def _set(self, ahead_s: float) -> None:
        self._offset_s += ahead_s
        self._is_set = True
        self._stepped_s, self.step_s = None, 0.0


async def wait_until_set(event: asyncio.Event, timeout_s: float) -> None:
    """Wait until an event is set or the time is over.

    Not with `asyncio.wait_for`, which before Python 3.12 loses a cancellation that comes with the event.
    """
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(timeout_s):
            await event.wait()
