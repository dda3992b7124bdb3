"""Windows of time: a cron schedule of five fields, in UTC, and how long each window lasts."""

import datetime as dt
from dataclasses import dataclass
from typing import Final

from cronsim import CronSim, CronSimError

from meritorder.errors import ConfigError
from meritorder.units import SECONDS_PER_DAY, SECONDS_PER_MINUTE

_ALIASES: Final = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
}
MAX_DURATION_S: Final = 31 * SECONDS_PER_DAY
_FIX: Final = "write minute hour day month weekday in UTC, such as 0 9 * * mon-fri, or @daily"


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """Times that begin by a schedule and last for a while.

    Args:
        schedule: Five fields of cron.
        duration_s: How long each lasts.
    """

    schedule: str
    duration_s: float

    def contains(self, now: dt.datetime) -> bool:
        """Return whether a window is open at an instant."""
        next_minute = now.replace(second=0, microsecond=0) + dt.timedelta(minutes=1)
        began = next(CronSim(self.schedule, next_minute, reverse=True), None)
        return began is not None and (now - began).total_seconds() < self.duration_s


def parse_window(schedule: str, duration_s: float, where: str) -> Window:
    """Return the window of a schedule.

    Raises:
        ConfigError: The schedule or the duration is invalid.
    """
    if not SECONDS_PER_MINUTE <= duration_s <= MAX_DURATION_S:
        raise ConfigError("is not from a minute to 31 days", where=f"{where}.duration", fix="write 8h")
    return Window(schedule=parse_schedule(schedule, f"{where}.schedule"), duration_s=duration_s)


def parse_schedule(schedule: str, where: str) -> str:
    """Return the five fields of a schedule.

    Raises:
        ConfigError: It is invalid.
    """
    fields = _ALIASES.get(schedule.strip(), schedule)
    try:
        CronSim(fields, dt.datetime.now(dt.UTC))
    except CronSimError as error:
        raise ConfigError(f"{schedule!r}: {error}", where=where, fix=_FIX) from None
    return fields


def seconds_until(schedule: str, now: dt.datetime) -> float:
    """Return how long it is until a schedule comes next."""
    return (next(CronSim(schedule, now)) - now).total_seconds()
