"""The digest of the ledger, and a process that sends it by a schedule."""

import contextlib
import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from msgspec.structs import replace

from meritorder.errors import MeritorderError, TraceError
from meritorder.gateway.app.administration import Administration
from meritorder.records.accounting import LedgerReport
from meritorder.report.ledger import digest
from meritorder.study.autopilot.cron import seconds_until
from meritorder.study.ledger.days import account_days
from meritorder.study.ledger.forecast import forecast_store
from meritorder.units import SECONDS_PER_DAY, utc

KIND: Final = "ledger.digest"
_WEEK_S: Final = 7 * SECONDS_PER_DAY
_BY: Final = ("tenant",)
_log: Final = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Digest:
    """The last seven whole days, and the lines that say it."""

    week: LedgerReport
    lines: tuple[str, ...]

    @property
    def id(self) -> str:
        """The day on which the week ended."""
        return self.week.period[1][:10]

    def content(self) -> dict[str, object]:
        """Return what the event has."""
        return {"text": " ".join(self.lines), "paid_usd": float(self.week.paid_usd), "requests": self.week.requests}


def read_digest(store: Administration, now_s: float) -> Digest:
    """Return the digest of a gateway's store.

    Raises:
        TraceError: There is nothing to account for in that week.
    """
    end_s = now_s - now_s % SECONDS_PER_DAY
    week = account_days(store, _BY, from_s=end_s - _WEEK_S, to_s=end_s)
    before = coming = None
    with contextlib.suppress(TraceError):  # it is the first week, or there are too few days for a forecast
        before = account_days(store, _BY, from_s=end_s - 2 * _WEEK_S, to_s=end_s - _WEEK_S)
    with contextlib.suppress(TraceError):
        coming = forecast_store(store, now_s=now_s, days=7)
    week = replace(week, forecast=coming, commitments=store.commitments(now_s))
    return Digest(week=week, lines=digest.lines(week, before))


def send_by(schedule: str, config: Path) -> None:
    """Send the digest of a gateway to its webhooks whenever a schedule comes, in a thread, until the process ends."""
    threading.Thread(target=_run, args=(schedule, config, time.time, time.sleep), daemon=True).start()


def _run(schedule: str, config: Path, clock: Callable[[], float], sleep: Callable[[float], None]) -> None:
    while True:
        sleep(seconds_until(schedule, utc(clock())))
        try:
            with Administration(config) as store:
                made = read_digest(store, clock())
                store.announce_once(KIND, made.id, **made.content())
        except MeritorderError as error:
            _log.warning("the digest was not sent: %s", error)
