"""The controller of backfill: its rules one by one, and closed around an engine whose pace depends on its batch."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meritorder.policy.admit import AdmitRules, AdmitState, Measured, admit
from meritorder.policy.release import backfill_seats

RULES = AdmitRules(ttft_s=1.0, tpot_s=0.1, seats=16, flight_s=2.0, quiet_s=10.0)
FINE = {"ttft_s": 0.8, "tpot_s": 0.08}
AMPLE = {"ttft_s": 0.1, "tpot_s": 0.01}
BAD = {"ttft_s": 0.5, "tpot_s": 0.2}
SETTLED = AdmitState(seat_cap=10.0, at_s=100.0, realtime_s=100.0)


def measured(**fields: float | None) -> Measured:
    return Measured(**{"running": 10, "waiting": 0, "backfill": 8, "realtime": 2} | fields)


def test_what_cannot_be_read_admits_nothing_tells_and_forgets_the_cap() -> None:
    state, admission = admit(None, SETTLED, RULES, 101.0)
    assert admission.allowed(0) == admission.kept == 0
    assert admission.alert
    assert state.seat_cap == 1.0


def test_the_first_real_time_request_finds_half_of_the_engine_its_own() -> None:
    state, admission = admit(measured(running=15, backfill=15, realtime=0), AdmitState(), RULES, 100.0)
    assert (state.seat_cap, admission.allowed(0)) == (None, 15)
    state, admission = admit(measured(running=15, backfill=15, realtime=1), state, RULES, 100.25)
    assert admission.allowed(1) == int(state.seat_cap or 0) - 1
    assert 8 <= (state.seat_cap or 0) < 9.1


def test_what_is_too_much_but_does_no_harm_is_left_to_end() -> None:
    _, admission = admit(measured(running=16, backfill=15, realtime=1), AdmitState(), RULES, 100.0)
    assert admission.allowed(1) < admission.kept == 15
    suffers = measured(running=16, backfill=15, realtime=1, **BAD)
    state, admission = admit(suffers, AdmitState(), RULES, 100.0)
    assert admission.allowed(1) < admission.kept == 15  # it may be that nothing more is needed
    _, admission = admit(suffers, state, RULES, 102.0)
    assert admission.kept == admission.allowed(1) < 8


def test_who_has_no_seat_is_given_one() -> None:
    _, admission = admit(measured(running=16, waiting=1, backfill=14, realtime=3, **FINE), SETTLED, RULES, 101.0)
    assert admission.kept == 13
    _, admission = admit(
        measured(running=16, waiting=1, backfill=13, realtime=2, foreign=2, **FINE), SETTLED, RULES, 101.0
    )
    assert (admission.foreign, admission.kept) == (2, 12)


def test_room_follows_real_time_at_once() -> None:
    _, admission = admit(measured(**FINE), replace(SETTLED, settled_s=200.0), RULES, 100.0)
    assert [admission.allowed(realtime) for realtime in (2, 3, 1, 20)] == [8, 7, 9, 0]


def test_the_cap_is_on_all_sequences_as_in_the_simulator() -> None:
    _, admission = admit(measured(**FINE), replace(SETTLED, settled_s=200.0), RULES, 100.0)
    assert admission.allowed(2) == backfill_seats(running=2, waiting=0, seat_cap=10) == 8
    _, admission = admit(measured(running=13, realtime=5, **FINE), replace(SETTLED, settled_s=200.0), RULES, 100.0)
    assert admission.allowed(5) == 5


def test_real_time_requests_that_the_engine_does_not_show_yet_count() -> None:
    _, admission = admit(measured(running=8, realtime=6, **FINE), replace(SETTLED, settled_s=200.0), RULES, 100.0)
    assert admission.allowed(6) == 4


def test_it_rises_by_a_step_in_a_flight_and_twofold_while_there_is_ample_room() -> None:
    assert admit(measured(**FINE), SETTLED, RULES, 102.0)[0].seat_cap == 11.0
    assert admit(measured(**FINE), SETTLED, RULES, 101.0)[0].seat_cap == 10.5
    small = replace(SETTLED, seat_cap=4.0)
    assert admit(measured(running=4, backfill=2, **AMPLE), small, RULES, 102.0)[0].seat_cap == 8.0


def test_a_long_silence_of_the_controller_is_no_licence() -> None:
    assert admit(measured(**FINE), replace(SETTLED, at_s=0.0), RULES, 102.0)[0].seat_cap == 11.0


def test_a_cap_that_is_not_used_does_not_grow() -> None:
    assert admit(measured(running=4, backfill=2, **AMPLE), SETTLED, RULES, 102.0)[0].seat_cap == 10.0
    assert admit(measured(running=5, backfill=3, **AMPLE), SETTLED, RULES, 102.0)[0].seat_cap > 10.0


@pytest.mark.parametrize("strain", [BAD, {"ttft_s": 1.1, "tpot_s": 0.01}, AMPLE | {"kv_cache_share": 0.95}])
def test_it_falls_to_a_share_once_a_flight(strain: dict[str, float]) -> None:
    state, admission = admit(measured(**strain), SETTLED, RULES, 101.0)
    assert state.seat_cap == 2 + 0.5 * 8
    assert admission.allowed(2) == 4
    again, _ = admit(measured(**strain), state, RULES, 102.0)
    assert again.seat_cap == state.seat_cap
    later, _ = admit(measured(**strain), again, RULES, 103.1)
    assert later.seat_cap < state.seat_cap


def test_a_queue_is_who_waits_while_all_seats_are_taken_and_no_first_token_tells_more() -> None:
    full = replace(SETTLED, seat_cap=16.0)
    state, _ = admit(measured(running=16, backfill=12, waiting=1, realtime=5), full, RULES, 101.0)
    assert state.seat_cap < 16.0
    state, _ = admit(measured(running=15, backfill=12, waiting=1, realtime=4), full, RULES, 101.0)
    assert state.seat_cap == 16.0  # it waits for the step to end
    state, _ = admit(measured(running=16, backfill=12, waiting=1, realtime=5, **AMPLE), full, RULES, 101.0)
    assert state.seat_cap == 16.0  # first tokens come in time


def test_a_pace_that_breaks_without_deferrable_work_is_not_blamed_on_it() -> None:
    state, _ = admit(measured(backfill=0, **BAD), SETTLED, RULES, 102.0)
    assert state.seat_cap == SETTLED.seat_cap


def test_an_engine_that_nobody_waits_for_is_filled_but_for_the_reserve() -> None:
    state, admission = admit(measured(running=3, backfill=3, realtime=0), SETTLED, RULES, 111.0)
    assert (admission.allowed(0), admission.starting) == (15, 16)
    assert state.seat_cap == SETTLED.seat_cap
    _, admission = admit(measured(running=3, backfill=3, realtime=1), state, RULES, 112.0)
    assert admission.allowed(1) == 9
    assert admission.starting == RULES.starting * RULES.seats


def test_memory_that_is_full_takes_no_more_even_where_nobody_waits() -> None:
    _, admission = admit(measured(running=6, backfill=6, realtime=0, kv_cache_share=0.95), SETTLED, RULES, 111.0)
    assert admission.allowed(0) == 6


def test_after_a_cut_to_nothing_it_comes_back() -> None:
    state = AdmitState(seat_cap=0.2, at_s=100.0, realtime_s=100.0)
    now_s = 100.0
    for _ in range(40):
        now_s += 0.25
        state, admission = admit(measured(running=2, backfill=0, **FINE), state, RULES, now_s)
    assert admission.allowed(2) >= 1


@pytest.mark.parametrize(("tpot_of_one_s", "slo_s"), [(0.01, 0.1), (0.004, 0.1), (0.03, 0.1)])
def test_around_an_engine_it_finds_the_batch_that_keeps_the_pace_and_stays_near_it(
    tpot_of_one_s: float, slo_s: float
) -> None:
    rules = replace(RULES, tpot_s=slo_s, seats=32, flight_s=1.0)
    fits = min(31, int(slo_s / tpot_of_one_s))
    state, backfill, held, over, ticks = AdmitState(), 0, 0, 0, 2000
    for tick in range(ticks):
        realtime = 1 + tick % 2
        batch = realtime + backfill
        seen = Measured(
            running=batch, waiting=0, backfill=backfill, realtime=realtime, ttft_s=0.3, tpot_s=tpot_of_one_s * batch
        )
        state, admission = admit(seen, state, rules, 0.25 * tick)
        backfill = admission.allowed(realtime)
        if tick > ticks // 4:
            held += backfill + realtime
            over += batch > fits
    rest = ticks - ticks // 4 - 1
    assert held / rest > 0.6 * fits  # a sawtooth between one half and the whole
    assert over / rest < 0.5
    assert fits * 0.4 <= (state.seat_cap or 0) <= fits + 2


counts = st.integers(0, 64)
latencies = st.one_of(st.none(), st.floats(0, 10))
anything = st.builds(
    Measured,
    running=counts,
    waiting=counts,
    backfill=counts,
    realtime=counts,
    kv_cache_share=st.one_of(st.none(), st.floats(0, 1)),
    ttft_s=latencies,
    tpot_s=latencies,
)
states = st.builds(
    AdmitState, seat_cap=st.none() | st.floats(0, 64), at_s=st.floats(900, 1000), realtime_s=st.floats(900, 1000)
)


@given(anything, states)
def test_whatever_is_measured_real_time_and_the_reserve_keep_their_seats(seen: Measured, before: AdmitState) -> None:
    state, admission = admit(seen, before, RULES, 1000.0)
    assert 0 <= admission.allowed(seen.realtime) <= max(0, RULES.seats - RULES.reserve - seen.realtime)
    assert 0 <= admission.kept <= max(0, RULES.seats - seen.realtime)
    assert 1 <= admission.starting <= RULES.seats
    assert 0 <= (state.seat_cap or 0) <= max(before.seat_cap or 0, RULES.seats)


@given(anything, states)
def test_a_worse_pace_never_admits_more(seen: Measured, before: AdmitState) -> None:
    _, admission = admit(seen, before, RULES, 1000.0)
    _, worse = admit(replace(seen, ttft_s=20.0), before, RULES, 1000.0)
    assert worse.allowed(seen.realtime) <= admission.allowed(seen.realtime)
    assert worse.kept <= admission.kept
