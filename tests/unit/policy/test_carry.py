"""What a plan asks for at a moment."""

import math
from collections import Counter

import numpy as np
import pytest

from meritorder.policy.carry import (
    Calendar,
    choose,
    evenly,
    machines_wanted,
    period_s,
    quota,
    sure_drain_tokens_per_s,
)

DAY_S = 86_400.0


def test_machines_are_held_for_the_slot_that_it_is_and_those_that_a_start_up_reaches() -> None:
    machines = [1, 0, 3, 2]
    assert [machines_wanted(machines, slot, slot) for slot in range(4)] == machines
    assert machines_wanted(machines, 1, 2) == 3
    assert machines_wanted(machines, 3, 4) == 2, "after the last slot comes the first"
    assert machines_wanted(machines, 3, 400) == 3


def test_any_stretch_of_places_is_spread_evenly() -> None:
    shares = [0.25, 0.6, 0.15]
    for first in (0, 17, 40_000):
        found = Counter(choose(evenly(float(n)), shares) for n in range(first, first + 200))
        assert all(found[which] == pytest.approx(200 * share, abs=4) for which, share in enumerate(shares))
    numbers = np.arange(5, dtype=np.float64)
    np.testing.assert_allclose(evenly(numbers), [evenly(float(n)) for n in numbers])


def test_shares_that_fall_short_leave_the_rest_to_the_last() -> None:
    assert choose(0.99, [0.1, 0.2]) == 1


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_a_quota_keeps_a_venue_to_its_share(share: float) -> None:
    here = total = 0
    for _ in range(500):
        more = int(quota(share, here, total))
        here, total = here + more, total + more
        assert here <= share * total + 1
        total += 1  # somebody else takes one
        assert share >= 0.5 or here > 0
    assert here >= min(share * total - 1, total / 2)
    assert quota(1.0, 10, 10) == math.inf


@pytest.mark.parametrize(
    ("horizon_s", "period"),
    [
        (7 * DAY_S, 7 * DAY_S),
        (7 * DAY_S - 5400, 7 * DAY_S),
        (7 * DAY_S + 900, 7 * DAY_S),
        (0.6 * DAY_S, DAY_S),
        (3600.0, 3600.0),
    ],
)
def test_a_plan_repeats_at_the_same_time_of_the_day(horizon_s: float, period: float) -> None:
    assert period_s(horizon_s) == period


def test_the_calendar_knows_its_slot_before_and_after_the_first() -> None:
    week = Calendar(slot_s=3600.0, slots=168, period_s=7 * DAY_S, began_s=1000.0)
    assert [week.slot_at(1000.0 + at) for at in (0.0, 3599.0, 3600.0, 7 * DAY_S - 1, 7 * DAY_S, -1.0)] == [
        *(0, 0, 1),
        *(167, 0, 167),
    ]
    assert week.left_s(1000.0 + 100.0) == 3500.0
    assert week.into_s(1000.0 - 100.0) == 7 * DAY_S - 100


def test_a_missing_end_is_the_last_slot_and_what_is_too_much_is_left_out() -> None:
    short = Calendar(slot_s=3600.0, slots=22, period_s=DAY_S, began_s=0.0)
    assert (short.used, short.slot_at(DAY_S - 1), short.slot_at(DAY_S)) == (22, 21, 0)
    assert short.left_s(21.5 * 3600) == 2.5 * 3600
    long = Calendar(slot_s=3600.0, slots=25, period_s=DAY_S, began_s=0.0)
    assert (long.used, long.slot_at(DAY_S - 1), long.slot_at(DAY_S)) == (24, 23, 0)


def test_what_is_ahead_ends_where_a_slot_begins() -> None:
    calendar = Calendar(slot_s=60.0, slots=3, period_s=180.0, began_s=0.0)
    assert calendar.ahead(10.0, 0.0) == (0, 0)
    assert calendar.ahead(10.0, 49.0) == (0, 0)
    assert calendar.ahead(10.0, 50.0) == (0, 1), "who is started now serves when the slot begins"
    assert calendar.ahead(130.0, 60.0) == (2, 3)
    assert calendar.ahead(130.0, 1e9)[0] == 2


def test_the_next_slot_that_is_wanted_is_found_past_the_end() -> None:
    calendar = Calendar(slot_s=60.0, slots=3, period_s=180.0, began_s=0.0)
    assert calendar.next_s(10.0, [True, False, True]) == 120.0
    assert calendar.next_s(130.0, [True, False, True]) == 180.0
    assert calendar.next_s(130.0, [False, False, True]) == 300.0, "this very slot, the next time"
    assert calendar.next_s(10.0, [False] * 3) == math.inf


def test_no_more_is_counted_on_than_half_the_seats_at_the_real_time_pace() -> None:
    assert sure_drain_tokens_per_s(math.inf, 16, 0.1) == 80.0
    assert sure_drain_tokens_per_s(500.0, 16, 0.1) == 80.0
    assert sure_drain_tokens_per_s(20.0, 16, 0.1) == 20.0
