"""Token buckets of rate limits."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meritorder.gateway.upstreams.rates import Bucket


@given(
    st.floats(1, 1e6),
    st.lists(st.tuples(st.floats(0, 1e5), st.floats(-30, 600)), min_size=1, max_size=30),
)
def test_bucket_never_exceeds_inflow(per_minute: float, steps: list[tuple[float, float]]) -> None:
    bucket, now_s, taken = Bucket(per_minute=per_minute), 0.0, 0.0
    for amount, passes_s in steps:
        now_s += passes_s  # the clock may be set back
        part = min(amount, per_minute)
        if bucket.wait_s(part, now_s) == 0:
            bucket.take(part, now_s)
            taken += part
    risen_s = sum(max(passes_s, 0.0) for _, passes_s in steps)
    assert taken <= per_minute * (1 + risen_s / 60) * (1 + 1e-9)


@given(st.floats(1, 1e6), st.floats(0, 1e7), st.floats(0, 1e4))
def test_bucket_wait_is_sufficient(per_minute: float, amount: float, used: float) -> None:
    bucket = Bucket(per_minute=per_minute)
    bucket.take(used, 0.0)
    wait_s = bucket.wait_s(amount, 0.0)
    assert bucket.wait_s(amount, wait_s * (1 + 1e-9) + 1e-6) == pytest.approx(0.0, abs=1e-6)
