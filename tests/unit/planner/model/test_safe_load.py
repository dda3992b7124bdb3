"""The safe load as a table and as its envelope."""

import numpy as np
import pytest

from meritorder.planner.model.safe_load import concave_envelope, extend, extend_to_load, has_pooling_gain, min_machines


def test_load_needs_whole_machines() -> None:
    safe = np.array([0.0, 0.5, 1.4, 2.3])
    assert [min_machines(safe, load) for load in (0.0, 0.5, 0.51, 1.4, 9.0)] == [0, 1, 2, 2, 3]


def test_envelope_above_table_tight_at_end() -> None:
    safe = np.array([0.0, 0.4, 1.4, 2.3, 3.4])
    for load in (0.3, 1.0, 1.41, 2.0, 3.4):
        last = min_machines(safe, load)
        lines = concave_envelope(safe, load)
        for n in range(last + 1):
            lowest = min(slope * n + height for slope, height in lines)
            assert lowest >= min(safe[n], load) - 1e-12
        assert min(slope * last + height for slope, height in lines) == pytest.approx(load)
        # All of the load on fewer machines than it takes is refused.
        assert min(slope * (last - 1) + height for slope, height in lines) < load


def test_pooling_gain_and_extension() -> None:
    assert has_pooling_gain(np.array([0.0, 0.5, 1.4]))
    assert not has_pooling_gain(np.array([0.0, 0.5, 0.8]))
    assert extend(np.array([0.0, 0.5, 1.4]), 4).tolist() == pytest.approx([0, 0.5, 1.4, 2.1, 2.8])
    assert extend_to_load(np.array([0.0, 0.5, 1.4]), 1.4).tolist() == [0, 0.5, 1.4]
    assert extend_to_load(np.array([0.0, 0.5, 1.4]), 2.3).tolist() == pytest.approx([0, 0.5, 1.4, 2.1, 2.8])
