"""What a commitment costs and when it pays off, against sums made by hand."""

import numpy as np
import pytest

from meritorder.policy.commitments import break_even_use, cost_with_commitment, machines_to_commit


def test_levels_are_bought_while_used_enough() -> None:
    """Use 1, 2, 3, 4 in four hours; at 6 / 10 a level must be used in more than 60 %: levels 1 and 2 are."""
    assert machines_to_commit(np.array([1.0, 2.0, 3.0, 4.0]), 6.0, 10.0) == 2
    assert machines_to_commit(np.array([]), 6.0, 10.0) == 0


def test_break_even_itself_does_not_pay() -> None:
    """A machine used in exactly 60 % of the hours costs 60 either way, so it is not committed to."""
    use = np.array([1.0] * 6 + [0.0] * 4)
    assert break_even_use(6.0, 10.0) == pytest.approx(0.6)
    assert machines_to_commit(use, 6.0, 10.0) == 0
    assert machines_to_commit(np.append(use, 1.0), 6.0, 10.0) == 1


def test_partial_hour_saves_its_part() -> None:
    """Half a machine in every hour saves 5 an hour: less than a commitment at 6 costs, more than one at 4."""
    use = np.full(10, 0.5)
    assert machines_to_commit(use, 6.0, 10.0) == 0
    assert machines_to_commit(use, 4.0, 10.0) == 1


def test_idle_hours_save_nothing() -> None:
    """Two are used in five hours of seven, 71 %, which pays at 60 %; three at once in half of the hours does not."""
    assert machines_to_commit(np.array([0.0, 0.0, 2.0, 2.0, 2.0, 2.0, 2.0]), 6.0, 10.0) == 2
    assert machines_to_commit(np.array([0.0, 3.0]), 6.0, 10.0) == 0


def test_commitment_is_paid_in_every_hour() -> None:
    """Two committed at 6 in three hours are 36; the third machine of the last hour is 10 on demand."""
    assert cost_with_commitment(np.array([0.0, 2.0, 3.0]), 2, 6.0, 10.0) == pytest.approx(46)
    assert cost_with_commitment(np.array([0.0, 2.0, 3.0]), 0, 6.0, 10.0) == pytest.approx(50)


def test_advised_level_costs_least() -> None:
    use = np.array([0.0, 1.0, 1.0, 2.0, 2.0, 3.0, 5.0])
    costs = [cost_with_commitment(use, machines, 4.0, 10.0) for machines in range(7)]
    assert costs[machines_to_commit(use, 4.0, 10.0)] == min(costs)
