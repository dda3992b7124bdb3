"""The policy that is fitted to past days."""

import numpy as np
from tests.samples.fleets import load, machine, offer, profile

from meritorder.study.fleet.load import TraceLoad
from meritorder.study.fleet.machines import CandidateMachine
from meritorder.study.forward.baseline import PastBaseline, RealtimePolicy
from meritorder.study.forward.days import split_days
from meritorder.study.forward.fit import FittedPolicy, PolicyFit, fit_policy
from meritorder.study.forward.history import History
from meritorder.study.forward.simulations import Design, Simulations

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


def test_real_time_is_carried_out_where_it_was_cheaper() -> None:
    """400 requests a day need one machine: a policy of three costs three times as much, one of one the same."""
    asked = load(np.linspace(0, 2 * DAY_S - 1, 800), 600, 150, span_s=2 * DAY_S)
    days, boxes = split_days(asked), machines(asked)[:1]
    history = History(days=days, machines=boxes)
    simulations = Simulations(history=history, batch_machines=boxes, progress=lambda _: None)
    fit = PolicyFit(history=history, simulations=simulations, progress=lambda _: None)
    baseline = PastBaseline(days=days, machines=boxes, progress=lambda _: None)
    chosen = []
    for minimum in (1, 3):
        design = Design(machine=0, minimum=minimum)
        fitted = FittedPolicy(design=design, level=0, policy=simulations.policy(design, 0, 2))
        chosen.append(fit.or_realtime(fitted, baseline, baseline.choose(2), 2).policy)
    assert not isinstance(chosen[0], RealtimePolicy)
    assert isinstance(chosen[1], RealtimePolicy)
    # One machine for the whole day at $2 an hour, and what waits is served as it comes.
    assert chosen[1].run(days[0].load).usd == 48.0
