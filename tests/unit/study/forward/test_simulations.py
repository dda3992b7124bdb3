"""Days simulated under policies, each once."""

import numpy as np
import pytest
from tests.samples.fleets import load, machine

from meritorder.study.forward.days import split_days
from meritorder.study.forward.history import History
from meritorder.study.forward.simulations import Design, Simulations

DAY_S = 86_400.0


def simulations(lines: list[str]) -> Simulations:
    asked = load(np.linspace(0, DAY_S - 1, 300), span_s=DAY_S)
    history = History(days=split_days(asked), machines=[machine(asked)])
    return Simulations(history=history, batch_machines=history.machines, progress=lines.append)


def test_day_is_simulated_once() -> None:
    lines: list[str] = []
    days = simulations(lines)
    first, second = days.outcome(Design(machine=0), 3, 0), days.outcome(Design(machine=0), 3, 0)
    assert first is second
    assert len(lines) == 1
    assert first.holds_with_margin
    assert days.best_usd(0) == first.usd == pytest.approx(48.0, rel=0.02)


def test_surged_day_does_not_count_as_the_day() -> None:
    days = simulations([])
    days.outcome(Design(machine=0), 3, 0, 1.5)
    assert days.best_usd(0) is None
    assert len(days.load(0, 1.5)) == pytest.approx(450, rel=0.1)


def test_levels_rise_to_the_limit_of_the_engine() -> None:
    targets = simulations([]).targets(Design(machine=0))
    assert targets[0] == 2
    assert targets[-1] == 32
    assert targets == sorted(set(targets))
