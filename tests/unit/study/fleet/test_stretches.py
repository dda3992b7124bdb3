"""Stretches of a long load rule out fleets that are too small for all of it."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from tests.samples import fleets

from meritorder.study.fleet import stretches
from meritorder.study.fleet.fleets import fixed_fleet
from meritorder.study.fleet.load import TraceLoad
from meritorder.study.fleet.realtime import search_realtime
from meritorder.study.fleet.stretches import Stretches


def two_peaks() -> TraceLoad:
    """Many short requests at first, and fewer of ten times the work later; only the count makes a stretch busiest."""
    random = np.random.default_rng(4)
    arrived_s = np.concatenate((np.sort(random.uniform(0, 100, 800)), np.sort(random.uniform(1000, 1110, 800))))
    return fleets.load(arrived_s, np.repeat([50, 300], 800), np.repeat([10, 400], 800))


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stretches, "_MIN_REQUESTS", 100)


def test_short_load_has_no_stretch() -> None:
    asked = two_peaks().select(np.arange(100))
    assert Stretches.of(asked).busiest is asked


def test_failed_fleet_shows_the_worst_stretch() -> None:
    asked = two_peaks()
    machine, parts = fleets.machine(asked), Stretches.of(asked)
    alone = partial(fixed_fleet, machine, instances=1)
    assert not parts.rule_out(alone), "one machine serves the short requests"
    whole = alone(asked)
    assert not whole.feasible
    parts.add_worst(whole)
    assert parts.stretches[-1].input_tokens.tolist() == [300] * 200
    assert parts.rule_out(alone)


def test_stretches_find_the_smallest_fleet(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = two_peaks()
    machine = fleets.machine(asked)
    found = search_realtime(asked, [machine], lambda _: None, title="real time")
    monkeypatch.setattr(stretches, "_MIN_REQUESTS", len(asked))
    whole = search_realtime(asked, [machine], lambda _: None, title="real time")
    assert found.fixed[0].usd == whole.fixed[0].usd
    assert found.cheapest.usd == whole.cheapest.usd


def test_workloads_may_break_their_slo_as_often() -> None:
    asked = two_peaks()
    slo = replace(fleets.SLO, attainment=0.98)
    asked = replace(asked, workloads=tuple(replace(workload, slo=slo) for workload in asked.workloads))
    stretch = asked.busiest(200)
    allowed = (1 - stretch.workloads[0].slo.attainment) * 200 if stretch.workloads[0].slo else 0.0
    assert allowed == pytest.approx(0.02 * 1600)
