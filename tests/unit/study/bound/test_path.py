"""The cheapest path of machines, against the enumeration of all paths."""

from itertools import product

import numpy as np
import pytest

from meritorder.study.bound.path import PathCost, Stretch, cheapest_path, idle_until, is_short


def random_stretch(rng: np.random.Generator, windows: int, numbers: int) -> Stretch:
    busy = np.flatnonzero(rng.random(windows) < 0.6)
    late = 1 + np.flatnonzero(rng.random(windows - 1) < 0.5)
    machines = np.arange(numbers, dtype=np.float64)
    stop_usd = rng.uniform(0, 1, windows)
    return Stretch(
        window_s=rng.uniform(0, 2, windows),
        start_usd=stop_usd.max() + rng.uniform(0, 3, windows),
        stop_usd=stop_usd,
        idle_until=np.sort(rng.integers(1, windows + 2, windows)),
        paid=np.maximum(machines - rng.integers(0, 2), 0.0),
        usd_per_s=machines * rng.uniform(0.1, 1),
        rest_s=np.where(rng.random(windows) < 0.5, rng.uniform(0, 3, windows), 0.0),
        busy=busy,
        busy_usd=rng.uniform(0, 4, (len(busy), numbers)),
        late=late,
        late_usd=rng.uniform(0, 4, (len(late), numbers)),
        elsewhere=rng.uniform(0.1, 3, (2, windows)),
    )


def cost(stretch: Stretch, states: tuple[int, ...]) -> float:
    """The cost of a path of machines, -1 for none but one elsewhere, added up window by window."""
    usd, idle_since, before = 0.0, None, None
    paid, one_usd_per_s = stretch.paid, stretch.usd_per_s[min(1, len(stretch.paid) - 1)]
    for k, state in enumerate(states):
        n, elsewhere = max(state, 0), state < 0
        usd += stretch.usd_per_s[n] * stretch.window_s[k]
        place = np.flatnonzero(stretch.busy == k)
        usd += float(stretch.busy_usd[place, n].sum())
        if elsewhere:
            usd += stretch.elsewhere[1, k]
            if before is None or before >= 0:
                usd += stretch.elsewhere[0, k]
        if before is None:
            usd += stretch.start_usd[0] * paid[n]
        else:
            rest_s = stretch.rest_s[k - 1]
            if before > 0 and n == 0:
                usd += rest_s * one_usd_per_s
            if before <= 0 and n > 0:
                usd -= max(rest_s - stretch.window_s[k], 0.0) * one_usd_per_s
            change = paid[n] - paid[max(before, 0)]
            usd += stretch.start_usd[k] * max(change, 0.0) - stretch.stop_usd[k - 1] * max(-change, 0.0)
            if before <= 0:
                usd += float(stretch.late_usd[stretch.late == k, n].sum())
        idle_since = (k if idle_since is None else idle_since) if state == 0 else None
        if idle_since is not None and k > stretch.idle_until[idle_since]:
            return np.inf
        before = state
    usd += stretch.rest_s[-1] * one_usd_per_s * (states[-1] > 0)
    return usd - stretch.stop_usd[-1] * paid[max(states[-1], 0)]


@pytest.mark.parametrize("seed", range(40))
def test_path_agrees_with_enumeration(seed: int) -> None:
    rng = np.random.default_rng(seed)
    windows, numbers = int(rng.integers(1, 7)), int(rng.integers(1, 4))
    stretch = random_stretch(rng, windows, numbers)
    found_usd, path = cheapest_path(stretch)
    costs = {states: cost(stretch, states) for states in product(range(-1, numbers), repeat=windows)}
    assert found_usd == pytest.approx(min(costs.values()))
    same = [usd for states, usd in costs.items() if [max(state, 0) for state in states] == path.tolist()]
    assert min(same) == pytest.approx(found_usd)


def paid_time(windows: int, window_s: float, before: int, horizon_s: float) -> PathCost:
    return PathCost.of(
        windows, window_s=window_s, before=before, tick_s=15.0, horizon_s=horizon_s, startup_paid_s=240.0
    )


def test_paid_time_of_exact_windows() -> None:
    paid = paid_time(8, 15.0, 0, 112.0)
    # Started to serve in windows 2 to 4: 240 s, and three ticks.
    assert paid.start_s[2] + paid.window_s[2:5].sum() - paid.stop_s[4] == 240 + 45
    # On at time 0 until the horizon at 112 s.
    assert paid.start_s[0] + paid.window_s.sum() - paid.stop_s[7] == 112


def test_paid_time_of_long_windows() -> None:
    paid = paid_time(8, 60.0, 0, 480.0)
    # From the last tick of window 2 to the first of window 4 are 15 + 60 + 15 seconds.
    assert paid.start_s[2] + paid.window_s[2:5].sum() - paid.stop_s[4] == 240 + 90


def test_paid_time_of_machines_that_count_on() -> None:
    paid = paid_time(8, 60.0, 2, 480.0)
    # The same machine counts in windows 5 and 6, too.
    assert paid.start_s[2] + paid.window_s[2:7].sum() - paid.stop_s[6] == 240 + 90


def test_restart_costs_more_than_longest_break() -> None:
    # From the end of the first tick of one window to the last of its neighbor are 240 s.
    assert is_short(135.0, 0, 15.0, 240.0)
    assert not is_short(150.0, 0, 15.0, 240.0)
    assert is_short(90.0, 1, 15.0, 240.0)
    assert not is_short(105.0, 1, 15.0, 240.0)
    assert is_short(15.0, 0, 15.0, 0.0)


def test_idle_until_tightest_deadline() -> None:
    until = idle_until(np.array([20.0, 100.0]), np.array([140.0, 110.0]), 30.0, 6)
    # From window 0 or 3 on, the second request must start in window 3; afterwards nothing waits.
    assert until.tolist() == [2, 2, 2, 2, 6, 6]
