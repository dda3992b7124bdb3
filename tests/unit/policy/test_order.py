"""Which deferrable request is dispatched first."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from meritorder.policy.order import DispatchCandidate, dispatch_order

FAR_S = 1e6


def candidate(
    tenant: str, latest_start_s: float = FAR_S, tokens: int = 100, prefix: str = "", count: int = 1
) -> DispatchCandidate:
    return DispatchCandidate(latest_start_s=latest_start_s, tenant=tenant, tokens=tokens, prefix=prefix, count=count)


def test_urgent_go_first_across_tenants() -> None:
    queue = [candidate("new"), candidate("heavy", 5.0), candidate("heavy", 3.0), candidate("new", 50.0)]
    assert dispatch_order(queue, served_tokens={"heavy": 1e9, "new": 0.0}, now_s=10.0, count=4) == [2, 1, 3, 0]


def test_urgent_at_its_latest_start() -> None:
    """Heavy has had more than new, so only urgency puts it first: at its latest start, and for that request alone."""
    queue = [candidate("heavy", 11.0), candidate("new"), candidate("heavy", 10.0)]
    served = {"heavy": 1e9, "new": 0.0}
    assert dispatch_order(queue, served_tokens=served, now_s=9.9, count=3) == [1, 2, 0]
    assert dispatch_order(queue, served_tokens=served, now_s=10.0, count=3) == [2, 1, 0]


def test_earliest_start_first_within_tenant() -> None:
    queue = [candidate("t", 30.0), candidate("t", 20.0), candidate("t", 20.0), candidate("t", 10.0)]
    assert dispatch_order(queue, served_tokens={}, now_s=0.0, count=4) == [3, 1, 2, 0]
    assert dispatch_order(queue, served_tokens={}, now_s=0.0, count=0) == []


def test_least_served_tenant_goes_next() -> None:
    queue = [candidate("flood") for _ in range(50)] + [candidate("small") for _ in range(3)]
    order = dispatch_order(queue, served_tokens={}, now_s=0.0, count=6)
    assert Counter(queue[index].tenant for index in order) == {"flood": 3, "small": 3}


def test_many_alike_are_one_candidate() -> None:
    """The urgent batch goes whole; then tenants alternate, `b` first, which was served less."""
    queue = [candidate("a", count=50), candidate("b", count=2), candidate("a", 5.0, count=3)]
    assert dispatch_order(queue, served_tokens={}, now_s=5.0, count=9) == [2, 2, 2, 1, 1, 0, 0, 0, 0]
    assert dispatch_order(queue, served_tokens={"a": 1.0}, now_s=0.0, count=5) == [2, 1, 2, 1, 2]
    assert dispatch_order(queue, served_tokens={"b": 1.0}, now_s=5.0, count=2) == [2, 2]


def test_idle_tenant_accumulates_no_claim() -> None:
    queue = [candidate("old") for _ in range(20)] + [candidate("new") for _ in range(20)]
    order = dispatch_order(queue, served_tokens={"old": 1e6}, now_s=0.0, count=10)
    assert Counter(queue[index].tenant for index in order) == {"old": 5, "new": 5}


def test_fairness_counts_tokens_not_requests() -> None:
    queue = [candidate("long", tokens=900) for _ in range(9)] + [candidate("short", tokens=100) for _ in range(90)]
    order = dispatch_order(queue, served_tokens={}, now_s=0.0, count=50)
    tokens = Counter[str]()
    for index in order:
        tokens[queue[index].tenant] += queue[index].tokens
    assert abs(tokens["long"] - tokens["short"]) <= 900


def test_cached_prefix_goes_next_within_tenant() -> None:
    queue = [
        candidate("t", prefix="x"),
        candidate("t", prefix="y"),
        candidate("t", prefix="x"),
        candidate("t", prefix="y"),
    ]
    assert dispatch_order(queue, served_tokens={}, now_s=0.0, count=4) == [0, 2, 1, 3]
    assert dispatch_order(queue, served_tokens={}, now_s=0.0, count=4, prefix="y") == [1, 3, 0, 2]


@given(
    st.lists(
        st.builds(
            candidate, st.sampled_from("abc"), st.floats(0, 100), st.integers(1, 1000), st.sampled_from(["", "x"])
        ),
        max_size=30,
    ),
    st.integers(0, 40),
    st.floats(0, 100),
)
def test_each_goes_once_urgent_first(queue: list[DispatchCandidate], count: int, now_s: float) -> None:
    order = dispatch_order(queue, served_tokens={}, now_s=now_s, count=count)
    assert len(order) == len(set(order)) == min(count, len(queue))
    urgent = [queue[index].latest_start_s <= now_s for index in order]
    assert urgent == sorted(urgent, reverse=True)
