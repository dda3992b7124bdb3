"""How many replicas to run, and the load that routing balances."""

import pytest

from meritorder.policy.replicas import (
    first_replica_is_due,
    machines_above_floor,
    machines_for_concurrency,
    recommendations_kept,
    replica_load,
    replicas_for_deadline,
)


def test_load_counts_running_and_waiting() -> None:
    assert replica_load(3, 4) == 7


@pytest.mark.parametrize(
    ("in_flight", "target", "replicas"), [(0, 8, 0), (0.1, 8, 1), (8, 8, 1), (8.01, 8, 2), (0.3, 0.1, 3), (7e6, 7, 1e6)]
)
def test_autoscaler_meets_concurrency_target(in_flight: float, target: float, replicas: int) -> None:
    assert machines_for_concurrency(in_flight, target, 0, 1) == replicas


@pytest.mark.parametrize(
    ("in_flight", "beside", "per_machine", "machines"), [(40, 0, 2, 3), (40, 2, 2, 2), (40, 5, 2, 0), (40, 9, 2, 0)]
)
def test_replicas_beside_share_the_load(in_flight: float, beside: int, per_machine: int, machines: int) -> None:
    assert machines_for_concurrency(in_flight, 8, beside, per_machine) == machines


def test_recommendations_of_window_are_kept() -> None:
    assert [recommendations_kept(window_s, 15.0) for window_s in (0.0, 15.0, 16.0, 300.0)] == [1, 1, 2, 20]


def test_first_replica_starts_at_last_decision() -> None:
    assert first_replica_is_due(0, 15.0, 15.0)
    assert not first_replica_is_due(0, 15.1, 15.0)
    assert not first_replica_is_due(1, 0.0, 15.0)


@pytest.mark.parametrize(
    ("reactive", "minimum", "floor", "maximum", "wanted"),
    [(2, 1, 0, 8, 2), (2, 1, 5, 8, 5), (2, 3, 0, 8, 3), (9, 1, 5, 8, 8), (2, 1, 9, 8, 8), (0, 0, 0, 8, 0)],
)
def test_load_adds_machines_above_floor(reactive: int, minimum: int, floor: int, maximum: int, wanted: int) -> None:
    assert machines_above_floor(reactive, minimum, floor, maximum) == wanted


def test_deadline_adds_only_missing_replicas() -> None:
    assert replicas_for_deadline(3600, 0, 1800) == 2
    assert replicas_for_deadline(3600, 1800, 1800) == 1
    assert replicas_for_deadline(3600, 3600, 1800) == 0
    assert replicas_for_deadline(3600, 5400, 1800) == 0, "more is scheduled than needed"
    assert replicas_for_deadline(1, 0.5, 0.5) == 1, "half a second of work and half a second left"
    assert replicas_for_deadline(60, 0, -0.5) == 0
    assert replicas_for_deadline(60, 0, 36_000) < 1, "work that can wait needs no whole replica yet"
    assert replicas_for_deadline(60, 0, 0) == 0, "a replica started now would be too late"
