"""The least cost of real-time work on one kind of replica, with deferrable work in its gaps: a Lagrangian relaxation.

    max over lambda, mu >= 0 of  min over N { paid(N) + lambda (violations(N) - allowed) - mu gaps(N) }
                                 + sum_i min(elsewhere_i, mu work_i)

N is the number of machines that serve in each window. Any lambda and mu give a bound.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from meritorder.study.bound.path import PathCost, Stretch, cheapest_path
from meritorder.study.bound.violations import WindowCurves
from meritorder.study.bound.waiting import Cover, Waiting

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

# Rounds of simulation; they end earlier when the bound grows by less than this share twice.
_MAX_ROUNDS: Final = 16
_MIN_GROWTH: Final = 1e-3
# Growth of the number of machines while none is known to be enough.
_GROWTH: Final = 1.3
# Steps of the search for each multiplier.
_STEPS: Final = 24
_GAP_STEPS: Final = 8
_GOLDEN: Final = (5**0.5 - 1) / 2
_UNBOUNDED: Final = np.int64(1) << 40


class _Tables(NamedTuple):
    """Violations by number of machines: in windows with arrivals, and of those that wait for the next window."""

    here: Ints
    late: Ints


class _Bound(NamedTuple):
    """A bound, and the cheapest paths at its multipliers: one that breaks as many promises as allowed, and one more."""

    usd: float
    paths: tuple[Ints, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Relaxed:
    """The bound at some multipliers.

    Args:
        usd: The bound.
        base_usd: The same without the price of violations.
        violations: Violations of the cheapest path.
        path: Machines by window.
    """

    usd: float
    base_usd: float
    violations: float
    path: Ints


@dataclass(slots=True, kw_only=True)
class RealtimeBound:
    """The bound of real-time work on one kind of replica, with windows of one length.

    Args:
        curves: Violations by window.
        paid: Least paid time of a machine by windows.
        rest_s: Time after each window until requests are done that arrived so far, shape (windows,).
        covers: When some machine must be on, in one or more ways; the highest bound counts.
        usd_per_s: Price of a machine.
        held: Machines that cost nothing.
        allowed: Violations that keep the SLO.
        waiting: Deferrable work, which may run in gaps.
        realtime_s: Seconds of saturated replicas that real-time work takes, at the least.
        usd: The bound so far.
        path: The machines by window that cost least at its multipliers and break no more than is allowed.
    """

    curves: WindowCurves
    paid: PathCost
    rest_s: Floats
    covers: list[Cover]
    usd_per_s: float
    held: int
    allowed: int
    waiting: Waiting
    realtime_s: float
    usd: float = 0.0
    path: Ints = field(default_factory=lambda: np.zeros(0, np.int64))
    _usd_per_violation: float = 0.0

    def refine(self, enough_usd: float) -> float:
        """Simulate windows with the numbers of machines that decide, until the bound does not grow or is enough."""
        small = 0
        for _ in range(_MAX_ROUNDS):
            before = self.usd
            paths = self._maximize().paths
            self.path = paths[0]
            small = small + 1 if self.usd - before < _MIN_GROWTH * self.usd else 0
            if self.usd >= enough_usd or small > 1 or not self._simulate(paths):
                break
        return self.usd

    @property
    def utilization(self) -> float:
        """Utilization of the machines of the path."""
        return self.realtime_s / max(self._capacity_s(self.path), 1e-9)

    def _maximize(self) -> _Bound:
        """Raise the bound by the best multipliers for what is simulated so far."""
        numbers = max(curves.most_machines for curves in self._all_curves) + 2
        here, *late = (curves.at_least(numbers) for curves in self._all_curves)
        tables = _Tables(here, late[0] if late else np.zeros((0, numbers), np.int64))
        return max((self._over_gaps(tables, cover) for cover in self.covers), key=lambda bound: bound.usd)

    @property
    def _all_curves(self) -> list[WindowCurves]:
        return [self.curves, self.curves.late] if self.curves.late else [self.curves]

    def _over_gaps(self, tables: _Tables, cover: Cover) -> _Bound:
        """Return the bound at the best price of a gap's second, by golden section."""
        low, high = 0.0, self.usd_per_s / self.curves.pool.replicas_per_instance
        bounds = [self._over_violations(tables, cover, low)]
        room_s = self._capacity_s(bounds[0].paths[0]) - self.realtime_s
        if cover.work_share == 0 or room_s >= float(self.waiting.gap_s.sum()):
            return bounds[0]  # there is room for all of it
        bounds.append(self._over_violations(tables, cover, high))
        inner = [high - _GOLDEN * (high - low), low + _GOLDEN * (high - low)]
        pair = [self._over_violations(tables, cover, usd) for usd in inner]
        for _ in range(_GAP_STEPS):
            worse = 1 if pair[0].usd >= pair[1].usd else 0
            if worse:
                high, inner[1] = inner[1], inner[0]
                inner[0] = high - _GOLDEN * (high - low)
            else:
                low, inner[0] = inner[0], inner[1]
                inner[1] = low + _GOLDEN * (high - low)
            pair[worse] = pair[1 - worse]
            pair[1 - worse] = self._over_violations(tables, cover, inner[1 - worse])
        return max(bounds + pair, key=lambda bound: bound.usd)

    def _capacity_s(self, path: Ints) -> float:
        """Return the replica-seconds of the machines of a path."""
        return float(path @ self.paid.window_s) * self.curves.pool.replicas_per_instance

    def _over_violations(self, tables: _Tables, cover: Cover, gap_usd_per_s: float) -> _Bound:
        """Return the bound for one price of a gap's second, at the best price of a violation.

        The bound is concave in the price: where the lines of two paths meet, a third is below both, or none is.
        """
        highest = 4 * self.usd_per_s * tables.here.shape[1] * float(self.paid.window_s.sum() + self.paid.start_s.max())
        kept = self._at(tables, cover, gap_usd_per_s, highest)
        if kept.violations > self.allowed:
            self.usd = np.inf
            return _Bound(self.usd, (kept.path,))
        best, low = kept, None
        price = self._usd_per_violation
        for _ in range(_STEPS if self.allowed else 0):
            middle = self._at(tables, cover, gap_usd_per_s, price)
            if middle.usd > best.usd or best is kept:
                best, self._usd_per_violation = middle, price
            if middle.violations > self.allowed:
                low = middle
            else:
                kept = middle
            if low is None:
                if price == 0:
                    break
                price = 0.0
                continue
            meet = (kept.base_usd - low.base_usd) / (low.violations - kept.violations)
            if kept.violations >= low.violations or abs(meet - price) <= 1e-9 * price:
                break
            price = meet
        self.usd = max(self.usd, best.usd)
        return _Bound(best.usd, (kept.path,) if low is None else (kept.path, low.path))

    def _at(self, tables: _Tables, cover: Cover, gap_usd_per_s: float, violation_usd: float) -> _Relaxed:
        """Return the bound at these multipliers."""
        curves, paid, late = self.curves, self.paid, self.curves.late
        late_windows = late.busy if late else np.zeros(0, np.int64)
        numbers = np.arange(tables.here.shape[1], dtype=np.float64)
        charged = np.maximum(numbers - self.held, 0.0)
        usd_per_s = charged * self.usd_per_s - numbers * gap_usd_per_s * curves.pool.replicas_per_instance
        # A machine that counts on after it stopped has no gaps then.
        stop_usd = paid.stop_s * self.usd_per_s
        gap_usd = gap_usd_per_s * curves.pool.replicas_per_instance * curves.before * curves.window_s
        stop_usd[:-1] -= gap_usd
        usd, path = cheapest_path(
            Stretch(
                window_s=paid.window_s,
                start_usd=paid.start_s * self.usd_per_s,
                stop_usd=stop_usd,
                idle_until=cover.idle_until,
                paid=charged,
                usd_per_s=usd_per_s,
                rest_s=self.rest_s,
                busy=curves.busy,
                busy_usd=np.asarray(tables.here * violation_usd, np.float64),
                late=late_windows,
                late_usd=np.asarray(tables.late * violation_usd, np.float64),
                elsewhere=cover.elsewhere,
            )
        )
        violations = float(sum(map(_violations, tables, self._numbers(path))))
        base_usd = usd - violations * violation_usd + gap_usd_per_s * self.realtime_s
        base_usd += self.waiting.gap_work_usd(gap_usd_per_s, cover.work_share)
        return _Relaxed(
            usd=base_usd + violation_usd * (violations - self.allowed),
            base_usd=base_usd,
            violations=violations,
            path=path,
        )

    def _numbers(self, path: Ints) -> list[Ints]:
        """Return the machines of a path that decide about violations, in the windows of all curves; -1: none do."""
        numbers, late = [path[self.curves.busy]], self.curves.late
        if late:
            numbers.append(np.where(path[late.busy - 1] == 0, path[late.busy], -1))
        return numbers

    def _simulate(self, paths: Iterable[Ints]) -> bool:
        """Simulate windows with the machines of the first path that has some not simulated yet, if there is one."""
        for path in paths:
            targets = list(map(_undecided, self._all_curves, self._numbers(path)))
            for curves, machines in zip(self._all_curves, targets, strict=True):
                if machines.any():
                    curves.simulate(machines)
            if any(machines.any() for machines in targets):
                return True
        return False


def _violations(table: Ints, numbers: Ints) -> int:
    """Return the violations with these numbers of machines, -1 for windows that do not count."""
    counted = np.flatnonzero(numbers >= 0)
    return int(table[counted, numbers[counted]].sum())


def _undecided(curves: WindowCurves, wanted: Ints) -> Ints:
    """Return the number of machines to simulate each window of curves with; 0 where the wanted number is simulated.

    The number halves the interval that the wanted number lies in; above all numbers simulated it grows.
    """
    simulated = curves.machines
    below = np.where(simulated < wanted[:, None], simulated, 0).max(axis=1, initial=0)
    above = np.where(simulated > wanted[:, None], simulated, _UNBOUNDED).min(axis=1, initial=_UNBOUNDED)
    grown = np.maximum(np.ceil(_GROWTH * below).astype(np.int64), curves.least_machines())
    target = np.where(above == _UNBOUNDED, np.maximum(wanted, grown), (wanted + above) // 2)
    known = (simulated == wanted[:, None]).any(axis=1)
    return np.where(known | (wanted <= 0), 0, target)
