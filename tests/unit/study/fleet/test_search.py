"""The search: honest about what holds, and about what does not."""

from dataclasses import replace

import numpy as np
import pytest
from tests.samples.fleets import load, machine, offer, profile

from meritorder.domain import Slo
from meritorder.errors import InfeasibleError
from meritorder.study.fleet.load import TraceLoad
from meritorder.study.fleet.machines import CandidateMachine
from meritorder.study.fleet.result import SearchResult
from meritorder.study.fleet.search import Search

ARRIVED_S = np.sort(np.random.default_rng(2).uniform(0, 900, 2500))


def search(asked: TraceLoad, machines: list[CandidateMachine] | None = None) -> SearchResult:
    machines = machines or [machine(asked)]
    return Search(
        load=asked, machines=machines, batch_machines=machines, patience_s=7200.0, progress=lambda _: None
    ).run()


def test_mix_serves_both_lanes() -> None:
    asked = load(ARRIVED_S, 300, 80, waits=np.arange(2500) % 2 == 0, patience_s=3600.0)
    result = search(asked)
    assert result.fixed.feasible
    assert result.batch.feasible
    assert result.mix.feasible
    assert result.mix.deadlines_missed == 0
    assert result.baseline.usd == min(t.usd for t in (result.fixed, result.autoscaled) if t.feasible)
    assert result.mix.usd <= result.baseline.usd
    assert result.realtime_alone is not None
    assert len(result.realtime_alone.load) == 1250
    assert 0 < result.slo_utilization <= 1


def test_nothing_may_wait() -> None:
    result = search(load(ARRIVED_S, 300, 80))
    assert result.mix.usd == result.baseline.usd
    assert result.realtime_alone is result.baseline


def test_everything_may_wait() -> None:
    result = search(load(ARRIVED_S, 300, 80, waits=np.ones(2500, bool)))
    assert result.realtime_alone is None
    assert result.mix.usd <= min(result.baseline.usd, result.batch.usd + 1e-9)


def test_missed_deadline_makes_mix_infeasible() -> None:
    hurried = load(ARRIVED_S[:200], 300, 80, waits=np.arange(200) % 2 == 0, patience_s=0.05)
    result = search(hurried)
    assert result.mix.deadlines_missed > 0
    assert not result.mix.feasible


def test_cheaper_machine_is_chosen() -> None:
    asked = load(ARRIVED_S, 300, 80)
    dear, cheap = (machine(asked, box=offer(usd_per_hour=usd, instance=f"box {usd}")) for usd in (4.0, 1.0))
    result = search(asked, [cheap, dear])
    assert result.baseline.pools[0][0] is cheap
    assert result.batch.pools[0][0] is cheap


def test_mix_runs_on_costlier_machine_for_real_time() -> None:
    """A trickle needs one machine of any kind; the burst that may wait fits beside it on the fast kind only."""
    burst_s = np.random.default_rng(0).uniform(600, 660, 6000)
    arrived_s = np.sort(np.concatenate((np.linspace(0, 3600, 200), burst_s)))
    asked = load(arrived_s, 100, 400, waits=(arrived_s > 600) & (arrived_s < 660), patience_s=2400.0)
    boxes = [machine(asked, box=offer(usd_per_hour=usd, instance=f"box {usd}")) for usd in (2.0, 2.01, 2.02, 2.03)]
    fast = machine(asked, replica=profile(faster=2.5), box=offer(usd_per_hour=2.1, instance="fast"))
    alone, result = search(asked, [fast]), search(asked, [*boxes, fast])
    assert result.realtime_alone is not None
    assert result.realtime_alone.machine is boxes[0]
    assert result.mix.machine is fast
    assert result.mix.usd == pytest.approx(alone.mix.usd)


def test_machine_too_slow_is_skipped() -> None:
    asked = load(ARRIVED_S, 300, 80, slo=Slo(ttft_s=2.0, tpot_s=0.03, attainment=0.9))
    slow = machine(asked, replica=profile(faster=0.2), box=offer(usd_per_hour=0.01))
    fast = machine(asked)
    assert search(asked, [slow, fast]).baseline.pools[0][0] is fast


def test_no_fast_machine_is_an_error() -> None:
    asked = load(ARRIVED_S[:50], slo=Slo(ttft_s=2.0, tpot_s=0.001))
    with pytest.raises(InfeasibleError, match="no replica can meet the SLO"):
        search(asked)


def test_coarse_batch_skips_costlier_hours() -> None:
    asked = load(ARRIVED_S[::10], 300, 80, waits=np.ones(250, bool), patience_s=3600.0)
    boxes = [machine(asked, box=offer(usd_per_hour=usd, instance=f"box {usd}")) for usd in (2.0, 2.02)]
    wide = Search(load=asked, machines=boxes, batch_machines=boxes, patience_s=3600.0, progress=lambda _: None)
    coarse = replace(wide, coarse=True, tried=[])
    assert coarse.batch(asked).usd == wide.batch(asked).usd
    assert len(coarse.tried) == 1
    assert len(wide.tried) == 2
