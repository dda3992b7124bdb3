import pytest
from hypothesis import given
from hypothesis import strategies as st

from meritorder.policy.rates import RateBucket, RateLimit, RateRefusal, RateWindow, bucket_number

FIVE = RateLimit(requests=5, tokens=None)


def window(*buckets: tuple[float, int, int], now_s: float) -> RateWindow:
    """Return a window with requests and tokens that were taken at given seconds."""
    return RateWindow([RateBucket(bucket_number(at_s), *taken) for at_s, *taken in buckets], now_s)


def test_limit_holds_in_every_minute() -> None:
    """Of five at 10.1 s the bucket ends at 10.25 s: a minute later, at 70.25 s, five more may start."""
    full = window((10.1, 5, 0), now_s=11.0)
    assert full.calls_within(FIVE, [(1, 0)]) == (0, RateRefusal(limit="requests", wait_s=70.25 - 11.0))
    assert window((10.1, 5, 0), now_s=70.2).calls_within(FIVE, [(1, 0)])[0] == 0
    assert window((10.1, 5, 0), now_s=70.25).calls_within(FIVE, [(1, 0)] * 6)[0] == 5


def test_wait_is_until_enough_has_expired() -> None:
    """60 of 100 tokens may start when the 30 of second 0 and the 40 of second 10 no longer count: at 70.25 s."""
    tokens = RateLimit(requests=None, tokens=100)
    used = window((0.0, 1, 30), (10.0, 1, 40), (20.0, 1, 20), now_s=30.0)
    assert used.calls_within(tokens, [(1, 10)]) == (1, None)
    assert used.calls_within(tokens, [(1, 11)]) == (0, RateRefusal(limit="tokens", wait_s=60.25 - 30.0))
    assert used.calls_within(tokens, [(1, 60)]) == (0, RateRefusal(limit="tokens", wait_s=70.25 - 30.0))
    assert used.calls_within(tokens, [(0, 0)]) == (1, None), "a line that is sent again was counted before"


def test_large_call_has_a_minute_alone() -> None:
    tokens = RateLimit(requests=None, tokens=100)
    assert window(now_s=0.0).calls_within(tokens, [(1, 1000)]) == (1, None)
    count, refusal = window((0.0, 1, 1), now_s=30.0).calls_within(tokens, [(1, 1000)])
    assert (count, refusal) == (0, RateRefusal(limit="tokens", wait_s=30.25))


def test_both_limits_apply() -> None:
    both = RateLimit(requests=3, tokens=10)
    assert window(now_s=0.0).calls_within(both, [(1, 1)] * 5)[0] == 3
    count, refusal = window(now_s=0.0).calls_within(both, [(1, 6)] * 5)
    assert count == 1
    assert refusal is not None
    assert refusal.limit == "tokens"


def test_clock_set_back_counts_as_now() -> None:
    """An hour is not to be waited for: what was taken in the future counts for a minute from now."""
    back = window((3600.0, 5, 0), now_s=0.0)
    count, refusal = back.calls_within(FIVE, [(1, 0)])
    assert (count, refusal) == (0, RateRefusal(limit="requests", wait_s=60.25))


def test_unused_is_given_back() -> None:
    used = window((1.0, 5, 50), now_s=2.0)
    used.give_back(bucket_number(1.0), 2, 20)
    assert (used.requests, used.tokens) == (3, 30)
    used.give_back(bucket_number(1.5), 2, 20)
    assert (used.requests, used.tokens) == (3, 30), "nothing was taken then"
    used.take(1, 5)
    used.take(1, 5)
    assert [(bucket.requests, bucket.tokens) for bucket in used.buckets] == [(3, 30), (2, 10)]
    assert used.clear_s == 2.0 + 60.25


@given(gaps_s=st.lists(st.floats(0, 40), min_size=1, max_size=80), limit=st.integers(1, 10))
def test_no_minute_exceeds_the_limit(gaps_s: list[float], limit: int) -> None:
    now_s, buckets, started = 1000.0, [], []
    for gap_s in gaps_s:
        now_s += gap_s
        current = RateWindow(buckets, now_s)
        if current.calls_within(RateLimit(requests=limit, tokens=None), [(1, 0)])[0]:
            current.take(1, 0)
            started.append(now_s)
        buckets = current.buckets
    for first_s in started:
        assert sum(first_s <= start_s < first_s + 60 for start_s in started) <= limit


@pytest.mark.parametrize("limit", [FIVE, RateLimit(requests=None, tokens=None)])
def test_refused_call_may_start_after_its_wait(limit: RateLimit) -> None:
    used = window((10.0, 3, 0), (12.0, 2, 0), now_s=13.0)
    _, refusal = used.calls_within(limit, [(3, 0)])
    wait_s = 0.0 if refusal is None else refusal.wait_s
    assert RateWindow(used.buckets, 13.0 + wait_s).calls_within(limit, [(3, 0)]) == (1, None)
