"""How much deferrable work may join real-time work on a replica, and the controller that finds it on a live engine.

The cap counts all sequences of a replica, as it does in the simulator: a real-time request displaces deferrable work
without waiting for the controller. The simulator derives the largest batch that meets the SLO from the performance
profile; the controller finds it by probing. The cap grows additively, or doubles while latencies are far below their
limits; when the SLO breaks, the deferrable part shrinks to a share, and shrinks again only once the effect of the first
cut has been measured.

Nor does deferrable work use more sequences than it needs: where further ones hardly add output (`policy.saturation`),
they would only make real-time work wait. `protect` sets how much output is given up for shorter steps.

Running deferrable sequences are preempted only if a real-time request finds no free sequence, or if the SLO is still
broken one reaction time after a cut: preemption discards generated tokens. Otherwise excess sequences run to their end
and are not replaced.

Source: additive increase, multiplicative decrease: D. Chiu and R. Jain, Computer Networks and ISDN Systems 17, 1989.
Growing a window only while at least half of it is in use: RFC 7661, 2015.
"""

from dataclasses import dataclass, field, replace
from typing import Final

from meritorder.policy.saturation import StepTimes, saturating_sequences

# Largest share of a replica's KV memory in use at which deferrable work still joins real-time work. The rest is left
# for the next real-time request and for running sequences to grow.
BACKFILL_KV_SHARE: Final = 0.9


def backfill_sequences(running: int, waiting: int, sequence_cap: int) -> int:
    """Return how many deferrable sequences may join a replica now.

    Waiting real-time requests count as running, so deferrable work never takes their place.

    Args:
        running: Sequences in the replica.
        waiting: Real-time requests in its queue.
        sequence_cap: Most sequences that the replica may run while some are deferrable: the largest batch whose step
            still meets the real-time SLO.
    """
    return max(0, sequence_cap - running - waiting)


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineSample:
    """One measurement of an engine.

    Args:
        running: Sequences in its batch.
        waiting: Sequences in its queue.
        backfill: Deferrable sequences that this gateway has there, running or queued.
        realtime: Real-time requests that this gateway has there.
        foreign: Sequences there from other clients.
        max_sequences: Most sequences that it runs at one time; None if unknown.
        kv_cache_share: Share of its KV memory in use; None if unknown.
        ttft_s: Of the real-time lane, at the quantile of the SLO; None if there was no request.
        tpot_s: As `ttft_s`.
        step_times: What the streams there have shown about its steps.
    """

    running: int
    waiting: int
    backfill: int
    realtime: int = 0
    foreign: int = 0
    max_sequences: int | None = None
    kv_cache_share: float | None = None
    ttft_s: float | None = None
    tpot_s: float | None = None
    step_times: StepTimes = field(default_factory=StepTimes)


@dataclass(frozen=True, slots=True, kw_only=True)
class AdmissionRules:
    """The real-time SLO and the constants of the controller.

    Args:
        ttft_s: SLO on the time to first token.
        tpot_s: SLO on the time per output token.
        max_sequences: Most sequences of an engine that does not report its limit.
        protect: Share of a full engine's output that deferrable work gives up beside real-time work.
        reserved_sequences: Sequences that deferrable work leaves free for the next real-time request.
        max_kv_share: Share of KV memory in use above which the engine would start to preempt.
        ample_share: Share of each limit below which the cap doubles.
        initial_share: Share of the sequences that the cap starts at when real-time work first arrives.
        step_share: Share of the sequences that the cap gains in one reaction time; at least one sequence.
        backoff: Share of the deferrable sequences that remains after the SLO broke.
        min_used_share: Share of the cap that must be in use for it to grow: an untried cap proves nothing.
        reaction_s: Time until the effect of a change is measured.
        quiet_s: After this long without a real-time request, deferrable work may use the whole engine.
        prefill_share: Share of the sequences that may be in prefill at one time while there is real-time work, its
            own included; at least one sequence.
        quiet_protect: As `protect`, without real-time work.
    """

    ttft_s: float
    tpot_s: float
    max_sequences: int
    protect: float
    reserved_sequences: int = 1
    max_kv_share: float = BACKFILL_KV_SHARE
    ample_share: float = 0.5
    initial_share: float = 1 / 2
    step_share: float = 1 / 16
    backoff: float = 0.5
    min_used_share: float = 0.5
    reaction_s: float = 2.0
    quiet_s: float = 10.0
    prefill_share: float = 1 / 16
    quiet_protect: float = 0.02


@dataclass(frozen=True, slots=True, kw_only=True)
class AdmissionState:
    """The memory of the controller.

    Args:
        sequence_cap: Most sequences while some are deferrable; None until real-time work has arrived.
        decided_s: Time of the last decision.
        settled_s: Time by which the effect of the last cut is measured.
        realtime_s: Time at which there was last a real-time request.
        cuts: Consecutive cuts, a reaction time apart, after which the SLO was still broken.
    """

    sequence_cap: float | None = None
    decided_s: float = float("-inf")
    settled_s: float = float("-inf")
    realtime_s: float = float("-inf")
    cuts: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Admission:
    """The limits in force until the next decision.

    Args:
        sequence_cap: Most sequences while some are deferrable.
        foreign: Sequences of other clients.
        max_resident: Deferrable sequences that may stay; any beyond are preempted.
        max_prefilling: Sequences without a first token up to which another deferrable one may start.
        alert: A condition for the operator to look at; None if there is none.
    """

    sequence_cap: int
    foreign: int
    max_resident: int
    max_prefilling: int
    alert: str | None = None

    def max_backfill(self, realtime: int) -> int:
        """Return how many deferrable sequences may run next to the given number of real-time requests."""
        return backfill_sequences(running=realtime + self.foreign, waiting=0, sequence_cap=self.sequence_cap)


