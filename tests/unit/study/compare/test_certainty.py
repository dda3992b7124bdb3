"""How sure a saving is: it follows from the residuals of the profile, and from nothing else."""

import msgspec
import numpy as np
from tests.samples.fleets import load, machine, profile

from meritorder.perf.profile import Profile, Residuals
from meritorder.study.compare.certainty import cost_interval, saving_interval
from meritorder.study.fleet.search import Search

DRAWN = np.random.default_rng(2)
ARRIVED_S = np.sort(np.concatenate([DRAWN.uniform(0, 600, 6000), DRAWN.uniform(600, 7200, 1200)]))
ASKED = load(ARRIVED_S, 300, 500, waits=np.arange(7200) % 2 == 0, patience_s=7200.0)


def judged(pace_ratios: list[float]) -> Profile:
    residuals = Residuals(basis="3 measured servers", pace_ratios=pace_ratios, servers=3)
    return msgspec.structs.replace(profile(), residuals=residuals)


def search(replica: Profile) -> Search:
    one = machine(ASKED, replica=replica)
    return Search(load=ASKED, machines=[one], batch_machines=[one], patience_s=7200.0, progress=lambda _: None)


def test_exact_profile_gives_point_interval() -> None:
    asked = search(judged([1.0, 1.0]))
    result = asked.run()
    share = 1 - result.mix.usd / result.baseline.usd
    interval = saving_interval(result, asked, seed=0)
    assert share > 0
    assert interval is not None
    assert interval.low == interval.high == share


def test_larger_error_widens_interval() -> None:
    widths = []
    for spread in (1.05, 2.0):
        asked = search(judged([1 / spread, 1.0, spread]))
        result = asked.run()
        interval = saving_interval(result, asked, seed=0)
        assert interval is not None
        assert interval.low <= 1 - result.mix.usd / result.baseline.usd <= interval.high
        assert "nine in ten of 3 measured servers" in interval.basis
        assert "50 % shorter to 100 % longer" in interval.basis or spread < 2
        widths.append(interval.high - interval.low)
    assert widths[0] < widths[1]


def test_unmeasured_profile_has_no_interval() -> None:
    unknown = msgspec.structs.replace(profile(), engine="abacus")
    asked = search(unknown)
    assert saving_interval(asked.run(), asked, seed=0) is None


def test_cost_range_follows_the_least_certain_machine() -> None:
    sure, unsure = (machine(ASKED, replica=judged(ratios)) for ratios in ([1.0], [0.5, 1.0, 2.0]))
    narrow, wide = cost_interval(100.0, [sure]), cost_interval(100.0, [sure, unsure])
    assert narrow is not None
    assert wide is not None
    assert wide.low < narrow.low < 100 < narrow.high < wide.high
    unknown = machine(ASKED, replica=msgspec.structs.replace(profile(), engine="abacus"))
    assert cost_interval(100.0, [sure, unknown]) is None
