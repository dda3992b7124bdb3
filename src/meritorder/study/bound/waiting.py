"""Deferrable work: what it costs at the least, in gaps, on machines of its own or as tokens."""

from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from meritorder.study.bound.path import Stretch, cheapest_path, idle_until

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

# Shares of the time of machines elsewhere that are priced while they are on, not by the work that they do.
_STARTED_SHARES: Final = (0.0, 0.03, 0.1, 0.3, 0.5, 0.7, 1.0)
_MANY_REQUESTS: Final = 100_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Cover:
    """When some machine must be on.

    Args:
        idle_until: The last window until which there may be no machine, if there is none from each window on.
        elsewhere: Cost of a machine elsewhere: at time 0, to start, and for each window, shape (3,).
        work_share: Share of the cost of work elsewhere that these costs leave.
    """

    idle_until: Ints
    elsewhere: Floats
    work_share: float

    def joined(self, until: Ints) -> "Cover":
        """Return the cover with another limit on windows without machines, which machines elsewhere end as well."""
        return replace(self, idle_until=np.minimum(self.idle_until, until))


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """Requests that may wait.

    A machine elsewhere is paid for while it is on, which is at least the time of the work that it does. The bound
    prices a share of it by the time in which it is on, and the rest by the work.

    Args:
        arrived_s: Arrival of each request.
        latest_s: Its latest start.
        gap_s: Seconds of a saturated replica that it takes in a gap beside real-time work, at the least.
        elsewhere_usd: Cost of its work on other machines or as tokens, at the least.
        start_usd: Cost of the start of a machine elsewhere.
        usd_per_s: Price of a machine elsewhere.
        needs_machine: Whether no request can be bought as tokens.
    """

    arrived_s: Floats
    latest_s: Floats
    gap_s: Floats
    elsewhere_usd: Floats
    start_usd: float
    usd_per_s: float
    needs_machine: bool

    def __len__(self) -> int:
        return len(self.arrived_s)

    @property
    def windows_end_s(self) -> float:
        """The last time by which a machine must be on for some request."""
        return float(self.latest_s.max()) if len(self) and self.needs_machine else 0.0

    def covers(self, windows: int, window_s: float, tick_s: float) -> list[Cover]:
        """Return when some machine must be on for these requests, with machines elsewhere priced in several ways.

        A machine elsewhere need not be on for all of its first window, nor of its last.
        """
        if not (len(self) and self.needs_machine):
            return []
        until = idle_until(self.arrived_s, self.latest_s, window_s, windows)
        covers = []
        for share in _STARTED_SHARES if len(self) <= _MANY_REQUESTS else _STARTED_SHARES[:1]:
            usd_per_s = share * self.usd_per_s
            start_usd = self.start_usd - usd_per_s * (2 * window_s - tick_s)
            elsewhere = np.array([-usd_per_s * window_s, start_usd, usd_per_s * window_s])
            covers.append(Cover(idle_until=until, elsewhere=elsewhere, work_share=1 - share))
        return covers

    def work_usd(self, gap_usd_per_s: float, work_share: float) -> float:
        """Return the cost of the work, where a second in a gap costs so much."""
        return float(np.minimum(work_share * self.elsewhere_usd, gap_usd_per_s * self.gap_s).sum())

    def alone_usd(self, tick_s: float) -> float:
        """Return the least cost of the requests on machines of their own."""
        window_s = tick_s
        windows = int(np.ceil(self.windows_end_s / window_s)) + 2
        nothing, no_window = np.zeros(windows), np.zeros(0, np.int64)
        best_usd = 0.0
        for cover in self.covers(windows, window_s, tick_s):
            usd, _ = cheapest_path(
                Stretch(
                    window_s=nothing,
                    start_usd=nothing,
                    stop_usd=nothing,
                    idle_until=cover.idle_until,
                    paid=np.zeros(1),
                    usd_per_s=np.zeros(1),
                    rest_s=nothing,
                    busy=no_window,
                    busy_usd=np.zeros((0, 1)),
                    late_usd=np.zeros(0),
                    elsewhere=cover.elsewhere,
                )
            )
            best_usd = max(best_usd, usd + cover.work_share * float(self.elsewhere_usd.sum()))
        return best_usd
