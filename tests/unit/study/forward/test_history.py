"""The past days as a policy sees them."""

import numpy as np
import pytest
from tests.samples.fleets import load, machine

from meritorder.study.forward.days import split_days
from meritorder.study.forward.history import History

DAY_S = 86_400.0


def history(*requests: int) -> History:
    arrived_s = [day * DAY_S + np.linspace(0, DAY_S - 1, count) for day, count in enumerate(requests)]
    asked = load(np.concatenate(arrived_s), span_s=len(requests) * DAY_S)
    return History(days=split_days(asked), machines=[machine(asked)])


def test_first_day_has_no_forecast() -> None:
    days = history(960, 960)
    assert days.forecast(0, 0) is None
    assert days.load_before(0, 0) == pytest.approx(days.loads(0, 0)[:4].mean())


def test_day_after_the_last_is_forecast() -> None:
    days = history(960, 960)
    assert days.expected_load(0, 2) == pytest.approx(days.loads(0, 1).mean())


def test_surprises_widen_what_is_possible() -> None:
    calm, wild = history(960, 960, 960), history(320, 2880, 960)
    assert calm.possible_load(0, 3) == pytest.approx(1.2 * calm.expected_load(0, 3), rel=0.05)
    assert wild.possible_load(0, 3) > 2 * wild.expected_load(0, 3)
