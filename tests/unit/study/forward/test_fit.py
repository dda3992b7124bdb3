"""The policy that is fitted to past days."""

import numpy as np
from tests.samples.fleets import load, machine, offer, profile

from meritorder.study.fleet.load import TraceLoad
from meritorder.study.fleet.machines import CandidateMachine
from meritorder.study.forward.days import split_days
from meritorder.study.forward.fit import fit_policy

DAY_S = 86_400.0


def machines(asked: TraceLoad) -> list[CandidateMachine]:
    fast = profile(hardware="h200", faster=2.0)
    return [machine(asked), machine(asked, replica=fast, box=offer(usd_per_hour=6.0, hardware="h200"))]


def test_cheap_machine_is_enough() -> None:
    asked = load(np.linspace(0, DAY_S - 1, 400), 600, 150, span_s=DAY_S)
    fitted = fit_policy(split_days(asked), machines(asked), machines(asked))
    assert fitted.machine.profile.hardware == "h100"
    assert fitted.minimum == 1


def test_busy_hours_are_prepared_for() -> None:
    busy_hour_s = np.sort(np.random.default_rng(0).uniform(36_000, 39_600, 20_000))
    asked = load(busy_hour_s, 600, 150, span_s=DAY_S)
    fitted = fit_policy(split_days(asked), machines(asked)[:1], machines(asked))
    busier = load(np.sort(np.random.default_rng(1).uniform(36_000, 39_600, 24_000)), 600, 150, span_s=DAY_S)
    assert fitted.run(busier, None, 0.0).feasible


def test_nothing_is_rented_where_all_may_wait() -> None:
    asked = load(np.linspace(0, DAY_S - 1, 100), waits=np.ones(100, bool), patience_s=3600.0, span_s=DAY_S)
    fitted = fit_policy(split_days(asked), machines(asked), machines(asked))
    assert fitted.minimum == 0
    assert fitted.run(asked, None, 0.0).feasible
