"""When a request is retried, and when a failing venue is paused."""

import datetime as dt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meritorder.gateway.upstreams.retry import Breaker, RetryRule, is_fault, is_transient, retry_after_s

NOW = dt.datetime(2026, 11, 24, 3, tzinfo=dt.UTC)


@given(st.integers(1, 10), st.one_of(st.none(), st.floats(0, 1e4)), st.floats(0, 1))
def test_retry_wait_within_bounds(attempt: int, asked_s: float | None, draw: float) -> None:
    rule = RetryRule(attempts=6)
    wait_s = rule.wait_s(attempt, asked_s, draw)
    if attempt >= 6 or (asked_s is not None and asked_s > rule.max_wait_s):
        assert wait_s is None
    else:
        assert wait_s is not None
        assert (asked_s or 0.0) <= wait_s <= rule.max_wait_s


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"Retry-After": "12"}, 12.0),
        ({"Retry-After": "1.5"}, 1.5),
        ({"retry-after-ms": "250", "Retry-After": "1"}, 0.25),
        ({"Retry-After": "Tue, 24 Nov 2026 03:00:30 GMT"}, 30.0),
        ({"Retry-After": "Tue, 24 Nov 2026 02:00:00 GMT"}, 0.0),
        ({"Retry-After": "-3"}, None),
        ({"Retry-After": "soon"}, None),
        ({"Retry-After": "inf"}, None),
        ({"Retry-After": ""}, None),
        ({"Retry-After": "61"}, 60.0),
        ({"Retry-After": "1e300"}, 60.0),
        ({"retry-after-ms": "1e300"}, 60.0),
        ({"Retry-After": "Tue, 24 Nov 9999 02:00:00 GMT"}, 60.0),
        ({"Retry-After": "Tue, 24 Nov 1000 02:00:00 GMT"}, 0.0),
        ({"Retry-After": "Tue, 24 Nov 2026 02:00:00 +9999"}, None),
        ({"Retry-After": "24 24 24 24 24 24"}, None),
    ],
)
def test_retry_after_in_all_forms(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after_s(headers, NOW) == seconds


def test_cooldown_doubles_up_to_bound() -> None:
    breaker, now_s, rests = Breaker(failures=1, cooldown_s=1.0), 0.0, []
    for _ in range(8):
        breaker.fail(now_s)
        rests.append(breaker.wait_s(now_s))
        now_s += rests[-1]
        assert breaker.wait_s(now_s) == 0
    assert rests == [1, 2, 4, 8, 16, 16, 16, 16]
    breaker.begin("trial")
    assert breaker.wait_s(now_s) > 0
    breaker.leave("another attempt")
    assert breaker.wait_s(now_s) > 0
    breaker.succeed(now_s)
    assert breaker.wait_s(now_s) == 0


def test_over_limit_is_no_fault() -> None:
    assert is_transient(429)
    assert not is_fault(429)
    assert is_transient(529)
    assert not is_fault(529)
    assert is_transient(503)
    assert is_fault(503)
    assert not is_transient(501)
    assert is_fault(501)


@pytest.mark.parametrize(
    ("status", "since_success_s", "is_open"), [(500, 2.9, False), (500, 3.0, True), (503, 0.0, True), (None, 0.0, True)]
)
def test_requests_that_break_a_venue_do_not_open_it(
    status: int | None, since_success_s: float, *, is_open: bool
) -> None:
    """While it answers others, an answer 500 is no fault of the venue."""
    breaker = Breaker(failures=2)
    breaker.succeed(100.0)
    for _ in range(2):
        breaker.fail(100.0 + since_success_s, status)
    assert breaker.is_open is is_open
