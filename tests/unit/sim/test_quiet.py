"""Ticks that decide nothing are skipped: what comes out is the same, and a long span costs nothing."""

import math

import numpy as np
import pytest
from tests.property.fleets import Case
from tests.property.test_sim_against_oracle import assert_equal_to_oracle
from tests.samples.fleets import backfill
from tests.samples.steady import STEADY, requests

from meritorder.sim.pools import Autoscaled, DeadlineScaled, Interruptions, Scaling, Scheduled, SimPool
from meritorder.sim.run import simulate

NOW = math.inf  # latest start of a real-time request
GAP_S = 400.0

AUTOSCALED = Autoscaled(target_in_flight=1, minimum=1, maximum=3, initial=3, stabilization_s=30)


def equal_to_oracle(*rows: tuple[float, int, int, float], scaling: Scaling, **options: object) -> None:
    pool = SimPool(profile=STEADY, scaling=scaling, startup_s=7.0, minimum_billing_s=0.0, **options)
    assert_equal_to_oracle(
        Case(requests(*rows), (pool,), {"horizon_s": 3 * GAP_S, "tick_s": 1.0, "bin_s": 2 * GAP_S}),
    )


def bursts(*starts_s: float, latest_start_s: float = NOW) -> list[tuple[float, int, int, float]]:
    return [(start_s + 0.3 * n, 5, 20, latest_start_s) for start_s in starts_s for n in range(4)]


@pytest.mark.parametrize(
    "scaling",
    [
        AUTOSCALED,
        Autoscaled(target_in_flight=1, minimum=0, maximum=3, initial=0, floor=(0, 2, 1), slot_s=GAP_S / 2, ahead_s=7.0),
        Scheduled(instances=(1, 3, 2, 1), slot_s=150.5, ahead_s=7.0),
    ],
)
def test_long_gaps_change_no_answer(scaling: Scaling) -> None:
    equal_to_oracle(*bursts(0.5, GAP_S, 2 * GAP_S + 0.5), scaling=scaling)


def test_instance_needed_during_gap() -> None:
    """The backlog waits for minutes; only the clock says when an instance must start."""
    rows = [*bursts(0.5, latest_start_s=GAP_S), *bursts(100.0, latest_start_s=2 * GAP_S)]
    equal_to_oracle(*rows, scaling=DeadlineScaled(maximum=2, margin_s=3.0), realtime=False, backfill=backfill(4))


def test_waiting_work_escalates_during_gap() -> None:
    """The pool admits no deferrable work, so each request is served as real-time work at its latest start."""
    equal_to_oracle((0.5, 5, 5, GAP_S), (1.0, 5, 5, 2 * GAP_S), scaling=AUTOSCALED)


def test_interruptions_during_gap() -> None:
    lives = Interruptions(lifetimes_s=(90.0, 250.0, 1e6), notice_s=10.0, ceiling_from_s=(300.0, 350.0), ceiling=(0, 2))
    equal_to_oracle(*bursts(0.5, 2 * GAP_S), scaling=AUTOSCALED, interruptions=lives)


def test_backfill_rises_during_gap() -> None:
    scaling = Scheduled(instances=(1, 1, 1), slot_s=GAP_S / 2)
    rows = bursts(0.5, latest_start_s=2.5 * GAP_S)
    equal_to_oracle(*rows, scaling=scaling, backfill=backfill(4), backfill_shares=(0.3, 0.3, 1.0))


def test_years_without_requests_cost_nothing() -> None:
    """A thousand years have two billion ticks, which would take more than ten minutes."""
    years_s = 1000 * 365 * 86_400.0
    pool = SimPool(profile=STEADY, scaling=AUTOSCALED)
    result = simulate(requests((0.0, 5, 5, NOW), (years_s, 5, 5, NOW)), (pool,), horizon_s=years_s, bin_s=1e9)
    np.testing.assert_allclose(result.finished_s, [0.5, years_s + 0.5])
