"""Slots, due slots and classes of patience."""

import numpy as np
import pytest
from tests.samples.planning import HOUR, hours

from meritorder.errors import ConfigError
from meritorder.planner.model.demand import (
    Horizon,
    OpenEnd,
    due_slots,
    patience_classes,
    sum_by_slot,
)


def test_work_summed_by_slot() -> None:
    binned = sum_by_slot(np.array([0.0, 100.0, 3600.0, 7199.0]), np.array([1.0, 2.0, 3.0, 4.0]), hours(3))
    assert binned.tolist() == [3, 7, 0]
    with pytest.raises(ConfigError, match="outside the horizon"):
        sum_by_slot(np.array([3 * HOUR]), np.ones(1), hours(3))


def test_due_before_earliest_deadline() -> None:
    arrived, deadline = np.array([0.0, 10.0, HOUR]), np.array([2.5, 3.2, 2.9]) * HOUR
    # The first slot holds a deadline at 2.5 h: all of it by the end of slot 1; the second at 2.9 h likewise.
    assert due_slots(arrived, deadline, hours(4))[:2].tolist() == [1, 1]
    late = due_slots(np.array([0.0, HOUR]), np.array([3.5, 2.1]) * HOUR, hours(4))
    assert late[:2].tolist() == [1, 1]
    assert due_slots(np.array([0.0]), np.array([0.2 * HOUR]), hours(2))[0] == 0


def test_patience_classes_double() -> None:
    classes = patience_classes(np.zeros(5), np.array([0.5, 1.0, 2.0, 3.9, 24.0]) * HOUR, HOUR)
    assert classes.tolist() == [0, 0, 1, 1, 4]


def test_slots_must_divide_an_hour() -> None:
    for slot_s in (900.0, 3600.0):
        Horizon(slot_s=slot_s, slots=4)
    with pytest.raises(ConfigError, match="must divide an hour"):
        Horizon(slot_s=1000.0, slots=4)
    with pytest.raises(ConfigError, match="at least one slot"):
        hours(0)
    with pytest.raises(ConfigError, match="probabilities"):
        hours(1, scenarios=2, probabilities=(0.9, 0.9))


def test_previous_slot_and_hour() -> None:
    horizon = Horizon(slot_s=1800.0, slots=3, scenarios=2)
    assert horizon.previous.tolist() == [2, 0, 1, 5, 3, 4]
    assert horizon.hour_of.tolist() == [0, 0, 1, 2, 2, 3]
    assert Horizon(slot_s=1800.0, slots=3, ends=OpenEnd()).previous.tolist() == [-1, 0, 1]
