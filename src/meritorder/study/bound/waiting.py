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
# How far work is priced toward the cost of one kind.
_PRICED_SHARES: Final = (0.25, 0.5, 0.75, 1.0)
_MANY_REQUESTS: Final = 100_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Cover:
    """When some machine must be on.

    Args:
        idle_until: The last window until which there may be no machine, if there is none from each window on.
        elsewhere: Cost of a machine elsewhere that begins in each window, and of one that is on in it, shape
            (2, windows).
        work_share: Share of the cost of work elsewhere that these costs leave.
        work_usd: What the requests cost elsewhere beside these costs, at most, each.
    """

    idle_until: Ints
    elsewhere: Floats
    work_share: float
    work_usd: Floats

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
        work_usd: Cost of its work on each kind of other machines, shape (kinds, requests).
        start_usd: Cost of the start of a machine of each kind, shape (kinds,).
        usd_per_s: Price of a machine of each kind, shape (kinds,).
        needs_machine: Whether no request can be bought as tokens.
    """

    arrived_s: Floats
    latest_s: Floats
    gap_s: Floats
    elsewhere_usd: Floats
    work_usd: Floats
    start_usd: Floats
    usd_per_s: Floats
    needs_machine: bool

    def __len__(self) -> int:
        return len(self.arrived_s)

    @property
    def windows_end_s(self) -> float:
        """The last time by which a machine must be on for some request."""
        return float(self.latest_s.max()) if len(self) and self.needs_machine else 0.0

    def covers(self, windows: int, window_s: float, tick_s: float, *, by_kind: bool = False) -> list[Cover]:
        """Return when some machine must be on for these requests, with machines elsewhere priced in several ways.

        Args:
            windows: Number of windows.
            window_s: Length of a window.
            tick_s: Time between ticks.
            by_kind: Whether to price work by one kind as well: then a start of another kind costs less by what its work
                saves on all requests that wait.
        """
        if not (len(self) and self.needs_machine):
            return []
        until = idle_until(self.arrived_s, self.latest_s, window_s, windows)
        values = [self.elsewhere_usd]
        if by_kind and len(self.work_usd) > 1:
            more_usd = self.work_usd - self.elsewhere_usd
            values += [self.elsewhere_usd + share * usd for usd in more_usd for share in _PRICED_SHARES]
        covers = []
        for value_usd in values:
            starts_usd, arrivals_usd = self._savings(value_usd, windows, window_s)
            for share in _STARTED_SHARES if len(self) <= _MANY_REQUESTS else _STARTED_SHARES[:1]:
                # A machine need not be on for all of its first window, nor of its last.
                usd_per_s = share * float(self.usd_per_s.min())
                begin_usd = self.start_usd - usd_per_s * (2 * window_s - tick_s)
                started_usd = begin_usd[:, None] - (1 - share) * starts_usd
                if starts_usd.any() and started_usd.min() < 0:
                    continue  # machines would be started for the saving alone
                on_usd = usd_per_s * window_s - (1 - share) * arrivals_usd
                elsewhere = np.array([started_usd.min(axis=0), on_usd])
                elsewhere[0, 0] = -usd_per_s * window_s
                covers.append(Cover(idle_until=until, elsewhere=elsewhere, work_share=1 - share, work_usd=value_usd))
        return covers

    def _savings(self, value_usd: Floats, windows: int, window_s: float) -> tuple[Floats, Floats]:
        """Return what machines save where work is priced at a value: on what waits, and on what arrives.

        Returns:
            starts_usd: By kind, on the requests that wait when a machine begins in a window, shape (kinds, windows).
            arrivals_usd: By the best kind, on the requests that arrive in a window, shape (windows,).
        """
        arrives = np.maximum(np.ceil(self.arrived_s / window_s).astype(np.int64) - 1, 0)
        leaves = np.floor(self.latest_s / window_s).astype(np.int64)
        starts_usd = np.zeros((len(self.work_usd), windows + 2))
        for kind, work_usd in enumerate(self.work_usd):
            saved_usd = np.maximum(value_usd - work_usd, 0.0)
            np.add.at(starts_usd[kind], np.minimum(arrives, leaves) + 1, saved_usd)
            np.add.at(starts_usd[kind], leaves + 1, -saved_usd)
        saved_usd = np.maximum(value_usd - self.elsewhere_usd, 0.0)
        arrivals_usd = np.bincount(arrives, weights=saved_usd, minlength=windows)
        return np.maximum(np.cumsum(starts_usd, axis=1)[:, :windows], 0.0), np.asarray(arrivals_usd, np.float64)

    def gap_work_usd(self, gap_usd_per_s: float, work_share: float) -> float:
        """Return the cost of the work beside real-time work, where a second in a gap costs so much."""
        return float(np.minimum(work_share * self.elsewhere_usd, gap_usd_per_s * self.gap_s).sum())

    def alone_usd(self, tick_s: float) -> float:
        """Return the least cost of the requests on machines of their own."""
        window_s = tick_s
        windows = int(np.ceil(self.windows_end_s / window_s)) + 2
        nothing, no_window = np.zeros(windows), np.zeros(0, np.int64)
        best_usd = 0.0
        for cover in self.covers(windows, window_s, tick_s, by_kind=True):
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
            best_usd = max(best_usd, usd + cover.work_share * float(cover.work_usd.sum()))
        return best_usd
