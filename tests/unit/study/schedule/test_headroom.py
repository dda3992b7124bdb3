"""Work of machines by slot, by which their headroom is observed."""

import numpy as np
import pytest

from meritorder.planner.model.demand import Horizon
from meritorder.study.schedule.headroom import _area_by_slot

QUARTERS = Horizon(slot_s=900.0, slots=4)


def test_work_counts_where_it_ran() -> None:
    begin_s, end_s, rate = (
        np.array([450.0, 900.0, 3000.0]),
        np.array([1350.0, 1000.0, 5000.0]),
        np.array([1.0, 2.0, 0.5]),
    )
    done_s = _area_by_slot(begin_s, rate, QUARTERS) - _area_by_slot(end_s, rate, QUARTERS)
    assert done_s.tolist() == pytest.approx([450.0, 450.0 + 200.0, 0.0, 300.0])
