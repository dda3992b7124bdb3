"""What a plan schedules at a given time."""

import math
from collections import Counter

import numpy as np
import pytest

from meritorder.policy.schedule import (
    Calendar,
    pick_share,
    remaining_quota,
    repeat_period_s,
    safe_completion_tokens_per_s,
    scheduled_machines,
    spread_evenly,
)

DAY_S = 86_400.0


def test_machines_cover_slots_within_startup() -> None:
    machines = [1, 0, 3, 2]
    assert [scheduled_machines(machines, slot, slot) for slot in range(4)] == machines
    assert scheduled_machines(machines, 1, 2) == 3
    assert scheduled_machines(machines, 3, 4) == 2, "the first slot follows the last"
    assert scheduled_machines(machines, 3, 400) == 3
    assert scheduled_machines([5, 1, 0], 1, 3) == 5, "the range ends with the first slot, repeated"
    assert scheduled_machines([5, 1, 0], 1, 2) == 1
    assert scheduled_machines([0, 0], 0, 1) == 0
    assert scheduled_machines([1, 1], 1, 0) == 0, "no slot, no machine"


def test_any_stretch_is_spread_evenly() -> None:
    shares = [0.25, 0.6, 0.15]
    for first in (0, 17, 40_000):
        found = Counter(pick_share(spread_evenly(float(n)), shares) for n in range(first, first + 200))
        assert all(found[which] == pytest.approx(200 * share, abs=4) for which, share in enumerate(shares))
    numbers = np.arange(5, dtype=np.float64)
    np.testing.assert_allclose(spread_evenly(numbers), [spread_evenly(float(n)) for n in numbers])


def test_positions_are_multiples_of_golden_ratio() -> None:
    """The golden ratio conjugate is the positive root of x^2 = 1 - x."""
    first = spread_evenly(1.0)
    assert first**2 == pytest.approx(1 - first)
    assert first > 0
    assert spread_evenly(0.0) == 0.0
    assert spread_evenly(2.0) == pytest.approx(2 * first - 1)


def test_last_share_takes_the_remainder() -> None:
    assert pick_share(0.99, [0.1, 0.2]) == 1
    assert pick_share(0.99, [0.5, 0.25, 0.125]) == 2


def test_share_ends_before_the_next() -> None:
    shares = [0.25, 0.5, 0.25]
    assert [pick_share(position, shares) for position in (0.0, 0.24, 0.25, 0.74, 0.75)] == [0, 0, 1, 1, 2]


def test_quota_by_hand() -> None:
    """Of ten requests half are five: at five one more, at six none, at four (5 - 4) / (1 - 1/2) and one more."""
    assert [remaining_quota(0.5, taken, 10) for taken in (6, 5, 4)] == [0.0, 1.0, 3.0]
    assert remaining_quota(0.0, 0, 10) == 1.0
    assert remaining_quota(0.0, 1, 10) == 0.0


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_quota_keeps_venue_to_share(share: float) -> None:
    taken = total = 0
    for _ in range(500):
        more = int(remaining_quota(share, taken, total))
        taken, total = taken + more, total + more
        assert taken <= share * total + 1
        total += 1  # another venue takes one
        assert share >= 0.5 or taken > 0
    assert taken >= min(share * total - 1, total / 2)
    assert remaining_quota(1.0, 10, 10) == math.inf


@pytest.mark.parametrize(
    ("horizon_s", "period"),
    [
        (7 * DAY_S, 7 * DAY_S),
        (7 * DAY_S - 5400, 7 * DAY_S),
        (7 * DAY_S + 900, 7 * DAY_S),
        (0.6 * DAY_S, DAY_S),
        (0.4 * DAY_S, 0.4 * DAY_S),
        (1.4 * DAY_S, DAY_S),
        (3600.0, 3600.0),
    ],
)
def test_plan_repeats_after_whole_days(horizon_s: float, period: float) -> None:
    assert repeat_period_s(horizon_s) == period


def test_calendar_repeats_in_both_directions() -> None:
    week = Calendar(slot_s=3600.0, slots=168, period_s=7 * DAY_S, start_s=1000.0)
    assert [week.slot_at(1000.0 + at) for at in (0.0, 3599.0, 3600.0, 7 * DAY_S - 1, 7 * DAY_S, -1.0)] == [
        *(0, 0, 1),
        *(167, 0, 167),
    ]
    assert week.remaining_s(1000.0 + 100.0) == 3500.0
    assert week.elapsed_s(1000.0 - 100.0) == 7 * DAY_S - 100


def test_last_slot_absorbs_period_mismatch() -> None:
    short = Calendar(slot_s=3600.0, slots=22, period_s=DAY_S, start_s=0.0)
    assert (short.active_slots, short.slot_at(DAY_S - 1), short.slot_at(DAY_S)) == (22, 21, 0)
    assert short.remaining_s(21.5 * 3600) == 2.5 * 3600
    long = Calendar(slot_s=3600.0, slots=25, period_s=DAY_S, start_s=0.0)
    assert (long.active_slots, long.slot_at(DAY_S - 1), long.slot_at(DAY_S)) == (24, 23, 0)


def test_slot_within_reach_at_its_start() -> None:
    calendar = Calendar(slot_s=60.0, slots=3, period_s=180.0, start_s=0.0)
    assert calendar.slots_within(10.0, 0.0) == (0, 0)
    assert calendar.slots_within(10.0, 49.0) == (0, 0)
    assert calendar.slots_within(10.0, 50.0) == (0, 1), "a machine started now is ready when the slot starts"
    assert calendar.slots_within(130.0, 60.0) == (2, 3)
    assert calendar.slots_within(130.0, 1e9) == (2, 5), "one period ahead and no further"
    short = Calendar(slot_s=60.0, slots=2, period_s=180.0, start_s=0.0)
    assert [short.slots_within(10.0, ahead_s) for ahead_s in (50.0, 169.0, 170.0)] == [(0, 1), (0, 1), (0, 2)]


def test_next_wanted_slot_wraps_around() -> None:
    calendar = Calendar(slot_s=60.0, slots=3, period_s=180.0, start_s=0.0)
    assert calendar.next_start_s(10.0, [True, False, True]) == 120.0
    assert calendar.next_start_s(130.0, [True, False, True]) == 180.0
    assert calendar.next_start_s(130.0, [False, False, True]) == 300.0, "the current slot, one period later"
    assert calendar.next_start_s(10.0, [False] * 3) == math.inf
    long_last = Calendar(slot_s=60.0, slots=2, period_s=180.0, start_s=0.0)
    assert long_last.next_start_s(10.0, [True, False]) == 180.0, "the last slot lasts for two"


def test_safe_rate_is_half_the_sequences() -> None:
    assert safe_completion_tokens_per_s(math.inf, 16, 0.1) == 80.0
    assert safe_completion_tokens_per_s(500.0, 16, 0.1) == 80.0
    assert safe_completion_tokens_per_s(20.0, 16, 0.1) == 20.0
