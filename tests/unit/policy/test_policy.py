"""The decisions, each against the rule that it says it follows."""

import numpy as np
import pytest

from meritorder.policy.release import backfill_seats, latest_start_s
from meritorder.policy.route import load_of
from meritorder.policy.scale import for_concurrency, to_add_for_deadline


def test_backfill_leaves_a_seat_for_each_request_that_waits() -> None:
    assert backfill_seats(10, 0, 16) == 6
    assert backfill_seats(10, 5, 16) == 1
    assert backfill_seats(10, 9, 16) == 0
    assert backfill_seats(0, 0, 0) == 0


def test_the_latest_start_leaves_the_work_before_the_deadline_but_is_not_before_the_arrival() -> None:
    deadline_s, work_s, arrived_s = np.array([1000.0, 1000.0]), np.array([150.0, 950.0]), np.array([100.0, 100.0])
    np.testing.assert_array_equal(latest_start_s(deadline_s, work_s, arrived_s), [850.0, 100.0])


def test_load_counts_what_runs_and_what_waits() -> None:
    assert load_of(3, 4) == 7


@pytest.mark.parametrize(
    ("in_flight", "target", "replicas"), [(0, 8, 0), (0.1, 8, 1), (8, 8, 1), (8.01, 8, 2), (0.3, 0.1, 3), (7e6, 7, 1e6)]
)
def test_the_autoscaler_holds_the_requests_in_flight_at_its_target(
    in_flight: float, target: float, replicas: int
) -> None:
    assert for_concurrency(in_flight, target) == replicas


def test_a_deadline_asks_for_what_is_short_and_only_for_that() -> None:
    assert to_add_for_deadline(3600, 0, 1800) == 2
    assert to_add_for_deadline(3600, 1800, 1800) == 1
    assert to_add_for_deadline(3600, 3600, 1800) == 0
    assert to_add_for_deadline(60, 0, 36_000) < 1, "work that can wait asks for no whole replica yet"
    assert to_add_for_deadline(60, 0, 0) == 0, "nothing that starts now would still be in time"