def admit(
    sample: EngineSample | None, state: AdmissionState, rules: AdmissionRules, now_s: float
) -> tuple[AdmissionState, Admission]:
    """Decide how many deferrable sequences an engine may hold from now on.

    An engine that cannot be measured admits none, and its cap is learned again afterwards.

    Args:
        sample: The latest measurement; None if the engine's load could not be read.
        state: As returned by the previous call; `AdmissionState()` at first.
        rules: The SLO and the constants of the controller.
        now_s: Monotonic.
    """
    if sample is None:
        forgotten = AdmissionState(sequence_cap=1.0, decided_s=now_s, realtime_s=state.realtime_s)
        alert = "its load cannot be read: no backfill"
        return forgotten, Admission(sequence_cap=0, foreign=0, max_resident=0, max_prefilling=0, alert=alert)
    sequences = sample.max_sequences or rules.max_sequences
    batch = sample.running + sample.waiting
    others = sample.realtime + sample.foreign
    if sample.realtime > 0:
        state = replace(state, realtime_s=now_s)
    max_resident = max(0, sequences - others)
    if now_s - state.realtime_s >= rules.quiet_s:
        # Without real-time work there is no SLO to keep, and nothing to learn about the cap.
        state = replace(state, decided_s=now_s)
        cap, max_prefilling = _saturating(sample, rules.quiet_protect, sequences), sequences
        if _exceeds(sample.kv_cache_share, rules.max_kv_share):
            cap = batch
    else:
        before = rules.initial_share * sequences if state.sequence_cap is None else state.sequence_cap
        state = replace(_adjust(sample, state, before, rules, sequences=sequences, now_s=now_s), decided_s=now_s)
        cap = min(int(state.sequence_cap or 0), _saturating(sample, rules.protect, sequences))
        max_prefilling = max(1, int(rules.prefill_share * sequences))
        if state.cuts > 1:
            max_resident = min(max_resident, backfill_sequences(running=others, waiting=0, sequence_cap=cap))
    cap = max(0, min(cap, sequences - rules.reserved_sequences))
    admission = Admission(
        sequence_cap=cap, foreign=sample.foreign, max_resident=max_resident, max_prefilling=max_prefilling
    )
    return state, admission


def _saturating(sample: EngineSample, protect: float, sequences: int) -> int:
    """Return the most sequences that are worth their delay; half of them while the slope must be measured again."""
    enough = saturating_sequences(sample.step_times, 1.0 - protect, sequences)
    if enough is not None:
        return enough
    return max(1, sequences // 2) if sample.step_times.weight > 0 else sequences


def _adjust(
    sample: EngineSample,
    state: AdmissionState,
    sequence_cap: float,
    rules: AdmissionRules,
    *,
    sequences: int,
    now_s: float,
) -> AdmissionState:
    """Return the state with its cap raised, cut or left alone, as the measurement calls for."""
    batch = sample.running + sample.waiting
    if _is_strained(sample, rules, sequences):
        # An SLO that breaks without deferrable work is not restored by cutting it.
        if sample.backfill == 0 or now_s < state.settled_s:
            return replace(state, sequence_cap=sequence_cap)
        others = sample.realtime + sample.foreign
        cut = others + rules.backoff * max(0.0, min(sequence_cap, float(batch)) - others)
        settled_s = now_s + rules.reaction_s
        return replace(state, sequence_cap=min(cut, sequence_cap), settled_s=settled_s, cuts=state.cuts + 1)
    if now_s < state.settled_s:
        return replace(state, sequence_cap=sequence_cap)
    state = replace(state, cuts=0)
    if batch < rules.min_used_share * int(sequence_cap):
        return replace(state, sequence_cap=sequence_cap)
    reactions = max(0.0, min(now_s - state.decided_s, rules.reaction_s)) / rules.reaction_s
    grown = sequence_cap + max(1.0, rules.step_share * sequences) * reactions
    if _is_ample(sample, rules):
        grown = max(grown, sequence_cap * 2.0**reactions)
    return replace(state, sequence_cap=min(grown, float(sequences)))


def _is_strained(sample: EngineSample, rules: AdmissionRules, sequences: int) -> bool:
    """Tell whether the real-time lane breaks its SLO, or is about to.

    A request that waits while the batch has free sequences waits for the current step to end, which is not a queue. A
    queue does not count either where first tokens are measured: preempted sequences may be about to leave.
    """
    late = _exceeds(sample.ttft_s, rules.ttft_s) or _exceeds(sample.tpot_s, rules.tpot_s)
    queue = sample.ttft_s is None and sample.waiting > 0 and sample.running >= sequences
    return late or queue or _exceeds(sample.kv_cache_share, rules.max_kv_share)


def _is_ample(sample: EngineSample, rules: AdmissionRules) -> bool:
    """Tell whether latency was measured and everything measured is far below its limit."""
    measured = sample.tpot_s is not None or sample.ttft_s is not None
    return measured and not (
        _exceeds(sample.kv_cache_share, rules.ample_share * rules.max_kv_share)
        or _exceeds(sample.ttft_s, rules.ample_share * rules.ttft_s)
        or _exceeds(sample.tpot_s, rules.ample_share * rules.tpot_s)
    )


def _exceeds(measured: float | None, limit: float) -> bool:
    return measured is not None and measured > limit
