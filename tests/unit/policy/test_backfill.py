"""Backfill limits and their controller: each rule, and the loop closed around an engine slowed by its batch."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meritorder.policy.backfill import (
    Admission,
    AdmissionRules,
    AdmissionState,
    EngineSample,
    admit,
    backfill_sequences,
)
from meritorder.policy.saturation import StepTimes, observe

RULES = AdmissionRules(ttft_s=1.0, tpot_s=0.1, max_sequences=16, protect=0.125, reaction_s=2.0, quiet_s=10.0)
FINE = {"ttft_s": 0.8, "tpot_s": 0.08}
AMPLE = {"ttft_s": 0.1, "tpot_s": 0.01}
BAD = {"ttft_s": 0.5, "tpot_s": 0.2}
SETTLED = AdmissionState(sequence_cap=10.0, decided_s=100.0, realtime_s=100.0)


def sample(**fields: float | StepTimes | None) -> EngineSample:
    return EngineSample(**{"running": 10, "waiting": 0, "backfill": 8, "realtime": 2} | fields)


def test_unreadable_load_stops_backfill() -> None:
    state, admission = admit(None, SETTLED, RULES, 101.0)
    assert admission.alert
    assert replace(admission, alert=None) == Admission(sequence_cap=0, foreign=0, max_resident=0, max_prefilling=0)
    assert state == AdmissionState(sequence_cap=1.0, decided_s=101.0, realtime_s=SETTLED.realtime_s)


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


def test_limits_themselves_are_kept() -> None:
    """Latencies and memory exactly at their limits break nothing, so the cap grows by its step of one in 16."""
    at_limits = {"ttft_s": 1.0, "tpot_s": 0.1, "kv_cache_share": 0.9}
    assert admit(sample(**at_limits), SETTLED, RULES, 102.0)[0].sequence_cap == 11.0


@pytest.mark.parametrize("name", ["ttft_s", "tpot_s", "kv_cache_share"])
def test_half_of_each_limit_is_ample(name: str) -> None:
    """At half of all limits the cap of four doubles; a little above one of the halves it gains one."""
    small = replace(SETTLED, sequence_cap=4.0)
    halves = {"ttft_s": 0.5, "tpot_s": 0.05, "kv_cache_share": 0.45}
    assert admit(sample(**halves), small, RULES, 102.0)[0].sequence_cap == 8.0
    above = halves | {name: halves[name] + 0.01}
    assert admit(sample(**above), small, RULES, 102.0)[0].sequence_cap == 5.0


@pytest.mark.parametrize(
    ("latencies", "cap"), [({"ttft_s": 0.1}, 8.0), ({"tpot_s": 0.01}, 8.0), ({"kv_cache_share": 0.1}, 5.0)]
)
def test_cap_doubles_only_on_measured_latency(latencies: dict[str, float], cap: float) -> None:
    assert admit(sample(**latencies), replace(SETTLED, sequence_cap=4.0), RULES, 102.0)[0].sequence_cap == cap


def test_half_reaction_grows_half_way() -> None:
    """Two half reactions double as one: by the square root of two each. The step of one is halved, or quartered."""
    small = replace(SETTLED, sequence_cap=4.0)
    assert admit(sample(**AMPLE), small, RULES, 101.0)[0].sequence_cap == pytest.approx(4 * 2**0.5)
    assert admit(sample(**FINE), SETTLED, RULES, 100.5)[0].sequence_cap == 10.25
    assert admit(sample(**FINE), SETTLED, RULES, 99.0)[0].sequence_cap == 10.0, "a clock that went back proves nothing"


def test_step_is_share_of_engine() -> None:
    """A sixteenth of 64 sequences is four; of eight it is half a sequence, and one is the least."""
    large = admit(sample(max_sequences=64, **FINE), SETTLED, RULES, 102.0)[0]
    assert large.sequence_cap == 14.0
    tiny = admit(sample(running=4, max_sequences=8, **FINE), replace(SETTLED, sequence_cap=4.0), RULES, 102.0)[0]
    assert tiny.sequence_cap == 5.0


def test_cap_never_exceeds_the_engine() -> None:
    assert admit(sample(**FINE), replace(SETTLED, sequence_cap=15.5), RULES, 102.0)[0].sequence_cap == 16.0


def test_reported_limit_replaces_the_default() -> None:
    """An engine of four sequences: half of them to begin with, one kept free, an eighth is at least one prompt."""
    arriving = sample(running=0, backfill=0, realtime=1, max_sequences=4)
    first, admission = admit(arriving, AdmissionState(), RULES, 100.0)
    assert first.sequence_cap == 2.0
    assert (admission.sequence_cap, admission.max_resident, admission.max_prefilling) == (2, 3, 1)
    _, quiet = admit(sample(running=1, realtime=0, max_sequences=4), AdmissionState(), RULES, 100.0)
    assert (quiet.sequence_cap, quiet.max_resident, quiet.max_prefilling) == (3, 4, 4)


def test_cut_halves_what_exceeds_real_time() -> None:
    """Of ten in the batch two are not ours to cut: 2 + 8 / 2, whatever the cap; four of other clients: 6 + 4 / 2."""
    wide = replace(SETTLED, sequence_cap=16.0)
    state, _ = admit(sample(**BAD), wide, RULES, 101.0)
    assert state == AdmissionState(sequence_cap=6.0, decided_s=101.0, settled_s=103.0, realtime_s=101.0, cuts=1)
    assert admit(sample(foreign=4, **BAD), wide, RULES, 101.0)[0].sequence_cap == 8.0
    queued = sample(running=6, waiting=4, **BAD)
    assert admit(queued, wide, RULES, 101.0)[0].sequence_cap == 6.0, "queued sequences are in the batch"


def test_cut_leaves_others_their_sequences() -> None:
    """A stale count of two sequences, five of them real-time, leaves five; half of half a sequence is a quarter."""
    state, _ = admit(sample(running=2, backfill=1, realtime=5, **BAD), SETTLED, RULES, 101.0)
    assert state.sequence_cap == 5.0
    state, _ = admit(sample(**BAD), replace(SETTLED, sequence_cap=2.5), RULES, 101.0)
    assert state.sequence_cap == 2.25
    state, _ = admit(sample(realtime=5, **BAD), replace(SETTLED, sequence_cap=3.0), RULES, 101.0)
    assert state.sequence_cap == 3.0, "a cut never raises the cap"


def test_next_decision_once_a_cut_settled() -> None:
    """A reaction time is over at its very end: the second cut is due then, or growth, which forgets the cuts."""
    cut = AdmissionState(sequence_cap=6.0, decided_s=101.0, settled_s=103.0, realtime_s=101.0, cuts=1)
    early = replace(cut, decided_s=102.9, realtime_s=102.9)
    assert admit(sample(running=6, backfill=4, **BAD), cut, RULES, 102.9)[0] == early
    assert admit(sample(running=6, backfill=4, **FINE), cut, RULES, 102.9)[0] == early
    again, _ = admit(sample(running=6, backfill=4, **BAD), cut, RULES, 103.0)
    assert (again.sequence_cap, again.cuts) == (2 + 4 / 2, 2)
    grown, _ = admit(sample(running=6, backfill=4, **FINE), cut, RULES, 103.0)
    assert (grown.sequence_cap, grown.cuts) == (7.0, 0)


def test_quiet_begins_at_its_limit() -> None:
    """Defaults: ten seconds after the last real-time request the whole engine is free, except one sequence."""
    rules = AdmissionRules(ttft_s=1.0, tpot_s=0.1, max_sequences=16, protect=0.125)
    nothing = EngineSample(running=0, waiting=0, backfill=0)
    assert admit(nothing, SETTLED, rules, 109.9)[1].sequence_cap == 10
    state, admission = admit(nothing, SETTLED, rules, 110.0)
    assert admission == Admission(sequence_cap=15, foreign=0, max_resident=16, max_prefilling=16)
    assert state == replace(SETTLED, decided_s=110.0)
    assert admit(sample(**FINE), SETTLED, rules, 101.0)[0].sequence_cap == 10.5, "half of a reaction of two seconds"


def test_full_memory_counts_queued_sequences() -> None:
    _, admission = admit(sample(running=4, waiting=3, realtime=0, kv_cache_share=0.95), SETTLED, RULES, 111.0)
    assert admission.sequence_cap == 7
    _, admission = admit(sample(running=4, waiting=3, realtime=0, kv_cache_share=0.9), SETTLED, RULES, 111.0)
    assert admission.sequence_cap == 15


def test_nothing_left_is_never_negative() -> None:
    """Twenty real-time requests on 16 sequences, and a reserve larger than the engine, leave nothing."""
    _, admission = admit(sample(running=16, waiting=4, backfill=0, realtime=20, **FINE), SETTLED, RULES, 101.0)
    assert admission.max_resident == 0
    reserve = replace(RULES, reserved_sequences=20)
    assert admit(sample(realtime=0), SETTLED, reserve, 111.0)[1].sequence_cap == 0
    empty = replace(SETTLED, sequence_cap=0.0, settled_s=200.0)
    assert admit(sample(**BAD), empty, RULES, 101.0)[1].sequence_cap == 0


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


def _line(base_s: float, per_sequence_s: float) -> StepTimes:
    times = StepTimes()
    for count in (2, 4, 8, 16):
        times = observe(times, count, base_s + per_sequence_s * count)
    return times


def test_saturated_engine_gets_no_more_sequences() -> None:
    _, admission = admit(sample(**FINE, step_times=_line(0.0, 0.01)), SETTLED, RULES, 100.0)
    assert [admission.max_backfill(realtime) for realtime in (0, 1)] == [1, 0]
    assert admission.max_resident == 14  # those that run may end
    quiet = replace(SETTLED, realtime_s=0.0)
    _, admission = admit(sample(realtime=0, step_times=_line(0.0, 0.01)), quiet, RULES, 100.0)
    assert admission.max_backfill(0) == 1


def test_protect_gives_up_output() -> None:
    caps = []
    for protect in (0.0, 0.25, 0.5, 1.0):
        rules = replace(RULES, protect=protect)
        state = replace(SETTLED, sequence_cap=16.0)
        _, admission = admit(sample(**FINE, step_times=_line(0.03, 0.0)), state, rules, 100.0)
        caps.append(admission.max_backfill(0))
    assert caps == [15, 12, 8, 1]  # without a slope, output grows with the sequences


def test_unknown_slope_is_measured_at_half() -> None:
    constant = StepTimes()
    for _ in range(5):
        constant = observe(constant, 15, 0.1)
    quiet = replace(SETTLED, realtime_s=0.0)
    _, admission = admit(sample(realtime=0, step_times=constant), quiet, RULES, 100.0)
    assert admission.max_backfill(0) == 8
