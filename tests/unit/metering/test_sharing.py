import numpy as np
import pytest

from meritorder.metering.sharing import US_PER_HOUR, Ran, hourly, largest_remainder, settled_s, share

_DAY_US = 24 * US_PER_HOUR


def _array(*numbers: int) -> np.ndarray:
    return np.array(numbers, dtype=np.int64)


def _ran(
    starts_us: np.ndarray,
    ends_us: np.ndarray,
    kind: np.ndarray | None = None,
    *work_tokens: float,
    repeated: int | None = None,
) -> Ran:
    count = len(starts_us)
    kind = np.zeros(count, dtype=np.int64) if kind is None else kind
    work = np.array(work_tokens or [1.0] * count)
    return Ran.of(starts_us, ends_us, kind, work, repeated=np.arange(count) == repeated)


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
    shares = share(_ran(starts, ends), _array(0, US_PER_HOUR), _array(1), _array(1))
    assert sum(shares.picousd.tolist()) == 1


def test_clock_of_a_year_stays_exact() -> None:
    # V overflows 64 bits many times over a year; a late attempt must still cost its hour exactly.
    hours = 365 * 24
    rate = 98_320_000_000_000
    starts, ends = _array(0, (hours - 2) * US_PER_HOUR), _array((hours - 2) * US_PER_HOUR, (hours - 1) * US_PER_HOUR)
    paid = np.full(hours, rate, dtype=np.int64)
    shares = share(_ran(starts, ends), _array(0, hours * US_PER_HOUR), _array(rate), paid)
    assert shares.picousd[shares.attempt == 1].tolist() == [rate]
    assert shares.picousd[shares.attempt == -1].tolist() == [rate]


def test_instant_attempts_cost_nothing() -> None:
    shares = share(_ran(_array(5), _array(5)), _array(0, US_PER_HOUR), _array(3600), _array(3600))
    assert shares.attempt.tolist() == [-1]


def _cost_s(ran: Ran, count: int) -> list[float]:
    """Return what attempts cost on a machine at a picodollar a microsecond, in its seconds."""
    paid = np.array([US_PER_HOUR])
    shares = share(ran, _array(0, US_PER_HOUR), paid, paid)
    assert shares.picousd.sum() == US_PER_HOUR
    return [shares.picousd[shares.attempt == number].sum() / 1e6 for number in range(count)]


def _s(*seconds: float) -> np.ndarray:
    return (np.array(seconds) * 1e6).astype(np.int64)


def test_work_in_a_window_has_one_price() -> None:
    """Alone for 5 s, beside others for 5 s: 10 s are paid for 10 tokens, whichever of them ran alone."""
    assert _cost_s(_ran(_s(0, 5, 5), _s(10, 10, 10), None, 2, 3, 5), 3) == [2, 3, 5]


def test_each_kind_pays_for_its_time() -> None:
    """One of a kind beside two of another for 12 s: 4 s and 8 s, of which 9 in 10 tokens of work pay 7.2 s."""
    cost_s = _cost_s(_ran(_s(0, 0, 0), _s(12, 12, 12), _array(0, 1, 1), 1000, 9, 1), 3)
    assert cost_s == [4, 7.2, 0.8]


def test_what_has_no_tokens_pays_for_its_time() -> None:
    """Two failed after 3 s and 9 s beside an answer of 20 s: 3 / 3, then 6 / 2 more for each, then the rest.

    What both pay together, 2 + 3 s, is shared by their time in the window.
    """
    assert _cost_s(_ran(_s(0, 0, 0), _s(20, 3, 9), None, 7, 0, 0), 3) == [15, 1.25, 3.75]


def test_attempt_that_ran_again_is_a_cost_of_its_kind() -> None:
    """Preempted after 6 s of 12 s beside two answers: 12 s for 3 and 1 tokens of work; alone, it pays for its time."""
    ran = _ran(_s(0, 0, 0, 40), _s(12, 12, 6, 45), None, 3, 1, 9, 9, repeated=2)
    assert _cost_s(ran, 4) == pytest.approx([9, 3, 0, 5], abs=1e-6)
    assert _cost_s(_ran(_s(0), _s(6), None, 9, repeated=0), 1) == [6]


def test_windows_have_prices_of_their_own() -> None:
    """Ten tokens a second in both windows; beside one of another kind in the second, half of the price."""
    ran = _ran(_s(0, 20), _s(40, 40), _array(0, 1), 400, 1)
    assert _cost_s(ran, 2) == [30, 10]


def test_cost_is_settled_as_its_window_ends() -> None:
    assert [settled_s(time_s) for time_s in (0.0, 19.9, 20.0, 3599.0)] == [20, 20, 40, 3600]
