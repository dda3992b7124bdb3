"""Classes of requests, and the bursts that a steady load of the same mean does not have."""

import numpy as np
import pytest
from tests.samples import fleets

from meritorder.study.schedule.capacity import MAX_UTILIZATION, Serving, safe_load
from meritorder.study.schedule.demand import measure_bursts, raise_bursts, request_classes, slot_index, worst_slots


def test_classes_separate_lanes_and_patience() -> None:
    load = fleets.load([0.0, 1.0, 2.0, 3.0], waits=[False, True, False, True])
    classes = {group.name: group for group in request_classes(load, 900.0, "")}
    assert classes["realtime"].members.tolist() == [0, 2]
    (deferrable,) = (group for group in classes.values() if group.deferrable)
    assert deferrable.members.tolist() == [1, 3]
    named = request_classes(load, 900.0, "llama-3.1-8b")
    assert [group.name for group in named] == [f"{name}, llama-3.1-8b" for name in classes]


def test_late_times_are_in_last_slot() -> None:
    assert slot_index(np.array([0.0, 899.9, 900.0, 9e9]), 900.0, 3).tolist() == [0, 0, 1, 2]


@pytest.mark.parametrize(("limit", "chosen"), [(100.0, [1]), (5.0, [1]), (4.9, [1, 3]), (0.0, [1, 3, 0])])
def test_worst_slots_leave_the_limit(limit: float, chosen: list[int]) -> None:
    assert worst_slots(np.array([1.0, 9.0, 0.0, 4.0]), limit).tolist() == chosen


def test_burst_needs_more_than_the_mean() -> None:
    rng = np.random.default_rng(3)
    quiet = rng.uniform(0, 3600, 600)
    burst = 1800 + rng.uniform(0, 20, 1200)
    load = fleets.load(np.sort(np.concatenate((quiet, burst))), 300, 60)
    machine = fleets.machine(load)
    serving = Serving(
        machine=machine,
        safe=safe_load(machine, load, 8),
        backfill=fleets.backfill(0, kv_share=0.9),
        max_utilization=MAX_UTILIZATION,
    )
    bursts = measure_bursts(load, serving, 900.0, 4)
    assert bursts.argmax() == 2
    assert bursts[2] > 1.5


def raised_after_slot_1_broke(planned: float, machines: int) -> np.ndarray:
    """Return the bursts after 60 of 100 requests of slot 1 broke the SLO, and one of slot 2, which is acceptable."""
    violations = np.zeros(400, bool)
    violations[100:160] = violations[200] = True
    return raise_bursts(
        np.ones(4),
        mean=np.full(4, 2.0),
        planned=np.full(4, planned),
        machines=np.full(4, machines),
        safe=lambda _: np.array([0.0, 0.8, 1.7, 2.6, 3.5, 4.4]),
        slot=np.repeat(np.arange(4), 100),
        violations=violations,
        attainment=0.99,
    )


def test_only_the_worst_slots_are_raised() -> None:
    raised_to = raised_after_slot_1_broke(planned=2.0, machines=3)
    assert raised_to[1] * 2.0 > 2.6  # more than three machines serve
    assert raised_to[[0, 2, 3]].tolist() == [1.0, 1.0, 1.0]


def test_partly_used_pool_gets_one_machine() -> None:
    """A tenth of the load of 2 is on one machine: beyond 0.8 it needs another, and 0.6 more of all is enough."""
    assert raised_after_slot_1_broke(planned=0.2, machines=1)[1] * 2.0 == pytest.approx(2.6, abs=0.01)
