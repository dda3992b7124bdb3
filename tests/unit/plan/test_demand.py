import numpy as np
import pytest
from tests.samples.planning import HOUR, hours

from meritorder.errors import ConfigError, TraceError, WorkloadsError
from meritorder.plan.demand import Horizon, OpenEnd, bin_work, by_patience, due_after, due_slots
from meritorder.plan.forecast import fit, judge, pinball_loss
from meritorder.plan.safe_load import covering, envelope, extended, machines_for, pools_pay


def test_work_is_summed_by_slot() -> None:
    binned = bin_work(np.array([0.0, 100.0, 3600.0, 7199.0]), np.array([1.0, 2.0, 3.0, 4.0]), hours(3))
    assert binned.tolist() == [3, 7, 0]
    with pytest.raises(ConfigError, match="outside the horizon"):
        bin_work(np.array([3 * HOUR]), np.ones(1), hours(3))


def test_work_is_due_in_the_slot_before_its_earliest_deadline() -> None:
    arrived, deadline = np.array([0.0, 10.0, HOUR]), np.array([2.5, 3.2, 2.9]) * HOUR
    # The first slot holds a deadline at 2.5 h: all of it by the end of slot 1; the second at 2.9 h likewise.
    assert due_slots(arrived, deadline, hours(4))[:2].tolist() == [1, 1]
    late = due_slots(np.array([0.0, HOUR]), np.array([3.5, 2.1]) * HOUR, hours(4))
    assert late[:2].tolist() == [1, 1]
    assert due_slots(np.array([0.0]), np.array([0.2 * HOUR]), hours(2))[0] == 0


def test_equal_patience() -> None:
    assert due_after(2.5 * HOUR, hours(3)).tolist() == [1, 2, 3]
    with pytest.raises(WorkloadsError, match="shorter than a slot"):
        due_after(60.0, hours(3))


def test_patience_comes_in_classes_that_double() -> None:
    classes = by_patience(np.zeros(5), np.array([0.5, 1.0, 2.0, 3.9, 24.0]) * HOUR, HOUR)
    assert classes.tolist() == [0, 0, 1, 1, 4]


def test_slots_divide_an_hour() -> None:
    for slot_s in (900.0, 3600.0):
        Horizon(slot_s=slot_s, slots=4)
    with pytest.raises(ConfigError, match="must divide an hour"):
        Horizon(slot_s=1000.0, slots=4)
    with pytest.raises(ConfigError, match="at least one slot"):
        hours(0)
    with pytest.raises(ConfigError, match="probabilities"):
        hours(1, scenarios=2, chances=(0.9, 0.9))


def test_time_has_a_before_and_hours() -> None:
    horizon = Horizon(slot_s=1800.0, slots=3, scenarios=2)
    assert horizon.before.tolist() == [2, 0, 1, 5, 3, 4]
    assert horizon.hour_of.tolist() == [0, 0, 1, 2, 2, 3]
    assert Horizon(slot_s=1800.0, slots=3, ends=OpenEnd()).before.tolist() == [-1, 0, 1]


def test_safe_load_takes_whole_machines() -> None:
    safe = np.array([0.0, 0.5, 1.4, 2.3])
    assert [machines_for(safe, load) for load in (0.0, 0.5, 0.51, 1.4, 9.0)] == [0, 1, 2, 2, 3]


def test_envelope_is_above_the_table_and_tight_at_its_end() -> None:
    safe = np.array([0.0, 0.4, 1.4, 2.3, 3.4])
    for load in (0.3, 1.0, 1.41, 2.0, 3.4):
        last = machines_for(safe, load)
        lines = envelope(safe, load)
        for n in range(last + 1):
            lowest = min(slope * n + height for slope, height in lines)
            assert lowest >= min(safe[n], load) - 1e-12
        assert min(slope * last + height for slope, height in lines) == pytest.approx(load)
        # All of the load on fewer machines than it takes is refused.
        assert min(slope * (last - 1) + height for slope, height in lines) < load


def test_pools_pay_where_the_load_each_never_falls() -> None:
    assert pools_pay(np.array([0.0, 0.5, 1.4]))
    assert not pools_pay(np.array([0.0, 0.5, 0.8]))
    assert extended(np.array([0.0, 0.5, 1.4]), 4).tolist() == pytest.approx([0, 0.5, 1.4, 2.1, 2.8])
    assert covering(np.array([0.0, 0.5, 1.4]), 1.4).tolist() == [0, 0.5, 1.4]
    assert covering(np.array([0.0, 0.5, 1.4]), 2.3).tolist() == pytest.approx([0, 0.5, 1.4, 2.1, 2.8])


def test_a_forecast_finds_the_season_and_beats_the_last_week() -> None:
    rng = np.random.default_rng(1)
    hour = np.arange(24 * 7 * 6)
    season = 10 + 8 * np.sin(hour / 24 * 2 * np.pi) + 3 * (hour // 24 % 7 < 5)
    demand = season * rng.lognormal(0, 0.3, len(hour))
    forecast = fit(demand, 24 * 7)
    assert np.corrcoef(forecast.season, season[: 24 * 7])[0, 1] > 0.9
    assert (forecast.quantile(0.9) >= forecast.quantile(0.1)).all()
    judged = judge(demand, 24 * 7)
    assert judged.loss < judged.last_season_loss
    assert 0.3 < judged.covered_share < 0.7
    drawn = forecast.scenarios(20, np.random.default_rng(0), seasons_ahead=3)
    assert drawn.shape == (20, 24 * 7)
    assert (drawn == forecast.scenarios(20, np.random.default_rng(0), seasons_ahead=3)).all()


def test_a_forecast_needs_two_seasons() -> None:
    with pytest.raises(TraceError, match="two whole seasons, there are 1"):
        fit(np.ones(200), 168)


def test_pinball_loss_by_hand() -> None:
    assert pinball_loss(np.array([3.0, 1.0]), np.array([2.0, 2.0]), 0.9) == pytest.approx((0.9 + 0.1) / 2)
