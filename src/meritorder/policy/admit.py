"""How much deferrable work an engine may hold beside real-time work, from what is measured.

The cap is on all sequences of a replica, as the simulator's is (`release.backfill_seats`): real-time work that comes
takes its place without waiting for the controller. What the simulator knows from the profile, the largest batch that
keeps the pace, is found here by trying: up additively, or twofold while there is ample room; down to a share of the
deferrable part once the real-time lane's pace breaks, and not down again before the effect of that can be seen.

What runs is called back only where real time has no seat, or suffers still a flight after the cap was cut: the tokens
that were made would be lost. Else deferrable work that is too much ends by itself, and nothing follows it.

Source: additive increase, multiplicative decrease: D. Chiu and R. Jain, Computer Networks and ISDN Systems 17, 1989.
That a cap grows while at least half of it is used: RFC 7661, 2015.
"""

from dataclasses import dataclass, replace

from meritorder.policy.release import BACKFILL_KV_SHARE, backfill_seats


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What is known of one engine.

    Args:
        running: Sequences in it, of whomever.
        waiting: Sequences in its queue.
        backfill: Deferrable sequences in it or in its queue, sent by us.
        realtime: Real-time requests that we have there.
        foreign: Sequences in it or in its queue that are not ours.
        seats: Most sequences that it runs at one time; None if unknown.
        kv_cache_share: Share of its KV memory in use; None if unknown.
        ttft_s: Of the real-time lane, at the quantile of its promise; None if there was no request.
        tpot_s: As `ttft_s`.
    """

    running: int
    waiting: int
    backfill: int
    realtime: int = 0
    foreign: int = 0
    seats: int | None = None
    kv_cache_share: float | None = None
    ttft_s: float | None = None
    tpot_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AdmitRules:
    """What the real-time lane is promised, and how boldly the gaps are filled.

    Args:
        ttft_s: Its SLO on the time to the first token.
        tpot_s: Its SLO on the time per token.
        seats: Most sequences, where the engine does not tell.
        reserve: Seats that deferrable work leaves free, for the next real-time request.
        kv_cap: Share of the KV memory above which sequences would have to be thrown out.
        ample: Share of each limit under which there is room enough to go up twofold.
        first: Share of the seats that the cap begins with, when real-time work comes for the first time.
        step: Share of the seats by which the cap rises in the time of a flight; one seat at least.
        cut: Share of the deferrable sequences that is left after the pace broke.
        used: Share of the cap that must be in use for it to rise: what was not tried is not known to be safe.
        flight_s: Until the effect of a change is measured.
        quiet_s: Without a real-time request for this long, the engine belongs to deferrable work.
        starting: Share of the seats whose prompts may be read at one time while real-time work comes, its own among
            them; one seat at least.
    """

    ttft_s: float
    tpot_s: float
    seats: int
    reserve: int = 1
    kv_cap: float = BACKFILL_KV_SHARE
    ample: float = 0.5
    first: float = 1 / 2
    step: float = 1 / 16
    cut: float = 0.5
    used: float = 0.5
    flight_s: float = 2.0
    quiet_s: float = 10.0
    starting: float = 1 / 8


@dataclass(frozen=True, slots=True, kw_only=True)
class AdmitState:
    """What the controller remembers.

    Args:
        seat_cap: Most sequences with deferrable ones among them; None while there was no real-time work to learn from.
        at_s: When that was decided.
        settled_s: Until when the effect of the last cut is awaited.
        realtime_s: When there was last a real-time request.
        cuts: Cuts in a row, a flight apart, that the pace was not mended by.
    """

    seat_cap: float | None = None
    at_s: float = float("-inf")
    settled_s: float = float("-inf")
    realtime_s: float = float("-inf")
    cuts: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Admission:
    """What is decided.

    Args:
        seat_cap: Most sequences with deferrable ones among them.
        foreign: Sequences that are not ours.
        kept: Deferrable sequences that may stay; those beyond are to be called back.
        starting: Sequences that may be without a first token, for another deferrable one to begin.
        alert: What somebody should look at; None if nothing.
    """

    seat_cap: int
    foreign: int
    kept: int
    starting: int
    alert: str | None = None

    def allowed(self, realtime: int) -> int:
        """Return how many deferrable sequences the engine may hold beside so many real-time requests."""
        return backfill_seats(running=realtime + self.foreign, waiting=0, seat_cap=self.seat_cap)


def admit(
    measured: Measured | None, state: AdmitState, rules: AdmitRules, now_s: float
) -> tuple[AdmitState, Admission]:
    """Decide how much deferrable work an engine may hold from now on.

    Where nothing can be measured nothing is admitted, and the cap is to be found anew.

    Args:
        measured: What is known; None if the engine's load could not be read.
        state: As returned the last time; `AdmitState()` at first.
        rules: The promise and the boldness.
        now_s: Monotonic.
    """
    if measured is None:
        forgotten = AdmitState(seat_cap=1.0, at_s=now_s, realtime_s=state.realtime_s)
        alert = "its load cannot be read: no backfill"
        return forgotten, Admission(seat_cap=0, foreign=0, kept=0, starting=0, alert=alert)
    seats = measured.seats or rules.seats
    batch = measured.running + measured.waiting
    others = measured.realtime + measured.foreign
    if measured.realtime > 0:
        state = replace(state, realtime_s=now_s)
    kept = max(0, seats - others)
    if now_s - state.realtime_s >= rules.quiet_s:
        # Nobody has a pace to keep, and nothing is learnt of what would keep it.
        state = replace(state, at_s=now_s)
        cap, starting = seats, seats
        if (measured.kv_cache_share or 0.0) > rules.kv_cap:
            cap = batch
    else:
        before = rules.first * seats if state.seat_cap is None else state.seat_cap
        state = replace(_moved(measured, state, before, rules, seats=seats, now_s=now_s), at_s=now_s)
        cap, starting = int(state.seat_cap or 0), max(1, int(rules.starting * seats))
        if state.cuts > 1:
            kept = min(kept, backfill_seats(running=others, waiting=0, seat_cap=cap))
    cap = max(0, min(cap, seats - rules.reserve))
    return state, Admission(seat_cap=cap, foreign=measured.foreign, kept=kept, starting=starting)


def _moved(
    measured: Measured, state: AdmitState, seat_cap: float, rules: AdmitRules, *, seats: int, now_s: float
) -> AdmitState:
    """Return the state with its cap moved by what was measured."""
    batch = measured.running + measured.waiting
    if _strained(measured, rules, seats):
        # A pace that breaks without deferrable work is not mended by less of it.
        if measured.backfill == 0 or now_s < state.settled_s:
            return replace(state, seat_cap=seat_cap)
        others = measured.realtime + measured.foreign
        cut = others + rules.cut * max(0.0, min(seat_cap, float(batch)) - others)
        settled_s = now_s + rules.flight_s
        return replace(state, seat_cap=min(cut, seat_cap), settled_s=settled_s, cuts=state.cuts + 1)
    if now_s < state.settled_s:
        return replace(state, seat_cap=seat_cap)
    state = replace(state, cuts=0)
    if batch < rules.used * int(seat_cap):
        return replace(state, seat_cap=seat_cap)
    flights = max(0.0, min(now_s - state.at_s, rules.flight_s)) / rules.flight_s
    grown = seat_cap + max(1.0, rules.step * seats) * flights
    if _ample(measured, rules):
        grown = max(grown, seat_cap * 2.0**flights)
    return replace(state, seat_cap=min(grown, float(seats)))


def _strained(measured: Measured, rules: AdmitRules, seats: int) -> bool:
    """Say whether the real-time lane suffers, or is about to.

    Who waits while there are seats waits for the end of a step: that is no queue. Nor does a queue count where first
    tokens are measured: it may be for the seats that are just being given up.
    """
    late = (measured.ttft_s or 0.0) > rules.ttft_s or (measured.tpot_s or 0.0) > rules.tpot_s
    queue = measured.ttft_s is None and measured.waiting > 0 and measured.running >= seats
    return late or queue or (measured.kv_cache_share or 0.0) > rules.kv_cap


def _ample(measured: Measured, rules: AdmitRules) -> bool:
    """Say whether all is measured, and far from its limit."""
    return (
        (measured.tpot_s is not None or measured.ttft_s is not None)
        and (measured.kv_cache_share or 0.0) <= rules.ample * rules.kv_cap
        and (measured.ttft_s or 0.0) <= rules.ample * rules.ttft_s
        and (measured.tpot_s or 0.0) <= rules.ample * rules.tpot_s
    )
