"""Backfill limits and their controller: each rule, and the loop closed around an engine slowed by its batch."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meritorder.policy.backfill import AdmissionRules, AdmissionState, EngineSample, admit, backfill_sequences

RULES = AdmissionRules(ttft_s=1.0, tpot_s=0.1, max_sequences=16, reaction_s=2.0, quiet_s=10.0)
FINE = {"ttft_s": 0.8, "tpot_s": 0.08}
AMPLE = {"ttft_s": 0.1, "tpot_s": 0.01}
BAD = {"ttft_s": 0.5, "tpot_s": 0.2}
SETTLED = AdmissionState(sequence_cap=10.0, decided_s=100.0, realtime_s=100.0)


def sample(**fields: float | None) -> EngineSample:
    return EngineSample(**{"running": 10, "waiting": 0, "backfill": 8, "realtime": 2} | fields)


def test_unreadable_load_stops_backfill() -> None:
    state, admission = admit(None, SETTLED, RULES, 101.0)
    assert admission.max_backfill(0) == admission.max_resident == 0
    assert admission.alert
    assert state.sequence_cap == 1.0


def test_cap_starts_at_half_the_engine() -> None:
    state, admission = admit(sample(running=15, backfill=15, realtime=0), AdmissionState(), RULES, 100.0)
    assert (state.sequence_cap, admission.max_backfill(0)) == (None, 15)
    state, admission = admit(sample(running=15, backfill=15, realtime=1), state, RULES, 100.25)
    assert admission.max_backfill(1) == int(state.sequence_cap or 0) - 1
    assert 8 <= (state.sequence_cap or 0) < 9.1


def test_harmless_excess_is_not_preempted() -> None:
    _, admission = admit(sample(running=16, backfill=15, realtime=1), AdmissionState(), RULES, 100.0)
    assert admission.max_backfill(1) < admission.max_resident == 15
    suffers = sample(running=16, backfill=15, realtime=1, **BAD)
    state, admission = admit(suffers, AdmissionState(), RULES, 100.0)
    assert admission.max_backfill(1) < admission.max_resident == 15  # the cut may be enough
    _, admission = admit(suffers, state, RULES, 102.0)
    assert admission.max_resident == admission.max_backfill(1) < 8


def test_full_engine_preempts_for_real_time() -> None:
    _, admission = admit(sample(running=16, waiting=1, backfill=14, realtime=3, **FINE), SETTLED, RULES, 101.0)
    assert admission.max_resident == 13
    _, admission = admit(
        sample(running=16, waiting=1, backfill=13, realtime=2, foreign=2, **FINE), SETTLED, RULES, 101.0
    )
    assert (admission.foreign, admission.max_resident) == (2, 12)


def test_backfill_follows_real_time_immediately() -> None:
    _, admission = admit(sample(**FINE), replace(SETTLED, settled_s=200.0), RULES, 100.0)
    assert [admission.max_backfill(realtime) for realtime in (2, 3, 1, 20)] == [8, 7, 9, 0]


def test_cap_counts_all_sequences() -> None:
    _, admission = admit(sample(**FINE), replace(SETTLED, settled_s=200.0), RULES, 100.0)
    assert admission.max_backfill(2) == backfill_sequences(running=2, waiting=0, sequence_cap=10) == 8
    _, admission = admit(sample(running=13, realtime=5, **FINE), replace(SETTLED, settled_s=200.0), RULES, 100.0)
    assert admission.max_backfill(5) == 5


def test_unreported_real_time_requests_count() -> None:
    _, admission = admit(sample(running=8, realtime=6, **FINE), replace(SETTLED, settled_s=200.0), RULES, 100.0)
    assert admission.max_backfill(6) == 4


def test_cap_grows_by_step_or_doubles() -> None:
    assert admit(sample(**FINE), SETTLED, RULES, 102.0)[0].sequence_cap == 11.0
    assert admit(sample(**FINE), SETTLED, RULES, 101.0)[0].sequence_cap == 10.5
    small = replace(SETTLED, sequence_cap=4.0)
    assert admit(sample(running=4, backfill=2, **AMPLE), small, RULES, 102.0)[0].sequence_cap == 8.0


def test_long_pause_grows_one_step() -> None:
    assert admit(sample(**FINE), replace(SETTLED, decided_s=0.0), RULES, 102.0)[0].sequence_cap == 11.0


def test_unused_cap_does_not_grow() -> None:
    assert admit(sample(running=4, backfill=2, **AMPLE), SETTLED, RULES, 102.0)[0].sequence_cap == 10.0
    assert admit(sample(running=5, backfill=3, **AMPLE), SETTLED, RULES, 102.0)[0].sequence_cap > 10.0


@pytest.mark.parametrize("strain", [BAD, {"ttft_s": 1.1, "tpot_s": 0.01}, AMPLE | {"kv_cache_share": 0.95}])
def test_broken_slo_cuts_once_per_reaction(strain: dict[str, float]) -> None:
    state, admission = admit(sample(**strain), SETTLED, RULES, 101.0)
    assert state.sequence_cap == 2 + 0.5 * 8
    assert admission.max_backfill(2) == 4
    again, _ = admit(sample(**strain), state, RULES, 102.0)
    assert again.sequence_cap == state.sequence_cap
    later, _ = admit(sample(**strain), again, RULES, 103.1)
    assert later.sequence_cap < state.sequence_cap


def test_queue_counts_if_full_and_unmeasured() -> None:
    full = replace(SETTLED, sequence_cap=16.0)
    state, _ = admit(sample(running=16, backfill=12, waiting=1, realtime=5), full, RULES, 101.0)
    assert state.sequence_cap < 16.0
    state, _ = admit(sample(running=15, backfill=12, waiting=1, realtime=4), full, RULES, 101.0)
    assert state.sequence_cap == 16.0  # it only waits for the end of a step
    state, _ = admit(sample(running=16, backfill=12, waiting=1, realtime=5, **AMPLE), full, RULES, 101.0)
    assert state.sequence_cap == 16.0  # first tokens are on time


def test_slo_broken_without_backfill_keeps_cap() -> None:
    state, _ = admit(sample(backfill=0, **BAD), SETTLED, RULES, 102.0)
    assert state.sequence_cap == SETTLED.sequence_cap


def test_quiet_engine_is_filled_except_reserve() -> None:
    state, admission = admit(sample(running=3, backfill=3, realtime=0), SETTLED, RULES, 111.0)
    assert (admission.max_backfill(0), admission.max_prefilling) == (15, 16)
    assert state.sequence_cap == SETTLED.sequence_cap
    _, admission = admit(sample(running=3, backfill=3, realtime=1), state, RULES, 112.0)
    assert admission.max_backfill(1) == 9
    assert admission.max_prefilling == RULES.prefill_share * RULES.max_sequences


def test_full_memory_admits_nothing_more() -> None:
    _, admission = admit(sample(running=6, backfill=6, realtime=0, kv_cache_share=0.95), SETTLED, RULES, 111.0)
    assert admission.max_backfill(0) == 6


def test_cap_recovers_from_zero() -> None:
    state = AdmissionState(sequence_cap=0.2, decided_s=100.0, realtime_s=100.0)
    now_s = 100.0
    for _ in range(40):
        now_s += 0.25
        state, admission = admit(sample(running=2, backfill=0, **FINE), state, RULES, now_s)
    assert admission.max_backfill(2) >= 1


@pytest.mark.parametrize(("tpot_of_one_s", "slo_s"), [(0.01, 0.1), (0.004, 0.1), (0.03, 0.1)])
def test_closed_loop_finds_largest_safe_batch(tpot_of_one_s: float, slo_s: float) -> None:
    rules = replace(RULES, tpot_s=slo_s, max_sequences=32, reaction_s=1.0)
    fits = min(31, int(slo_s / tpot_of_one_s))
    state, backfill, total, over, ticks = AdmissionState(), 0, 0, 0, 2000
    for tick in range(ticks):
        realtime = 1 + tick % 2
        batch = realtime + backfill
        measured = EngineSample(
            running=batch, waiting=0, backfill=backfill, realtime=realtime, ttft_s=0.3, tpot_s=tpot_of_one_s * batch
        )
        state, admission = admit(measured, state, rules, 0.25 * tick)
        backfill = admission.max_backfill(realtime)
        if tick > ticks // 4:
            total += backfill + realtime
            over += batch > fits
    rest = ticks - ticks // 4 - 1
    assert total / rest > 0.6 * fits  # a sawtooth between one half and the whole
    assert over / rest < 0.5
    assert fits * 0.4 <= (state.sequence_cap or 0) <= fits + 2


counts = st.integers(0, 64)
latencies = st.one_of(st.none(), st.floats(0, 10))
anything = st.builds(
    EngineSample,
    running=counts,
    waiting=counts,
    backfill=counts,
    realtime=counts,
    kv_cache_share=st.one_of(st.none(), st.floats(0, 1)),
    ttft_s=latencies,
    tpot_s=latencies,
)
states = st.builds(
    AdmissionState,
    sequence_cap=st.none() | st.floats(0, 64),
    decided_s=st.floats(900, 1000),
    realtime_s=st.floats(900, 1000),
)


@given(anything, states)
def test_reserve_and_real_time_are_kept(measured: EngineSample, before: AdmissionState) -> None:
    state, admission = admit(measured, before, RULES, 1000.0)
    assert (
        0
        <= admission.max_backfill(measured.realtime)
        <= max(0, RULES.max_sequences - RULES.reserved_sequences - measured.realtime)
    )
    assert 0 <= admission.max_resident <= max(0, RULES.max_sequences - measured.realtime)
    assert 1 <= admission.max_prefilling <= RULES.max_sequences
    assert 0 <= (state.sequence_cap or 0) <= max(before.sequence_cap or 0, RULES.max_sequences)


@given(anything, states)
def test_worse_latency_never_admits_more(measured: EngineSample, before: AdmissionState) -> None:
    _, admission = admit(measured, before, RULES, 1000.0)
    _, worse = admit(replace(measured, ttft_s=20.0), before, RULES, 1000.0)
    assert worse.max_backfill(measured.realtime) <= admission.max_backfill(measured.realtime)
    assert worse.max_resident <= admission.max_resident


def test_waiting_requests_reduce_backfill() -> None:
    assert backfill_sequences(10, 0, 16) == 6
    assert backfill_sequences(10, 5, 16) == 1
    assert backfill_sequences(10, 9, 16) == 0
    assert backfill_sequences(0, 0, 0) == 0
