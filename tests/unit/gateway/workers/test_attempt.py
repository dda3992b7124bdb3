import pytest

from meritorder.gateway.workers.attempt import CompletionRate


def _rate() -> CompletionRate:
    """Return the rate of an engine that completed 100 tokens each second for ten seconds."""
    rate = CompletionRate()
    assert rate.tokens_per_s(0.0) == float("inf")
    rate.observe(0.0, has_work=True)
    for second in range(10):
        rate.add(float(second), 100)
    return rate


def test_completion_rate_keeps_last_value() -> None:
    rate = _rate()
    assert rate.tokens_per_s(10.0) == 100.0
    assert rate.tokens_per_s(1000.0) == 100.0


def test_time_without_work_says_nothing() -> None:
    """For almost a minute, all that is queued waits for its slot; then as much is done again."""
    rate = _rate()
    rate.observe(10.0, has_work=False)
    assert rate.tokens_per_s(68.0) == 100.0
    rate.observe(68.0, has_work=True)
    for second in range(10):
        rate.add(68.0 + second, 100)
    assert rate.tokens_per_s(78.0) == 100.0


def test_work_that_gets_no_place_slows_the_rate() -> None:
    """Real time takes all of the engine for 30 of 40 seconds."""
    assert _rate().tokens_per_s(40.0) == pytest.approx(25.0)
