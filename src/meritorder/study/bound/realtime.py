"""The least cost of real-time work on one kind of replica, with deferrable work in its gaps: a Lagrangian relaxation.

    max over lambda, mu >= 0 of  min over N { paid(N) + lambda (violations(N) - allowed) - mu gaps(N) }
                                 + sum_i min(elsewhere_i, mu work_i)

N is the number of machines that serve in each window. Any lambda and mu give a bound.
"""

from dataclasses import dataclass
from typing import Final

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
        utilization: Of the machines of the path that gave it.
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
    utilization: float = 1.0
    _usd_per_violation: float = 0.0

    def refine(self, enough_usd: float) -> float:
        """Simulate windows with the numbers of machines that decide, until the bound does not grow or is enough."""
        small = 0
        for _ in range(_MAX_ROUNDS):
            before = self.usd
            path = self._maximize()
            self.utilization = self.realtime_s / max(self._capacity_s(path), 1e-9)
            pending = self._undecided(path)
            small = small + 1 if self.usd - before < _MIN_GROWTH * self.usd else 0
            if self.usd >= enough_usd or small > 1 or not pending.any():
                break
            self.curves.simulate(pending)
        return self.usd

    def _maximize(self) -> Ints:
        """Raise the bound by the best multipliers for what is simulated so far; return the machines by window there."""
        table = self.curves.at_least(self.curves.most_machines + 2)
        if not len(self.waiting):
            return self._over_violations(table, self.covers[0], 0.0)[1]
        best_usd, best_path = -np.inf, np.zeros(0, np.int64)
        for cover in self.covers:
            usd, path = self._over_gaps(table, cover)
            if usd > best_usd:
                best_usd, best_path = usd, path
        return best_path

    def _over_gaps(self, table: Ints, cover: Cover) -> tuple[float, Ints]:
        """Return the bound at the best price of a gap's second, by golden section, and its machines."""
        low, high = 0.0, self.usd_per_s / self.curves.pool.replicas_per_instance
        results = [self._over_violations(table, cover, low)]
        if cover.work_share == 0 or self._capacity_s(results[0][1]) >= self.realtime_s + float(
            self.waiting.gap_s.sum()
        ):
            return results[0]  # there is room for all of it
        results.append(self._over_violations(table, cover, high))
        inner = [high - _GOLDEN * (high - low), low + _GOLDEN * (high - low)]
        pair = [self._over_violations(table, cover, usd) for usd in inner]
        for _ in range(_GAP_STEPS):
            worse = 1 if pair[0][0] >= pair[1][0] else 0
            if worse:
                high, inner[1] = inner[1], inner[0]
                inner[0] = high - _GOLDEN * (high - low)
            else:
                low, inner[0] = inner[0], inner[1]
                inner[1] = low + _GOLDEN * (high - low)
            pair[worse] = pair[1 - worse]
            pair[1 - worse] = self._over_violations(table, cover, inner[1 - worse])
        return max(results + pair, key=lambda result: result[0])

    def _capacity_s(self, path: Ints) -> float:
        """Return the replica-seconds of the machines of a path."""
        return float(path @ self.paid.window_s) * self.curves.pool.replicas_per_instance

    def _over_violations(self, table: Ints, cover: Cover, gap_usd_per_s: float) -> tuple[float, Ints]:
        """Return the bound for one price of a gap's second, at the best price of a violation, and its machines.

        The bound is concave in the price: where the lines of two paths meet, a third is below both, or none is.
        """
        highest = 4 * self.usd_per_s * table.shape[1] * float(self.paid.window_s.sum() + self.paid.start_s.max())
        kept = self._at(table, cover, gap_usd_per_s, highest)
        if kept.violations > self.allowed:
            self.usd = np.inf
            return self.usd, kept.path
        best, low = kept, None
        price = self._usd_per_violation
        for _ in range(_STEPS if self.allowed else 0):
            middle = self._at(table, cover, gap_usd_per_s, price)
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
        return best.usd, best.path

    def _at(self, table: Ints, cover: Cover, gap_usd_per_s: float, violation_usd: float) -> _Relaxed:
        """Return the bound at these multipliers."""
        curves, paid = self.curves, self.paid
        numbers = np.arange(table.shape[1], dtype=np.float64)
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
                busy_usd=np.asarray(table * violation_usd, np.float64),
                late_usd=np.asarray(curves.late * violation_usd, np.float64),
                elsewhere=cover.elsewhere,
            )
        )
        alone = (path[curves.busy] == 0) & (path[curves.busy + 1] == 0)
        here = path[curves.busy]
        violations = float(table[np.arange(len(here)), here].sum() + curves.late[alone].sum())
        base_usd = usd - violations * violation_usd + gap_usd_per_s * self.realtime_s
        base_usd += self.waiting.gap_work_usd(gap_usd_per_s, cover.work_share)
        return _Relaxed(
            usd=base_usd + violation_usd * (violations - self.allowed),
            base_usd=base_usd,
            violations=violations,
            path=path,
        )

    def _undecided(self, path: Ints) -> Ints:
        """Return the number of machines to simulate each busy window with; 0 where the path's number is simulated.

        The number halves the interval that the path's number lies in; above all numbers simulated it grows.
        """
        curves = self.curves
        wanted = path[curves.busy]
        simulated = curves.machines
        below = np.where(simulated < wanted[:, None], simulated, 0).max(axis=1, initial=0)
        above = np.where(simulated > wanted[:, None], simulated, _UNBOUNDED).min(axis=1, initial=_UNBOUNDED)
        grown = np.maximum(np.ceil(_GROWTH * below).astype(np.int64), curves.least_machines())
        target = np.where(above == _UNBOUNDED, np.maximum(wanted, grown), (wanted + above) // 2)
        known = (simulated == wanted[:, None]).any(axis=1)
        return np.where(known | (wanted == 0), 0, target)
