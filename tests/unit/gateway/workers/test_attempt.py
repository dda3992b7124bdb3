from meritorder.gateway.workers.attempt import CompletionRate


def test_completion_rate_keeps_last_value() -> None:
    rate = CompletionRate()
    assert rate.tokens_per_s(0.0) == float("inf")
    for second in range(10):
        rate.add(float(second), 100)
    assert rate.tokens_per_s(10.0) == 100.0
    assert rate.tokens_per_s(1000.0) == 100.0
