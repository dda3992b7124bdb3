"""What requests need by the tick: stays that are plain by hand. A start-up pays 240 s, 16 ticks of 15 s."""

import numpy as np
from tests.samples.fleets import load, machine

from meritorder.domain import Slo
from meritorder.sim.state import MAX_SLOTS
from meritorder.study.fleet.load import TraceLoad
from meritorder.study.hindsight.need import Clock, Need

STRICT = Slo(ttft_s=2.0, tpot_s=0.1, attainment=1.0)


def need_of(asked: TraceLoad) -> Need:
    box = machine(asked)
    return Need.of(box, asked, Clock.of(asked, box))


def stays(on: np.ndarray) -> list[tuple[int, int]]:
    edges = np.diff(on.astype(int), prepend=0, append=0)
    return list(zip(np.flatnonzero(edges > 0).tolist(), np.flatnonzero(edges < 0).tolist(), strict=True))


def test_slots_are_one_tick() -> None:
    asked = load([5.0], span_s=3600.0)
    clock = need_of(asked).clock
    assert clock.slot_s == 15
    # An arrival at a tick comes before it, and finds the machines of the slot that ends.
    assert clock.slot_at(np.array([0.0, 15.0, 15.1])).tolist() == [0, 0, 1]


def test_long_spans_get_longer_slots() -> None:
    clock = need_of(load([5.0], span_s=365 * 86_400.0)).clock
    assert clock.slot_s == 45
    assert clock.slots <= MAX_SLOTS
    assert need_of(load([5.0], span_s=90 * 86_400.0)).clock.slot_s == 15


def test_far_requests_get_stays_of_their_own() -> None:
    # The first is served from time 0, without a start.
    assert stays(need_of(load([2.0, 3001.0, 6001.0], slo=STRICT, span_s=7000.0)).covered(0.0)) == [
        (0, 1),
        (200, 201),
        (400, 401),
    ]


def test_near_requests_share_a_stay() -> None:
    assert stays(need_of(load([3001.0, 3211.0], slo=STRICT, span_s=7000.0)).covered(0.0)) == [(200, 215)]


def test_late_arrival_waits_for_next_slot() -> None:
    # It comes 1 s before a tick, and may wait 2 s.
    asked = load([3014.0, 3020.0], slo=STRICT, span_s=7000.0)
    assert stays(need_of(asked).covered(0.0)) == [(201, 202)]


def test_work_waits_for_a_machine_that_is_on() -> None:
    asked = load([1000.0, 3001.0], waits=[True, False], slo=STRICT, span_s=7000.0)
    assert stays(need_of(asked).covered(0.0)) == [(200, 201)]
    impatient = load([1000.0, 3001.0], waits=[True, False], patience_s=600.0, slo=STRICT, span_s=7000.0)
    assert len(stays(need_of(impatient).covered(0.0))) == 2


def test_cheap_violations_save_starts() -> None:
    # The second comes when a machine is ready that the first would rent.
    asked = load([3001.0, 3310.0], slo=STRICT, span_s=7000.0)
    assert len(stays(need_of(asked).covered(0.0))) == 2
    assert len(stays(need_of(asked).covered(0.0, violation_s=10.0))) == 1


def test_each_machine_stays_on_by_itself() -> None:
    asked = load([5.0], span_s=7000.0)
    needed = np.zeros(need_of(asked).clock.slots, np.int64)
    needed[[100, 110, 140]] = 2, 1, 2
    kept = need_of(asked).kept_on(needed)
    assert kept[100:112].tolist() == [2] + [1] * 10 + [0]
    assert kept[140] == 2
    assert kept.sum() == 11 + 1 + 2


def test_stays_last_until_work_is_done() -> None:
    asked = load(np.full(2000, 1000.0), 300, 80, waits=np.ones(2000, bool), span_s=7000.0)
    need = need_of(asked)
    on = need.covered(0.0)
    work_s = float(need.machine.work_s(asked).sum())
    assert need.extended(on, 1).sum() == np.ceil(work_s / 15)
    assert need.extended(on, 2).sum() == np.ceil(work_s / 30)


def test_mean_in_flight_by_slot() -> None:
    asked = load([15.0, 15.0], output_tokens=1000, span_s=100.0)
    need = need_of(asked)
    assert need.e2e_s[0] > 5
    assert np.isclose(need.in_flight().sum() * 15, need.e2e_s.sum())
    assert need.machines(0.5, need.in_flight())[1] == np.ceil(need.in_flight()[1] / 0.5)


def test_quick_restarts_alternate_between_pools() -> None:
    # 285 s apart: a start-up takes 300 s, of which 240 s are paid, so another machine starts before the first stops.
    asked = load([3001.0, 3301.0, 3601.0], slo=STRICT, span_s=7000.0)
    need = need_of(asked)
    machines = need.covered(0.0).astype(np.int64)
    assert stays(machines > 0) == [(200, 201), (220, 221), (240, 241)]
    pools = need.pools(machines, realtime=True, backfill=None)
    assert [np.flatnonzero(pool.scheduled_instances).tolist() for _, pool in pools] == [[200, 240], [220]]
    far = np.where(np.arange(len(machines)) == 220, 0, machines)
    assert len(need.pools(far, realtime=True, backfill=None)) == 1
