import numpy as np

from meritorder.metering.sharing import US_PER_HOUR, hourly, largest_remainder, share

_DAY_US = 24 * US_PER_HOUR


def _array(*numbers: int) -> np.ndarray:
    return np.array(numbers, dtype=np.int64)


def test_hourly_parts_never_overflow() -> None:
    # A month at a million dollars an hour: 7.2e20 picodollars in all, more than 64 bits hold.
    _, hour, picousd = hourly(_array(0), _array(30 * _DAY_US), _array(10**18))
    assert len(hour) == 720
    assert sum(picousd.tolist()) == 720 * 10**18


def test_parts_add_up_wherever_they_are_cut() -> None:
    # 30.5 hours at a price that has a fraction of a picodollar in each part.
    rate, start_us = 1_234_567_890_123, US_PER_HOUR // 4
    end_us = start_us + 61 * US_PER_HOUR // 2
    _, _, picousd = hourly(_array(start_us), _array(end_us), _array(rate))
    assert abs(2 * sum(picousd.tolist()) - rate * 61) < 2
    for cut_us in (start_us + 1, 7 * US_PER_HOUR, 20 * US_PER_HOUR + 777, end_us - 1):
        _, _, cut = hourly(_array(start_us, cut_us), _array(cut_us, end_us), _array(rate, rate))
        assert sum(cut.tolist()) == sum(picousd.tolist())


def test_largest_fraction_rounded_up() -> None:
    rounded = largest_remainder(np.array([1.2, 1.7, 1.1]), _array(0, 0, 0), _array(4))
    assert rounded.tolist() == [1, 2, 1]


def test_rounding_errors_go_to_largest() -> None:
    rounded = largest_remainder(np.array([3.0, 100.0]), _array(0, 0), _array(90))
    assert rounded.tolist() == [3, 87]


def test_three_attempts_share_one_picodollar() -> None:
    starts, ends = _array(0, 0, 0), _array(US_PER_HOUR, US_PER_HOUR, US_PER_HOUR)
    shares = share(starts, ends, _array(0, US_PER_HOUR), _array(1), _array(1))
    assert sum(shares.picousd.tolist()) == 1


def test_clock_of_a_year_stays_exact() -> None:
    # V overflows 64 bits many times over a year; a late attempt must still cost its hour exactly.
    hours = 365 * 24
    rate = 98_320_000_000_000
    starts, ends = _array(0, (hours - 2) * US_PER_HOUR), _array((hours - 2) * US_PER_HOUR, (hours - 1) * US_PER_HOUR)
    paid = np.full(hours, rate, dtype=np.int64)
    shares = share(starts, ends, _array(0, hours * US_PER_HOUR), _array(rate), paid)
    assert shares.picousd[shares.attempt == 1].tolist() == [rate]
    assert shares.picousd[shares.attempt == -1].tolist() == [rate]


def test_instant_attempts_cost_nothing() -> None:
    shares = share(_array(5), _array(5), _array(0, US_PER_HOUR), _array(3600), _array(3600))
    assert shares.attempt.tolist() == [-1]
