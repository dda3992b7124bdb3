"""Bounds of plans: what a price list may lower, and what it may not."""

import numpy as np
import polars as pl

from meritorder.records.planproof import InHindsight
from meritorder.study.plan.answer import plan
from meritorder.study.schedule.options import PlanOptions
from meritorder.traces.read import read_trace


def in_hindsight(*, spot: bool) -> InHindsight:
    """Six requests far apart, none of which may wait: each needs a machine of its own."""
    requests = {"time": np.arange(6) * 1200.0, "input_tokens": [200] * 6, "output_tokens": [50] * 6}
    made = plan(
        read_trace([pl.DataFrame(requests)]), PlanOptions(model="llama-3.1-8b", hardware=("h100",), spot=spot)
    ).in_hindsight
    assert made is not None
    return made


def test_spot_does_not_lower_real_time() -> None:
    firm, spot = in_hindsight(spot=False), in_hindsight(spot=True)
    assert spot.bound_usd == firm.bound_usd > 0
    assert spot.hard_bound_usd == firm.hard_bound_usd
    assert spot.total_usd <= 1.05 * spot.bound_usd
