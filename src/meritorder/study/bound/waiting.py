"""Deferrable work: what it costs at the least, in gaps, on machines of its own or as tokens."""

from collections.abc import Iterator
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
# The same where no work is priced, but the least time that a machine is on; for how many requests it is computed; and
# the parts of the requests, those that take longest, that machines are on for.
_RUN_SHARES: Final = (0.1, 0.3, 0.6, 1.0)
_ROUNDING: Final = 1e-9
_MAX_RUN_REQUESTS: Final = 5_000
_LONGEST_PARTS: Final = (1.0, 0.5, 0.2)


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
        tokens_usd: What it costs as tokens, infinite where it is not bought, shape (requests,).
        alone_s: Time that each request takes on an idle replica, at the least.
        serves: Whether a replica of each kind serves it in time, if any kind does, shape (kinds, requests).
        billed_s: The least time that a machine is paid for, by kind, shape (kinds,).
        horizon_s: After it machines may stop between ticks.
    """

    arrived_s: Floats
    latest_s: Floats
    gap_s: Floats
    elsewhere_usd: Floats
    work_usd: Floats
    start_usd: Floats
    usd_per_s: Floats
    tokens_usd: Floats
    alone_s: Floats
    serves: NDArray[np.bool_]
    billed_s: Floats
    horizon_s: float

    def __len__(self) -> int:
        return len(self.arrived_s)

    @property
    def needs_machine(self) -> bool:
        """Whether no request can be bought as tokens."""
        return not np.isfinite(self.tokens_usd).any()

    @property
    def startup_s(self) -> Floats:
        """Paid part of the start-up of each kind, shape (kinds,)."""
        return np.divide(self.start_usd, self.usd_per_s, out=np.zeros_like(self.start_usd), where=self.usd_per_s > 0)

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
        if len(self) <= _MAX_RUN_REQUESTS:
            # Serving all requests serves those that take longest, and those that a kind serves too late.
            order = np.argsort(-self.alone_s, kind="stable")
            parts = [np.sort(order[: int(np.ceil(part * len(self)))]) for part in _LONGEST_PARTS]
            parts += [np.flatnonzero(~serves) for serves in np.unique(self.serves, axis=0) if not serves.all()]
            for chosen in parts:
                covers += self._select(chosen).runs(windows, window_s, tick_s)
        return covers

    def _select(self, chosen: Ints) -> "Waiting":
        """Return some of the requests, and the kinds of machine that serve any of them."""
        kinds = self.serves[:, chosen].any(axis=1)
        return replace(
            self,
            arrived_s=self.arrived_s[chosen],
            latest_s=self.latest_s[chosen],
            gap_s=self.gap_s[chosen],
            elsewhere_usd=self.elsewhere_usd[chosen],
            work_usd=self.work_usd[kinds][:, chosen],
            start_usd=self.start_usd[kinds],
            usd_per_s=self.usd_per_s[kinds],
            tokens_usd=self.tokens_usd[chosen],
            alone_s=self.alone_s[chosen],
            serves=self.serves[kinds][:, chosen],
            billed_s=self.billed_s[kinds],
        )

    def runs(self, windows: int, window_s: float, tick_s: float) -> Iterator[Cover]:
        """Yield covers where machines elsewhere are on for as long as some request takes, and work costs nothing.

        A machine that is on for L seconds, at least m, is paid for max(c + L, b). With a share s of the time priced by
        windows, its begin may cost c + (1 - s) max(m, b - c) before them.
        """
        until = idle_until(self.arrived_s, self.latest_s, window_s, windows)
        usd_per_s, run_s = float(self.usd_per_s.min()), self._shortest_run_s(windows, window_s, tick_s)
        exact = window_s == tick_s
        begins_s = np.arange(windows) * window_s
        last = int(self.horizon_s // window_s)
        for share in _RUN_SHARES:
            # In windows of one tick only the last may be paid for in part, after the horizon.
            beyond_s = np.where(begins_s > self.horizon_s, tick_s, 0.0) if exact else 2 * window_s - tick_s
            rest_s = np.maximum(run_s[None, :], (self.billed_s - self.startup_s)[:, None])
            begin_usd = self.start_usd[:, None] + self.usd_per_s[:, None] * (1 - share) * rest_s
            elsewhere = np.array([begin_usd.min(axis=0), np.full(windows, share * usd_per_s * window_s)])
            elsewhere[0] -= share * usd_per_s * beyond_s
            rest_s = np.maximum(run_s[0], self.billed_s)
            elsewhere[0, 0] = float((self.usd_per_s * (1 - share) * rest_s).min())
            if exact and last < windows:
                elsewhere[1, last] = 0.0
            elif not exact:
                elsewhere[0, 0] -= share * usd_per_s * window_s
            yield Cover(idle_until=until, elsewhere=elsewhere, work_share=0.0, work_usd=self.elsewhere_usd)

    def _shortest_run_s(self, windows: int, window_s: float, tick_s: float) -> Floats:
        """Return how long a machine that begins in each window is on at the least, until a request is done."""
        begins_s = np.arange(windows) * window_s
        exact = window_s == tick_s
        known_s = begins_s if exact else begins_s + window_s  # it is on from then, at the latest
        first, last = (np.searchsorted(begins_s, times_s) for times_s in (self.arrived_s, self.latest_s))
        done_s = self.arrived_s + self.alone_s
        coming_s = np.full(windows + 1, np.inf)
        # Requests that arrive after the machine begins.
        np.minimum.at(coming_s, np.minimum(first, windows), done_s)
        coming_s = np.minimum.accumulate(coming_s[::-1])[::-1][:windows]
        run_s = np.maximum(coming_s - known_s, float(self.alone_s.min()))
        waiting_s = np.full(windows, np.inf)
        for request in np.argsort(-self.alone_s, kind="stable").tolist():
            waiting_s[max(first[request] - 1, 0) : last[request] + 1] = self.alone_s[request]
        run_s = np.minimum(run_s, waiting_s)
        run_s = np.where(np.isfinite(run_s), run_s, 0.0)
        ticks_s = np.ceil(run_s / tick_s - _ROUNDING) * tick_s
        return np.asarray(np.where(begins_s + window_s + ticks_s <= self.horizon_s, ticks_s, run_s))

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

    def started_usd(self) -> float:
        """Return the least cost of the work and of the starts of its machines, for requests that may all wait.

        Machines of time 0 need no start. They serve some first requests, all that arrive before they stop, and are
        paid for until then. The others run on machines that start later: on one kind, or on two and pay two starts; or
        they are all bought as tokens.
        """
        count, kinds = len(self), len(self.start_usd)
        before_usd = np.concatenate(([0.0], np.cumsum(self.elsewhere_usd)))  # the work of the first requests
        held_usd = np.concatenate(([0.0], self.arrived_s)) * self.usd_per_s.min()
        first_usd = np.maximum(held_usd, before_usd)
        rest_usd = np.zeros((kinds, count + 1))
        rest_usd[:, :-1] = np.cumsum(self.work_usd[:, ::-1], axis=1)[:, ::-1]
        by_one = (first_usd + rest_usd + self.start_usd[:, None])[:, :-1]
        choices = [float(by_one.min())]
        cheapest_usd = before_usd[-1] - before_usd
        bought_usd = np.append(np.cumsum(self.tokens_usd[::-1])[::-1], 0.0)
        choices.append(float((first_usd + bought_usd).min()))
        if kinds > 1:
            choices.append(float((first_usd + cheapest_usd).min() + np.sort(self.start_usd)[:2].sum()))
        return min(choices)

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
                    late=no_window,
                    late_usd=np.zeros((0, 1)),
                    elsewhere=cover.elsewhere,
                )
            )
            best_usd = max(best_usd, usd + cover.work_share * float(cover.work_usd.sum()))
        return best_usd
