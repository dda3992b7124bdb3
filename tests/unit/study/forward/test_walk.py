"""Walking forward: policies are fitted to past days only, and judged on days that they have not seen."""

from dataclasses import replace

import numpy as np
import pytest
from tests.samples.fleets import load, machine, offer, profile

from meritorder.study.fleet.load import TraceLoad
from meritorder.study.fleet.machines import CandidateMachine
from meritorder.study.forward.walk import UnseenDays, walk_forward

DAY_S = 86_400.0


def trace(*requests: int, waits: bool = True) -> TraceLoad:
    """Days with these numbers of requests, twice as busy at noon as at midnight."""
    random = np.random.default_rng(0)
    arrived: list[np.ndarray] = []
    for day, count in enumerate(requests):
        times_s = random.uniform(0, DAY_S, 2 * count)
        kept = random.uniform(0, 2, 2 * count) < 1.5 - 0.5 * np.cos(2 * np.pi * times_s / DAY_S)
        arrived.append(day * DAY_S + np.sort(times_s[kept][:count]))
    arrived_s = np.concatenate(arrived)
    deferred = np.arange(len(arrived_s)) % 3 == 0 if waits else None
    return load(arrived_s, 600, 150, waits=deferred, patience_s=3600.0, span_s=len(requests) * DAY_S)


def machines(asked: TraceLoad) -> list[CandidateMachine]:
    fast = profile(hardware="h200", faster=2.0)
    return [machine(asked), machine(asked, replica=fast, box=offer(usd_per_hour=3.0, hardware="h200"))]


@pytest.fixture(scope="module")
def walked() -> UnseenDays:
    asked = trace(1500, 1600, 1400)
    result = walk_forward(asked, machines(asked))
    assert result is not None
    return result


def test_every_day_but_the_first_is_judged(walked: UnseenDays) -> None:
    assert [day.index for day in walked.days] == [1, 2]
    assert not walked.left_out


def test_unseen_days_keep_their_promises(walked: UnseenDays) -> None:
    assert walked.slo_days == 2
    assert walked.deadlines_missed == 0
    assert all(day.baseline_slo_kept for day in walked.days)


def test_totals_are_sums_over_days(walked: UnseenDays) -> None:
    assert walked.policy_usd == pytest.approx(sum(day.policy_usd for day in walked.days))
    assert walked.saving_share == pytest.approx(1 - walked.policy_usd / walked.baseline_usd)
    lower, upper = walked.saving_interval
    assert lower <= walked.saving_share <= upper
    assert walked.regret_usd >= 0


def test_policy_costs_no_more_than_real_time(walked: UnseenDays) -> None:
    assert all(day.policy_usd <= 1.02 * day.baseline_usd for day in walked.days)


def test_one_day_cannot_be_judged() -> None:
    asked = trace(500)
    assert walk_forward(asked, machines(asked)) is None


def test_tomorrow_does_not_change_today() -> None:
    short, long = trace(400, 400), trace(400, 400, 600)
    first, second = walk_forward(short, machines(short)), walk_forward(long, machines(short))
    assert first is not None
    assert second is not None
    assert replace(first.days[0], best_usd=None) == replace(second.days[0], best_usd=None)


def test_day_with_a_hole_is_left_out() -> None:
    asked = trace(2000, 2000, 2000)
    noon = 1.5 * DAY_S
    holed = asked.select((asked.arrived_s < noon) | (asked.arrived_s > noon + 7200))
    result = walk_forward(holed, machines(asked))
    assert result is not None
    assert [day.index for day in result.days] == [2]
    assert result.left_out == {1: pytest.approx(7200, abs=60)}
