"""Who goes first, and how far a request escalates."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from meritorder.policy.order import Candidate, arrange
from meritorder.policy.release import Release, latest_release_s, may_outsource, release

FAR_S = 1e6


def a(tenant: str, latest_start_s: float = FAR_S, tokens: int = 100, prefix: str = "") -> Candidate:
    return Candidate(latest_start_s=latest_start_s, tenant=tenant, tokens=tokens, prefix=prefix)


def test_the_urgent_go_first_whoever_they_belong_to() -> None:
    queue = [a("new"), a("heavy", 5.0), a("heavy", 3.0), a("new", 50.0)]
    assert arrange(queue, served_tokens={"heavy": 1e9, "new": 0.0}, now_s=10.0, count=4) == [2, 1, 3, 0]


def test_the_tenant_who_had_least_goes_next() -> None:
    queue = [a("flood") for _ in range(50)] + [a("small") for _ in range(3)]
    order = arrange(queue, served_tokens={}, now_s=0.0, count=6)
    assert Counter(queue[at].tenant for at in order) == {"flood": 3, "small": 3}


def test_who_stayed_away_has_saved_up_nothing() -> None:
    queue = [a("old") for _ in range(20)] + [a("new") for _ in range(20)]
    order = arrange(queue, served_tokens={"old": 1e6}, now_s=0.0, count=10)
    assert Counter(queue[at].tenant for at in order) == {"old": 5, "new": 5}


def test_large_requests_count_for_what_they_are() -> None:
    queue = [a("long", tokens=900) for _ in range(9)] + [a("short", tokens=100) for _ in range(90)]
    order = arrange(queue, served_tokens={}, now_s=0.0, count=50)
    tokens = Counter[str]()
    for at in order:
        tokens[queue[at].tenant] += queue[at].tokens
    assert abs(tokens["long"] - tokens["short"]) <= 900


def test_within_a_tenant_the_prefix_that_is_in_the_cache_goes_on() -> None:
    queue = [a("t", prefix="x"), a("t", prefix="y"), a("t", prefix="x"), a("t", prefix="y")]
    assert arrange(queue, served_tokens={}, now_s=0.0, count=4) == [0, 2, 1, 3]
    assert arrange(queue, served_tokens={}, now_s=0.0, count=4, prefix="y") == [1, 3, 0, 2]


@given(
    st.lists(
        st.builds(a, st.sampled_from("abc"), st.floats(0, 100), st.integers(1, 1000), st.sampled_from(["", "x"])),
        max_size=30,
    ),
    st.integers(0, 40),
    st.floats(0, 100),
)
def test_nobody_is_forgotten_or_goes_twice_and_all_that_is_urgent_comes_first(
    queue: list[Candidate], count: int, now_s: float
) -> None:
    order = arrange(queue, served_tokens={}, now_s=now_s, count=count)
    assert len(order) == len(set(order)) == min(count, len(queue))
    urgent = [queue[at].latest_start_s <= now_s for at in order]
    assert urgent == sorted(urgent, reverse=True)


def test_a_request_may_be_left_to_the_gaps_as_long_as_they_can_still_do_it() -> None:
    assert latest_release_s(1000.0, 5000.0, 50.0, 100.0) == 800.0
    assert latest_release_s(1000.0, 5000.0, 0.0, 100.0) == float("-inf")


def test_then_it_goes_as_real_time_and_at_last_elsewhere() -> None:
    def at(now_s: float, *, own_venue_up: bool = True) -> Release:
        return release(1000.0, 50.0, 800.0, own_venue_up=own_venue_up, margin_s=30.0, now_s=now_s)

    assert at(799.0) is Release.GAPS
    assert at(800.0) is Release.REALTIME
    assert at(920.0) is Release.REALTIME
    assert at(921.0) is Release.FALLBACK
    assert at(799.0, own_venue_up=False) is Release.GAPS
    assert at(801.0, own_venue_up=False) is Release.FALLBACK


def test_work_goes_to_a_batch_api_if_it_fits_there_and_the_gaps_would_be_late() -> None:
    def outsourced(latest_release_s: float, *, own: bool = True, now_s: float = 0.0) -> bool:
        return may_outsource(1000.0, latest_release_s, 800.0, 50.0, own=own, now_s=now_s)

    assert outsourced(-1.0)
    assert not outsourced(1.0)
    assert outsourced(1.0, own=False)
    assert outsourced(-1.0, now_s=150.0)
    assert not outsourced(-1.0, now_s=151.0)
