"""The baseline of a plan."""

import numpy as np
import pytest
from tests.samples import fleets

from meritorder.study.fleet.options import CompareOptions
from meritorder.study.plan.baseline import _busiest, find_baseline


def test_busiest_stretch_is_the_shortest() -> None:
    load = fleets.load([0.0, 50.0, 100.0, 101.0, 102.0, 200.0])
    stretch = _busiest(load, 3)
    assert stretch.arrived_s.tolist() == [0.0, 1.0, 2.0]
    assert stretch.span_s == 2.0
    assert 1 - stretch.attainment == pytest.approx((1 - load.attainment) * 6 / 3), "as many violations as in all"


def test_nothing_waits_in_the_baseline() -> None:
    load = fleets.load(np.arange(200.0), waits=np.arange(200) % 2 == 0, span_s=200.0)
    trial = find_baseline(load, [fleets.machine(load)], CompareOptions(model="llama-3.1-8b"), lambda _: None)
    assert trial.feasible
    assert trial.usd > 0
