"""Real time: every machine is a candidate, and a machine more never costs more."""

from dataclasses import replace

import numpy as np
import pytest
from tests.samples import fleets

from meritorder.domain import Slo
from meritorder.study.fleet import stretches
from meritorder.study.fleet.realtime import COARSE_SAVING, min_fleet_usd, search_realtime

ARRIVED_S = np.sort(np.random.default_rng(2).uniform(0, 900, 2500))


def test_small_machine_serves_a_small_load() -> None:
    # Ten requests in an hour: one GPU at $2 does it, although the eight of the large machine cost less each.
    asked = fleets.load(np.arange(10.0) * 360.0, span_s=3600.0)
    small = fleets.machine(asked)
    large = fleets.machine(asked, box=fleets.offer(8, usd_per_hour=8.0, instance="large"))
    found = search_realtime(asked, [large, small], lambda _: None, title="real time")
    assert found.cheapest.machine is small
    assert found.cheapest.usd == pytest.approx(2.0)


def test_more_machines_never_cost_more() -> None:
    asked = fleets.load(ARRIVED_S, 300, 80)
    boxes = [
        fleets.offer(gpus, usd_per_hour=usd, instance=f"{gpus} GPUs") for gpus, usd in ((1, 2.0), (2, 3.6), (4, 6.0))
    ]
    machines = [fleets.machine(asked, box=box) for box in boxes]
    alone = [search_realtime(asked, [machine], lambda _: None, title="real time").cheapest.usd for machine in machines]
    together = search_realtime(asked, machines, lambda _: None, title="real time").cheapest.usd
    assert together == min(alone)


def test_floor_is_below_every_fleet() -> None:
    asked = fleets.load(ARRIVED_S, 300, 80)
    machine = fleets.machine(asked)
    found = search_realtime(asked, [machine], lambda _: None, title="real time")
    assert min_fleet_usd(machine, asked) <= found.cheapest.usd


def test_long_trace_is_confirmed_as_a_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = fleets.load(ARRIVED_S, 300, 80, slo=Slo(ttft_s=1.0, tpot_s=0.05, attainment=0.95))
    machine = fleets.machine(asked)
    whole = search_realtime(asked, [machine], lambda _: None, title="real time")
    monkeypatch.setattr(stretches, "_MIN_REQUESTS", 100)
    by_stretch = search_realtime(asked, [machine], lambda _: None, title="real time")
    assert len(by_stretch.cheapest.load) == len(asked)
    assert by_stretch.cheapest.feasible
    assert by_stretch.fixed[0].usd == whole.fixed[0].usd


@pytest.mark.parametrize("busy_s", [900.0, 60.0])
def test_coarse_search_misses_little(busy_s: float) -> None:
    arrived_s = np.sort(np.append(ARRIVED_S, ARRIVED_S[:1500] * busy_s / 900))
    asked = replace(fleets.load(arrived_s, 300, 80), pace=96.0)  # a day in a quarter of an hour
    boxes = [fleets.offer(gpus, usd_per_hour=usd, instance=f"{gpus} GPUs") for gpus, usd in ((1, 2.0), (2, 3.6))]
    machines = [fleets.machine(asked, box=box) for box in boxes]
    whole = search_realtime(asked, machines, lambda _: None, title="real time")
    coarse = search_realtime(replace(asked, verdict_suffices=True), machines, lambda _: None, title="real time")
    assert whole.cheapest.usd <= coarse.cheapest.usd <= whole.cheapest.usd / (1 - COARSE_SAVING)
    assert coarse.fixed[0].usd == whole.fixed[0].usd
