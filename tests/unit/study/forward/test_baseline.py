"""Real time sized on the past, and searched again where it was too small."""

import numpy as np
from tests.samples.fleets import load, machine

from meritorder.study.forward.baseline import PastBaseline
from meritorder.study.forward.days import split_days

DAY_S = 86_400.0


def test_broken_real_time_is_searched_again() -> None:
    burst_s = np.linspace(0, 900, 10_000)  # 8,300 tokens a second; one replica makes 5,800
    arrived_s = np.concatenate((np.linspace(0, DAY_S - 1, 500), DAY_S + burst_s, 2 * DAY_S + burst_s))
    asked = load(arrived_s, 600, 150, span_s=3 * DAY_S)
    days = split_days(asked)
    baseline = PastBaseline(days=days, machines=[machine(asked)], progress=lambda _: None)
    small = baseline.choose(1)
    assert not baseline.run(small, 1).feasible
    assert baseline.run(baseline.choose(2), 2).feasible
