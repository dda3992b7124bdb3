import pytest
from bench.tour.traffic import CHAT, REPORTS, SLOT_S, Day, sized_day


@pytest.mark.parametrize(("request_s", "chats"), [(0.1, 40), (0.6, 25), (1.5, 14)])
def test_slower_engines_get_fewer_chats(request_s: float, chats: int) -> None:
    """A quarter of a slot holds 150, 25 and 10 requests of the probe; no fewer than 14 and no more than 40 are sent."""
    assert sized_day(request_s).chats == chats


def test_fast_engine_gets_longer_answers() -> None:
    """Forty chats in a quarter of a minute may take 0.375 s each, three times what one of 16 tokens takes."""
    assert sized_day(0.125).tokens == 48
    assert sized_day(0.25).tokens == 24


@pytest.mark.parametrize(("request_s", "tpot_s"), [(0.1, 0.5), (0.6, 1.0), (1.5, 1.5)])
def test_slow_machines_promise_less(request_s: float, tpot_s: float) -> None:
    day = sized_day(request_s)
    assert day.tpot_s == tpot_s
    assert day.ttft_s == 4 * tpot_s


def test_reports_come_before_chats() -> None:
    day = Day(chats=40, tokens=20, request_s=0.2)
    requests = day.requests()
    assert [request.at_s for request in requests] == sorted(request.at_s for request in requests)
    reports = [request for request in requests if request.workload == REPORTS]
    chats = [request for request in requests if request.workload == CHAT]
    assert (len(reports), len(chats)) == (16, 40)
    assert max(request.at_s for request in reports) < SLOT_S < min(request.at_s for request in chats)
    assert max(request.at_s for request in chats) < day.span_s


def test_nights_and_days_take_turns() -> None:
    """Two of each: the second night begins after four slots less two, with its own reports before its own chats."""
    day = Day(chats=20, tokens=20, request_s=0.2, nights=2)
    assert day.span_s == 4 * SLOT_S
    requests = day.requests()
    assert len(requests) == 2 * len(Day(chats=20, tokens=20, request_s=0.2).requests())
    workloads = [request.workload for request in requests]
    assert workloads == [REPORTS] * 8 + [CHAT] * 20 + [REPORTS] * 8 + [CHAT] * 20
    assert requests[28].at_s > 2 * SLOT_S > requests[27].at_s
    assert [request.at_s for request in requests] == sorted(request.at_s for request in requests)


def test_both_days_are_alike() -> None:
    day = Day(chats=20, tokens=20, request_s=0.2)
    assert day.requests() == day.requests()
