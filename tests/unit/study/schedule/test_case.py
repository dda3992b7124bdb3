"""The planning case."""

import pytest
from tests.samples import fleets
from tests.samples.planning import pool

from meritorder import catalog as facts
from meritorder.study.schedule.capacity import Serving, safe_load
from meritorder.study.schedule.case import _with_tail
from meritorder.study.schedule.supply import Site


def test_equal_residences_leave_half_as_tail() -> None:
    load = fleets.load([0.0, 1.0, 2.0])
    machine = fleets.machine(load)
    serving = Serving(
        machine=machine, safe=safe_load(machine, load, 1), backfill=fleets.backfill(0), max_utilization=0.9
    )
    site = Site(pool=pool(startup_paid_s=100.0), serving=serving, offers=())
    model = facts.load().models["llama-3.1-8b"]
    residence_s = float(machine.residence_s(load)[0])
    assert _with_tail(site, {model: load}).startup_paid_s == pytest.approx(100.0 + residence_s / 2)
