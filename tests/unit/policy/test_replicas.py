"""How many replicas to run, and the load that routing balances."""

import pytest

from meritorder.policy.replicas import (
    machines_above_floor,
    replica_load,
    replicas_for_concurrency,
    replicas_for_deadline,
)


def test_load_counts_running_and_waiting() -> None:
    assert replica_load(3, 4) == 7


@pytest.mark.parametrize(
    ("in_flight", "target", "replicas"), [(0, 8, 0), (0.1, 8, 1), (8, 8, 1), (8.01, 8, 2), (0.3, 0.1, 3), (7e6, 7, 1e6)]
)
def test_autoscaler_meets_concurrency_target(in_flight: float, target: float, replicas: int) -> None:
    assert replicas_for_concurrency(in_flight, target) == replicas


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
